"""Clusters by connected components and by average linkage, from all pairs of near reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import average, fcluster
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nwa_lightning.errors import InputError
from nwa_lightning.levenshtein import take_flat
from nwa_lightning.progress import track
from nwa_lightning.search.clusters import Clusters, canonical_order
from nwa_lightning.search.exact import pair_edits
from nwa_lightning.search.index import Index
from nwa_lightning.search.limits import FAR, Limit
from nwa_lightning.search.reads import Reads
from nwa_lightning.search.vectors import cells_of, nearest_vectors
from nwa_lightning.sequences.collection import Sequences

if TYPE_CHECKING:
    from nwa_lightning.search.embedder import ReadEmbedder

#: Reads compared with all others at a time.
_BLOCK: Final = 1024

#: Candidates of a read at first; four times as many as long as one of the farther half is near.
_CANDIDATES: Final = 16

#: Cells of the index that are searched.
_CELLS: Final = 32

#: The most reads of which all pairs are compared in less time than vectors take: half a minute.
MOST_COMPARED: Final = 50_000

#: The most distinct reads of a component for average linkage: its matrix takes 8 bytes for every pair.
MOST_LINKED: Final = 20_000


class Pairs(NamedTuple):
    """Pairs of near reads.

    Attributes:
        first: Rows.
        second: Larger rows.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]


def near_pairs(
    sequences: Sequences, limit: Limit, embedder: ReadEmbedder | None = None, *, threads: int = 1
) -> Iterator[Pairs]:
    """All pairs of sequences within a limit, block by block.

    Args:
        sequences: N sequences.
        limit: How far apart the two may be.
        embedder: Chooses the pairs whose edit distance is computed: for each read the nearest vectors, more and more of them
            until the farther half of them are all beyond the limit. A near read beyond those is missed. None compares all pairs.
        threads: Threads that share the work.
    """
    return _all(sequences, limit, threads) if embedder is None else _chosen(sequences, limit, embedder, threads)


def _all(sequences: Sequences, limit: Limit, threads: int) -> Iterator[Pairs]:
    """Reads in the order of length: the lengths of near reads are similar."""
    order = np.argsort(sequences.lengths, kind="stable")
    lengths = sequences.lengths[order]
    taken = sequences.bases.take(order)
    letters = take_flat(taken.flat, taken.starts, taken.lengths, threads=threads)
    most = limit.most_edits(lengths, 0)  # of a pair whose longer read has this length
    for start in track(range(0, len(order), _BLOCK), "comparing", worth=len(order) > 20_000):
        stop = min(start + _BLOCK, len(order))
        end = int(np.searchsorted(lengths - most, lengths[stop - 1], side="right"))
        rows, columns = np.arange(start, stop), np.arange(start, max(end, stop))
        table = letters.block(rows, columns, cutoff=int(most[columns[-1]]), threads=threads)
        near = (table <= most[None, columns]) & (columns[None] > rows[:, None])
        one, two = np.nonzero(near)
        one, two = order[rows[one]], order[columns[two]]
        yield Pairs(np.minimum(one, two), np.maximum(one, two))


