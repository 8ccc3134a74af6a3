import gzip
import os
import tracemalloc
from pathlib import Path

import pytest
from xopen import xopen

from nwa_lightning.errors import InputError
from nwa_lightning.sequences.io import Record, read_records

FASTA = b">one first\nACGT\nAC\n>two\nacgtt\n"
FASTQ = b"@one first\nACGTAC\n+\nIIII>@\n@two\nacgtt\n+two\nIIIII\n"
TEXT = b"ACGTAC\nacgtt\n"
CSV = b"id,sequence\none,ACGTAC\ntwo,acgtt\n"
TSV = b"Name\tx\tSeq\none\t1\tACGTAC\ntwo\t2\tacgtt\n"
FORMATS = {"fasta": FASTA, "fastq": FASTQ, "text": TEXT, "csv": CSV, "tsv": TSV}


@pytest.fixture
def read(tmp_path):
    def of(content, group=None):
        path = tmp_path / "reads"
        path.write_bytes(content)
        return list(read_records(path, group))

    return of


def pairs(records):
    return [(record.name, record.sequence) for record in records]


def expected(kind):
    return [("1", "ACGTAC"), ("2", "acgtt")] if kind == "text" else [("one", "ACGTAC"), ("two", "acgtt")]


def test_a_record_says_where_it_is(read):
    first, second = read(FASTA)
    assert first == Record("one", "record 1 (one)", "ACGTAC", None)
    assert second == Record("two", "record 2 (two)", "acgtt", None)
    assert isinstance(first, Record)
    assert isinstance(read(CSV)[0], Record)
    assert [record.place for record in read(FASTQ)] == ["record 1 (one)", "record 2 (two)"]
    assert [record.place for record in read(b"\n" + TEXT)] == ["line 2", "line 3"]
    assert [record.place for record in read(b"\n" + CSV)] == ["line 3", "line 4"]
    assert read(b">" + b"x" * 99 + b"\nA\n")[0].place == f"record 1 ({'x' * 40}...)"


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["unix", "windows", "mac"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["", "bom"])
@pytest.mark.parametrize("last", [None, -1], ids=["", "open end"])
@pytest.mark.parametrize("kind", FORMATS)
def test_line_ends_and_byte_order_mark(read, kind, mark, end, last):
    assert pairs(read(mark + FORMATS[kind][:last].replace(b"\n", end))) == expected(kind)


@pytest.mark.parametrize("name", ["reads", "reads.fa", "reads.gz", "reads.txt.zst"])
@pytest.mark.parametrize("packing", ["", "gz", "bz2", "xz", "zst"])
def test_content_tells_packing_and_format(tmp_path, name, packing):
    path = tmp_path / name
    for kind, content in FORMATS.items():
        path.write_bytes(content)
        if packing:
            with xopen(path, "wb", threads=0, format=packing) as file:
                file.write(content)
        assert pairs(read_records(path)) == expected(kind)


