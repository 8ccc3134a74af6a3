"""Centroids of clusters, and the nearest of them to each read: the comparisons behind ``nwa_lightning.search.clusters``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.search.exact import letters_of, pair_edits
from nwa_lightning.search.kmers import GrowingKmerIndex, KmerIndex
from nwa_lightning.search.limits import FAR, Limit
from nwa_lightning.sequences.collection import Sequences

if TYPE_CHECKING:
    from nwa_lightning.search.embedder import ReadEmbedder

#: Centroids that reads are compared with at a time.
COLUMNS: Final = 1024

#: With more centroids than this, k-mers or vectors choose which of them are compared.
MOST_COMPARED: Final = 4096

#: Nearest centroids that a read is compared with; vectors are found in this many cells of an index.
_FIRST_LOOK: Final = 8
_CELLS: Final = 8

#: Centroids that a read is compared with before it becomes a centroid itself.
_SECOND_LOOK: Final = 64

#: Makes the model that chooses candidates, from the reads.
EmbedderMaker: TypeAlias = "Callable[[Sequences], ReadEmbedder]"


class Centroids:
    """Reads that are centroids, and the edit distance of each read to the nearest.

    Args:
        reads: N distinct reads, in the order in which they are clustered.
        limit: How far a read may be from its centroid.
        embedder: Makes the model that chooses which centroids of similar reads are compared, once there are more than
            ``MOST_COMPARED``; None compares with all of them, at any number.
        threads: Threads that share the work.

    Attributes:
        rows: The centroids, in the order in which they were added.
        cluster: ``(N,)`` number of the nearest centroid of each read; -1 if none is known within the limit.
        edits: ``(N,)`` edits to it; ``FAR`` if there is none.
    """

    def __init__(self, reads: Sequences, limit: Limit, embedder: EmbedderMaker | None, threads: int) -> None:
        self.reads = reads
        self.rows = np.empty(0, dtype=np.int64)
        self.cluster = np.full(len(reads), -1, dtype=np.int64)
        self.edits = np.full(len(reads), FAR, dtype=np.int64)
        self._limit = limit
        self._threads = threads
        self._embedder = embedder
        self._edits = int(limit.most_edits(reads.lengths, 0).max(initial=0))
        self._kmers = GrowingKmerIndex(reads, self._edits)
        self._vectors: _CentroidVectors | None = None

    @property
    def exact(self) -> bool:
        """Whether each read is compared with as many centroids as it takes to find the nearest of all."""
        return self._embedder is None or len(self.rows) <= MOST_COMPARED

    def look_up(self, rows: NDArray[np.int64]) -> None:
        """Find the nearest centroid of some reads."""
        if self._vectors is not None:
            self._by_vectors(rows, self._vectors)
        elif len(self.rows):
            self._by_kmers(rows, self._kmers, 0, np.full(len(rows), len(self.rows)))

    def near_before(self, rows: NDArray[np.int64]) -> list[list[int]]:
        """For each of some reads, the places of the earlier ones among them that are within the limit."""
        if self.exact or self._vectors is not None:
            query, target = np.nonzero(np.tril(self._table(rows, rows) < FAR, -1))
        else:
            some = self.reads.take(rows)
            found, _ = KmerIndex(some, self._edits).nearest(some, _SECOND_LOOK, threads=self._threads)
            query, column = np.nonzero((found >= 0) & (found < np.arange(len(rows))[:, None]))
            target = found[query, column]
            near = self._pairs(rows[query], rows[target]) < FAR
            query, target = query[near], target[near]
        edges = np.searchsorted(query, np.arange(1, len(rows)))
        return [some.tolist() for some in np.split(target, edges)]

    def add(self, chosen: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        """Add centroids; those of ``rows`` that come after one may be nearer to it than to their own.

        Args:
            chosen: ``(A,)`` new centroids, in ascending order.
            rows: ``(R,)`` reads among which they were found, in ascending order.
        """
        known = len(self.rows)
        counts = known + np.searchsorted(chosen, rows, side="right")
        index = None if self._vectors is not None else KmerIndex(self.reads.take(chosen), self._edits)
        self.rows = np.concatenate([self.rows, chosen])
        self.cluster[chosen], self.edits[chosen] = known + np.arange(len(chosen)), 0
        if index is not None:
            self._by_kmers(rows, index, known, counts)
        alone = self.cluster[rows] < 0
        left = np.ones_like(alone) if index is None else alone
        self._with_all(rows[left], known, counts[left])
        self._extend(chosen)

    def _extend(self, chosen: NDArray[np.int64]) -> None:
        if self._vectors is not None:
            self._vectors.add(chosen)
            return
        self._kmers.add(chosen)
        if self._embedder is not None and not self.exact and self._kmers.alike:
            self._vectors = _CentroidVectors(self.reads, self._embedder(self.reads))
            self._vectors.add(self.rows)

    def _by_kmers(
        self, rows: NDArray[np.int64], index: KmerIndex | GrowingKmerIndex, first: int, counts: NDArray[np.int64]
    ) -> None:
        """Compare reads with the centroids from ``first`` that share the most k-mers; each with those before its count.

        If the nearest of all is wanted, reads to which another centroid may be as near are compared with all of them.
        """
        if self.exact and index.alike:
            self._with_all(rows, first, counts)
            return
        for most in (_FIRST_LOOK, _SECOND_LOOK):
            found, far = index.nearest(self.reads.take(rows), most, threads=self._threads)
            found += first
            self._compare(rows, np.where((found >= first) & (found < counts[:, None]), found, -1))
            if self.exact:
                unsure = far <= np.minimum(self.edits[rows], self._bounds(rows))
                self._with_all(rows[unsure], first, counts[unsure])
                return
            alone = self.cluster[rows] < 0
            rows, counts = rows[alone], counts[alone]

    def _by_vectors(self, rows: NDArray[np.int64], vectors: _CentroidVectors) -> None:
        """Compare reads with the centroids whose vectors are nearest."""
        embedded = vectors.embed(rows)
        for most, whole in ((_FIRST_LOOK, False), (_SECOND_LOOK, True)):
            self._compare(rows, vectors.nearest(embedded, most, whole=whole, threads=self._threads))
            alone = self.cluster[rows] < 0
            rows, embedded = rows[alone], embedded[alone]

    def _with_all(self, rows: NDArray[np.int64], first: int, counts: NDArray[np.int64]) -> None:
        """Compare each of R reads with all centroids from ``first`` up to its ``(R,)`` count."""
        if not len(rows):
            return
        for start in range(first, len(self.rows), COLUMNS):
            table = self._table(rows, self.rows[start : start + COLUMNS])
            table[np.arange(start, start + table.shape[1]) >= counts[:, None]] = FAR
            place = table.argmin(axis=1)
            self._assign(rows, table[np.arange(len(rows)), place].astype(np.int64), start + place)

    def _compare(self, rows: NDArray[np.int64], candidates: NDArray[np.int64]) -> None:
        """Compare R reads with their own ``(R, K)`` candidates, which are numbers of centroids, or -1."""
        query, column = np.nonzero(candidates >= 0)
        edits = np.full(candidates.shape, FAR, dtype=np.int64)
        edits[query, column] = self._pairs(rows[query], self.rows[candidates[query, column]])
        order = np.lexsort((candidates, edits), axis=1)[:, 0]
        each = np.arange(len(rows))
        self._assign(rows, edits[each, order], candidates[each, order])

    def _assign(self, rows: NDArray[np.int64], edits: NDArray[np.int64], cluster: NDArray[np.int64]) -> None:
        """Take over what is nearer; of equally near centroids the older one."""
        older = (edits == self.edits[rows]) & (cluster < self.cluster[rows])
        nearer = (edits < FAR) & ((edits < self.edits[rows]) | older)
        self.edits[rows[nearer]], self.cluster[rows[nearer]] = edits[nearer], cluster[nearer]

    def _bounds(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The most edits that any pair with these reads may have."""
        return self._limit.most_edits(self.reads.lengths[rows], self.reads.max_length)

    def _table(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int32]:
        """Edit distances within the limit; ``FAR`` for all others."""
        one, two = self.reads.take(rows), self.reads.take(columns)
        ones, twos = (self._limit.most_edits(some.lengths, 0).astype(np.int32) for some in (one, two))
        limits = np.maximum(ones[:, None], twos[None])
        letters = letters_of(one, two, threads=self._threads)
        numbers = np.arange(len(one) + len(two))
        cutoff = int(limits.max(initial=0))
        table = letters.block(numbers[: len(one)], numbers[len(one) :], cutoff=cutoff, threads=self._threads)
        table[table > limits] = FAR
        return table

    def _pairs(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Edit distances of pairs, as in ``_table``."""
        return pair_edits(self.reads, rows, columns, self._limit, threads=self._threads)


class _CentroidVectors:
    """Vectors of the centroids, in cells for a fast look, and as a whole for a thorough one."""

    def __init__(self, reads: Sequences, embedder: ReadEmbedder) -> None:
        from nwa_lightning.search.vectors import suitable_kind, trained, wanted_sample

        self.reads = reads
        self.embedder = embedder
        kind = suitable_kind(len(reads))
        size = wanted_sample(kind, len(reads))
        rows = np.sort(np.random.default_rng(0).permutation(len(reads))[:size])
        sample = self.embed(rows)
        self.cells: Any = trained(kind, sample, len(reads))
        self.whole: Any = trained("flat", sample, len(reads))

    def embed(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """``(R, m)`` vectors of some reads."""
        return self.embedder.embed(self.reads.take(rows))

    def add(self, rows: NDArray[np.int64]) -> None:
        """Add centroids."""
        from nwa_lightning.search.vectors import extend

        vectors = self.embed(rows)
        extend(self.cells, vectors)
        extend(self.whole, vectors)

    def nearest(self, vectors: NDArray[np.float32], most: int, *, whole: bool, threads: int) -> NDArray[np.int64]:
        """Numbers of the centroids with the nearest vectors; -1 where there are fewer."""
        from nwa_lightning.search.vectors import nearest_vectors

        return nearest_vectors(self.whole if whole else self.cells, vectors, most, cells=_CELLS, threads=threads)