def _chosen(sequences: Sequences, limit: Limit, embedder: ReadEmbedder, threads: int) -> Iterator[Pairs]:
    index = Index.build(sequences, embedder)
    cells = min(_CELLS, cells_of(index.vectors))
    for start in track(range(0, len(sequences), _BLOCK), "comparing", worth=len(sequences) > 20_000):
        rows = np.arange(start, min(start + _BLOCK, len(sequences)))
        count = _CANDIDATES
        while len(rows):
            found = nearest_vectors(
                index.vectors, embedder.embed(sequences.take(rows)), count, cells=cells, threads=threads
            )
            near = _near(sequences, limit, rows, found, threads)
            more = near[:, count // 2 :].any(axis=1) & (found[:, -1] >= 0) & (count < len(sequences))
            one, place = np.nonzero(near[~more])
            first, second = rows[~more][one], found[~more][one, place]
            yield Pairs(np.minimum(first, second), np.maximum(first, second))
            rows, count = rows[more], 4 * count


def _near(
    sequences: Sequences, limit: Limit, rows: NDArray[np.int64], found: NDArray[np.int64], threads: int
) -> NDArray[np.bool_]:
    """``(R, k)`` whether the candidates of some reads are near; a read itself is not."""
    near = np.zeros(found.shape, dtype=bool)
    one, place = np.nonzero((found >= 0) & (found != rows[:, None]))
    near[one, place] = pair_edits(sequences, rows[one], found[one, place], limit, threads=threads) < FAR
    return near


def component_clusters(
    reads: Reads, limit: Limit, embedder: ReadEmbedder | None = None, *, threads: int = 1
) -> Clusters:
    """Reads that a chain of near reads connects: single linkage.

    Args:
        reads: N distinct reads.
        limit: How far apart two near reads may be.
        embedder: As in ``near_pairs``.
        threads: Threads that share the work.
    """
    label = np.arange(len(reads))
    for pairs in near_pairs(reads.sequences, limit, embedder, threads=threads):
        if len(pairs.first):
            label = _merged(label, pairs)
    return _numbered(reads, label, threads)


def average_clusters(reads: Reads, limit: Limit, embedder: ReadEmbedder | None = None, *, threads: int = 1) -> Clusters:
    """Average linkage (UPGMA): two clusters merge while the mean distance between their distinct reads is within the limit.

    Within one cluster there is always a chain of near reads, so each connected component is clustered by itself, by the
    exact distances of all its pairs.

    Args:
        reads: N distinct reads.
        limit: The largest mean distance; either edits or identity.
        embedder: As in ``near_pairs``, for the components.
        threads: Threads that share the work.

    Raises:
        InputError: If both limits are given, or a component has too many reads.
    """
    if limit.identity is not None and limit.maxdist is not None:
        raise InputError("average linkage: expected one limit, found --id and --maxdist; leave one of them out")
    components = component_clusters(reads, limit, embedder, threads=threads)
    label = components.cluster.copy()
    following = len(components)
    order = np.argsort(components.cluster, kind="stable")
    edges = np.cumsum(np.bincount(components.cluster, minlength=len(components)))[:-1]
    for rows in track(np.split(order, edges), "linking", worth=len(reads) > 20_000):
        if len(rows) < 3:  # a pair is near anyway
            continue
        if len(rows) > MOST_LINKED:
            raise InputError(
                f"average linkage: expected at most {MOST_LINKED:,} distinct reads that are connected, found {len(rows):,}; use "
                f"a smaller limit or --method greedy"
            )
        parts = _linked(reads.sequences.take(rows), limit, threads)
        label[rows] = following + parts
        following += int(parts.max()) + 1
    return _numbered(reads, label, threads)


def _linked(sequences: Sequences, limit: Limit, threads: int) -> NDArray[np.int64]:
    """Average linkage of a few sequences, in an order that does not depend on theirs."""
    order = np.argsort(sequences.hashes, kind="stable")
    some = sequences.take(order)
    letters = take_flat(some.bases.flat, some.bases.starts, some.bases.lengths, threads=threads)
    one, two = np.triu_indices(len(some), 1)
    distances = letters.all_pairs(threads=threads)[one, two].astype(np.float64)
    height = float("inf") if limit.maxdist is None else float(limit.maxdist)
    if limit.identity is not None:
        distances /= np.maximum(some.lengths[one], some.lengths[two])
        height = 1 - limit.identity
    found = np.empty(len(some), dtype=np.int64)
    found[order] = fcluster(average(distances), height + 1e-9, criterion="distance") - 1
    return found


def _merged(label: NDArray[np.int64], pairs: Pairs) -> NDArray[np.int64]:
    one, two = label[pairs.first], label[pairs.second]
    graph: Any = coo_array((np.ones(len(one), dtype=bool), (one, two)), shape=(len(label), len(label)))
    return connected_components(graph, directed=False)[1].astype(np.int64)[label]  # type: ignore[no-any-return]


def _numbered(reads: Reads, label: NDArray[np.int64], threads: int) -> Clusters:
    """Clusters in the order of their first reads, which are the centroids."""
    order = canonical_order(reads)
    _, first, which = np.unique(label[order], return_index=True, return_inverse=True)
    ranks = np.argsort(np.argsort(first, kind="stable"), kind="stable")
    cluster = np.empty(len(label), dtype=np.int64)
    cluster[order] = ranks[which]
    centroids = order[np.sort(first)]
    pairs = np.stack([np.arange(len(label)), centroids[cluster]], axis=1)
    bases = reads.sequences.bases
    letters = take_flat(bases.flat, bases.starts, bases.lengths, threads=threads)
    return Clusters(reads, centroids, cluster, letters.pairs(pairs, threads=threads).astype(np.int64))
