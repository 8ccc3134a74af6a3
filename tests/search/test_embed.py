import errno
import hashlib
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from nwa_lightning import InputError, NeuroSEEDCNN, load_sequences
from nwa_lightning.search import change, embed, partition
from nwa_lightning.search.change import add_reads, delete_reads
from nwa_lightning.search.embed import embed_reads
from nwa_lightning.search.embedder import ReadEmbedder
from nwa_lightning.search.index import Index
from nwa_lightning.search.index_files import index_here
from nwa_lightning.search.shards import open_shards
from nwa_lightning.sequences.alphabet import ALPHABETS
from nwa_lightning.sequences.collection import Sequences

CPU = {"accelerator": "cpu", "devices": 1}


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(partition, "PART_BYTES", 1000)


@pytest.fixture
def fasta(tmp_path, small_parts):
    """A file of 150 records, some of them copies, for a few parts."""
    reads = [*load_sequences("tree:130x20").to_strings(), *load_sequences("tree:20x20").to_strings()]
    lines = [f">r{row} x\n{read}\n" for row, read in enumerate(reads)]
    lines[3] = lines[3].replace("r3 x", "r3;size=10 x")
    (tmp_path / "reads.fasta").write_text("".join(lines))
    return str(tmp_path / "reads.fasta")


def run(*sources, to, checkpoint=None, **options):
    embed_reads(sources, to, checkpoint, **{"landmarks": 16, "trainer": CPU, **options})
    return open_shards(to)


def digests(folder):
    """SHA-256 of every file below."""
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def rows(shards):
    """Name, sequence, copies and vector of every row."""
    found = []
    for number in range(len(shards)):
        shard = shards.read(number)
        sequences = shard.reads.sequences
        columns = (sequences.names, sequences.to_strings(shards.alphabet), shard.reads.sizes.tolist(), shard.embeddings)
        found += list(zip(*columns, strict=True))
    return found


def test_shards_of_a_file(fasta, tmp_path, capsys):
    shards = run(fasta, to=tmp_path / "new" / "out")
    reads = load_sequences(fasta)
    strings = reads.to_strings()
    copies = Counter(strings)
    copies[strings[3]] += 9
    found = rows(shards)
    assert len(shards) == round((tmp_path / "reads.fasta").stat().st_size / 1000) > 2
    assert {read: size for _, read, size, _ in found} == copies
    assert len(found) == len(copies) == shards.manifest.distinct
    assert shards.manifest.reads == sum(copies.values()) == 159
    for name, read, _, _ in found:
        assert name == f"r{strings.index(read)}"
    expected = shards.embedder().embed(reads)
    for _, read, _, vector in found:
        np.testing.assert_allclose(vector, expected[strings.index(read)], atol=1e-4)
    assert {path.name for path in (tmp_path / "new" / "out").iterdir()} == {
        "manifest.json",
        "model.ckpt",
        *(f"{number:05d}.parquet" for number in range(len(shards))),
    }
    assert f"written: 159 reads, {len(copies)} of them distinct, to {len(shards)} shards in" in capsys.readouterr().out


def test_the_bytes_are_the_same(fasta, tmp_path, capsys):
    run(fasta, to=tmp_path / "one")
    shutil.copy(fasta, tmp_path / "one" / "reads.fasta")
    run(str(tmp_path / "one" / "reads.fasta"), to=tmp_path / "two")
    (tmp_path / "one" / "reads.fasta").unlink()
    before = digests(tmp_path / "one")
    assert before == digests(tmp_path / "two")
    capsys.readouterr()
    run(fasta, to=tmp_path / "one")
    assert "one: complete already; delete the folder to embed again" in capsys.readouterr().out
    assert digests(tmp_path / "one") == before


