import bz2
import gzip
import json
import lzma
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nwa_lightning.errors import InputError
from nwa_lightning.search import partition
from nwa_lightning.search.partition import describe_sources, read_part, read_partition, split_reads
from nwa_lightning.sequences.alphabet import ALPHABETS, DNA
from nwa_lightning.sequences.catalog import load_sequences

letters = st.text("ACGT", min_size=1, max_size=3)
records = st.lists(st.tuples(letters, st.sampled_from(["", ";size=2", ";size=30;"])), min_size=1, max_size=40)


def write(path, pairs):
    path.write_text("".join(f">r{row}{size}\n{read}\n" for row, (read, size) in enumerate(pairs)))
    return str(path)


def split(folder, *sources, alphabet=DNA, max_length=None, on_invalid="error", settings=()):
    options = {"alphabet": alphabet, "max_length": max_length, "on_invalid": on_invalid, "settings": settings}
    return split_reads(sources, folder / "parts", **options)


def contents(folder, found, alphabet=DNA):
    """For each part: name, sequence and copies of each read."""
    parts = [read_part(found.path(folder / "parts", number), alphabet) for number in range(found.parts)]
    return [
        list(zip(part.sequences.names, part.sequences.to_strings(alphabet), part.sizes.tolist(), strict=True))
        for part in parts
    ]


def naive(pairs):
    """Name of the first copy, and copies, of every read."""
    found = {}
    for row, (read, size) in enumerate(pairs):
        name, copies = found.get(read, (f"r{row}", 0))
        found[read] = name, copies + int(re.sub(r"\D", "", size) or 1)
    return found


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=records, waiting=st.integers(1, 5), bytes_of_part=st.sampled_from([20, 100, 10_000]))
def test_copies_meet_in_one_part(tmp_path_factory, pairs, waiting, bytes_of_part):
    """Also if few reads wait in memory, so that copies are written at different times."""
    folder = tmp_path_factory.mktemp("split")
    source = write(folder / "reads.fasta", pairs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partition, "_WAITING", waiting)
        patch.setattr(partition, "PART_BYTES", bytes_of_part)
        found = split(folder, source)
    parts = contents(folder, found)
    assert found.parts == max(1, round((folder / "reads.fasta").stat().st_size / bytes_of_part))
    rows = [row for part in parts for row in part]
    assert {read: (name, copies) for name, read, copies in rows} == naive(pairs)
    assert len(rows) == len(naive(pairs))
    assert found.reads == sum(copies for _, _, copies in rows)
    for part in parts:
        order = [int(name[1:]) for name, _, _ in part]
        assert order == sorted(order)  # of the first copies


def test_the_order_of_files_and_of_blocks(tmp_path, monkeypatch):
    one = write(tmp_path / "one.fasta", [("AC", ""), ("AC", ";size=4"), ("GT", "")])
    two = write(tmp_path / "two.fasta", [("TT", ""), ("GT", ""), ("AC", "")])
    assert contents(tmp_path, split(tmp_path, one, two)) == [[("r0", "AC", 6), ("r2", "GT", 2), ("r0", "TT", 1)]]
    monkeypatch.setattr(partition, "_WAITING", 1)
    monkeypatch.setattr(partition, "MOST_PARTS", 3)
    monkeypatch.setattr(partition, "PART_BYTES", 1)
    (other := tmp_path / "other").mkdir()
    found = split(other, one, two)
    assert found.parts == 3
    assert sorted(row for part in contents(other, found) for row in part) == [
        ("r0", "AC", 6), ("r0", "TT", 1), ("r2", "GT", 2)
    ]  # fmt: skip


def test_parts_are_random_samples(tmp_path, monkeypatch):
    monkeypatch.setattr(partition, "PART_BYTES", 5000)
    reads = load_sequences("tree:2000x40").to_strings()
    (tmp_path / "reads.txt").write_text("\n".join(reads) + "\n")
    sizes = [len(part) for part in contents(tmp_path, split(tmp_path, str(tmp_path / "reads.txt")))]
    distinct, parts = len(set(reads)), len(sizes)
    assert parts == 16
    assert sum(sizes) == distinct
    # Binomial, five standard deviations.
    mean = distinct / parts
    assert max(abs(size - mean) for size in sizes) < 5 * np.sqrt(mean)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gz", "bz2", "xz"])
