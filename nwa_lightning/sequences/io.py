"""Records of a FASTA, FASTQ or one-sequence-per-line file, compressed or not."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import dnaio
from xopen import xopen

from nwa_lightning.errors import InputError


def read_records(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (name, place for messages, sequence) of every record; every failure to read becomes an InputError."""
    count = 0
    try:
        first = _first_character(path)
        if first in (">", "@"):
            with dnaio.open(path, fileformat="fasta" if first == ">" else "fastq") as reader:
                for count, record in enumerate(reader, start=1):
                    yield record.id, f"record {count} ({record.id})", record.sequence
        else:
            with xopen(path) as lines:
                for count, line in enumerate(lines, start=1):
                    if line.strip():
                        yield str(count), f"line {count}", line.strip()
    except UnicodeDecodeError:
        raise InputError(f"{path}: expected text, found bytes that are no text; is it a sequence file?") from None
    except dnaio.FileFormatError as error:
        message = " ".join(str(error).split())
        raise InputError(f"{path}: damaged after record {count}: {message}; repair or cut the file there") from None
    except (EOFError, zlib.error, OSError) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: cannot be read past record {count}: {message}; is the file complete?") from None
    if not first:
        raise InputError(f"{path}: expected FASTA, FASTQ or one sequence per line, found an empty file")


def _first_character(path: Path) -> str:
    """The first character of the file that is not white space, or nothing."""
    with xopen(path) as lines:
        for line in lines:
            if line.strip():
                return str(line.lstrip()[0])
    return ""
