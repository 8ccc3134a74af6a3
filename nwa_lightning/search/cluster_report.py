"""How good clusters are: the largest distance within each, and centroids that should be in one cluster."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.levenshtein import take_flat
from nwa_lightning.progress import track
from nwa_lightning.search.clusters import Clusters
from nwa_lightning.search.limits import Limit
from nwa_lightning.sequences.collection import Sequences

#: The most distinct reads of a cluster whose pairs are all compared, a few seconds of work.
MOST_COMPARED: Final = 20_000

#: Centroids that are compared with all others: as many as fit into this many pairs, and no more than these.
_PAIRS: Final = 50_000_000
_SAMPLE: Final = 500
_BLOCK: Final = 4096

#: Members of clusters whose pairs are listed, together with those of other clusters.
_SMALL: Final = 64


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
    counts = np.bincount(clusters.cluster, minlength=len(clusters))
    starts = np.cumsum(counts) - counts
    small = np.flatnonzero((counts > 1) & (counts <= _SMALL))
    blocks = np.array_split(small, -(-int(counts[small].sum()) // _BLOCK)) if len(small) else []
    worth = len(order) > 200_000
    for numbers in track(blocks, "diameters", worth=worth):
        rows = np.concatenate([order[starts[number] : starts[number] + counts[number]] for number in numbers.tolist()])
        found[numbers] = _small_diameters(clusters.reads.sequences.take(rows), counts[numbers], threads)
    for number in track(np.flatnonzero(counts > _SMALL).tolist(), "diameters", worth=worth):
        rows = order[starts[number] : starts[number] + counts[number]]
        found[number] = _diameter(clusters.reads.sequences.take(rows), threads) if len(rows) <= MOST_COMPARED else -1
    return found


def _small_diameters(sequences: Sequences, counts: NDArray[np.int64], threads: int) -> NDArray[np.int64]:
    """Diameters of clusters whose members come one after the other: all their pairs are one list."""
    starts = np.cumsum(counts) - counts
    pairs = [np.stack(np.triu_indices(count, 1), axis=1) + start for start, count in zip(starts, counts, strict=True)]
    bases = sequences.bases
    letters = take_flat(bases.flat, bases.starts, bases.lengths, threads=threads)
    edits = letters.pairs(np.concatenate(pairs), threads=threads)
    sizes = counts * (counts - 1) // 2
    return np.maximum.reduceat(edits, np.cumsum(sizes) - sizes).astype(np.int64)


def _diameter(sequences: Sequences, threads: int) -> int:
    bases = sequences.bases
    letters = take_flat(bases.flat, bases.starts, bases.lengths, threads=threads)
    rows = np.arange(len(sequences))
    # All pairs at once may take gigabytes.
    return max(
        int(letters.block(rows[start : start + 1024], rows[start:], threads=threads).max())
        for start in range(0, len(rows), 1024)
    )


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
