"""A simulated set of sequences of any number and length with a known origin: the leaves of a random tree."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.errors import InputError
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.simulate.channel import (
    BASES,
    check_rates,
    check_whole,
    make_distinct,
    mutate,
    named,
    padded,
    random_bases,
)


def evolve_tree(
    count: int,
    length: int,
    *,
    substitution: float = 0.18,
    insertion: float = 0.01,
    deletion: float = 0.01,
    seed: int = 0,
) -> Sequences:
    """The sequences at the leaves of a random tree, all descended from one random sequence.

    Random leaves split until there are ``count`` of them (the topology of a Yule process). The length of every branch is
    drawn independently, as the square of a uniform number, so lineages evolve at different speeds. Lengths are scaled so
    that the mean distance from the root to a leaf is 1: the rates are those between the root and a leaf. A leaf that
    equals another one evolves further, without shrinking, until it differs from all others.

    The default rates spread the edit distances like those of real 16S reads: see the set ``tree``.

    Args:
        count: Number of sequences; all differ from one another.
        length: Bases of the sequence at the root. Insertions and deletions make the leaves longer or shorter.
        substitution: Expected substitutions per base from the root to a leaf, each by another base; 0 to 1.
        insertion: Expected insertions per base from the root to a leaf; 0 to 1.
        deletion: Expected deletions per base from the root to a leaf; 0 to 1. The last base left is never lost.
        seed: Seed of all random numbers.

    Returns:
        ``count`` sequences named ``leaf1``, ``leaf2``, ...

    Raises:
        InputError: If a number is out of its domain, or there are not enough different sequences.
    """
    check_whole(count=count, length=length, seed=seed)
    rates = check_rates(substitution, insertion, deletion)
    if length < 32 and count > BASES**length:
        raise InputError(
            f"count: expected at most {BASES**length} distinct sequences of {length} bases, found {count}; ask for fewer or "
            f"for longer ones"
        )
    generator = np.random.default_rng(seed)
    root = random_bases(generator, length)
    parents, branches, leaves = _random_tree(count, generator)
    rows = _leaves_of(root.tobytes(), parents, branches, leaves, rates, generator)
    # Leaves that evolve further must not shrink away: no more deletions than insertions, unless nothing else happens.
    later = rates.copy()
    if later[:2].any():
        later[2] = min(later[1:])
    longest = 0.25 / later.sum() if later.any() else 0.0

    def evolve_on(chosen: list[int], attempt: int) -> list[bytes]:
        time = np.full(len(chosen), min(2.0 ** (min(attempt, 900) - 6), longest))
        return mutate(generator, *padded([rows[number] for number in chosen]), -np.expm1(-time * later[:, None]))

    make_distinct(rows, evolve_on)
    return named(rows, [f"leaf{number}" for number in range(1, count + 1)])


def _random_tree(
    count: int, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """A binary tree whose nodes are numbered in the order in which they were made, the root first.

    Returns:
        ``(2 count - 1,)`` parents, ``(2 count - 1,)`` lengths of the branches to them, and ``(count,)`` leaves.
    """
    parents = [0]
    lengths = [0.0, *np.square(generator.random(2 * count - 2)).tolist()]
    depths = [0.0]
    leaves = [0]
    slots = (generator.random(count - 1) * np.arange(1, count)).astype(np.int64)
    for slot in slots.tolist():
        parent = leaves[slot]
        for _ in range(2):
            depths.append(depths[parent] + lengths[len(parents)])
            parents.append(parent)
        leaves[slot] = len(parents) - 2
        leaves.append(len(parents) - 1)
    mean = math.fsum(depths[leaf] for leaf in leaves) / count  # exact, so the same on every machine
    return np.array(parents), np.array(lengths) / (mean or 1.0), np.array(leaves)


def _leaves_of(
    root: bytes,
    parents: NDArray[np.int64],
    branches: NDArray[np.float64],
    leaves: NDArray[np.int64],
    rates: NDArray[np.float64],
    generator: np.random.Generator,
) -> list[bytes]:
    """The sequences of the leaves, in their order; all branches of one depth evolve at once."""
    generation = [0] * len(parents)
    for node, parent in enumerate(parents.tolist()[1:], start=1):
        generation[node] = generation[parent] + 1
    generations = np.array(generation)
    leaf_number = np.full(len(parents), -1)
    leaf_number[leaves] = np.arange(len(leaves))
    above, rows = np.array([0]), [root]
    found = [root] * len(leaves)
    for number in range(1, int(generations.max()) + 1):
        nodes = np.flatnonzero(generations == number)
        ancestors = [rows[place] for place in np.searchsorted(above, parents[nodes]).tolist()]
        rows = mutate(generator, *padded(ancestors), -np.expm1(-branches[nodes] * rates[:, None]))
        above = nodes
        for place, row in zip(leaf_number[nodes].tolist(), rows, strict=True):
            if place >= 0:
                found[place] = row
    return found
