"""Edit distances of sequences of at most 32 different letters, by the compiled kernel (``src_ext/edit_band.c``).

Letters become codes and bit planes once (``Letters``); then pairs may be asked for in any order and as often as wanted. A
cutoff saves time: pairs that turn out to be farther apart are given up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nwa_lightning._kernels import compiled, parallel_slices

#: The most different letters that the kernel takes.
MOST_LETTERS: Final = 32

_FARTHEST: Final = np.iinfo(np.int32).max - 1
_GROUP: Final = 64  # pairs a thread takes at the least; a multiple of what the widest kernel does at once


@dataclass(frozen=True, eq=False)
class Letters:
    """Sequences as the kernel wants them.

    Attributes:
        words: ``(words, planes)`` bits of the codes, 64 letters a word.
        codes: ``(64 words,)`` codes from 0 on, zeros after each sequence.
        places: ``(N,)`` first word of each sequence.
        lengths: ``(N,)`` letters of each.
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
        """Take up sequences that lie in flat memory.

        Args:
            flat: ``(total,)`` letters, any bytes.
            starts: ``(N,)`` place of each sequence in ``flat``.
            lengths: ``(N,)`` letters of each.
            threads: Threads that share the sequences.

        Returns:
            The letters, or None where there are more than 32 different ones.
        """
        flat, starts, lengths = (np.ascontiguousarray(array) for array in (flat, starts, lengths))
        seen = np.zeros(256, dtype=np.uint8)
        parallel_slices(
            lambda part: compiled.edit_seen(flat, starts[part], lengths[part], seen), len(starts), threads=threads
        )
        letters = np.flatnonzero(seen)
        if len(letters) > MOST_LETTERS:
            return None
        table = np.zeros(256, dtype=np.uint8)
        table[letters] = np.arange(len(letters))
        planes = 2 if len(letters) <= 4 else 3 if len(letters) <= 8 else 5
        taken = -(-lengths // 64)
        ends = np.cumsum(taken)
        places = ends - taken
        words = np.empty((int(ends[-1]) if len(ends) else 0, planes), dtype=np.uint64)
        codes = np.empty(64 * len(words), dtype=np.uint8)

        def pack(part: slice) -> None:
            compiled.edit_pack(flat, starts[part], lengths[part], table, places[part], words, codes)

        parallel_slices(pack, len(starts), threads=threads)
        return cls(words, codes, places, lengths, int(lengths.max(initial=0)))

    def pairs(self, pairs: NDArray[np.int64], *, cutoff: int | None = None, threads: int = 1) -> NDArray[np.int32]:
        """Distances of listed pairs.

        Args:
            pairs: ``(P, 2)`` rows of these sequences; they are not checked.
            cutoff: Distances above it are given as ``cutoff + 1``; None for all distances as they are.
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
            # The n-th group of columns has n groups of rows before it: the first and the last make one share, and so on.
            first, last, _ = part.indices(-(-groups // 2))
            for start, stop in ((first, last), (max(last, groups - last), groups - first)):
                columns = order[start * lanes : stop * lanes]
                compiled.edit_rows(*self._all, order, columns, start * lanes, 0, 0, limit, out)

        parallel_slices(fill, -(-groups // 2), threads=threads)
        return out

    def block(
        self, rows: slice, columns: slice, *, cutoff: int | None = None, threads: int = 1
    ) -> NDArray[np.int32]:
        """Distances of some sequences to some others, such as of one to many.

        Args:
            rows: Which sequences, without a step.
            columns: Which others; the two may overlap.
            cutoff: As in ``pairs``.
            threads: Threads that share the columns.

        Returns:
            ``(rows, columns)`` distances.
        """
        row, row_end, _ = rows.indices(len(self.lengths))
        column, column_end, _ = columns.indices(len(self.lengths))
        out = np.empty((max(0, row_end - row), max(0, column_end - column)), dtype=np.int32)
        ordered = column + np.argsort(self.lengths[column:column_end], kind="stable")
        listed, limit = np.arange(row, row_end), _limit(cutoff)

        def fill(part: slice) -> None:
            compiled.edit_rows(*self._all, listed, ordered[part], -1, row, column, limit, out)

        parallel_slices(fill, len(ordered), threads=threads, group=compiled.edit_lanes)
        return out

    @property
    def _all(self) -> tuple[NDArray[np.uint64], NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64], int]:
        return self.words, self.codes, self.places, self.lengths, self.longest


def _limit(cutoff: int | None) -> int:
    return _FARTHEST if cutoff is None else min(cutoff, _FARTHEST)