def test_compressed_files(tmp_path, pack):
    ending = {gzip.compress: "gz", bz2.compress: "bz2", lzma.compress: "xz"}[pack]
    (tmp_path / f"reads.fa.{ending}").write_bytes(pack(b">a\nacgt\n>b\nAC\nGT\n>c x\nTT\n"))
    found = split(tmp_path, str(tmp_path / f"reads.fa.{ending}"))
    assert contents(tmp_path, found) == [[("a", "ACGT", 2), ("c", "TT", 1)]]


def test_more_parts_for_a_compressed_file(tmp_path, monkeypatch):
    reads = b">a\nACGT\n" * 100
    (tmp_path / "one.fa").write_bytes(reads)
    (tmp_path / "two.fa.gz").write_bytes(gzip.compress(reads, 0))
    monkeypatch.setattr(partition, "PART_BYTES", 100)
    assert split(tmp_path, str(tmp_path / "one.fa")).parts == 8
    (tmp_path / "two").mkdir()
    size = (tmp_path / "two.fa.gz").stat().st_size
    assert split(tmp_path / "two", str(tmp_path / "two.fa.gz")).parts == round(4 * size / 100)


def test_sets_by_name(tmp_path):
    found = split(tmp_path, "tree:50x30")
    reads = load_sequences("tree:50x30")
    expected = Counter(reads.to_strings())
    assert {read: copies for _, read, copies in contents(tmp_path, found)[0]} == expected
    assert (found.source, found.reads) == (["tree:50x30"], 50)
    (tmp_path / "two").mkdir()
    assert split(tmp_path / "two", "human16s").reads == len(load_sequences("human16s"))


def test_names_with_white_space(tmp_path):
    """The first word of a header, as everywhere; a table may have any name."""
    (tmp_path / "reads.csv").write_text('name,sequence\n"a\tb \n c",AC\n"",GT\n"  d ",TT\n"é\u00a0x",AG\n')
    found = split(tmp_path, str(tmp_path / "reads.csv"))
    assert [name for name, _, _ in contents(tmp_path, found)[0]] == ["a b c", "2", "d", "é\u00a0x"]
    (tmp_path / "reads.fa").write_text(">a\tb\nAC\n>\nGT\n")
    (tmp_path / "two").mkdir()
    found = split(tmp_path / "two", str(tmp_path / "reads.fa"))
    assert [name for name, _, _ in contents(tmp_path / "two", found)[0]] == ["a", "2"]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", {}, "reads.fa: expected FASTA, .*found an empty file"),
        (">a\nAC\n>b\n>c\nGT\n", {}, r"reads.fa: record 2 \(b\): the sequence is empty; remove the record"),
        (
            ">a\nAC\n>b\nACN\n",
            {},
            r"reads.fa: record 2 \(b\), position 3: expected one of ACGT \(dna\), found 'N'; choose",
        ),
        (">a\nAC\n>b\nACGTA\n", {"max_length": 4}, r"record 2 \(b\): expected at most 4 bases.*found 5; cut the reads"),
        (">b\nNN\n", {"on_invalid": "drop"}, "reads.fa: expected reads, found none that can be used"),
        (">b\nNNNNN\n", {"on_invalid": "drop", "max_length": 4}, "expected at most 4 bases"),
    ],
    ids=["empty file", "empty sequence", "letter", "too long", "nothing left", "too long before its letters"],
)
def test_reads_that_do_not_fit(tmp_path, content, options, message):
    (tmp_path / "reads.fa").write_text(content)
    with pytest.raises(InputError, match=message) as error:
        split(tmp_path, str(tmp_path / "reads.fa"), **options)
    assert "\n" not in str(error.value)
    assert read_partition(tmp_path / "parts") is None


def test_reads_with_other_letters_are_counted(tmp_path):
    (tmp_path / "reads.fa").write_text(">a\nAC\n>b\nACN\n>c\nac\n>d\nUU\n")
    found = split(tmp_path, str(tmp_path / "reads.fa"), on_invalid="drop")
    assert (found.reads, found.dropped) == (2, 2)
    assert contents(tmp_path, found) == [[("a", "AC", 2)]]


