"""Which of many sequences share the most k-mers with a query: candidates without a model, for sequences that are not alike.

Noisy copies of random strands share k-mers with their strand and with hardly any other. Variants of one gene share k-mers with
all others, so that the rows of the table are long and tell little: they are better told apart by vectors.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nwa_lightning._kernels import compiled, parallel_slices
from nwa_lightning.sequences.collection import Sequences

#: The shortest and the longest k-mers; the table of the longest has 262,144 rows for each bin.
_SHORTEST: Final = 4
_LONGEST: Final = 9

#: The most rows of a table: this many, or as many for each letter.
_ROWS: Final = 1 << 20
_ROWS_OF_LETTER: Final = 4

#: k-mers that two unrelated sequences share: few are enough, and fewer still are better if related ones share many.
_BY_CHANCE: Final = (0.5, 0.02)
_RELATED: Final = 8

#: The most targets that a query meets by chance.
_MET: Final = 50_000

#: Two sequences are alike if they share more than this part of their k-mers.
_ALIKE: Final = 1 / 16

#: A new part of a growing index joins the one before it, unless that is this many times as large.
_LARGER: Final = 4


class KmerIndex:
    """A table of all k-mers and of bins of positions, with the sequences that have each there (``src_ext/kmer_index.c``).

    Insertions and deletions move a k-mer by about the square root of the length, which is the width of a bin.

    Args:
        sequences: N sequences.
        edits: Edits between related sequences, which should share some k-mers; None for many. The k-mers are so long that
            unrelated sequences share few.
        k: Letters of a k-mer, to choose it oneself.
    """

    def __init__(self, sequences: Sequences, edits: int | None = None, *, k: int | None = None) -> None:
        self.count = len(sequences)
        self._shift = math.ceil(math.log2(max(1, sequences.max_length)) / 2)
        bins = (sequences.max_length >> self._shift) + 1
        self.k = _suitable_k(sequences, 1 << self._shift, edits) if k is None else k
        self._table = self.k, self._shift, bins
        self._ends = np.zeros(4**self.k * bins + 1, dtype=np.int64)
        arrays = _arrays(sequences)
        compiled.kmer_fill(*arrays, *self._table, self._ends, None)
        np.cumsum(self._ends, out=self._ends)
        self._targets = np.empty(int(self._ends[-1]), dtype=np.int32)
        compiled.kmer_fill(*arrays, *self._table, self._ends[:-1].copy(), self._targets)

    @cached_property
    def alike(self) -> bool:
        """Whether two of the sequences share so many k-mers that these tell little."""
        sizes = np.diff(self._ends).astype(np.float64)
        return float((sizes * (sizes - 1)).sum()) > _ALIKE * (self.count - 1) * float(sizes.sum())

    def nearest(
        self, queries: Sequences, most: int, *, threads: int = 1
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The sequences that share the most k-mers with each query, and what is known of all others.

        An edit changes at most k of the k-mers of a query (Ukkonen, 1992, doi 10.1016/0304-3975(92)90143-4), and moves the
        others by one position.

        Args:
            queries: Q sequences.
            most: How many of them.
            threads: Threads that share the queries.

        Returns:
            ``(Q, most)`` rows, the best first, -1 where there are fewer; and ``(Q,)`` edits that all others are at least away.
        """
        found, left = np.empty((len(queries), most), dtype=np.int32), np.empty(len(queries), dtype=np.int32)
        flat, starts, lengths = _arrays(queries)

        def look(part: slice) -> None:
            index = self._ends, self._targets, self.count
            compiled.kmer_nearest(flat, starts[part], lengths[part], *self._table, *index, found[part], left[part])

        parallel_slices(look, len(queries), threads=threads)
        kmers = np.clip(lengths - self.k + 1, 0, compiled.kmer_most)
        # Beyond the width of a bin, a k-mer may have moved to where it was not counted.
        return found.astype(np.int64), np.minimum(-((left - kmers) // self.k), (1 << self._shift) + 1)


class GrowingKmerIndex:
    """A k-mer index of sequences that are added over time, as a few indexes of which each is much larger than the next.

    Args:
        sequences: All sequences, of which some will be added.
        edits: As in ``KmerIndex``.
    """

    def __init__(self, sequences: Sequences, edits: int | None = None) -> None:
        self._sequences = sequences
        self._edits = edits
        self._rows = np.empty(0, dtype=np.int64)
        self._parts: list[tuple[int, KmerIndex]] = []

    def add(self, rows: NDArray[np.int64]) -> None:
        """Add some of the sequences; they are numbered in the order in which they are added."""
        start, count = len(self._rows), len(rows)
        self._rows = np.concatenate([self._rows, rows])
        while self._parts and self._parts[-1][1].count < _LARGER * count:
            start, part = self._parts.pop()
            count += part.count
        self._parts.append((start, KmerIndex(self._sequences.take(self._rows[start:]), self._edits)))

    @cached_property
    def alike(self) -> bool:
        """Whether two of the sequences share so many k-mers that these tell little."""
        return bool(self._parts) and self._parts[0][1].alike

    def nearest(
        self, queries: Sequences, most: int, *, threads: int = 1
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """As ``KmerIndex.nearest``, with ``most`` rows of each part: numbers in the order in which they were added."""
        parts = [(start, *part.nearest(queries, most, threads=threads)) for start, part in self._parts]
        rows = np.concatenate([np.where(found < 0, -1, found + start) for start, found, _ in parts], axis=1)
        return rows, np.min([far for _, _, far in parts], axis=0)


def _suitable_k(sequences: Sequences, width: int, edits: int | None) -> int:
    length, count = sequences.max_length, len(sequences)
    shared = max(1, length * min(3 * width, length))  # pairs of places whose k-mers are compared
    some, few = (math.ceil(math.log(shared / min(chance, _MET / max(1, count)), 4)) for chance in _BY_CHANCE)
    # Each letter of a related sequence is unchanged with this probability.
    same = 0.0 if edits is None else 1 - edits / max(1, length)
    longer = few if same >= 1 else 0 if same <= 0 else int(math.log(_RELATED / max(_RELATED, length)) / math.log(same))
    filled = int(math.log(max(1, count * width), 4))  # with longer ones, most of the table is empty
    rows = max(_ROWS, _ROWS_OF_LETTER * int(sequences.lengths.sum())) / (length // width + 1)
    most = max(_SHORTEST, min(_LONGEST, int(math.log(max(1, rows), 4))))
    return min(max(some, min(few, longer, filled), _SHORTEST), most)


def _arrays(sequences: Sequences) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    bases = sequences.bases
    return np.ascontiguousarray(bases.flat), np.ascontiguousarray(bases.starts), np.ascontiguousarray(bases.lengths)
