"""Greedy clusters: the commonest reads become centroids, all others join the nearest centroid within a limit.

The order in which reads are taken (copies, then length, then a checksum of the bases) does not depend on the order of the
file, and every edit distance is exact. So the clusters are the same for any order of the reads and any number of threads.
The scheme is that of UCLUST (Edgar, 2010, doi 10.1093/bioinformatics/btq461) with the nearest centroid in place of the first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.progress import counted
from nwa_lightning.search.embedder import ReadEmbedder
from nwa_lightning.search.exact import letters_of
from nwa_lightning.search.limits import FAR, Limit
from nwa_lightning.search.reads import Reads
from nwa_lightning.search.vectors import extend, nearest_vectors, suitable_kind, trained, wanted_sample
from nwa_lightning.sequences.collection import Sequences

#: Reads that are taken at a time, and centroids that they are compared with at a time.
BLOCK: Final = 4096
COLUMNS: Final = 1024

#: With more centroids than this, vectors choose which of them are compared.
MOST_COMPARED: Final = 8192

#: Nearest centroids that a read is compared with, found in this many cells of an index.
_FIRST_LOOK: Final = 8
_CELLS: Final = 8

#: Nearest centroids of all that a read is compared with before it becomes a centroid itself.
_SECOND_LOOK: Final = 64


@dataclass(frozen=True, eq=False)
class Clusters:
    """A partition of reads.

    Attributes:
        reads: N distinct reads.
        centroids: ``(C,)`` rows of the centroids, in the order in which the clusters are numbered.
        cluster: ``(N,)`` cluster of each read, from 0.
        edits: ``(N,)`` edit distance of each read to its centroid.
    """

    reads: Reads
    centroids: NDArray[np.int64]
    cluster: NDArray[np.int64]
    edits: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.centroids)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """``(C,)`` reads of each cluster, copies included."""
        return np.bincount(self.cluster, weights=self.reads.sizes, minlength=len(self)).astype(np.int64)


def canonical_order(reads: Reads) -> NDArray[np.int64]:
    """Rows of reads by copies, length and content: the same for any order of the file."""
    return np.lexsort((reads.sequences.hashes, -reads.sequences.lengths, -reads.sizes))


def greedy_clusters(
    reads: Reads,
    limit: Limit,
    embedder: Callable[[Sequences], ReadEmbedder] | None = None,
    *,
    threads: int = 1,
) -> Clusters:
    """Cluster reads around centroids.

    Args:
        reads: N distinct reads.
        limit: How far a read may be from its centroid.
        embedder: Makes the model that chooses which centroids a read is compared with, once there are more than
            ``MOST_COMPARED``; it is called with the reads. None compares with all of them.
        threads: Threads that share the work; the result does not depend on it.
    """
    order = canonical_order(reads)
    ordered = reads.sequences.take(order)
    state = _Greedy(ordered, limit, embedder, threads)
    with counted("clusters", len(ordered), worth=len(ordered) > 20_000, unit="reads") as progress:
        for start in range(0, len(ordered), BLOCK):
            state.take(np.arange(start, min(start + BLOCK, len(ordered))))
            progress(min(start + BLOCK, len(ordered)))
    cluster, edits = np.empty(len(order), dtype=np.int64), np.empty(len(order), dtype=np.int64)
    cluster[order], edits[order] = state.cluster, state.edits
    return Clusters(reads, order[np.array(state.centroids, dtype=np.int64)], cluster, edits)


class _Greedy:
    """Reads in their order, and the centroids found so far."""

    def __init__(
        self, reads: Sequences, limit: Limit, embedder: Callable[[Sequences], ReadEmbedder] | None, threads: int
    ) -> None:
        self.reads = reads
        self.limit = limit
        self.threads = threads
        self.embedder = embedder
        self.centroids: list[int] = []
        self.cluster = np.full(len(reads), -1, dtype=np.int64)
        self.edits = np.full(len(reads), FAR, dtype=np.int64)
        self.index: _CentroidIndex | None = None

    def take(self, rows: NDArray[np.int64]) -> None:
        """Assign the next reads."""
        known = len(self.centroids)
        if self.index is None and self.embedder is not None and known > MOST_COMPARED:
            self.index = _CentroidIndex(self.reads, self.embedder(self.reads))
            self.index.add(np.array(self.centroids))
        if self.index is not None:
            self._look_up(rows, self.index)
        elif known:
            edits, best = self._nearest(rows, np.array(self.centroids), np.full(len(rows), known))
            self._assign(rows, edits, best)
        self._found(rows)
        if self.index is not None and len(self.centroids) > known:
            self.index.add(np.array(self.centroids[known:]))

    def _look_up(self, rows: NDArray[np.int64], index: _CentroidIndex) -> None:
        """Compare reads with the centroids whose vectors are nearest."""
        vectors = index.embed(rows)
        left = np.arange(len(rows))
        for count, where in ((_FIRST_LOOK, index.cells), (_SECOND_LOOK, index.whole)):
            candidates = nearest_vectors(where, vectors[left], count, cells=_CELLS, threads=self.threads)
            query, place = np.nonzero(candidates >= 0)
            numbers = candidates[query, place]
            targets = np.array(self.centroids)[numbers]
            edits = np.full(candidates.shape, FAR, dtype=np.int64)
            edits[query, place] = self._pairs(rows[left][query], targets)
            # Of equally near centroids the older one, whatever the order of their vectors.
            order = np.lexsort((np.where(candidates < 0, FAR, candidates), edits), axis=1)[:, 0]
            each = np.arange(len(left))
            self._assign(rows[left], edits[each, order], candidates[each, order])
            left = np.flatnonzero(self.cluster[rows] < 0)
            if not len(left):
                return

    def _found(self, rows: NDArray[np.int64]) -> None:
        """Reads without a centroid become centroids, unless they are near an earlier one of them; others may be nearer to it."""
        free = rows[self.cluster[rows] < 0]
        if not len(free):
            return
        known = len(self.centroids)
        new: list[int] = []
        table = self._table(free, free)
        for place in range(len(free)):
            if not new or table[place, new].min() >= FAR:
                new.append(place)
        chosen = free[new]
        self.centroids.extend(chosen.tolist())
        edits, best = self._nearest(rows, chosen, np.searchsorted(chosen, rows, side="right"))
        self._assign(rows, edits, np.where(best >= 0, best + known, -1))

    def _assign(self, rows: NDArray[np.int64], edits: NDArray[np.int64], cluster: NDArray[np.int64]) -> None:
        nearer = edits < self.edits[rows]
        self.edits[rows[nearer]], self.cluster[rows[nearer]] = edits[nearer], cluster[nearer]

    def _nearest(
        self, rows: NDArray[np.int64], centroids: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Edits to, and place of, the nearest among the first ``counts`` centroids of each row."""
        edits, best = np.full(len(rows), FAR, dtype=np.int64), np.full(len(rows), -1, dtype=np.int64)
        for start in range(0, len(centroids), COLUMNS):
            table = self._table(rows, centroids[start : start + COLUMNS])
            table[np.arange(start, start + table.shape[1]) >= counts[:, None]] = FAR
            place = table.argmin(axis=1)
            found = table[np.arange(len(rows)), place]
            nearer = found < edits
            edits[nearer], best[nearer] = found[nearer], start + place[nearer]
        return edits, best

    def _table(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int32]:
        """Edit distances within the limit; ``FAR`` for all others."""
        one, two = self.reads.take(rows), self.reads.take(columns)
        ones, twos = (self.limit.most_edits(some.lengths, 0).astype(np.int32) for some in (one, two))
        limits = np.maximum(ones[:, None], twos[None])
        letters = letters_of(one, two, threads=self.threads)
        numbers = np.arange(len(one) + len(two))
        cutoff = int(limits.max(initial=0))
        table = letters.block(numbers[: len(one)], numbers[len(one) :], cutoff=cutoff, threads=self.threads)
        table[table > limits] = FAR
        return table

    def _pairs(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int64]:
        limits = self.limit.most_edits(self.reads.lengths[rows], self.reads.lengths[columns])
        used, places = np.unique(np.stack([rows, columns], axis=1), return_inverse=True)
        some = self.reads.take(used)
        letters = letters_of(some, some.take(np.empty(0, dtype=np.int64)), threads=self.threads)
        edits = letters.pairs(places.reshape(-1, 2), cutoff=int(limits.max(initial=0)), threads=self.threads)
        return np.where(edits <= limits, edits, FAR)


class _CentroidIndex:
    """Vectors of the centroids, in cells for a fast look, and as a whole for a thorough one.

    Noisy copies of random strands are often in another cell than their centroid.
    """

    def __init__(self, reads: Sequences, embedder: ReadEmbedder) -> None:
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
        vectors = self.embed(rows)
        extend(self.cells, vectors)
        extend(self.whole, vectors)
