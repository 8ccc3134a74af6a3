import errno
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from nwa_lightning import Index, InputError, ReadEmbedder, load_sequences
from nwa_lightning.search import index_files
from nwa_lightning.search.files import sha256
from nwa_lightning.search.index_files import build_shard, index_here, prepare_index, read_folder
from nwa_lightning.search.reads import distinct_reads
from nwa_lightning.search.shard_jobs import write_deleted
from nwa_lightning.search.shards import Manifest, Shard, open_shards, write_manifest, write_shard
from nwa_lightning.search.vectors import KINDS
from nwa_lightning.sequences.alphabet import DNA

SHARDS = 3


@pytest.fixture(scope="module")
def content():
    reads = distinct_reads(load_sequences("tree:400x30")).reads
    embedder = ReadEmbedder.from_landmarks(reads.sequences, 20, 8)
    return reads, embedder, embedder.embed(reads.sequences)


def embedded(folder, content, shards=SHARDS):
    """A folder as `nwa embed` writes it."""
    reads, embedder, vectors = content
    folder.mkdir(exist_ok=True)
    embedder.save(folder / "model.ckpt")
    records = []
    for number, rows in enumerate(np.array_split(np.arange(len(reads)), shards)):
        path = folder / f"{number:05d}.parquet"
        write_shard(path, Shard(reads.take(rows), vectors[rows]), DNA, embedder.fingerprint)
        records.append({"file": path.name, "rows": len(rows), "sha256": sha256(path)})
    fields = (embedder.fingerprint, embedder.dim, "dna", ["reads.fa"], len(reads), len(reads), records)
    write_manifest(folder, Manifest(*fields))
    return folder


@pytest.fixture
def folder(tmp_path, content):
    return embedded(tmp_path / "known", content)


def digests(folder):
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def flip(path, place=-20):
    damaged = bytearray(path.read_bytes())
    damaged[place] ^= 1
    path.write_bytes(damaged)