def test_several_files(tmp_path):
    (tmp_path / "one.fa").write_text(">a\nACGT\n>b\nAC\n")
    (tmp_path / "two.csv").write_text("name,sequence\nc d,ACGT\ne,GG\n")
    (tmp_path / "three.txt").write_text("GG\nacgt\n")
    sources = [str(tmp_path / name) for name in ("one.fa", "two.csv", "three.txt")]
    shards = run(*sources, to=tmp_path / "out")
    assert [row[:3] for row in rows(shards)] == [("a", "ACGT", 3), ("b", "AC", 1), ("e", "GG", 2)]
    assert [name.split()[0] for name in shards.manifest.source] == ["one.fa", "two.csv", "three.txt"]


def test_an_empty_part(tmp_path, small_parts):
    """By chance, no read is in it."""
    (tmp_path / "reads.txt").write_text("ACGT\n" * 600)
    shards = run(str(tmp_path / "reads.txt"), to=tmp_path / "out")
    sizes = [len(shards.read(number).reads) for number in range(len(shards))]
    assert sorted(sizes) == [0, 0, 1]
    assert {shards.read(number).embeddings.shape[1] for number in range(3)} == {shards.manifest.dim}
    assert [row[:3] for row in rows(shards)] == [("1", "ACGT", 600)]
    index_here(shards)
    assert Index.load(tmp_path / "out").search(Sequences.from_strings(["AC", "TTTT"])).hits.target.tolist() == [0, 0]


@pytest.mark.parametrize("checkpoint", [None, "human16s-v4"])
def test_models(fasta, tmp_path, checkpoint):
    options = {} if checkpoint is None else {"checkpoint": checkpoint}
    if checkpoint is None:
        shards = run(fasta, to=tmp_path / "out", **options)
    else:
        with pytest.warns(UserWarning, match="of the sequences are more than .* edits from every landmark"):
            shards = run(fasta, to=tmp_path / "out", **options)
        assert shards.manifest.model == ReadEmbedder.from_checkpoint(checkpoint).fingerprint
    assert shards.manifest.dim == 128
    assert shards.embedder().max_length == (20 if checkpoint is None else 150) or checkpoint is None


def test_a_model_of_python(fasta, tmp_path):
    embedder = ReadEmbedder(NeuroSEEDCNN(40, 16, channels=8, layers=2))
    shards = run(fasta, to=tmp_path / "out", checkpoint=embedder)
    reads = load_sequences(fasta)
    vectors = dict(zip(reads.to_strings(), embedder.embed(reads), strict=True))
    for _, read, _, vector in rows(shards):
        np.testing.assert_allclose(vector, vectors[read], atol=1e-5)


def test_landmarks_fit_the_longest_read(tmp_path, monkeypatch):
    """Also if it is not among those to which they are fitted."""
    monkeypatch.setattr(embed, "_FITTED", 5)
    (tmp_path / "reads.txt").write_text("\n".join([*load_sequences("tree:20x20").to_strings(), "ACGT" * 15]) + "\n")
    with pytest.warns(UserWarning, match="edits from every landmark"):
        shards = run(str(tmp_path / "reads.txt"), to=tmp_path / "out")
    assert shards.embedder().max_length == 60


