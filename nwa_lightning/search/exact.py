"""The nearest reads by edit distance itself: every query is compared with every target by the kernel."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.levenshtein import Letters, Strings, take_flat
from nwa_lightning.progress import track
from nwa_lightning.search.hits import Hits
from nwa_lightning.search.limits import ANY, FAR, Limit
from nwa_lightning.sequences.collection import Sequences

#: Targets compared at a time, and queries that share a cutoff.
_BLOCK: Final = 4096
_ALIKE: Final = 64

#: Pairs that take a few seconds and are worth a bar.
_WORTH_A_BAR: Final = 200_000_000


def letters_of(one: Sequences, two: Sequences, *, threads: int) -> Letters | Strings:
    """Two sets of sequences ready for distances: first the rows of ``one``, then those of ``two``."""
    shared = one.bases.flat is two.bases.flat
    flat = one.bases.flat if shared else np.concatenate([one.bases.flat, two.bases.flat])
    starts = np.concatenate([one.bases.starts, two.bases.starts + (0 if shared else one.bases.flat.size)])
    return take_flat(flat, starts, np.concatenate([one.lengths, two.lengths]), threads=threads)


def pair_edits(
    sequences: Sequences, first: NDArray[np.int64], second: NDArray[np.int64], limit: Limit, *, threads: int
) -> NDArray[np.int64]:
    """Edit distances of listed pairs; only the sequences that occur in a pair are prepared.

    Args:
        sequences: N sequences.
        first: ``(P,)`` rows.
        second: ``(P,)`` rows.
        limit: How far apart the two may be.
        threads: Threads that share the pairs.

    Returns:
        ``(P,)`` edits; ``FAR`` beyond the limit.
    """
    limits = limit.most_edits(sequences.lengths[first], sequences.lengths[second])
    used = np.zeros(len(sequences), dtype=bool)
    used[first] = used[second] = True
    rows = np.flatnonzero(used)
    place = np.empty(len(sequences), dtype=np.int64)
    place[rows] = np.arange(len(rows))
    bases = sequences.bases.take(rows)
    letters = take_flat(bases.flat, bases.starts, bases.lengths, threads=threads)
    pairs = np.stack([place[first], place[second]], axis=1)
    edits = letters.pairs(pairs, cutoff=int(limits.max(initial=0)), threads=threads)
    return np.where(edits <= limits, edits, FAR)


def exact_hits(
    queries: Sequences,
    targets: Sequences,
    *,
    most: int = 1,
    limit: Limit = ANY,
    threads: int = 1,
) -> Hits:
    """The nearest targets of every query; of equally near ones, those with the lower rows.

    Args:
        queries: Q sequences.
        targets: N sequences.
        most: The most hits of a query.
        limit: How far a hit may be.
        threads: Threads that share the work; the result does not depend on it.
    """
    count = min(most, len(targets))
    edits = np.full((len(queries), count), FAR, dtype=np.int64)
    found = np.full((len(queries), count), -1, dtype=np.int64)
    if not len(queries) or not count:
        return Hits.of_table(found, edits)
    # A later target must be nearer than the last one that is kept, or within the limit.
    bounds = limit.most_edits(queries.lengths, targets.max_length)
    worth = len(queries) * len(targets) > _WORTH_A_BAR
    for start in track(range(0, len(targets), _BLOCK), "comparing", worth=worth):
        stop = min(start + _BLOCK, len(targets))
        letters = letters_of(queries, targets.take(np.arange(start, stop)), threads=threads)
        columns = len(queries) + np.arange(stop - start)
        # Queries with similar bounds share a cutoff: larger distances need not be computed.
        order = np.argsort(bounds, kind="stable")
        for rows in np.array_split(order, -(-len(order) // _ALIKE)):
            rows = rows[bounds[rows] >= 0]
            if not len(rows):
                continue
            cutoff = int(bounds[rows].max())
            table = letters.block(rows, columns, cutoff=cutoff, threads=threads)
            if limit.identity is not None:  # the limit of a pair depends on the length of the target too
                pair_limits = limit.most_edits(queries.lengths[rows, None], targets.lengths[None, start:stop])
                table = np.where(table <= pair_limits, table, FAR)
            near = np.flatnonzero((table <= bounds[rows, None]).any(axis=1))
            for place in near.tolist():
                row = rows[place]
                kept = np.where(table[place] <= bounds[row], table[place], FAR)
                edits[row], found[row] = _merged(edits[row], found[row], kept, start)
                bounds[row] = min(bounds[row], edits[row, -1] - 1)
    return Hits.of_table(np.where(edits < FAR, found, -1), edits)


def _merged(
    edits: NDArray[np.int64], found: NDArray[np.int64], others: NDArray[np.int64], start: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The nearest of the kept targets and of a block of later ones; the earlier of equals."""
    count = len(edits)
    if count == 1:
        best = int(others.argmin())
        return others[best : best + 1].astype(np.int64), np.array([start + best])
    candidates = np.argpartition(others, count)[: count + 1] if len(others) > count + 1 else np.arange(len(others))
    # All that are as near as the last candidate: argpartition may choose any of equals.
    candidates = np.flatnonzero(others <= others[candidates].max()) if len(others) > count + 1 else candidates
    every = np.concatenate([edits, others[candidates]])
    where = np.concatenate([found, start + candidates])
    order = np.argsort(every, kind="stable")[:count]
    return every[order], where[order]
