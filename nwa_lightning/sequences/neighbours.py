"""Near relatives by edit distance: clusters of them, and how far a set is from the nearest sequence of another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.errors import InputError
from nwa_lightning.levenshtein import take_flat
from nwa_lightning.progress import track
from nwa_lightning.sequences.collection import Sequences

#: The most sequences to cluster: every pair of them is compared, which takes a few minutes for this many.
MOST_CLUSTERED: Final = 50_000

#: Sequences compared with all others at a time.
_BLOCK: Final = 512

#: Sequences that share a cutoff.
_ALIKE: Final = 128


def identity_clusters(sequences: Sequences, identity: float) -> NDArray[np.int64]:
    """Single linkage: two sequences are in one cluster if a chain of neighbours connects them.

    Neighbours have an edit distance of at most ``(1 - identity)`` of the longer length, so two sequences of different
    clusters are always farther apart.

    Args:
        sequences: Sequences to cluster.
        identity: Between 0 and 1.

    Returns:
        ``(N,)`` cluster of each sequence, the number of its first member.

    Raises:
        InputError: If there are too many sequences, or the identity is not between 0 and 1.
    """
    if not 0 < identity <= 1:
        raise InputError(f"split_identity: expected more than 0 and at most 1, found {identity}; write 97 % as 0.97")
    if len(sequences) > MOST_CLUSTERED:
        raise InputError(
            f"split_by: expected at most {MOST_CLUSTERED:,} distinct sequences for clusters, found {len(sequences):,}; split by "
            f"content, or by a column of the file that holds clusters made elsewhere"
        )
    edges = list(_neighbours(sequences, 1 - identity))
    one, two = np.concatenate(edges, axis=1) if edges else np.empty((2, 0), dtype=np.int64)
    cluster = np.arange(len(sequences))
    while True:
        lowest = cluster.copy()
        np.minimum.at(lowest, one, cluster[two])
        np.minimum.at(lowest, two, cluster[one])
        lowest = lowest[lowest]
        if np.array_equal(lowest, cluster):
            return cluster
        cluster = lowest


def _neighbours(sequences: Sequences, fraction: float) -> Iterator[NDArray[np.int64]]:
    """``(2, E)`` pairs of near sequences, block by block in the order of length: near sequences have similar lengths."""
    order = np.argsort(sequences.lengths, kind="stable")
    lengths = sequences.lengths[order]
    bases, threads = sequences.bases.take(order), os.cpu_count() or 1
    letters = take_flat(bases.flat, bases.starts, bases.lengths, threads=threads)
    for start in track(range(0, len(order), _BLOCK), "clusters", worth=len(order) > 10_000):
        stop = min(start + _BLOCK, len(order))
        # Partners are at least as long; they are not so much longer that the length difference alone exceeds the limit.
        end = int(np.searchsorted(lengths * (1 - fraction), lengths[stop - 1] + 1e-9, side="right"))
        cutoff = int(fraction * lengths[end - 1] + 1e-9)
        found = letters.block(np.arange(start, stop), np.arange(start, end), cutoff=cutoff, threads=threads)
        near = found <= fraction * lengths[None, start:end] + 1e-9
        near &= np.arange(end - start)[None] > np.arange(stop - start)[:, None]
        one, two = np.nonzero(near)
        yield np.stack([order[start + one], order[start + two]])


def nearest_edits(queries: Sequences, others: Sequences) -> NDArray[np.int64]:
    """``(N,)`` edit distance of each of N sequences to the nearest of the others, such as from test set to training set."""
    one, two, threads = queries.bases, others.bases, os.cpu_count() or 1
    shared = one.flat is two.flat  # both sets are from one file
    flat = one.flat if shared else np.concatenate([one.flat, two.flat])
    starts = np.concatenate([one.starts, two.starts + (0 if shared else one.flat.size)])
    letters = take_flat(flat, starts, np.concatenate([one.lengths, two.lengths]), threads=threads)
    found = np.full(len(queries), np.iinfo(np.int32).max, dtype=np.int64)
    worth = len(queries) * len(others) > 500_000_000
    for start in track(range(0, len(others), _BLOCK), "nearest", worth=worth):
        columns = len(queries) + np.arange(start, min(start + _BLOCK, len(others)))
        # Queries with a similar distance so far share a cutoff: larger distances need not be computed.
        for rows in np.array_split(np.argsort(found, kind="stable"), max(1, -(-len(queries) // _ALIKE))):
            cutoff = int(found[rows].max(initial=0))
            nearest = letters.block(rows, columns, cutoff=cutoff, threads=threads).min(axis=1)
            found[rows] = np.minimum(found[rows], nearest)
    return found
