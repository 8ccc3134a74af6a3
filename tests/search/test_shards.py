import json
from dataclasses import asdict

import numpy as np
import pandas
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nwa_lightning.errors import InputError
from nwa_lightning.search.embedder import ReadEmbedder
from nwa_lightning.search.files import sha256
from nwa_lightning.search.reads import Reads
from nwa_lightning.search.shards import (
    FORMAT,
    Manifest,
    Shard,
    count_rows,
    open_shards,
    read_shard,
    write_manifest,
    write_shard,
)
from nwa_lightning.sequences.alphabet import ALPHABETS, DNA
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.packed import Packed

STRINGS = ["ACGT", "GG", "TTACGA"]


def shard(strings=STRINGS, names=("a", "b é", ""), sizes=(3, 1, 9), dim=2, alphabet=DNA):
    bases = Sequences.from_strings(strings, alphabet).bases
    labels = Packed.of(name.encode() for name in names)
    embeddings = np.arange(len(strings) * dim, dtype=np.float32).reshape(len(strings), dim) / 3
    return Shard(Reads(Sequences(bases, labels), np.array(sizes, dtype=np.int64)), embeddings)


@pytest.fixture
def folder(tmp_path):
    """A folder with a model and two shards, the second of them empty."""
    embedder = ReadEmbedder.from_landmarks(Sequences.from_strings(STRINGS), 2, 2)
    embedder.save(tmp_path / "model.ckpt")
    records = []
    for name, content in (("00000.parquet", shard()), ("00001.parquet", shard([], [], []))):
        write_shard(tmp_path / name, content, DNA, embedder.fingerprint)
        records.append({"file": name, "rows": len(content.reads), "sha256": sha256(tmp_path / name)})
    write_manifest(tmp_path, Manifest(embedder.fingerprint, 2, "dna", ["reads.fa"], 13, 3, records))
    return tmp_path


def same(one, two, alphabet=DNA):
    assert one.reads.sequences.to_strings(alphabet) == two.reads.sequences.to_strings(alphabet)
    assert one.reads.sequences.names == two.reads.sequences.names
    assert one.reads.sizes.tolist() == two.reads.sizes.tolist()
    assert one.embeddings.dtype == np.float32
    assert np.array_equal(one.embeddings, two.embeddings)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(st.text("ACGU", max_size=5), st.text(max_size=5), st.integers(1, 1 << 60)), max_size=5),
    dim=st.integers(1, 3),
)
def test_what_is_written_is_read(tmp_path_factory, rows, dim):
    path, rna = tmp_path_factory.mktemp("shard") / "shard.parquet", ALPHABETS["rna"]
    names = [name.encode("utf-8", "replace").decode() for _, name, _ in rows]
    content = shard([row[0] for row in rows], names, [row[2] for row in rows], dim, rna)
    write_shard(path, content, rna, "model")
    same(read_shard(path, rna, "model"), content, rna)
    assert read_shard(path, rna, "model", embeddings=False).embeddings.shape == (len(rows), 0)
    assert count_rows(path, "model") == len(rows)


def test_rows_of_a_larger_collection(tmp_path):
    """They share its memory, in any order."""
    whole = shard()
    rows = np.array([2, 0])
    part = Shard(whole.reads.take(rows), whole.embeddings[rows])
    write_shard(tmp_path / "shard", part, DNA, "model")
    same(read_shard(tmp_path / "shard", DNA, "model"), part)


def test_other_tools_open_it(tmp_path):
    write_shard(tmp_path / "shard.parquet", shard(), DNA, "model")
    table = pyarrow.parquet.read_table(tmp_path / "shard.parquet")
    assert [(field.name, field.type) for field in table.schema] == [
        ("id", pyarrow.string()),
        ("sequence", pyarrow.string()),
        ("size", pyarrow.int64()),
        ("embeddings", pyarrow.list_(pyarrow.float32(), 2)),
    ]
    table.validate(full=True)
    frame = pandas.read_parquet(tmp_path / "shard.parquet")
    assert frame["id"].tolist() == ["a", "b é", ""]
    assert frame["sequence"].tolist() == STRINGS
    assert frame["size"].tolist() == [3, 1, 9]
    assert np.array_equal(np.stack(frame["embeddings"]), shard().embeddings)


def test_the_bytes_are_the_same(tmp_path):
    for name in ("one", "two"):
        write_shard(tmp_path / name, shard(), DNA, "model")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_folder(folder):
    shards = open_shards(str(folder))
    assert (len(shards), shards.alphabet, shards.path(1)) == (2, DNA, folder / "00001.parquet")
    same(shards.read(0), shard())
    assert shards.read(0, embeddings=False).embeddings.shape == (3, 0)
    assert shards.read(1).embeddings.shape == (0, 2)
    assert len(shards.read(1).reads) == 0
    assert shards.embedder().fingerprint == shards.manifest.model


def change(folder, **values):
    content = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**content, **values}))


