"""Greedy clusters: the commonest reads become centroids, all others join the nearest centroid within a limit.

The order in which reads are taken (copies, then length, then a checksum of the bases) does not depend on the order of the
file, and every edit distance is exact. So the clusters are the same for any order of the reads and any number of threads.
The scheme is that of UCLUST (Edgar, 2010, doi 10.1093/bioinformatics/btq461) with the nearest centroid in place of the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.progress import counted
from nwa_lightning.search.centroids import Centroids, EmbedderMaker
from nwa_lightning.search.limits import Limit
from nwa_lightning.search.reads import Reads

#: The most reads that are taken at a time, and how many are taken first.
BLOCK: Final = 4096
_FIRST_BLOCK: Final = 256


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
    embedder: EmbedderMaker | None = None,
    *,
    threads: int = 1,
) -> Clusters:
    """Cluster reads around centroids.

    Args:
        reads: N distinct reads.
        limit: How far a read may be from its centroid.
        embedder: Makes the model whose vectors choose which centroids a read is compared with, once there are more than
            ``MOST_COMPARED`` and they are alike; k-mers choose where they are not. It is called with the reads. None compares
            with all centroids to which a read may be nearer.
        threads: Threads that share the work; the result does not depend on it.
    """
    order = canonical_order(reads)
    found = Centroids(reads.sequences.take(order), limit, embedder, threads)
    with counted("clusters", len(order), worth=len(order) > 20_000, unit="reads") as progress:
        start = 0
        while start < len(order):
            # The first reads are mostly centroids: they are compared among themselves, so there are few of them.
            stop = min(start + min(BLOCK, max(_FIRST_BLOCK, len(found.rows))), len(order))
            _take(found, np.arange(start, stop))
            progress(start := stop)
    cluster, edits = np.empty_like(order), np.empty_like(order)
    cluster[order], edits[order] = found.cluster, found.edits
    return Clusters(reads, order[found.rows], cluster, edits)


def _take(found: Centroids, rows: NDArray[np.int64]) -> None:
    """Assign the next reads; those without a centroid become centroids, unless they are near an earlier one of them."""
    found.look_up(rows)
    free = rows[found.cluster[rows] < 0]
    if len(free):
        found.add(free[_first_of_each(found.near_before(free))], rows)


def _first_of_each(near: list[list[int]]) -> list[int]:
    """Places that have none of the chosen places before them nearby, given the earlier ones that are near each."""
    chosen: set[int] = set()
    for place, others in enumerate(near):
        if chosen.isdisjoint(others):
            chosen.add(place)
    return sorted(chosen)
