"""Distances of all reads to all, exact or from embeddings, and files of them for other programs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from nwa_lightning._kernels import default_threads
from nwa_lightning.data.targets import check_predicts_edits
from nwa_lightning.errors import InputError
from nwa_lightning.levenshtein import take_flat
from nwa_lightning.progress import track
from nwa_lightning.search.files import replaced
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.table import excerpt

if TYPE_CHECKING:
    from nwa_lightning.search.embedder import ReadEmbedder

#: The most numbers in memory at a time; and bounds of the rows that they make up.
_NUMBERS: Final = 1 << 24
_FEWEST_ROWS, _MOST_ROWS = 16, 512

#: Reads whose distances take more than a few seconds.
_WORTH_A_BAR: Final = 5000


class Distances(ABC):
    """Distances of all of N reads to all, computed when they are asked for.

    Args:
        sequences: N reads.
        fraction: Whether to divide the edits by the length of the longer read, instead of to count them.

    Attributes:
        names: N names.
        step: Rows that are computed at a time.
    """

    def __init__(self, sequences: Sequences, *, fraction: bool = False) -> None:
        self.names = sequences.names
        self.step = min(max(_NUMBERS // max(len(sequences), 1), _FEWEST_ROWS), _MOST_ROWS)
        self._lengths = sequences.lengths
        self._fraction = fraction

    def __len__(self) -> int:
        return len(self.names)

    @property
    @abstractmethod
    def unit(self) -> np.dtype[Any]:
        """Type of a number of edits."""

    @abstractmethod
    def edits(self, rows: slice, columns: slice) -> NDArray[Any]:
        """``(R, C)`` edits of some reads to others: symmetric to the last bit, with 0 on the diagonal.

        Args:
            rows: Begins at a multiple of ``step``, and has at most as many.
            columns: Begins at a multiple of ``step``, and ends at one or at N.
        """

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the distances: int32 for exact edits, float32 for all others."""
        return np.dtype(np.float32) if self._fraction else self.unit

    def blocks(self, *, upper: bool = False) -> Iterator[tuple[int, NDArray[Any]]]:
        """Row by row, many at a time, with a progress bar.

        Args:
            upper: Whether to begin each block at its own first read, which saves half of the time.

        Yields:
            Number of the first row, and ``(R, N)`` or, with ``upper``, ``(R, N - first)`` distances.
        """
        count = len(self)
        for first in track(range(0, count, self.step), "distances", worth=count > _WORTH_A_BAR):
            rows, columns = slice(first, min(first + self.step, count)), slice(first if upper else 0, count)
            found = self.edits(rows, columns)
            if self._fraction:
                longer = np.maximum(self._lengths[rows, None], self._lengths[None, columns])
                found = (found / np.maximum(longer, 1)).astype(np.float32)
            yield first, found


class ExactDistances(Distances):
    """Edit distances (Levenshtein, 1966) by the compiled kernel.

    Args:
        sequences: N reads.
        fraction: As in ``Distances``.
        threads: Threads that share a block; None for one per core.
    """

    def __init__(self, sequences: Sequences, *, fraction: bool = False, threads: int | None = None) -> None:
        super().__init__(sequences, fraction=fraction)
        self._threads = threads or default_threads()
        bases = sequences.bases
        self._letters = take_flat(bases.flat, bases.starts, bases.lengths, threads=self._threads)

    @property
    def unit(self) -> np.dtype[Any]:
        """int32."""
        return np.dtype(np.int32)

    def edits(self, rows: slice, columns: slice) -> NDArray[np.int32]:
        """See ``Distances``."""
        one, two = (np.arange(side.start, side.stop) for side in (rows, columns))
        return self._letters.block(one, two, threads=self._threads)