def test_another_alphabet(tmp_path):
    (tmp_path / "reads.fa").write_text(">a\nACU\n>b\nacu\n")
    found = split(tmp_path, str(tmp_path / "reads.fa"), alphabet=ALPHABETS["rna"])
    assert contents(tmp_path, found, ALPHABETS["rna"]) == [[("a", "ACU", 2)]]


def test_a_finished_split_is_used_again(tmp_path, monkeypatch):
    source = write(tmp_path / "reads.fasta", [("AC", ""), ("GT", "")])
    first = split(tmp_path, source, settings=["model"])
    monkeypatch.setattr(partition, "source_records", None)  # nothing is read
    assert split(tmp_path, source, settings=["model"]) == first == read_partition(tmp_path / "parts")


def test_a_split_of_something_else_is_refused(tmp_path):
    """Shards of it may be there already."""
    source = write(tmp_path / "reads.fasta", [("AC", ""), ("GT", "")])
    split(tmp_path, source, settings=["model"])
    other = write(tmp_path / "other.fasta", [("AA", "")])
    message = r"expected an unfinished run with these reads.*found one of reads.fasta \(14 bytes.*which differs; delete"
    for sources, options in (
        ([other], {}),
        ([source, other], {}),
        ([source], {"settings": ["another"]}),
        ([source], {"on_invalid": "drop"}),
        ([source], {"alphabet": ALPHABETS["iupac"]}),
        ([source], {"max_length": 9}),
    ):
        with pytest.raises(InputError, match=message):
            split(tmp_path, *sources, **{"settings": ["model"], **options})
    write(tmp_path / "reads.fasta", [("AC", ""), ("GA", "")])  # as long as before
    with pytest.raises(InputError, match=message):
        split(tmp_path, source, settings=["model"])


def test_an_interrupted_split_begins_anew(tmp_path):
    source = write(tmp_path / "reads.fasta", [("AC", ""), ("GT", "")])
    first = split(tmp_path, source)
    expected = contents(tmp_path, first)
    (tmp_path / "parts" / "split.json").unlink()
    with (tmp_path / "parts" / "00000.tsv").open("ab") as file:
        file.write(b"half\t1\tA")
    (tmp_path / "parts" / "00007.tsv").write_text("x\t1\tA\n")
    assert contents(tmp_path, split(tmp_path, source)) == expected
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == ["00000.tsv", "split.json"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"source": []}', "half"])
def test_a_damaged_record_of_a_split(tmp_path, content):
    source = write(tmp_path / "reads.fasta", [("AC", "")])
    expected = split(tmp_path, source)
    (tmp_path / "parts" / "split.json").write_text(content)
    assert read_partition(tmp_path / "parts") is None
    assert split(tmp_path, source) == expected


@pytest.mark.parametrize("content", [b"name\tAC\n", b"name\tx\tAC\n", None])
def test_a_damaged_part(tmp_path, content):
    found = split(tmp_path, write(tmp_path / "reads.fasta", [("AC", "")]))
    path = found.path(tmp_path / "parts", 0)
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(InputError, match=r"00000.tsv: expected a part of the reads, found .*; run the command again"):
        read_part(path, DNA)


def test_sources_are_recognised_wherever_they_are(tmp_path):
    (tmp_path / "below").mkdir()
    for path in (tmp_path / "reads.fa", tmp_path / "below" / "reads.fa"):
        path.write_bytes(b"123456789")
    expected = ["reads.fa (9 bytes, CRC-32 cbf43926)"]  # the check value of CRC-32
    assert describe_sources([str(tmp_path / "reads.fa")]) == expected
    assert describe_sources([str(tmp_path / "below" / "reads.fa")]) == expected
    assert describe_sources(["tree:20", "human16s"])[0] == "tree:20"
    (tmp_path / "below" / "reads.fa").write_bytes(b"123456780")
    assert describe_sources([str(tmp_path / "below" / "reads.fa")]) != expected
    with pytest.raises(InputError, match=r"none.fa: expected a file or the name of a built-in set"):
        describe_sources([str(tmp_path / "none.fa")])


def test_the_record_is_plain(tmp_path):
    found = split(tmp_path, write(tmp_path / "reads.fasta", [("AC", "")]), settings=["model"])
    saved = json.loads((tmp_path / "parts" / "split.json").read_text())
    assert saved["settings"] == ["dna", "None", "error", "model"]
    assert saved["parts"] == found.parts == 1
