"""Records of a FASTA, FASTQ, CSV, TSV or one-sequence-per-line file, compressed or not.

A file goes through two layers: ``_TextBytes`` unpacks it and checks that it is text, with one kind of line end; then one
reader per format turns the lines into records. Only one block of the file and one record are in memory.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import dnaio
from xopen import xopen

from nwa_lightning.errors import InputError
from nwa_lightning.sequences.table import empty_file, excerpt, find_delimiter, read_rows

#: First bytes of the compressed formats that xopen reads.
_COMPRESSED: Final = {"gz": b"\x1f\x8b", "bz2": b"BZh", "xz": b"\xfd7zXZ\0", "zst": b"\x28\xb5\x2f\xfd"}

#: First bytes of text in other encodings; UTF-32 comes first, because its mark begins like that of UTF-16.
_OTHER_ENCODINGS: Final = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}

#: Bytes of the file between two calls of ``progress``.
_TELL_EVERY: Final = 1 << 20

#: Bytes that are read at a time; larger blocks are slower, because each one needs fresh memory from the system.
_BLOCK: Final = 1 << 15

#: Blank lines, and spaces before the first record; a tab there may delimit a first column without a name.
_BLANK: Final = re.compile(rb"\A(?:[ \t]*\n)* *")

#: Makes a named tuple from a tuple in half the time of ``Record(...)``.
_new: Final = tuple.__new__


class Record(NamedTuple):
    """One sequence of a file.

    Attributes:
        name: The first word of a FASTA or FASTQ header, the name in a table, or else the number of the record (FASTA,
            FASTQ), row (table) or line (one sequence per line). Names may occur more than once.
        place: Where the record is, for messages: ``record 3 (id)`` or ``line 7``.
        sequence: Its letters as they are in the file, unchecked; may be empty.
        group: The value of the requested column or attribute, if there is one.
    """

    name: str
    place: str
    sequence: str
    group: str | None


def read_records(
    path: Path, group: str | None = None, progress: Callable[[int], None] | None = None
) -> Iterator[Record]:
    """Read a file as a stream; its content, not its name, decides format and compression (gz, bz2, xz, zst).

    - FASTA begins with ``>``. Lines that begin with ``;`` or ``#`` are comments. A sequence may have many lines.
    - FASTQ begins with ``@`` and has four lines per record.
    - A table (CSV, TSV) begins with a header that has a column ``sequence``, ``seq``, ``read`` or ``reads``, and perhaps
      ``name``, ``id`` or ``read_id``, in any case.
    - Anything else has one sequence per line. White space within a line is an error: a name may stand before the sequence.

    Line ends may be those of Unix, Windows or old Macs, also mixed. A byte-order mark of UTF-8 and blank lines are skipped.

    Args:
        path: The file.
        group: Name of a column of a table, or of an attribute ``name=value`` in the header of every FASTA or FASTQ record,
            separated by white space, ``;`` or ``|``: ``>id family=x`` or ``>id;family=x;``.
        progress: Called now and then with the number of bytes read from the file so far, before decompression.

    Yields:
        The records in the order of the file.

    Raises:
        InputError: If the file cannot be read to its end, is not text, is damaged, has no record, or lacks a group. The
            message is one line.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(
            f"{path}: expected a file that can be read, found: {error.strerror}; check its name and permissions"
        ) from None
    with file, _Blocks(_TextBytes(path, file, progress), _BLOCK) as stream:
        yield from _records(path, stream, group)


def _records(path: Path, stream: io.BufferedReader, group: str | None) -> Iterator[Record]:
    """Skip blank lines, recognise the format by the first bytes that follow, and read the records."""
    line = 1
    while head := stream.peek():
        content = _BLANK.sub(b"", head, count=1)
        blank = stream.read(len(head) - len(content))
        line += blank.count(b"\n")
        if content:
            break
    else:
        raise empty_file(path)
    mark = content[:1]
    if mark == b"@":
        return _fastq(path, stream, line, group)
    lines = io.TextIOWrapper(stream, encoding="utf-8", newline="\n")
    if mark in b">;#":
        return _headed(path, _fasta(path, lines, line), group)
    first = content.partition(b"\n")[0].decode(errors="replace")
    if b"\n>" in content and find_delimiter(first) is None:
        raise _no_fasta(path, line, first)
    return map(Record._make, read_rows(path, lines, first, line, group))


def _fasta(path: Path, lines: Iterable[str], first: int) -> Iterator[tuple[str, str]]:
    """Header and sequence of every record."""
    for number, line in enumerate(lines, start=first):
        header = line.strip()
        if header[:1] == ">":
            break
        if header and header[0] not in ";#":
            raise _no_fasta(path, number, header)
    else:
        raise InputError(f"{path}: expected FASTA, found only comments (lines that begin with ';' or '#'); add records")
    parts: list[str] = []
    for line in lines:
        mark = line[0]
        if mark == ">":
            yield header[1:], "".join(parts)
            header = line
            parts.clear()
        elif mark != ";" and mark != "#":
            parts.append(line.strip())
    yield header[1:], "".join(parts)


def _no_fasta(path: Path, number: int, line: str) -> InputError:
    return InputError(
        f"{path}: line {number}: expected a FASTA header, which begins with '>', found {excerpt(line)}; remove what stands "
        "before the first header"
    )