def test_a_folder_without_embeddings(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(
            InputError, match=r"expected a folder of `nwa embed`, found no manifest.json in it; embed the"
        ):
            open_shards(folder)


@pytest.mark.parametrize("content", ["", "[]", "{}", "half {", '{"format": null}', "\x00", "null"])
def test_a_damaged_manifest(folder, content):
    (folder / "manifest.json").write_text(content)
    with pytest.raises(
        InputError, match=r"manifest.json: expected the manifest of `nwa embed`, found a damaged"
    ) as error:
        open_shards(folder)
    assert "\n" not in str(error.value)


def test_a_manifest_that_is_no_text(folder):
    (folder / "manifest.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"manifest.json: expected the manifest.*found a damaged"):
        open_shards(folder)


@pytest.mark.parametrize(
    "values",
    [
        {"shards": []},
        {"shards": 3},
        {"shards": [3]},
        {"shards": [{"file": "00000.parquet"}]},
        {"alphabet": "klingon"},
        {"alphabet": ["dna"]},
        {"dim": "2"},
        {"model": None},
        {"colour": "red"},
    ],
)
def test_a_manifest_with_other_values(folder, values):
    change(folder, **values)
    with pytest.raises(InputError, match=r"manifest.json: expected the manifest.*found a damaged or foreign file"):
        open_shards(folder)


def test_a_newer_format(folder):
    """Whatever else is new in it."""
    change(folder, format=FORMAT + 1, shards=None, colour="red")
    with pytest.raises(InputError, match=f"expected format {FORMAT} or lower, found {FORMAT + 1}; use a newer version"):
        open_shards(folder)


def test_the_manifest_is_plain(folder):
    content = json.loads((folder / "manifest.json").read_text())
    assert content == asdict(open_shards(folder).manifest)
    assert content["format"] == FORMAT == 1
    assert (content["reads"], content["distinct"]) == (13, 3)


@pytest.mark.parametrize("place", [0, 4, 100, -1])
def test_a_flipped_byte(folder, place):
    path = folder / "00000.parquet"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    shards = open_shards(folder)
    assert [shards.good(0), shards.good(1)] == [False, True]
    with pytest.raises(
        InputError, match=r"00000.parquet: expected the file that the manifest describes, found another"
    ):
        shards.read(0)
    shards.read(1)


def test_a_missing_shard(folder):
    (folder / "00000.parquet").unlink()
    with pytest.raises(InputError, match=r"00000.parquet: expected the file that the manifest describes"):
        open_shards(folder).read(0)


def test_a_shard_of_another_model(folder):
    path = folder / "00000.parquet"
    write_shard(path, shard(), DNA, "another")
    change(folder, shards=[{"file": path.name, "rows": 3, "sha256": sha256(path)}])
    model = open_shards(folder).manifest.model
    message = rf"00000.parquet: expected vectors of the model {model[:12]}, found those of another; use one checkpoint"
    for use in (
        lambda: open_shards(folder).read(0),
        lambda: open_shards(folder).read(0, embeddings=False),
        lambda: count_rows(path, model),
    ):
        with pytest.raises(InputError, match=message):
            use()


def test_files_that_are_no_shards(tmp_path):
    (tmp_path / "text").write_text("PAR1 or so")
    pandas.DataFrame({"colour": ["red"]}).to_parquet(tmp_path / "foreign")
    write_shard(tmp_path / "cut", shard(), DNA, "model")
    (tmp_path / "cut").write_bytes((tmp_path / "cut").read_bytes()[:-9])
    for name in ("text", "foreign", "cut", "none"):
        for read in (lambda path: read_shard(path, DNA, "model"), lambda path: count_rows(path, "model")):
            with pytest.raises(InputError, match=f"{name}: expected (a shard|vectors)") as error:
                read(tmp_path / name)
            assert "\n" not in str(error.value)


def test_a_model_that_is_missing_or_another(folder):
    (folder / "model.ckpt").rename(folder / "away.ckpt")
    with pytest.raises(InputError, match=r"model.ckpt: expected a checkpoint, found no such file"):
        open_shards(folder).embedder()
    ReadEmbedder.from_landmarks(Sequences.from_strings(STRINGS), 3, 2).save(folder / "model.ckpt")
    with pytest.raises(InputError, match=r"model.ckpt: expected vectors of the model .*, found those of"):
        open_shards(folder).embedder()
    (folder / "model.ckpt").write_bytes((folder / "away.ckpt").read_bytes()[:500])
    with pytest.raises(InputError, match=r"model.ckpt: expected a Lightning checkpoint of tensors.*damaged"):
        open_shards(folder).embedder()


def test_a_disk_that_is_full(folder, monkeypatch):
    def full(*args, **kwargs):
        path = args[1]
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    before = sorted(folder.iterdir())
    monkeypatch.setattr(pyarrow.parquet, "write_table", full)
    with pytest.raises(InputError, match=r"00002.parquet: expected a folder .*with enough space, found: No space left"):
        write_shard(folder / "00002.parquet", shard(), DNA, "model")
    assert sorted(folder.iterdir()) == before


def test_without_pyarrow(folder, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr("nwa_lightning.search.extra.import_module", missing)
    message = r"expected the package pyarrow, found none .*install it: .*nwa-lightning\[search\]"
    with pytest.raises(InputError, match=message):
        write_shard(folder / "new", shard(), DNA, "model")
    with pytest.raises(InputError, match=message):
        open_shards(folder).read(0)