def test_other_letters(tmp_path, capsys):
    (tmp_path / "reads.fa").write_text(">a\nACGT\n>b\nACNT\n>c\nGG\n")
    source = str(tmp_path / "reads.fa")
    with pytest.raises(
        InputError, match=r"reads.fa: record 2 \(b\), position 3: expected one of ACGT \(dna\), found 'N'"
    ):
        run(source, to=tmp_path / "out")
    shards = run(source, to=tmp_path / "out", on_invalid="drop")  # nothing is left of the first run
    assert [row[:2] for row in rows(shards)] == [("a", "ACGT"), ("c", "GG")]
    assert "left out: 1 reads with letters outside ACGT" in capsys.readouterr().out
    shards = run(source, to=tmp_path / "iupac", alphabet=ALPHABETS["iupac"])
    assert [row[1] for row in rows(shards)] == ["ACGT", "ACNT", "GG"]
    assert shards.alphabet.name == "iupac"


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", {}, r"reads.fa: expected FASTA.*found an empty file"),
        (">a\nAC\n>b\n>c\nAC\n", {}, r"reads.fa: record 2 \(b\): the sequence is empty"),
        (
            f">a\nAC\n>b c\n{'A' * 151}\n",
            {"checkpoint": "human16s-v4"},
            r"record 2 \(b\): expected at most 150 bases.*found 151",
        ),
        (">a\nACN\n", {"on_invalid": "drop"}, "expected reads, found none that can be used"),
        (None, {}, "reads.fa: expected a file or the name of a built-in set"),
        (">a\nAC\n", {"checkpoint": "none.ckpt"}, "none.ckpt: expected a checkpoint, found no such file"),
        (">a\nAC\n", {"landmarks": 0}, "count: expected at least 1, found 0"),
    ],
)
def test_bad_input(tmp_path, content, options, message):
    if content is not None:
        (tmp_path / "reads.fa").write_text(content)
    with pytest.raises(InputError, match=message) as error:
        run(str(tmp_path / "reads.fa"), to=tmp_path / "out", **options)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_folder_that_cannot_be_written(fasta, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/out: .*; name a folder that can be written"):
        run(fasta, to=tmp_path / "file" / "out")


def test_damaged_and_missing_shards_are_made_again(fasta, tmp_path):
    out = tmp_path / "out"
    run(fasta, to=out)
    before = digests(out)
    (out / "00001.parquet").unlink()
    content = bytearray((out / "00002.parquet").read_bytes())
    content[len(content) // 2] ^= 4
    (out / "00002.parquet").write_bytes(content)
    kept = (out / "00000.parquet").stat().st_mtime_ns
    with pytest.raises(InputError, match=r"00001.parquet: .*delete it and run `nwa embed` again"):
        open_shards(out).read(1)
    run(fasta, to=out)
    assert digests(out) == before
    assert (out / "00000.parquet").stat().st_mtime_ns == kept


def test_all_shards_are_there_but_no_manifest(fasta, tmp_path):
    """The run was stopped at the very end."""
    out = tmp_path / "out"
    run(fasta, to=out)
    before = digests(out)
    (out / "manifest.json").unlink()
    run(fasta, to=out)
    assert digests(out) == before


def test_parts_that_were_being_deleted(fasta, tmp_path, monkeypatch):
    """The manifest was there, so the run was complete; what is left of the parts must not be used for a repair."""
    out = tmp_path / "out"

    def half(folder, **_):
        for path in sorted(folder.glob("*.tsv"))[:1]:
            path.unlink()

    with monkeypatch.context() as patch:
        patch.setattr(embed.shutil, "rmtree", half)
        run(fasta, to=out)
    assert (out / ".parts").exists()
    before = {name: digest for name, digest in digests(out).items() if not name.startswith(".parts")}
    (out / "00000.parquet").unlink()
    run(fasta, to=out)
    assert digests(out) == before


def test_other_reads_are_refused(fasta, tmp_path):
    """In a complete folder, and in an unfinished one, whose shards and landmarks are those of the first reads."""
    out = tmp_path / "out"
    other = tmp_path / "other.fasta"
    other.write_text(Path(fasta).read_text().replace(">r", ">q"))
    run(fasta, to=out)
    before = digests(out)
    message = r"out: expected embeddings of other.fasta \(.*\), found those of reads.fasta \(.*nwa index .* --add .*other.fasta"
    with pytest.raises(InputError, match=message):
        run(str(other), to=out)
    assert digests(out) == before
    unfinished = tmp_path / "unfinished"
    stop_at_shard(2, fasta, unfinished)
    for source, options in ((str(other), {}), (fasta, {"landmarks": 15}), (fasta, {"on_invalid": "drop"})):
        with pytest.raises(
            InputError, match=r"unfinished: expected an unfinished run with these reads, this model and these op"
        ):
            run(source, to=unfinished, **options)
    run(fasta, to=unfinished)
    assert digests(unfinished) == before


def test_another_model_is_refused(fasta, tmp_path):
    run(fasta, to=tmp_path / "out")
    embedder = ReadEmbedder(NeuroSEEDCNN(40, 16, channels=8, layers=2))
    asked = embedder.fingerprint[:12]
    with pytest.raises(
        InputError, match=f"out: expected embeddings by model {asked}, found those by landmarks 16; name another fold"
    ):
        run(fasta, to=tmp_path / "out", checkpoint=embedder)
    run(fasta, to=tmp_path / "trained", checkpoint=embedder)
    other = ReadEmbedder(NeuroSEEDCNN(40, 16, channels=4, layers=2))
    for options, wanted in (({}, "landmarks 16"), ({"checkpoint": other}, f"model {other.fingerprint[:12]}")):
        message = f"trained: expected embeddings by {wanted}, found those by model {asked}; name another folder"
        with pytest.raises(InputError, match=message):
            run(fasta, to=tmp_path / "trained", **options)
    stop_at_shard(1, fasta, tmp_path / "unfinished")
    with pytest.raises(InputError, match="unfinished: expected an unfinished run with these reads, this model"):
        run(fasta, to=tmp_path / "unfinished", checkpoint=embedder)


@pytest.mark.parametrize(
    ("options", "asked", "found"),
    [
        ({"landmarks": 15}, "landmarks 15", "landmarks 16"),
        ({"alphabet": ALPHABETS["protein"]}, "alphabet protein", "alphabet dna"),
        ({"landmarks": 3, "on_invalid": "drop"}, "landmarks 3, on_invalid drop", "landmarks 16, on_invalid error"),
    ],
)
def test_other_settings_are_refused(fasta, tmp_path, capsys, options, asked, found):
    """Also if a shard is damaged, which would be made again by them; the same settings go on."""
    out = tmp_path / "out"
    run(fasta, to=out)
    before = digests(out)
    message = f"out: expected embeddings by {asked}, found those by {found}; name another folder \\(--out\\), or give the options"
    with pytest.raises(InputError, match=message):
        run(fasta, to=out, **options)
    assert digests(out) == before
    (out / "00001.parquet").write_bytes(b"damaged")
    with pytest.raises(InputError, match=message):
        run(fasta, to=out, **options)
    run(fasta, to=out)
    assert digests(out) == before
    capsys.readouterr()
    run(fasta, to=out)
    run(fasta, to=out, checkpoint=open_shards(out).embedder())  # its own model
    assert capsys.readouterr().out.count("complete already") == 2


def stop_at_shard(number, source, out):
    """Interrupt a run before it writes this shard."""

    def write(path, *args):
        if path.name == f"{number:05d}.parquet":
            raise KeyError("interrupted")
        written(path, *args)

    written = embed.write_shard
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embed, "write_shard", write)
        with pytest.raises(KeyError, match="interrupted"):
            run(source, to=out)
    assert {path.name for path in out.glob("*.parquet")} == {f"{done:05d}.parquet" for done in range(number)}


def full_disk(stage):
    """Makes the disk full at a stage of the run, in the middle of a file."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    patch = pytest.MonkeyPatch()
    if stage == "shard":
        written = pyarrow.parquet.write_table

        def write_table(table, path, **options):
            if path.name == "00001.parquet.part":
                path.write_bytes(b"half")
                raise full
            written(table, path, **options)

        patch.setattr(pyarrow.parquet, "write_table", write_table)
        return patch
    method, name = {
        "parts": ("open", ".tsv"),
        "end of the parts": ("write_text", "split.json.part"),
        "model": ("write_bytes", "model.ckpt.part"),
        "manifest": ("write_text", "manifest.json.part"),
    }[stage]
    original = getattr(Path, method)

    def write(self, *args, **options):
        if self.name.endswith(name) and args[:1] != ("rb",):
            original(self, "wb").close() if method == "open" else original(self, args[0][: len(args[0]) // 2])
            raise full
        return original(self, *args, **options)

    patch.setattr(Path, method, write)
    return patch


@pytest.mark.parametrize("stage", ["parts", "end of the parts", "model", "shard", "manifest"])
def test_a_full_disk(fasta, tmp_path, stage):
    out = tmp_path / "out"
    patch = full_disk(stage)
    with pytest.raises(
        InputError, match=r"expected a folder that can be written, with enough space, found: No space"
    ) as error:
        run(fasta, to=out)
    patch.undo()
    assert "\n" not in str(error.value)
    assert not list(out.rglob("*.part"))
    assert not (out / "manifest.json").exists()
    for path in out.glob("*.parquet"):
        pyarrow.parquet.read_table(path)
    run(fasta, to=out)
    run(fasta, to=tmp_path / "whole")
    assert digests(out) == digests(tmp_path / "whole")


@pytest.fixture
def known(fasta, tmp_path):
    """A folder with an index, and a file of reads to add."""
    shards = run(fasta, to=tmp_path / "known")
    index_here(shards)
    more = [f">m{row}\n{read[1:]}\n" for row, read in enumerate(load_sequences(fasta).to_strings())]
    (tmp_path / "more.fasta").write_text("".join(more))
    return tmp_path / "known"


def added(known, more, capsys):
    """What a folder should be after reads were added."""
    whole = known.with_name("whole")
    shutil.copytree(known, whole)
    add_reads(whole, [str(more)])
    capsys.readouterr()
    return digests(whole)


def test_reads_are_added(known, tmp_path, capsys):
    before = rows(open_shards(known))
    reads = load_sequences(tmp_path / "more.fasta").to_strings()
    add_reads(known, [str(tmp_path / "more.fasta")])
    shards = open_shards(known)
    found = rows(shards)
    assert [row[:3] for row in found[: len(before)]] == [row[:3] for row in before]
    assert Counter({read: size for _, read, size, _ in found[len(before) :]}) == Counter(reads)
    assert shards.manifest.distinct == len(found)
    assert shards.manifest.reads == 159 + len(reads)
    assert [name.split()[0] for name in shards.manifest.source] == ["reads.fasta", "more.fasta"]
    with pytest.raises(
        InputError, match=r"known: expected an index of these shards, found one of others; bring it up to date"
    ):
        Index.load(known)
    assert index_here(shards) == 4
    index = Index.load(known)
    assert [*index.reads.sequences.names] == [name for name, *_ in found]
    queries = load_sequences(tmp_path / "more.fasta")
    assert (index.search(queries, exact=True).hits.edits == 0).all()
    assert not (known / ".adding").exists()


@pytest.mark.parametrize("moment", ["a shard", "first move", "second move", "manifest", "end"])
def test_adding_is_interrupted(known, tmp_path, capsys, monkeypatch, moment):
    """Whenever it is, the same call leads to the same folder, and no read is added twice."""
    more = tmp_path / "more.fasta"
    expected = added(known, more, capsys)
    calls = []

    def stops(number, function):
        def call(*args, **options):
            calls.append(number)
            if len(calls) == number:
                raise KeyError("interrupted")
            return function(*args, **options)

        return call

    with monkeypatch.context() as patch:
        if moment == "a shard":
            patch.setattr(embed, "write_shard", stops(2, embed.write_shard))
        elif moment == "manifest":
            patch.setattr(change, "write_manifest", stops(1, change.write_manifest))
        elif moment == "end":
            patch.setattr(change.shutil, "rmtree", stops(2, shutil.rmtree))  # the first are the parts
        else:
            moved = os.replace
            patch.setattr(
                change.os, "replace", lambda one, two: stopped(one, two) if is_shard(one) else moved(one, two)
            )
            stopped = stops(1 if moment == "first move" else 2, moved)
        with pytest.raises(KeyError, match="interrupted"):
            add_reads(known, [str(more)])
    assert digests(known) != expected
    for _ in range(2):
        add_reads(known, [str(more)])
        assert digests(known) == expected


def is_shard(path):
    return Path(path).suffix == ".parquet"


def test_files_that_were_added_before(known, tmp_path, fasta, capsys):
    """An interrupted `nwa index --add` may have added them; the same command must not add them again."""
    more, other = tmp_path / "more.fasta", tmp_path / "other.fasta"
    other.write_text(more.read_text().replace(">m", ">n"))
    add_reads(known, [str(more)])
    before = digests(known)
    for sources in ([str(more)], [fasta], [str(more), fasta]):
        capsys.readouterr()
        add_reads(known, sources)
        assert capsys.readouterr().out == f"{known}: holds these reads already\n"
    with pytest.raises(
        InputError, match=r"known: expected files that are not in it yet, found more.fasta \(.*; leave it out"
    ):
        add_reads(known, [str(other), str(more)])
    assert digests(known) == before
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(change.shutil, "rmtree", lambda *_, **__: None)
        add_reads(known, [str(other)])
    assert (known / ".adding").exists()
    other.write_text(more.read_text().replace(">m", ">o"))
    add_reads(known, [str(other)])
    assert not (known / ".adding").exists()
    assert len(open_shards(known)) == 4 * 4


def test_what_cannot_be_added(known, tmp_path):
    before = digests(known)
    (tmp_path / "long.fasta").write_text(f">a\nAC\n>b\n{'A' * 30}\n")
    with pytest.raises(InputError, match=r"long.fasta: record 2 \(b\): expected at most 22 bases"):
        add_reads(known, [str(tmp_path / "long.fasta")])
    assert {name: digest for name, digest in digests(known).items() if not name.startswith(".adding")} == before
    with pytest.raises(InputError, match="expected a folder of `nwa embed`"):
        add_reads(tmp_path, [str(tmp_path / "more.fasta")])
    read = load_sequences("tree:130x20").to_strings()[0][2:]
    (tmp_path / "short.fasta").write_text(f">a\n{read}\n")
    add_reads(known, [str(tmp_path / "short.fasta")])
    assert rows(open_shards(known))[-1][:3] == ("a", read, 1)


def test_a_damaged_shard_after_reads_were_added(known, tmp_path, fasta):
    """Nobody can tell which reads it held; to embed all reads as one would mix them."""
    more = str(tmp_path / "more.fasta")
    add_reads(known, [more])
    before = digests(known)
    run(fasta, more, to=known)
    assert digests(known) == before
    (known / "00000.parquet").unlink()
    with pytest.raises(
        InputError, match=r"known: expected undamaged shards, for reads were added.*found 1 damaged or missing"
    ):
        run(fasta, more, to=known)
    del before["00000.parquet"]
    assert digests(known) == before


def test_reads_are_deleted(known, tmp_path, capsys):
    names = Index.load(known).reads.sequences.names
    (tmp_path / "names.txt").write_text(f"{names[0]}\r\n\n  {names[5]}  \n{names[0]}\n")
    assert delete_reads(known, tmp_path / "names.txt") == 2
    assert capsys.readouterr().out == "deleted: 2 reads\n"
    (tmp_path / "names.txt").write_text(f"{names[7]}\n")
    delete_reads(known, tmp_path / "names.txt")
    index = Index.load(known)
    assert np.flatnonzero(index.deleted).tolist() == [0, 5, 7]
    queries = index.reads.sequences
    for options in ({"exact": True}, {"recall": 0.5}):
        assert not {0, 5, 7} & set(index.search(queries, 3, **options).hits.target.tolist())
    add_reads(known, [str(tmp_path / "more.fasta")])
    index_here(open_shards(known), rebuild=True)
    assert np.flatnonzero(Index.load(known).deleted).tolist() == [0, 5, 7]


def test_names_that_are_not_there(known, tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("r0\nzzz\nyyy\n")
    with pytest.raises(
        InputError, match=r"names.txt: expected names of reads in .*known, found yyy \(2 unknown names\)"
    ):
        delete_reads(known, path)
    path.write_bytes(b"\xff\xfe")
    for name in ("names.txt", "none.txt"):
        with pytest.raises(InputError, match=rf"{name}: expected names of reads, one on each line, found ") as error:
            delete_reads(known, tmp_path / name)
        assert "\n" not in str(error.value)
    assert not Index.load(known).deleted.any()
