"""How good clusters are: the largest distance within each, and centroids that should be in one cluster."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.levenshtein import take_flat
from nwa_lightning.progress import track
from nwa_lightning.search.clusters import Clusters
from nwa_lightning.search.limits import Limit

#: The most distinct reads of a cluster whose pairs are all compared, a few seconds of work.
MOST_COMPARED: Final = 20_000

#: Centroids that are compared with all others: as many as fit into this many pairs, and no more than these.
_PAIRS: Final = 50_000_000
_SAMPLE: Final = 500
_BLOCK: Final = 4096


class Split(NamedTuple):
    """A check of clusters whose centroids were found by vectors.

    Attributes:
        missed: Centroids of the sample with an earlier centroid within the limit, so that they should not be centroids.
        sample: Centroids in the sample.
    """

    missed: int
    sample: int


def diameters(clusters: Clusters, *, threads: int = 1) -> NDArray[np.int64]:
    """``(C,)`` the largest edit distance between two reads of each cluster; -1 for one of too many distinct reads."""
    found = np.zeros(len(clusters), dtype=np.int64)
    order = np.argsort(clusters.cluster, kind="stable")
    edges = np.cumsum(np.bincount(clusters.cluster, minlength=len(clusters)))[:-1]
    bases = clusters.reads.sequences.bases
    for number, rows in enumerate(track(np.split(order, edges), "diameters", worth=len(order) > 20_000)):
        if len(rows) > MOST_COMPARED:
            found[number] = -1
        elif len(rows) > 1:
            some = bases.take(rows)
            letters = take_flat(some.flat, some.starts, some.lengths, threads=threads)
            numbers = np.arange(len(rows))
            for start in range(0, len(rows), 1024):  # all pairs at once may take gigabytes
                table = letters.block(numbers[start : start + 1024], numbers[start:], threads=threads)
                found[number] = max(found[number], int(table.max()))
    return found


def missed_centroids(clusters: Clusters, limit: Limit, *, threads: int = 1) -> Split:
    """Compare a sample of the centroids with all earlier ones."""
    centroids = clusters.reads.sequences.take(clusters.centroids)
    count = min(len(centroids), _SAMPLE, max(1, _PAIRS // max(1, len(centroids))))
    rows = np.sort(np.random.default_rng(0).permutation(len(centroids))[:count])
    letters = take_flat(centroids.bases.flat, centroids.bases.starts, centroids.lengths, threads=threads)
    missed = np.zeros(count, dtype=bool)
    for start in range(0, len(centroids), _BLOCK):
        columns = np.arange(start, min(start + _BLOCK, len(centroids)))
        limits = limit.most_edits(centroids.lengths[rows, None], centroids.lengths[None, columns])
        table = letters.block(rows, columns, cutoff=int(limits.max(initial=0)), threads=threads)
        missed |= ((table <= limits) & (columns < rows[:, None])).any(axis=1)
    return Split(int(missed.sum()), count)
