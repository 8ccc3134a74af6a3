"""Files as people and accidents make them: each is read as it was written, or refused in one line.

NWA_FUZZ_EXAMPLES=100000 makes a long run of it.
"""

import bz2
import csv
import gzip
import io
import lzma
import os
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xopen import xopen

from nwa_lightning.errors import InputError
from nwa_lightning.sequences import io as sequences_io
from nwa_lightning.sequences.io import Record, read_records


def zstd_compress(content):
    packed = io.BytesIO()
    with xopen(packed, "wb", threads=0, format="zst") as file:
        file.write(content)
    return packed.getvalue()


fuzz = settings(max_examples=int(os.environ.get("NWA_FUZZ_EXAMPLES", "200")), deadline=None)

PACKINGS = [bytes, gzip.compress, bz2.compress, lzma.compress, zstd_compress]
LETTERS = st.text("ACGTacgtN-*.", max_size=30)
ASCII = st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="=")
ANY = st.characters(exclude_categories=["Cs"], exclude_characters="=\0\r\n")
WORDS = st.text(ANY, min_size=1, max_size=12).map(lambda text: "".join(text.split())).filter(bool)
CELLS = st.text(ANY, min_size=1, max_size=12).map(str.strip).filter(bool)
COMMENTS = st.sampled_from(["", "; a comment\n", "# another\n", "\n", " \n\n"])


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "reads"


@st.composite
def fasta(draw):
    text, records = draw(COMMENTS), []
    for _ in range(draw(st.integers(1, 5))):
        group = draw(WORDS).replace(";", "").replace("|", "") or "x"
        separator = draw(st.sampled_from([" ", "\t", ";", "|", " x=1 ", "; "]))
        header = f"{draw(WORDS)}{separator}fam={group}{draw(st.sampled_from(['', ' y', ';', '|z', ' fam']))}"
        sequence, width = draw(LETTERS), draw(st.integers(1, 30))
        text += f">{header}\n{draw(COMMENTS)}"
        text += "".join(f"{sequence[at : at + width]}\n" for at in range(0, len(sequence), width))
        records.append((header.split()[0], sequence, group))
    return text, records


@st.composite
def fastq(draw):
    text, records = "", []
    for _ in range(draw(st.integers(1, 5))):
        name, group, sequence = draw(st.text(ASCII, min_size=1)), draw(st.text("xyz", min_size=1)), draw(LETTERS)
        quality = draw(st.text(ASCII, min_size=len(sequence), max_size=len(sequence)))
        header = f"{name} 1:N:0 fam={group}"
        text += f"@{header}\n{sequence}\n+{draw(st.sampled_from(['', header]))}\n{quality}\n"
        records.append((name, sequence, group))
    return text, records


@st.composite
def plain(draw):
    lines = draw(st.lists(LETTERS, min_size=1).filter(any))
    blank = draw(st.sampled_from(["", " ", "\t", "  "]))
    text = "".join(f"{line}{blank}\n" for line in lines)
    return text, [(str(number), line, None) for number, line in enumerate(lines, start=1) if line]


@st.composite
def table(draw):
    columns = {"name": draw(st.sampled_from(["name", "ID", "Read_id"])), "group": "fam", "note": "note"}
    columns["sequence"] = draw(st.sampled_from(["sequence", "Seq", "READ", "reads"]))
    order = draw(st.permutations(list(columns)))
    file = io.StringIO()
    writer = csv.DictWriter(
        file,
        [columns[column] for column in order],
        delimiter=draw(st.sampled_from("\t,;")),
        quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
        lineterminator="\n",
    )
    writer.writeheader()
    records = []
    for _ in range(draw(st.integers(1, 5))):
        name, group, sequence = draw(CELLS), draw(CELLS), draw(LETTERS)
        row = {"name": name, "group": group, "note": draw(st.text(ANY, max_size=9)), "sequence": sequence}
        writer.writerow({columns[column]: value for column, value in row.items()})
        records.append((name, sequence, group))
    return file.getvalue(), records


#: Line ends in turn. No LF comes after a CR, as the two would be one end if the line between is blank.
LINE_ENDS = st.sampled_from([[b"\n"], [b"\r\n"], [b"\r"], [b"\n", b"\r\n"], [b"\r", b"\r\n", b"\r\n"]])


@st.composite
def files(draw):
    """A file, its records, and whether blocks of any size do for it."""
    kind = draw(st.sampled_from([fasta, fastq, plain, table]))
    text, records = draw(kind())
    ends = draw(LINE_ENDS)
    lines = text.encode().split(b"\n")[:-1]
    content = b"".join(line + ends[number % len(ends)] for number, line in enumerate(lines))
    if lines[-1] and draw(st.booleans()):
        content = content.rstrip(b"\r\n")
    mark = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    return mark + content, records, kind is not table


