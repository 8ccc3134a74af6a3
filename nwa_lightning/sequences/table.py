"""Formats without record marks: tables (CSV, TSV) with a column of sequences, and one sequence per line."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from nwa_lightning.errors import InputError

#: Possible names of the column with the sequences, in any case; the first that a table has is used.
SEQUENCE_COLUMNS: Final = ("sequence", "seq", "read", "reads")

#: Possible names of the column with the names of the sequences, in any case; the first that a table has is used.
NAME_COLUMNS: Final = ("name", "id", "read_id")

#: Delimiters of columns: tab, comma, or the semicolon of spreadsheets in many countries.
DELIMITERS: Final = ("\t", ",", ";")

#: Number of letters of a file that a message may quote.
_EXCERPT_LENGTH: Final = 40

#: Limit of characters per cell for the csv module, which otherwise refuses more than 131,072.
_LONGEST_CELL: Final = 2**31 - 1

#: Name, place for messages, sequence and group of a record.
Row = tuple[str, str, str, str | None]


def excerpt(text: str, length: int = _EXCERPT_LENGTH) -> str:
    """Text for a message: its beginning, in one line, in quotes and escaped if a character cannot be printed."""
    shown = text[: length + 1]
    if not shown.isprintable():
        shown = ascii(shown)
    return shown if len(shown) <= length else f"{shown[:length]}..."


def empty_file(path: Path) -> InputError:
    """The error of a file without records."""
    return InputError(f"{path}: expected FASTA, FASTQ, a table or one sequence per line, found an empty file")


def find_delimiter(first_line: str) -> str | None:
    """The delimiter of a table, found from its header; None if no column has a name in ``SEQUENCE_COLUMNS``.

    A line without a delimiter is the header of a one-column table if it is such a name. SEQ, READ and READS in upper case
    are no header, because they are peptides.
    """
    for delimiter in DELIMITERS:
        columns = [column.strip(' "') for column in first_line.split(delimiter)]
        peptide = len(columns) == 1 and columns[0].isupper() and columns[0] != "SEQUENCE"
        if not peptide and not set(SEQUENCE_COLUMNS).isdisjoint(column.lower() for column in columns):
            return delimiter
    return None


def read_rows(path: Path, lines: Iterable[str], first_line: str, number: int, group: str | None) -> Iterator[Row]:
    """Read a table, or else one sequence per line.

    Args:
        path: The file, for messages.
        lines: Its lines, without those before the first record.
        first_line: The first of these lines.
        number: The number of that line in the file.
        group: Name of the column with the groups, or None.

    Returns:
        Name, place for messages, sequence and group of each record; blank rows are left out. Without a column of names, the
        name is the number of the row in a table, or of the line elsewhere.

    Raises:
        InputError: If a column is missing or comes twice, a row has more or fewer cells than the header or no group, a
            quote is not closed, or a line has more than one word.
    """
    delimiter = find_delimiter(first_line)
    if delimiter is not None:
        return _table(path, lines, delimiter, number, group)
    for delimiter in DELIMITERS:
        if delimiter in first_line.strip():
            raise _no_column(path, "sequence", first_line.split(delimiter))
    if group is not None:
        raise InputError(
            f"{path}: expected a table with a column {group}, found one sequence per line; add a header and the column"
        )
    return _one_per_line(path, lines, number)


def _one_per_line(path: Path, lines: Iterable[str], first: int) -> Iterator[Row]:
    """One sequence per line; blank lines are numbered, but are not records."""
    found = False
    for number, line in enumerate(lines, start=first):
        sequence = line.strip()
        if " " in sequence or "\t" in sequence:
            raise InputError(
                f"{path}: line {number}: expected one sequence per line, found white space in {excerpt(sequence)}; remove "
                "it, or write names and sequences as a table (CSV) or FASTA"
            )
        if sequence:
            found = True
            yield str(number), f"line {number}", sequence, None
    if not found:  # nothing but white space that is neither space nor tab
        raise empty_file(path)


def _table(path: Path, lines: Iterable[str], delimiter: str, first: int, group: str | None) -> Iterator[Row]:
    """Rows of a table whose header is the first of the lines."""
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    line = first
    count = 0
    try:
        header = [column.strip() for column in next(rows)]
        lowered = [column.lower() for column in header]
        sequence_at = _column(path, lowered, SEQUENCE_COLUMNS)
        name_at = _column(path, lowered, NAME_COLUMNS) if not set(NAME_COLUMNS).isdisjoint(lowered) else None
        group_at = _column(path, header, (group,)) if group is not None else None
        line = first + rows.line_num
        for row in rows:
            place = f"line {line}"
            line = first + rows.line_num
            if (len(row) != len(header) or not row[sequence_at]) and not "".join(row).strip():
                continue
            if len(row) != len(header):
                raise InputError(
                    f"{path}: {place}: expected {len(header)} columns as in the header, found {len(row)}; "
                    "mend the row, or put cells that contain the delimiter in quotes"
                )
            count += 1
            value = row[group_at].strip() if group_at is not None else None
            if value == "":
                raise InputError(f"{path}: {place}: expected a value in column {group}, found none; fill it in")
            name = row[name_at].strip() if name_at is not None else ""
            yield name or str(count), place, row[sequence_at].strip(), value
    except csv.Error as error:
        message = str(error).replace("\t", "tab")
        raise InputError(f"{path}: line {line}: the row cannot be read: {message}; check its quotes") from None
    if not count:
        raise InputError(f"{path}: line {first}: expected rows below the header, found none; add some")


def _column(path: Path, header: list[str], names: tuple[str, ...]) -> int:
    """The position in the header of the first of these names that occurs there."""
    name = next((name for name in names if name in header), names[0])
    if header.count(name) != 1:
        raise _no_column(path, name, header)
    return header.index(name)


def _no_column(path: Path, name: str, header: list[str]) -> InputError:
    """The error of a header in which a column is missing or comes twice."""
    found = excerpt(", ".join(header), 120)
    return InputError(
        f"{path}: expected one column named {excerpt(name)}, found: {found}; rename or add it in the header"
    )