@pytest.mark.parametrize("kind", [*KINDS, None])
def test_an_index_of_shards(folder, content, kind):
    reads, embedder, _ = content
    assert index_here(open_shards(folder), kind) == SHARDS
    assert {path.name for path in (folder / "index").iterdir()} == {
        "plan.json", "trained.faiss", "index.json", *(f"{number:05d}.faiss" for number in range(SHARDS))
    }  # fmt: skip
    index = Index.load(folder)
    assert index.reads.sequences.names == reads.sequences.names
    assert index.reads.sequences.to_strings() == reads.sequences.to_strings()
    assert index.embedder.fingerprint == embedder.fingerprint
    expected = Index.build(reads.sequences, embedder, kind=kind or "flat")
    if kind in ("flat", None):  # the cells of an IVF depend on the sample
        for options in ({"recall": 0.9}, {"recall": 0.3, "most": 4}):
            found, wanted = (some.search(reads.sequences, **options) for some in (index, expected))
            assert np.array_equal(found.hits.target, wanted.hits.target)
            assert found.recall == wanted.recall
    one, two = (some.search(reads.sequences, 3, exact=True).hits for some in (index, expected))
    assert np.array_equal(one.target, two.target)
    assert (index.search(reads.sequences, recall=1).hits.edits == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_are_the_same(tmp_path, content, kind):
    for name in ("one", "two"):
        index_here(open_shards(embedded(tmp_path / name, content)), kind)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_nothing_is_done_twice(folder, monkeypatch):
    index_here(open_shards(folder), "ivf")
    before = digests(folder)
    with monkeypatch.context() as patch:
        patch.setattr(index_files, "filled", None)
        patch.setattr(index_files, "trained", None)
        assert index_here(open_shards(folder)) == 0
        assert index_here(open_shards(folder), "ivf") == 0
    assert digests(folder) == before
    assert index_here(open_shards(folder), rebuild=True) == SHARDS
    assert json.loads((folder / "index" / "plan.json").read_text())["kind"] == "flat"
    assert index_here(open_shards(folder), "ivf8") == SHARDS
    assert json.loads((folder / "index" / "plan.json").read_text())["kind"] == "ivf8"


@pytest.mark.parametrize("moment", ["plan", "trained", "first shard", "last shard", "list"])
def test_an_interrupted_run_continues(tmp_path, content, monkeypatch, moment):
    whole, folder = (embedded(tmp_path / name, content) for name in ("whole", "known"))
    index_here(open_shards(whole), "ivf")
    names = {"plan": "plan.json", "trained": "trained.faiss", "first shard": "00000.faiss", "last shard": "00002.faiss"}
    name = names.get(moment, "index.json")

    def replace(one, two):
        if Path(two).name == name:
            raise KeyError("interrupted")
        moved(one, two)

    moved = os.replace
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises(KeyError, match="interrupted"):
            index_here(open_shards(folder), "ivf")
    with pytest.raises(
        InputError, match=r"known: expected an index, found only embeddings; make one: nwa index .*known"
    ):
        Index.load(folder)
    index_here(open_shards(folder), "ivf")
    assert digests(folder) == digests(whole)


@pytest.mark.parametrize("moment", [1, 3, 5])
def test_an_interrupted_change_of_the_kind(tmp_path, content, monkeypatch, moment):
    """The files of the old kind are never taken for those of the new one."""
    whole, folder = (embedded(tmp_path / name, content) for name in ("whole", "known"))
    index_here(open_shards(whole), "ivf")
    index_here(open_shards(folder), "flat")
    calls = []

    def unlink(path, **options):
        calls.append(path)
        if len(calls) == moment:
            raise KeyError("interrupted")
        removed(path, **options)

    removed = Path.unlink
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        with pytest.raises(KeyError, match="interrupted"):
            index_here(open_shards(folder), "ivf")
    index_here(open_shards(folder), "ivf")
    assert digests(folder) == digests(whole)


@pytest.mark.parametrize("name", ["trained.faiss", "00001.faiss"])
@pytest.mark.parametrize(
    "damage", [flip, Path.unlink, lambda path: path.write_bytes(b"")], ids=["flip", "missing", "empty"]
)
@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_a_damaged_index_is_found_and_made_again(folder, name, damage, kind):
    index_here(open_shards(folder), kind)
    before = digests(folder)
    damage(folder / "index" / name)
    message = (
        f"{name}: expected the file that index.json describes, found another or a damaged one.*nwa index .* --rebuild"
    )
    with pytest.raises(InputError, match=message):
        Index.load(folder)
    index_here(open_shards(folder))
    assert digests(folder) == before


@pytest.mark.parametrize("content_of_list", ["", "[]", "{}", "half {", '{"files": []}'])
def test_a_damaged_list(folder, content_of_list):
    index_here(open_shards(folder))
    before = digests(folder)
    (folder / "index" / "index.json").write_text(content_of_list)
    with pytest.raises(InputError, match="expected an index, found only embeddings; make one: nwa index"):
        Index.load(folder)
    index_here(open_shards(folder))
    assert digests(folder) == before


@pytest.mark.parametrize("content_of_plan", ["", "[]", "{}", '{"model": "another", "kind": "ivf"}'])
def test_a_damaged_plan(folder, content_of_plan):
    index_here(open_shards(folder))
    before = digests(folder)
    (folder / "index" / "plan.json").write_text(content_of_plan)
    assert index_here(open_shards(folder)) == SHARDS
    assert digests(folder) == before


def test_an_index_of_other_shards(folder, content, tmp_path):
    index_here(open_shards(folder))
    embedded(folder, content, shards=2)
    with pytest.raises(
        InputError, match=r"known: expected an index of these shards, found one of others; bring it up to date"
    ):
        Index.load(folder)
    index_here(open_shards(folder))
    reads = content[0]
    assert Index.load(folder).reads.sequences.names == reads.sequences.names
    index_here(open_shards(embedded(tmp_path / "two", content, shards=2)))
    found, expected = (json.loads((some / "index" / "index.json").read_text()) for some in (folder, tmp_path / "two"))
    assert found == expected


def test_the_index_of_another_model(folder, content):
    index_here(open_shards(folder))
    reads = content[0]
    other = ReadEmbedder.from_landmarks(reads.sequences, 10, 8)
    embedded(folder, (reads, other, other.embed(reads.sequences)))
    with pytest.raises(InputError, match=r"known: expected an index of these shards, found one of others"):
        Index.load(folder)
    assert index_here(open_shards(folder)) == SHARDS
    assert Index.load(folder).embedder.fingerprint == other.fingerprint


def test_folders_without_an_index(folder, tmp_path):
    with pytest.raises(
        InputError, match=r"known: expected an index, found only embeddings; make one: nwa index .*known"
    ):
        Index.load(folder)
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match=r"expected a folder of `nwa embed`, found no manifest.json in it"):
            Index.load(path)