ACCEPTED = {
    "mixed line ends": (b">a\r\nAC\rGT\n\n>b\r\r\nA\r", [("a", "ACGT"), ("b", "A")]),
    "blank lines in FASTA": (b"\n \n>a\n\nAC\n \nGT\n\n>b\nA\n\n", [("a", "ACGT"), ("b", "A")]),
    "blank lines before FASTQ": (b"\n\n@a\nA\n+\nI\n", [("a", "A")]),
    "trailing white space": (b">a \t\nAC \nGT\t\n>b\nA  \n", [("a", "ACGT"), ("b", "A")]),
    "comments": (b"; old\n#new\n>a\n;why\nAC\n#x\nGT\n", [("a", "ACGT")]),
    "no name": (b">\nAC\n> \nGT\n", [("1", "AC"), ("2", "GT")]),
    "no name in FASTQ": (b"@\nAC\n+\nII\n", [("1", "AC")]),
    "names with more words": (b">a b\nA\n>c\td\nA\n> e f\nA\n", [("a", "A"), ("c", "A"), ("e", "A")]),
    "usearch names": (b">a;size=3;\nA\n", [("a;size=3;", "A")]),
    "names in other letters": (">é \nA\n>菌|1\nA\n".encode(), [("é", "A"), ("菌|1", "A")]),
    "duplicate names": (b">a\nA\n>a\nC\n", [("a", "A"), ("a", "C")]),
    "letters are not checked": (b">a\nAC-*\n>b\nac gt.\n", [("a", "AC-*"), ("b", "ac gt.")]),
    "empty sequence": (b">a\n>b\nA\n>c\n", [("a", ""), ("b", "A"), ("c", "")]),
    "empty sequence in FASTQ": (b"@a\n\n+\n\n@b\nA\n+\nI\n", [("a", ""), ("b", "A")]),
    "text": (b" \n  ACGT\t\n\nac-*\n", [("2", "ACGT"), ("4", "ac-*")]),
    "a sign in a word": (b"AC>GT\nA@C\n", [("1", "AC>GT"), ("2", "A@C")]),
    "no names in a table": (b"x,read\n1,AC\n\n2,GT\n", [("1", "AC"), ("2", "GT")]),
    "empty name in a table": (b"name,read\n,AC\nb,GT\n", [("1", "AC"), ("b", "GT")]),
    "one column": (b"Sequence\nAC\n\nGT\n", [("1", "AC"), ("2", "GT")]),
    "one column in capitals": (b"SEQUENCE\nAC\n", [("1", "AC")]),
    "a peptide, no header": (b"SEQ\nREADS\n", [("1", "SEQ"), ("2", "READS")]),
    "quotes": (b'"id","note","sequence"\n"a","x, ""y""\nz",AC\nb,,"GT"\n', [("a", "AC"), ("b", "GT")]),
    "spaces in a header": (b"ID , Sequence \n a , AC \n", [("a", "AC")]),
    "semicolons": (b"id;sequence\na;AC\n", [("a", "AC")]),
    "index of pandas": (b"\tsequence\n0\tAC\n1\tGT\n", [("1", "AC"), ("2", "GT")]),
    "read is a name of the less usual kind": (b"read,sequence\na,AC\n", [("1", "AC")]),
    "marks in a table": (b"id,sequence\n>a,AC\n@b,GT\n", [(">a", "AC"), ("@b", "GT")]),
    "empty cells": (b"id,sequence\na,\n,\n \nb,AC\n", [("a", ""), ("b", "AC")]),
    "long lines": (b">a\n" + b"ACGT" * 50_000 + b"\n>b\nA\n", [("a", "ACGT" * 50_000), ("b", "A")]),
    "a long cell": (b"id,sequence\na," + b"ACGT" * 50_000, [("a", "ACGT" * 50_000)]),
    "blank beginning": (b"\n" * 40_000 + b" " * 40_000 + b">a\nA\n", [("a", "A")]),
    "two packed parts": (gzip.compress(b">a\nA") + gzip.compress(b"C\n>b\nG\n"), [("a", "AC"), ("b", "G")]),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted(read, case):
    content, records = ACCEPTED[case]
    assert pairs(read(content)) == records


UNPACKABLE = gzip.compress(os.urandom(60_000).hex().encode())
REFUSED = {
    "empty": (b"", "expected FASTA, FASTQ, a table or one sequence per line, found an empty file"),
    "blank": (b"\n \n", "found an empty file"),
    "white space of Unicode": ("\u2028\x0b\n\u3000".encode(), "found an empty file"),
    "only a byte-order mark": (b"\xef\xbb\xbf", "found an empty file"),
    "empty gzip": (gzip.compress(b""), "found an empty file"),
    "only comments": (b";a\n#b\n\n", r"expected FASTA, found only comments \(lines that begin with ';' or '#'\)"),
    "NUL": (b">a\nAC\nG\0T\n", r"line 3: expected text in UTF-8, found a NUL byte; is it a text file\?"),
    "NUL late": (b"ACGT\r\n" * 19_999 + b"AC\0\n", "line 20000: expected text .* found a NUL byte"),
    "NUL in FASTQ": (b"@a\nA\0\n+\nII\n", "line 2: expected text .* found a NUL byte"),
    "no UTF-8": (
        b">a\nAC\n>b \xe9\nAC\n",
        r"line 3: expected text in UTF-8, found bytes that are no text; is it a text",
    ),
    "no UTF-8 late": ("é\n".encode() * 50_000 + b"\xe9\n", "line 50001: expected text .* found bytes that are no text"),
    "cut letter": (b">a\nAC\n>\xc3", "line 3: .* found bytes that are no text"),
    "UTF-16": (
        ">a\r\nAC\r\n".encode("utf-16"),
        "expected text in UTF-8, found UTF-16; convert it: iconv -f UTF-16 -t UTF",
    ),
    "UTF-16 of the other end": ("\ufeff>菌\nAC\n".encode("utf-16-be"), "found UTF-16; convert it"),
    "UTF-16 without mark": (">a\nAC\n".encode("utf-16-le"), "found UTF-16; convert it"),
    "UTF-16 without mark, other end": (">a\nAC\n".encode("utf-16-be"), "found UTF-16; convert it"),
    "UTF-32": (">a\nAC\n".encode("utf-32"), "found UTF-32; convert it: iconv -f UTF-32"),
    "binary": (bytes(range(256)), "line 1: expected text in UTF-8, found a NUL byte"),
    "BAM": (gzip.compress(b"BAM\1\x27\0\0\0@HD\tVN:1.6"), "found a NUL byte"),
    "text before FASTA": (
        b"Our reads, 2020\n\n>a\nAC\n",
        "line 1: expected a FASTA header, which begins with '>', found Our",
    ),
    "text after comments": (
        b"\n;x\nACGT\n>a\nAC\n",
        "line 3: expected a FASTA header, .* found ACGT; remove what stands befo",
    ),
    "spaces in text": (
        b"ACGT\n\nread1 ACGT\n",
        "line 3: expected one sequence per line, found white space in read1 ACGT; ",
    ),
    "tab in text": (
        b"ACGT\nAC\tGT\n",
        r"line 2: expected one sequence per line, found white space in 'AC\\tGT'; remove it",
    ),
    "cut FASTQ 1": (b"@a\nAC\n+\nII\n@b\n", "damaged after record 1: line 6: Premature end of file"),
    "cut FASTQ 2": (b"@a\nAC\n+\nII\n@b\nACGT", "damaged after record 1: line 6: Premature end of file"),
    "cut FASTQ 3": (b"\n@a\nAC\n+\nII\n@b\nACGT\n+", "damaged after record 1: line 8: Premature end of file"),
    "cut FASTQ 4": (
        b"@a\nAC\n+\nII\n@b\nACGT\n+\nIII",
        "damaged after record 1: line 8: Length of sequence and qualit",
    ),
    "cut first record": (
        b"@a\nAC\n",
        "damaged after record 0: line 3: Premature end of file .* repair or cut the file there",
    ),
    "FASTQ of many lines": (
        b"@a\nAC\nGT\n+\nII\nII\n",
        r"line 3: .* found 'G'; write each record in four lines, .* seqtk seq",
    ),
    "FASTQ without mark": (b"@a\nAC\n+\nII\nb\nAC\n+\nII\n", "after record 1: line 5: Line expected to start with '@'"),
    "two names in FASTQ": (b"@a\nAC\n+b\nII\n", "damaged after record 0: .*a.*b"),
    "letters in FASTQ names": ("@é\nAC\n+\nII\n".encode(), "damaged after record 0: Non-ASCII characters"),
    "no sequence column": (
        b"id,bases,x\na,AC,1\n",
        "expected one column named sequence, found: id, bases, x; rename or add",
    ),
    "no sequence column in a TSV": (b"id\tbases\na\tAC\n", "expected one column named sequence, found: id, bases;"),
    "no header": (b"a;AC\nb;AC\n", "expected one column named sequence, found: a, AC;"),
    "long header": (b",".join([b"column"] * 99), "found: column, .*column, ...; rename or add it in the header"),
    "two sequence columns": (b"seq,SEQ\nAC,AC\n", "expected one column named seq, found: seq, seq;"),
    "two name columns": (b"id,ID,seq\na,b,AC\n", "expected one column named id, found: id, id, seq;"),
    "short row": (b"id,sequence\na,AC\nb\n", "line 3: expected 2 columns as in the header, found 1; mend the row"),
    "long row": (b"id,sequence\n\na,AC,\n", "line 3: expected 2 columns as in the header, found 3"),
    "long row after a long cell": (
        b'id,sequence\n"a\nb",AC\nc\n',
        "line 4: expected 2 columns as in the header, found 1",
    ),
    "characters that take many to show": (
        b"a," + b"\x10" * 999,
        r"expected one column named sequence, found: 'a, \\x10\\x10",
    ),
    "open quote": (
        b'id,sequence\na,AC\n"b,AC\nc,AC\n',
        "line 3: the row cannot be read: unexpected end of data; check its quo",
    ),
    "letters after a quote": (b'id,sequence\n"b"x,AC\n', "line 2: the row cannot be read: ',' expected after '\"'"),
    "letters after a quote in a TSV": (
        b'id\tseq\n"b"x\tAC\n',
        "line 2: the row cannot be read: 'tab' expected after '\"'",
    ),
    "no rows": (b"id,sequence\n\n", "line 1: expected rows below the header, found none"),
    "cut gzip": (UNPACKABLE[:-9], r"cannot be read past line 1: .*end-of-stream.*; is the file complete\?"),
    "damaged gzip": (
        UNPACKABLE[:30000] + b"x" * 99 + UNPACKABLE[30099:],
        r"cannot be read past line 1: .*is the file comp",
    ),
    "no gzip": (b"\x1f\x8b\x08 nonsense", "cannot be read past line 1: .*is the file complete"),
    "no bzip2": (b"BZh nonsense", "cannot be read past line 1: .*is the file complete"),
    "no xz": (b"\xfd7zXZ\0 nonsense", "cannot be read past line 1: .*is the file complete"),
    "no zstd": (b"\x28\xb5\x2f\xfd nonsense", "cannot be read past line 1: .*is the file complete"),
}


def refusal(path, group=None):
    with pytest.raises(InputError) as error:
        list(read_records(path, group))
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()  # so it is one line
    assert len(message) - len(str(path)) <= 300
    return error


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path, case):
    path = tmp_path / "reads"
    content, message = REFUSED[case]
    path.write_bytes(content)
    assert refusal(path).match(f".*{message}")