def _fastq(path: Path, stream: io.BufferedReader, first: int, group: str | None) -> Iterator[Record]:
    """FASTQ records, four lines each."""
    reader = None
    try:
        with dnaio.open(stream, fileformat="fastq") as reader:
            yield from _headed(path, map(attrgetter("name", "sequence"), reader), group)
    except dnaio.FileFormatError as error:
        count = reader.number_of_records if reader is not None else 0
        line = "" if error.line is None else f"line {error.line + first}: "
        remedy = "repair or cut the file there"
        if "'+'" in error.message:
            remedy = "write each record in four lines, for instance by: seqtk seq"
        raise InputError(
            f"{path}: damaged after record {count}: {line}{excerpt(error.message, 120)}; {remedy}"
        ) from None


def _headed(path: Path, records: Iterable[tuple[str, str]], group: str | None) -> Iterator[Record]:
    """Take the name and the group from the headers of FASTA or FASTQ records."""
    attribute = re.compile(rf"(?<=[\s;|]){re.escape(group)}=([^\s;|]+)") if group is not None else None
    value = None
    for count, (header, sequence) in enumerate(records, start=1):
        words = header.split(None, 1)
        name = words[0] if words else str(count)
        shown = name if len(name) <= 40 and name.isprintable() else excerpt(name)
        place = f"record {count} ({shown})"
        if attribute is not None:
            values = set(attribute.findall(header))
            if len(values) != 1:
                found = excerpt(" and ".join(sorted(values))) or "none"
                raise InputError(
                    f"{path}: {place}: expected one attribute {group}=VALUE in the header, found {found}; mend the header"
                )
            value = values.pop()
        yield _new(Record, (name, place, sequence, value))


class _Blocks(io.BufferedReader):
    """Returns whole blocks; ``io.TextIOWrapper`` asks for 8 KB at a time, which takes longer."""

    def read1(self, size: int = -1) -> bytes:
        """The bytes of one read, regardless of ``size``."""
        return super().read1(-1)


class _TextBytes(io.RawIOBase):
    """The bytes of a file, unpacked, checked to be text in UTF-8, with the line ends of Unix and no byte-order mark."""

    def __init__(self, path: Path, file: io.BufferedReader, progress: Callable[[int], None] | None) -> None:
        super().__init__()
        self._path = path
        self._file = file
        self._progress = progress
        self._unpacked: BinaryIO | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._line = 1
        self._after_return = False
        self._told = 0

    def readable(self) -> bool:
        """Part of the interface of ``io.RawIOBase``."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Put the next bytes into a buffer and return their number; 0 is the end."""
        size = min(len(buffer), _BLOCK)
        block = self._read(size)
        if self._after_return and block.startswith(b"\n"):
            block = block[1:] or self._read(size)
        self._after_return = block.endswith(b"\r")
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._check(block)
        self._line += block.count(b"\n")
        buffer[: len(block)] = block
        return len(block)

    def _read(self, size: int) -> bytes:
        begins = self._unpacked is None
        try:
            if self._unpacked is None:
                self._unpacked = _unpack(self._file)
            block = self._unpacked.read(size)
        except Exception as error:  # each compressed format has its own errors
            message = excerpt(" ".join(str(error).split()) or type(error).__name__, 120)
            raise InputError(
                f"{self._path}: cannot be read past line {self._line}: {message}; is the file complete?"
            ) from None
        if self._progress is not None and (not block or self._file.tell() >= self._told + _TELL_EVERY):
            self._told = self._file.tell()
            self._progress(self._told)
        return block.removeprefix(codecs.BOM_UTF8) if begins else block

    def _check(self, block: bytes) -> None:
        """Raise an error that names the line of the first byte that is not text."""
        found = "a NUL byte"
        position = block.find(b"\0")
        if position < 0:
            try:
                self._decoder.decode(block, final=not block)
                return
            except UnicodeDecodeError as error:
                found = "bytes that are no text"
                block = error.object
                position = error.start
        encoding = _wide_encoding(block) if self._line == 1 else None
        if encoding is not None:
            raise InputError(
                f"{self._path}: expected text in UTF-8, found {encoding}; convert it: iconv -f {encoding} -t UTF-8 OLD > NEW"
            )
        line = self._line + block.count(b"\n", 0, position)
        raise InputError(
            f"{self._path}: line {line}: expected text in UTF-8, found {found}; is it a text file? convert it to FASTA, "
            "FASTQ, CSV or one sequence per line"
        )


def _unpack(file: io.BufferedReader) -> BinaryIO:
    """The file, or a reader that unpacks it; in this thread, because a separate process or thread would print its errors."""
    head = file.peek(6)
    for name, mark in _COMPRESSED.items():
        if head.startswith(mark):
            return xopen(file, "rb", threads=0, format=name)
    return file


def _wide_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32 if the first bytes look like that, with a byte-order mark or with every other byte NUL."""
    for mark, name in _OTHER_ENCODINGS.items():
        if head.startswith(mark):
            return name
    even, odd = head[:40:2], head[1:40:2]
    every_other = any(not any(one) and all(other) for one, other in ((even, odd), (odd, even)) if len(head) > 1)
    return "UTF-16" if every_other else None