class EmbeddedDistances(Distances):
    """Edit distances as a model predicts them from one vector per read.

    Args:
        sequences: N reads.
        embedder: The model.
        fraction: As in ``Distances``.

    Raises:
        InputError: If the model predicts something other than edits, or a read is too long for it.
    """

    def __init__(self, sequences: Sequences, embedder: ReadEmbedder, *, fraction: bool = False) -> None:
        super().__init__(sequences, fraction=fraction)
        check_predicts_edits(embedder.model)
        self._embedder = embedder
        self._vectors = embedder.embed(sequences)

    @property
    def unit(self) -> np.dtype[Any]:
        """float32."""
        return np.dtype(np.float32)

    def edits(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """See ``Distances``."""
        firsts = range(columns.start, columns.stop, self.step)
        return np.concatenate([self._tile(rows.start, first) for first in firsts], axis=1)

    def _tile(self, row: int, column: int) -> NDArray[np.float32]:
        """A square of the matrix; one below the diagonal is its mirror image, for the last bits depend on the order."""
        if row > column:
            return self._tile(column, row).T
        one, two = (self._vectors[first : first + self.step] for first in (row, column))
        found = self._embedder.predicted_edits(one, two)
        if row == column:
            found = np.triu(found, 1)
            found = found + found.T
        return found


def distances_of(
    sequences: Sequences, embedder: ReadEmbedder | None = None, *, fraction: bool = False, threads: int | None = None
) -> Distances:
    """Distances as a model predicts them, or exact ones without a model.

    Args:
        sequences: N reads.
        embedder: The model.
        fraction: As in ``Distances``.
        threads: As in ``ExactDistances``.

    Raises:
        InputError: If a read is too long for the model.
    """
    if embedder is None:
        return ExactDistances(sequences, fraction=fraction, threads=threads)
    return EmbeddedDistances(sequences, embedder, fraction=fraction)


def write_distances(distances: Distances, out: Path) -> list[Path]:
    """Write all distances to a file, some rows at a time, so memory does not grow with the square of the reads.

    Args:
        distances: Of N reads.
        out: Where; its ending is one of ``FORMATS``. ``.npy`` is an ``(N, N)`` array, with the names, one per line, in
            ``.names.txt`` beside it. ``.tsv`` has a header and a first column of names. ``.phylip`` and ``.phy`` are the
            square, relaxed form of PHYLIP (Felsenstein, 1989): the number of reads, then a name and N numbers per line.
            Text has six digits of a number.

    Returns:
        What was written.

    Raises:
        InputError: See ``check_out``; or if the file cannot be written.
    """
    ending = check_out(out, distances.names)
    with replaced(out) as part, part.open("wb") as file:
        FORMATS[ending](distances, file)
    if ending != ".npy":
        return [out]
    names = out.with_suffix(".names.txt")
    with replaced(names) as part:
        part.write_bytes("".join(f"{name}\n" for name in distances.names).encode())
    return [out, names]


def check_out(out: Path, names: list[str]) -> str:
    """The ending of a file for distances, in lower case; checked before the work begins.

    Args:
        out: The file.
        names: Names of the reads; those of ``.npy`` may occur more than once.

    Raises:
        InputError: If the ending is none of ``FORMATS``, there is no such folder, or a name does not fit the format.
    """
    ending = out.suffix.lower()
    if ending not in FORMATS:
        raise InputError(f"--out: expected a file that ends in .npy, .tsv or .phylip (.phy), found {out}; rename it")
    check_folder(out)
    check_names(names, out, unique=ending != ".npy", spaces=ending in (".npy", ".tsv"))
    return ending


def check_folder(out: Path) -> None:
    """Make sure, before the work begins, that the folder of a file exists.

    Raises:
        InputError: If it does not.
    """
    if not out.parent.is_dir():
        raise InputError(f"--out: expected a file in a folder that exists, found no {out.parent}; make the folder")


def check_names(names: list[str], file: object, *, unique: bool = True, spaces: bool = True) -> None:
    """Make sure that every name fits in a line of a file.

    Args:
        names: Names of reads.
        file: What they are for, in messages.
        unique: Whether a name may occur only once.
        spaces: Whether white space may occur within a name.

    Raises:
        InputError: It names the first name that does not fit.
    """
    seen: set[str] = set()
    for number, name in enumerate(names, start=1):
        if unique and name in seen:
            raise InputError(
                f"{file}: record {number}: expected names that differ, found {excerpt(name)} twice; rename it, or leave it out"
            )
        if not name or any(letter in "\t\r\n" for letter in name):
            raise InputError(
                f"{file}: record {number}: expected a name without tabs and line ends, found {name!a}; rename the read"
            )
        if not spaces and any(letter.isspace() for letter in name):
            raise InputError(
                f"{file}: record {number}: expected a name without white space, found {excerpt(name)}; rename the read, or "
                f"write .tsv"
            )
        seen.add(name)


def _write_npy(distances: Distances, file: IO[bytes]) -> None:
    count = len(distances)
    header = {"descr": np.lib.format.dtype_to_descr(distances.dtype), "fortran_order": False, "shape": (count, count)}
    np.lib.format.write_array_header_1_0(file, header)
    for _, rows in distances.blocks():
        file.write(np.ascontiguousarray(rows, dtype=distances.dtype).data)


def _write_tsv(distances: Distances, file: IO[bytes]) -> None:
    file.write("".join([*(f"\t{name}" for name in distances.names), "\n"]).encode())
    _write_lines(distances, file, "\t")


def _write_phylip(distances: Distances, file: IO[bytes]) -> None:
    file.write(f"{len(distances)}\n".encode())
    _write_lines(distances, file, " ")


def _write_lines(distances: Distances, file: IO[bytes], between: str) -> None:
    """A name and the numbers of each row."""
    mask = between.join(["%d" if distances.dtype.kind == "i" else "%.6g"] * len(distances))
    for first, rows in distances.blocks():
        for name, row in zip(distances.names[first:], rows.tolist(), strict=False):
            file.write(f"{name}{between}{mask % tuple(row)}\n".encode())


#: How each format is written, by the ending of the file.
FORMATS: Final[dict[str, Callable[[Distances, IO[bytes]], None]]] = {
    ".npy": _write_npy,
    ".tsv": _write_tsv,
    ".phylip": _write_phylip,
    ".phy": _write_phylip,
}