GROUPS = {
    "column": (b"id,Fam,sequence,fam\na,x,AC, b c \n", "fam", ["b c"]),
    "first column": (b"sequence\tfam\nAC\tb\nGT\tc\n", "fam", ["b", "c"]),
    "words": (b">a x=1 fam=b y\nA\n>b\tfam=c\nA\n", "fam", ["b", "c"]),
    "usearch": (b">a;fam=b;size=3;\nA\n>b;size=3;fam=c\nA\n", "fam", ["b", "c"]),
    "bars": (b">a|fam=b|x\nA\n", "fam", ["b"]),
    "twice the same": (b">a fam=b fam=b\nA\n", "fam", ["b"]),
    "longer names": (b">a subfam=b fam=c fam.=d\nA\n", "fam", ["c"]),
    "odd name": (b">a f(=b\nA\n", "f(", ["b"]),
    "value with =": (b">a fam=b=c\nA\n", "fam", ["b=c"]),
    "FASTQ": (b"@a 1:N:0 fam=b\nA\n+\nI\n", "fam", ["b"]),
}


@pytest.mark.parametrize("case", GROUPS)
def test_groups(read, case):
    content, group, groups = GROUPS[case]
    assert [record.group for record in read(content, group)] == groups
    assert {record.group for record in read(content)} == {None}


