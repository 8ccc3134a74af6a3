"""Split files of reads into parts of limited size, by content: all copies of a read are in one part.

A part is a random sample of the distinct reads, since a checksum of its bases decides. Memory does not grow with the files.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from nwa_lightning.errors import InputError
from nwa_lightning.progress import counted
from nwa_lightning.search.files import replaced
from nwa_lightning.search.reads import Reads, name_and_size
from nwa_lightning.sequences.alphabet import Alphabet
from nwa_lightning.sequences.catalog import find_source, source_records
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.packed import Packing

#: Bytes of text per part, about 100,000 reads of 150 bases.
PART_BYTES: Final = 1 << 24

#: The most parts; larger files get larger parts.
MOST_PARTS: Final = 4096

#: Bytes of text for each byte of a compressed file of reads, roughly.
_COMPRESSION: Final = 4

#: Reads that wait in memory before they are written to their parts.
_WAITING: Final = 1 << 17

_COMPRESSED: Final = (".gz", ".bz2", ".xz", ".zst")

DONE: Final = "split.json"


@dataclass(frozen=True)
class Partition:
    """A finished split.

    Attributes:
        source: Name, bytes and checksum of every file, as text.
        settings: What else decides the content: model, alphabet, what happens to reads that do not fit.
        reads: Reads in all parts, copies included.
        dropped: Reads with other letters that were left out.
        parts: Number of parts.
    """

    source: list[str]
    settings: list[str]
    reads: int
    dropped: int
    parts: int

    def path(self, folder: Path, number: int) -> Path:
        """The file of a part."""
        return _path(folder, number)


def describe_sources(sources: Sequence[str]) -> list[str]:
    """Name, bytes and CRC-32 of each file, to recognise it wherever it is; the name alone for a simulated set.

    Raises:
        InputError: If there is no such file or set, or it cannot be read.
    """
    found = []
    for source in sources:
        path, size = find_source(source)
        same = f" ({size} bytes, CRC-32 {_crc32(path):08x})" if isinstance(path, Path) else ""
        found.append(f"{path.name if isinstance(path, Path) else path}{same}")
    return found


def check_finished(
    folder: Path, sources: Sequence[str], found: Sequence[str], settings: Mapping[str, str], made: Mapping[str, str]
) -> None:
    """A finished folder is that of the same reads and the same settings.

    Args:
        folder: Folder of ``nwa embed``.
        sources: Files or sets that are asked for.
        found: ``describe_sources`` of those in the folder.
        settings: Settings that are asked for, by name.
        made: Those that the folder was made with.

    Raises:
        InputError: If they differ.
    """
    wanted = describe_sources(sources)
    if list(found) != wanted:
        raise InputError(
            f"{folder}: expected embeddings of {', '.join(wanted)}, found those of {', '.join(found)}; name another "
            f"folder, or add reads to this one: nwa index {folder} --add {' '.join(sources)}"
        )
    if settings != made:
        asked, given = (
            ", ".join(f"{name} {value}" for name, value in one.items() if other.get(name) != value)
            for one, other in ((settings, made), (made, settings))
        )
        raise InputError(
            f"{folder}: expected embeddings by {asked}, found those by {given}; name another folder (--out), or give the "
            f"options of this one"
        )


def split_reads(
    sources: Sequence[str],
    folder: Path,
    *,
    alphabet: Alphabet,
    max_length: int | None,
    on_invalid: str,
    settings: Iterable[str] = (),
) -> Partition:
    """Write the reads of some files into parts; if that was done before, the parts are used again.

    Args:
        sources: Files or names of sets, as ``load_sequences`` takes them.
        folder: Folder for the parts; created if missing.
        alphabet: Alphabet of the reads.
        max_length: The most bases of a read; None for any.
        on_invalid: ``"error"`` or ``"drop"``, for reads with other letters.
        settings: Whatever else must be the same to use the parts again.

    Returns:
        The finished split.

    Raises:
        InputError: If a file cannot be read, holds a read that does not fit, or a part cannot be written; or if the parts are
            those of other files or settings.
    """
    source = describe_sources(sources)
    wanted = [alphabet.name, str(max_length), on_invalid, *settings]
    done = read_partition(folder)
    if done is not None:
        if (done.source, done.settings) != (source, wanted):
            raise InputError(
                f"{folder.parent}: expected an unfinished run with these reads, this model and these options, found one of "
                f"{', '.join(done.source)}, which differs; delete the folder, or name another"
            )
        return done
    shutil.rmtree(folder, ignore_errors=True)
    with replaced(folder / DONE) as written:
        folder.mkdir(parents=True)
        splitter = _Splitter(folder, _count_parts(sources), alphabet, max_length, on_invalid)
        for name in sources:
            splitter.add(name)
        splitter.flush()
        if not splitter.reads:
            raise InputError(f"{sources[0]}: expected reads, found none that can be used; give another file")
        partition = Partition(source, wanted, splitter.reads, splitter.dropped, splitter.parts)
        written.write_text(json.dumps(asdict(partition)))
    return partition


def read_partition(folder: Path) -> Partition | None:
    """The finished split in a folder; None if there is none."""
    try:
        return Partition(**json.loads((folder / DONE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def read_part(path: Path, alphabet: Alphabet) -> Reads:
    """The distinct reads of a part, in the order of their first copies.

    Raises:
        InputError: If the file cannot be read.
    """
    rows: dict[bytes, int] = {}
    sizes: list[int] = []
    names = Packing()
    try:
        with path.open("rb") as file:
            for line in file:
                name, size, sequence = line[:-1].split(b"\t")
                row = rows.setdefault(sequence, len(rows))
                if row == len(sizes):
                    sizes.append(0)
                    names.add(name)
                sizes[row] += int(size)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a part of the reads, found {error}; run the command again") from None
    bases = Packing()
    for sequence in rows:
        bases.add(sequence.translate(alphabet.codes))
    return Reads(Sequences(bases.packed(), names.packed()), np.array(sizes, dtype=np.int64))


class _Splitter:
    """Collects reads, merges copies among those that wait, and appends them to the files of the parts."""

    def __init__(self, folder: Path, parts: int, alphabet: Alphabet, max_length: int | None, on_invalid: str) -> None:
        self.folder = folder
        self.parts = parts
        self.alphabet = alphabet
        self.max_length = max_length
        self.on_invalid = on_invalid
        self.reads = self.dropped = 0
        self._names: dict[bytes, bytes] = {}
        self._copies: dict[bytes, int] = {}
        for number in range(parts):  # a part may stay empty
            _path(folder, number).touch()

    def add(self, source: str) -> None:
        """Add all reads of a file."""
        path, size = find_source(source)
        valid = self.alphabet.letters.upper().encode()
        with counted(f"reading {Path(source).name}", size, worth=size > PART_BYTES) as progress:
            for name, place, letters, _ in source_records(source, progress=progress):
                sequence = letters.encode("ascii", "replace").upper()
                if not sequence:
                    raise InputError(f"{path}: {place}: the sequence is empty; remove the record")
                if self.max_length is not None and len(sequence) > self.max_length:
                    raise InputError(
                        f"{path}: {place}: expected at most {self.max_length} bases, for which the model was built, found "
                        f"{len(sequence)}; cut the reads, or train on longer ones"
                    )
                if sequence.translate(None, valid):  # something is left without the letters of the alphabet
                    self._drop(letters, f"{path}: {place}")
                    continue
                label, copies = name_and_size(name.encode())
                self.reads += copies
                self._names.setdefault(sequence, label)
                self._copies[sequence] = self._copies.get(sequence, 0) + copies
                if len(self._names) >= _WAITING:
                    self.flush()

    def _drop(self, letters: str, place: str) -> None:
        """Count a read with other letters, unless it is an error."""
        if self.on_invalid == "error":
            try:
                self.alphabet.encode(letters)
            except InputError as error:
                raise InputError(
                    f"{place}, {error}; choose another alphabet (--alphabet), or drop such reads (--on_invalid drop)"
                ) from None
        self.dropped += 1

    def flush(self) -> None:
        """Write what waits."""
        lines: dict[int, list[bytes]] = {}
        for sequence, label in self._names.items():
            line = b"%b\t%d\t%b\n" % (b" ".join(label.split()), self._copies[sequence], sequence)
            lines.setdefault(zlib.crc32(sequence) % self.parts, []).append(line)
        for number, those in lines.items():
            with _path(self.folder, number).open("ab") as file:
                file.write(b"".join(those))
        self._names.clear()
        self._copies.clear()


def _crc32(path: Path) -> int:
    found = 0
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                found = zlib.crc32(block, found)
    except OSError as error:
        raise InputError(
            f"{path}: expected a file that can be read, found: {error.strerror}; check its name and permissions"
        ) from None
    return found


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.tsv"


def _count_parts(sources: Sequence[str]) -> int:
    text = 0
    for source in sources:
        path, size = find_source(source)
        text += size * (_COMPRESSION if str(path).endswith(_COMPRESSED) else 1)
    return max(1, min(MOST_PARTS, round(text / PART_BYTES)))
