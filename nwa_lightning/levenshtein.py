"""Edit distances (Levenshtein 1966) of many pairs of byte strings, unchecked; ``nwa_lightning.alignment`` checks.

Sequences of at most 32 different letters are turned into bit planes once (``Letters``), and the compiled kernel takes any
pairs of them (``src_ext/edit_band.c``). All others are left to rapidfuzz (``Strings``). A cutoff saves time: the computation
stops early for pairs that are farther apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist, cpdist

from nwa_lightning._kernels import compiled, parallel_slices

#: The most different letters that the kernel takes.
MOST_LETTERS: Final = 32

_FARTHEST: Final = np.iinfo(np.int32).max - 1
_GROUP: Final = 64  # the fewest pairs per thread; a multiple of the pairs that the widest kernel handles at once


@dataclass(frozen=True, eq=False)
class Letters:
    """Sequences of few different letters, in the form that the kernel takes.

    Attributes:
        words: ``(words, planes)`` bits of the codes, 64 letters per word.
        codes: ``(64 words,)`` codes, counted from 0, with zeros after each sequence.
        places: ``(N,)`` first word of each sequence.
        lengths: ``(N,)`` letters of each sequence.
        longest: The longest length.
    """

    words: NDArray[np.uint64]
    codes: NDArray[np.uint8]
    places: NDArray[np.int64]
    lengths: NDArray[np.int64]
    longest: int

    @classmethod
    def of(
        cls, flat: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64], *, threads: int = 1
    ) -> Letters | None:
        """Make it from sequences in flat memory.

        Args:
            flat: ``(total,)`` letters, any bytes.
            starts: ``(N,)`` place of each sequence in ``flat``.
            lengths: ``(N,)`` letters of each sequence.
            threads: Threads that share the sequences.

        Returns:
            The letters, or None if there are more than 32 different ones.
        """
        flat, starts, lengths = np.ascontiguousarray(flat), np.ascontiguousarray(starts), np.ascontiguousarray(lengths)
        found: list[NDArray[np.uint8]] = []

        def look(part: slice) -> None:
            seen = np.zeros(256, dtype=np.uint8)
            compiled.edit_seen(flat, starts[part], lengths[part], seen)
            found.append(seen)

        parallel_slices(look, len(starts), threads=threads)
        letters = np.flatnonzero(np.any(found, axis=0)).astype(np.uint8)
        if len(letters) > MOST_LETTERS:
            return None
        planes = 2 if len(letters) <= 4 else 3 if len(letters) <= 8 else 5
        taken = -(-lengths // 64)
        ends = np.cumsum(taken)
        places = ends - taken
        words = np.empty((int(ends[-1]) if len(ends) else 0, planes), dtype=np.uint64)
        codes = np.empty(64 * len(words), dtype=np.uint8)

        def pack(part: slice) -> None:
            compiled.edit_pack(flat, starts[part], lengths[part], letters, places[part], words, codes)

        parallel_slices(pack, len(starts), threads=threads)
        return cls(words, codes, places, lengths, int(lengths.max(initial=0)))

    def pairs(self, pairs: NDArray[np.int64], *, cutoff: int | None = None, threads: int = 1) -> NDArray[np.int32]:
        """Distances of listed pairs.

        Args:
            pairs: ``(P, 2)`` rows of these sequences; they are not checked.
            cutoff: Distances above the cutoff are returned as ``cutoff + 1``; None for exact distances.
            threads: Threads that share the pairs.

        Returns:
            ``(P,)`` distances.
        """
        pairs = np.ascontiguousarray(pairs, dtype=np.int64)
        out = np.empty(len(pairs), dtype=np.int32)
        limit = _limit(cutoff)

        def fill(part: slice) -> None:
            compiled.edit_pairs(*self._all, pairs[part], limit, out[part])

        parallel_slices(fill, len(pairs), threads=threads, group=_GROUP)
        return out

    def all_pairs(self, *, cutoff: int | None = None, threads: int = 1) -> NDArray[np.int32]:
        """Distances of all to all: a symmetric ``(N, N)`` matrix; ``cutoff`` and ``threads`` as in ``pairs``."""
        out = np.zeros((len(self.lengths), len(self.lengths)), dtype=np.int32)
        order = np.argsort(self.lengths, kind="stable")
        lanes, limit = compiled.edit_lanes, _limit(cutoff)
        groups = -(-len(order) // lanes)

        def fill(part: slice) -> None:
            # The n-th group of columns has n groups of rows before it. So the first and the last group make one part, etc.
            first, last, _ = part.indices(-(-groups // 2))
            for start, stop in ((first, last), (max(last, groups - last), groups - first)):
                columns = order[start * lanes : stop * lanes]
                compiled.edit_rows(*self._all, order, columns, order, columns, start * lanes, limit, out)

        parallel_slices(fill, -(-groups // 2), threads=threads)
        return out

    def block(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64], *, cutoff: int | None = None, threads: int = 1
    ) -> NDArray[np.int32]:
        """Distances of some sequences to some others, such as of one to many.

        Args:
            rows: ``(R,)`` numbers of sequences; they are not checked.
            columns: ``(C,)`` numbers of other sequences; preferably more of them than rows.
            cutoff: As in ``pairs``.
            threads: Threads that share the columns.

        Returns:
            ``(R, C)`` distances.
        """
        rows, columns = np.ascontiguousarray(rows), np.ascontiguousarray(columns)
        out = np.empty((len(rows), len(columns)), dtype=np.int32)
        order = np.argsort(self.lengths[columns], kind="stable")
        sorted_columns, every_row, limit = columns[order], np.arange(len(rows)), _limit(cutoff)

        def fill(part: slice) -> None:
            compiled.edit_rows(*self._all, rows, sorted_columns[part], every_row, order[part], -1, limit, out)

        parallel_slices(fill, len(columns), threads=threads, group=compiled.edit_lanes)
        return out

    @property
    def _all(self) -> tuple[NDArray[np.uint64], NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64], int]:
        return self.words, self.codes, self.places, self.lengths, self.longest


@dataclass(frozen=True, eq=False)
class Strings:
    """All other sequences, for rapidfuzz; the methods are those of ``Letters``.

    Attributes:
        strings: Strings, bytes, or other sequences that rapidfuzz compares.
    """

    strings: Sequence[Any]

    def pairs(self, pairs: NDArray[np.int64], *, cutoff: int | None = None, threads: int = 1) -> NDArray[np.int32]:
        """Distances of listed pairs."""
        one, two = ([self.strings[row] for row in side] for side in pairs.T.tolist())
        found: NDArray[np.int32] = cpdist(
            one, two, scorer=Levenshtein.distance, score_cutoff=cutoff, dtype=np.int32, workers=threads
        )
        return found

    def all_pairs(self, *, cutoff: int | None = None, threads: int = 1) -> NDArray[np.int32]:
        """Distances of all to all."""
        # With the same list twice, rapidfuzz computes one half and mirrors it.
        return self._table(self.strings, self.strings, cutoff, threads)

    def block(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64], *, cutoff: int | None = None, threads: int = 1
    ) -> NDArray[np.int32]:
        """Distances of some sequences to some others."""
        one, two = ([self.strings[row] for row in side.tolist()] for side in (rows, columns))
        return self._table(one, two, cutoff, threads)

    @staticmethod
    def _table(one: Sequence[Any], two: Sequence[Any], cutoff: int | None, threads: int) -> NDArray[np.int32]:
        found: NDArray[np.int32] = cdist(
            one, two, scorer=Levenshtein.distance, score_cutoff=cutoff, dtype=np.int32, workers=threads
        )
        return found


def take_flat(
    flat: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64], *, threads: int = 1
) -> Letters | Strings:
    """Sequences in flat memory, ready for distances; arguments as in ``Letters.of``."""
    letters = Letters.of(flat, starts, lengths, threads=threads)
    if letters is not None:
        return letters
    ends = (starts + lengths).tolist()
    return Strings([flat[start:end].tobytes() for start, end in zip(starts.tolist(), ends, strict=True)])


def take_strings(strings: Sequence[Any], *, threads: int = 1) -> Letters | Strings:
    """A list of sequences, ready for distances."""
    kinds = set(map(type, strings))
    if kinds <= {bytes}:
        joined = b"".join(strings)
    elif kinds == {str} and (text := "".join(strings)).isascii():
        joined = text.encode()
    else:
        return Strings(strings)
    lengths = np.fromiter(map(len, strings), dtype=np.int64, count=len(strings))
    letters = Letters.of(np.frombuffer(joined, dtype=np.uint8), np.cumsum(lengths) - lengths, lengths, threads=threads)
    return Strings(strings) if letters is None else letters


def _limit(cutoff: int | None) -> int:
    return _FARTHEST if cutoff is None else min(cutoff, _FARTHEST)