NO_GROUPS = {
    "text": (b"AC\n", "expected a table with a column fam, found one sequence per line; add a header and the column"),
    "no column": (b"id,seq,Fam\na,AC,b\n", "expected one column named fam, found: id, seq, Fam; rename or add it"),
    "two columns": (b"fam,seq,fam\na,AC,b\n", "expected one column named fam, found: fam, seq, fam;"),
    "no value": (b"seq,fam\nAC,b\nAC, \n", "line 3: expected a value in column fam, found none; fill it in"),
    "no attribute": (
        b">a fam=b\nA\n>b x=fam\nA\n",
        r"record 2 \(b\): expected one attribute fam=VALUE in the header, found none",
    ),
    "nothing after =": (
        b">a fam= b\nA\n",
        r"record 1 \(a\): expected one attribute fam=VALUE in the header, found none",
    ),
    "in the name": (b">fam=b\nA\n", r"record 1 \(fam=b\): expected one attribute fam=VALUE in the header, found none"),
    "two values": (b"@a fam=c fam=b\nA\n+\nI\n", r"record 1 \(a\): .* found b and c; mend the header"),
}


@pytest.mark.parametrize("case", NO_GROUPS)
def test_groups_that_are_not_there(tmp_path, case):
    path = tmp_path / "reads"
    content, message = NO_GROUPS[case]
    path.write_bytes(content)
    assert refusal(path, "fam").match(f".*{message}")