@fuzz
@given(file=files(), pack=st.sampled_from(PACKINGS), block=st.integers(4, 99), by_group=st.booleans())
def test_a_file_is_read_as_it_was_written(path, file, pack, block, by_group):
    content, records, any_block = file
    by_group = by_group and records[0][2] is not None
    path.write_bytes(pack(content))
    with mock.patch.object(sequences_io, "_BLOCK", block if any_block else 1 << 15):
        read = list(read_records(path, "fam" if by_group else None))
    assert [(record.name, record.sequence) for record in read] == [record[:2] for record in records]
    assert [record.group for record in read] == [record[2] if by_group else None for record in records]


def outcome(path, content, group=None):
    """Records, or the text of the error; anything else, warnings too, fails the test."""
    path.write_bytes(content)
    try:
        records = list(read_records(path, group))
    except InputError as error:
        message = str(error)
        assert message.startswith(f"{path}: ")
        assert message.isprintable()  # so it is one line
        assert len(message) <= 400
        return message
    assert records
    for record in records:
        assert type(record) is Record
        assert record.name
        assert "\0" not in "".join(filter(None, record))
        assert record.place.isprintable()
        assert len(record.place) < 99
        assert (record.group is None) == (group is None)
    return records


PIECES = st.one_of(
    st.binary(max_size=9),
    st.text(max_size=9).map(lambda text: text.encode(errors="replace")),
    st.lists(st.sampled_from([bytes([byte]) for byte in b"\n\r >@+;#\"',\t|=\0AC"]), max_size=6).map(b"".join),
    st.sampled_from(
        [b"\xef\xbb\xbf", b"\xff\xfe", b"\xe2\x80\xa8", b"\x85", b"\x1f\x8b", b"BZh", b"sequence", b"fam=x"]
    ),
)
#: How often a piece comes; the many, of its first two bytes, are more than a block.
TIMES = st.sampled_from([1] * 9 + [40_000])
DAMAGES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), PIECES, TIMES), min_size=1, max_size=3)


def repeat(piece, times):
    return piece if times == 1 else piece[:2] * times


def damage(content, damages):
    """Put pieces into a file, each in place of what was between two positions."""
    for start, end, piece, times in damages:
        first = round(start * len(content))
        last = first + round((end**4) * (len(content) - first))  # mostly a few bytes, sometimes all the rest
        content = content[:first] + repeat(piece, times) + content[last:]
    return content


@fuzz
@given(file=files(), damages=DAMAGES, group=st.sampled_from([None, None, "fam"]))
def test_a_damaged_file_is_read_or_refused_in_one_line(path, file, damages, group):
    content = damage(file[0], damages)
    read = outcome(path, content, group)
    if not content.startswith(tuple(sequences_io._COMPRESSED.values())):
        assert outcome(path, gzip.compress(content, 1), group) == read
    if b"\r" not in content and content.isascii() and b'"' not in content:
        assert outcome(path, content.replace(b"\n", b"\r\n"), group) == read


@fuzz
@given(file=files(), pack=st.sampled_from(PACKINGS), damages=DAMAGES)
def test_a_damaged_packed_file_is_read_or_refused_in_one_line(path, file, pack, damages):
    outcome(path, damage(pack(file[0]), damages))


@fuzz
@given(file=files(), pack=st.sampled_from(PACKINGS[1:]), cut=st.floats(0, 1, exclude_max=True))
def test_a_packed_file_that_is_cut_is_refused(path, file, pack, cut):
    content = pack(file[0])
    assert isinstance(outcome(path, content[: max(6, int(cut * len(content)))]), str)  # 6 bytes tell the packing


@fuzz
@given(file=fastq(), cut=st.floats(0, 1))
def test_a_cut_fastq_file_loses_whole_records_or_is_refused(path, file, cut):
    text, records = file
    read = outcome(path, text[: int(cut * len(text))].encode())
    if not isinstance(read, str):
        assert [record[:2] for record in records[: len(read)]] == [(record.name, record.sequence) for record in read]


@fuzz
@given(file=files(), encoding=st.sampled_from(["utf-16", "utf-16-be", "utf-16-le", "utf-32"]))
def test_a_file_in_another_encoding_is_refused(path, file, encoding):
    message = outcome(path, file[0].decode("utf-8-sig").encode(encoding))
    assert "expected text in UTF-8, found" in message


@fuzz
@given(mark=st.sampled_from([b"", b">", b"@", b"id,seq\n", b"\x1f\x8b\x08"]), pieces=st.lists(st.tuples(PIECES, TIMES)))
def test_any_bytes_are_read_or_refused_in_one_line(path, mark, pieces):
    outcome(path, mark + b"".join(repeat(*piece) for piece in pieces))