def test_damaged_shards(folder):
    index_here(open_shards(folder))
    flip(folder / "00001.parquet")
    with pytest.raises(InputError, match=r"00001.parquet: expected the file that the manifest describes"):
        Index.load(folder)
    with pytest.raises(
        InputError, match=r"00001.parquet: expected the file that the manifest describes|damaged or foreign"
    ):
        index_here(open_shards(folder), "ivf")


def test_a_missing_model(folder):
    index_here(open_shards(folder))
    (folder / "model.ckpt").unlink()
    with pytest.raises(InputError, match=r"model.ckpt: expected a checkpoint, found no such file"):
        Index.load(folder)


@pytest.mark.parametrize("damaged", [b"", b"\x93NUMPY", b"no rows"])
def test_damaged_rows_that_were_deleted(folder, damaged):
    index_here(open_shards(folder))
    write_deleted(folder, np.array([3, 7]))
    assert read_folder(folder).deleted.tolist() == [3, 7]
    (folder / "index" / "deleted.npy").write_bytes(damaged)
    with pytest.raises(InputError, match=r"deleted.npy: expected rows of reads, found a damaged file") as error:
        Index.load(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("rows", [np.array([400_000]), np.array([-1]), np.array([0.5]), np.array(["a"])])
def test_rows_that_are_not_there(folder, rows):
    index_here(open_shards(folder))
    write_deleted(folder, rows)
    with pytest.raises(InputError, match=r"deleted.npy: expected rows of reads, found"):
        Index.load(folder)


@pytest.mark.parametrize("name", ["plan.json", "trained.faiss", "00001.faiss", "index.json"])
def test_a_full_disk(tmp_path, content, name):
    whole, folder = (embedded(tmp_path / each, content) for each in ("whole", "known"))
    index_here(open_shards(whole))

    def full(method):
        original = getattr(Path, method)

        def write(self, data, *args):
            if self.name == f"{name}.part":
                original(self, data[: len(data) // 2], *args)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return original(self, data, *args)

        return write

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "write_text", full("write_text"))
        patch.setattr(Path, "write_bytes", full("write_bytes"))
        with pytest.raises(
            InputError, match=rf"{name}: expected a folder .*with enough space, found: No space left"
        ) as error:
            index_here(open_shards(folder))
    assert "\n" not in str(error.value)
    assert not list(folder.rglob("*.part"))
    index_here(open_shards(folder))
    assert digests(folder) == digests(whole)


def test_one_shard_from_file_to_file(folder, content):
    jobs = prepare_index(open_shards(folder), "ivf")
    assert [job.shard.name for job in jobs] == ["00000.parquet", "00001.parquet", "00002.parquet"]
    shared = {"alphabet": "dna", "model": content[1].fingerprint}
    build_shard(*jobs[2], **shared)
    assert [job.target.exists() for job in jobs] == [False, False, True]
    with pytest.raises(InputError, match=r"00001.parquet: expected vectors of the model another, found those of"):
        build_shard(*jobs[1], alphabet="dna", model="another")
    jobs[0].trained_index.write_bytes(b"")
    with pytest.raises(InputError, match=r"trained.faiss: expected an index, found a damaged file or none"):
        build_shard(*jobs[0], **shared)


def test_without_faiss(folder, monkeypatch):
    def missing(name):
        if name == "faiss":
            raise ModuleNotFoundError("No module named 'faiss'")
        return original(name)

    from nwa_lightning.search import extra

    original = extra.import_module
    monkeypatch.setattr(extra, "import_module", missing)
    with pytest.raises(
        InputError, match=r"expected the package faiss-cpu, .*python -m pip install 'nwa-lightning\[search\]'"
    ):
        index_here(open_shards(folder))