@pytest.mark.parametrize(
    ("name", "message"),
    [(".", "Is a directory"), ("none", "No such file or directory"), ("x" * 300, "File name too long")],
)
def test_what_is_no_file(tmp_path, name, message):
    with pytest.raises(
        InputError, match=f"expected a file that can be read, found: {message}; check its name and perm"
    ):
        next(read_records(tmp_path / name))


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(self, mode):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)  # for root, nothing is forbidden
    assert refusal(tmp_path / "reads").match(".*found: Permission denied; check its name and permissions")


@pytest.mark.parametrize("packing", [bytes, gzip.compress], ids=["plain", "gz"])
@pytest.mark.parametrize("kind", FORMATS)
def test_progress_is_told_in_bytes_of_the_file(tmp_path, kind, packing):
    path = tmp_path / "reads"
    path.write_bytes(packing(FORMATS[kind]))
    told = []
    list(read_records(path, progress=told.append))
    assert told[-1] == path.stat().st_size


def test_progress_is_told_now_and_then(tmp_path):
    path = tmp_path / "reads"
    path.write_bytes(b"ACGT" * 40 + b"\n" + (b"ACGT" * 40 + b"\n") * 20_000)
    told = []
    for count, _ in enumerate(read_records(path, progress=told.append)):
        assert count * 161 <= (told[-1] if told else 0) + (1 << 20) + (1 << 17)
    assert told == sorted(told)
    assert len(told) == 4


def test_a_file_is_read_as_a_stream(tmp_path):
    path = tmp_path / "reads.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for number in range(30_000):
            file.write(b">%d\n%s\n" % (number, b"ACGTACGTAC" * 15))
    tracemalloc.start()
    assert sum(1 for _ in read_records(path)) == 30_000
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_a_reader_that_is_left_early_closes_the_file(tmp_path):
    path = tmp_path / "reads"
    path.write_bytes(FASTA)
    records = read_records(path)
    assert next(records).name == "one"
    records.close()  # an open file would be a ResourceWarning, which is an error here
