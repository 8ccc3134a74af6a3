"""Sequences made up by a random tree, or by a channel of DNA storage: any number, any length, with a known origin.

Every number is drawn as a uniform float from a seeded generator, so a seed gives the same sequences on every machine.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.alphabet import DNA, FIRST_LETTER, PADDING
from nwa_lightning.errors import InputError
from nwa_lightning.sequences import SIMULATED, Sequences

#: Sequences and bases of a simulated set whose name gives no size; as many as in human16s.
STANDARD_SIZE: Final = (9200, 150)

#: Noisy copies of each strand in the set ``storage``.
STORAGE_COPIES: Final = 10

_BASES: Final = len(DNA.letters)
#: 1 for C and G, 0 for A and T, in the order of the codes.
_IS_GC: Final = np.array([letter in "CG" for letter in DNA.letters], dtype=np.int64)
_ROWS_AT_A_TIME: Final = 4096
_TABLE_BYTES: Final = 2**31


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

    A leaf chosen at random splits until there are ``count`` of them (the topology of a Yule process). Every branch has
    a length drawn for itself, the square of a uniform number, so lineages evolve at different speeds. Lengths are scaled
    so that the mean leaf is at distance 1 from the root: the rates say what happens to a base from the root to a leaf.
    A leaf that equals another one evolves on, without shrinking further, until it differs from all.

    The default rates give edit distances spread like those of real 16S reads: see the set ``tree``.

    Args:
        count: How many sequences; all differ from one another.
        length: Bases of the sequence at the root. Insertions and deletions make the leaves longer or shorter.
        substitution: Expected substitutions per base from the root to a leaf, each by another base; 0 to 1.
        insertion: Expected insertions per base from the root to a leaf; 0 to 1.
        deletion: Expected deletions per base from the root to a leaf; 0 to 1. The last base left is never lost.
        seed: Of all that is random.

    Returns:
        ``count`` sequences named ``leaf1``, ``leaf2``, ...

    Raises:
        InputError: If a number is out of its domain, or so many different sequences cannot be had.
    """
    _check_whole(count=count, length=length, seed=seed)
    rates = _check_rates(substitution, insertion, deletion)
    if length < 32 and count > _BASES**length:
        raise InputError(
            f"count: expected at most {_BASES**length} distinct sequences of {length} bases, found {count}; ask for fewer or "
            f"for longer ones"
        )
    generator = np.random.default_rng(seed)
    root = _random_bases(generator, length, _BASES)
    parents, branches, leaves = _random_tree(count, generator)
    rows = _leaves_of(root.tobytes(), parents, branches, leaves, rates, generator)
    # Leaves that evolve on must not wear out: no more deletions than insertions, unless nothing else happens.
    later = rates.copy()
    if later[:2].any():
        later[2] = min(later[1:])
    longest = 0.25 / later.sum() if later.any() else 0.0

    def evolve_on(chosen: list[int], attempt: int) -> list[bytes]:
        time = np.full(len(chosen), min(2.0 ** (min(attempt, 900) - 6), longest))
        return _mutate(generator, *_block([rows[number] for number in chosen]), -np.expm1(-time * later[:, None]))

    _make_distinct(rows, evolve_on)
    return _named(rows, [f"leaf{number}" for number in range(1, count + 1)])


def storage_strands(
    strands: int,
    copies: int,
    length: int,
    *,
    gc: tuple[float, float] = (0.45, 0.55),
    longest_run: int = 3,
    substitution: float = 0.022,
    insertion: float = 0.017,
    deletion: float = 0.02,
    seed: int = 0,
) -> Sequences:
    """Strands as DNA storage writes them, each read several times through a noisy channel.

    Every strand that obeys the two rules is equally likely. The rules are for the strands, not for their noisy copies.
    The default rates, 6 % in all, are about those of nanopore reads of stored DNA (Srinivasavaradhan et al., 2021,
    "Trellis BMA"). With one copy and rates of 0 the same seed gives the strands themselves.

    Args:
        strands: How many strands; all differ from one another.
        copies: Noisy copies of each strand; all copies of all strands differ from one another.
        length: Bases of a strand.
        gc: Smallest and largest share of C and G in a strand, both included.
        longest_run: The most equal bases in a row; 1 forbids equal neighbours.
        substitution: Probability that a base is replaced by another one.
        insertion: Probability that a random base is put before or after a base.
        deletion: Probability that a base is lost. The last base left is never lost.
        seed: Of all that is random.

    Returns:
        ``strands * copies`` sequences, the copies of a strand in a row; ``strand12/3`` is the third copy of strand 12.

    Raises:
        InputError: If a number is out of its domain, or so many different sequences cannot be had.
    """
    _check_whole(strands=strands, copies=copies, length=length, longest_run=longest_run, seed=seed)
    rates = _check_rates(substitution, insertion, deletion)
    low, high = gc
    if not 0 <= low <= high <= 1:
        raise InputError(f"gc: expected a smallest and a largest share between 0 and 1, found {low} and {high}")
    ways, possible = _strand_ways(length, (low, high), min(longest_run, length))
    if possible == 0:
        raise InputError(
            f"gc: expected shares between which a strand of {length} bases can have one, found {low} to {high}; allow more "
            f"shares, or change the length"
        )
    if possible is not None and strands > possible:
        raise InputError(
            f"strands: expected at most {possible} distinct strands of {length} bases with a GC share of {low} to {high} and "
            f"runs of at most {longest_run}, found {strands}; ask for fewer or for longer ones, or relax the rules"
        )
    generator = np.random.default_rng(seed)
    designed = _draw_strands(strands, ways, generator)
    _make_distinct(designed, lambda chosen, _: _draw_strands(len(chosen), ways, generator))

    def read(chosen: list[int]) -> list[bytes]:
        block = _block([designed[number // copies] for number in chosen])
        return _mutate(generator, *block, np.repeat(rates[:, None], len(chosen), axis=1))

    rows = read(list(range(strands * copies)))
    _make_distinct(rows, lambda chosen, _: read(chosen))
    return _named(rows, [f"strand{one}/{two}" for one in range(1, strands + 1) for two in range(1, copies + 1)])


def simulated_set(name: str) -> Sequences:
    """Make a simulated set by its name: ``tree`` or ``storage``, with a size or without; the seed is always 0.

    Args:
        name: Such as ``tree``, ``tree:2000`` (sequences) or ``tree:2000x100`` (sequences x bases).

    Returns:
        The sequences; those of ``storage`` are 10 noisy copies of each strand, of the last one as many as are asked for.

    Raises:
        InputError: If the size cannot be read, or no such set can be made.
    """
    kind, colon, size = name.partition(":")
    numbers = re.fullmatch(r"([1-9][0-9]{0,8})(?:x([1-9][0-9]{0,8}))?", size, re.ASCII) if colon else None
    if kind not in SIMULATED or (colon and numbers is None):
        raise InputError(
            f"{name}: expected {' or '.join(SIMULATED)}, alone or with a number of sequences and perhaps of bases, such as "
            f"{SIMULATED[0]}:2000 or {SIMULATED[0]}:2000x100; for a file of that name write ./{name}"
        )
    count, length = STANDARD_SIZE
    if numbers is not None:
        count = int(numbers[1])
        length = int(numbers[2] or length)
    try:
        if kind == "tree":
            return evolve_tree(count, length)
        whole = storage_strands(-(-count // STORAGE_COPIES), STORAGE_COPIES, length)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    return whole.take(np.arange(count))


def _random_bases(generator: np.random.Generator, count: int, kinds: int) -> NDArray[np.uint8]:
    """``(count,)`` numbers below ``kinds``; for all kinds of bases, their codes."""
    drawn: NDArray[np.uint8] = (generator.random(count) * kinds).astype(np.uint8)
    return drawn + FIRST_LETTER if kinds == _BASES else drawn


def _random_tree(
    count: int, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """A binary tree whose nodes are numbered in the order they came to be, the root first.

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
    mean = math.fsum(depths[leaf] for leaf in leaves) / count  # exact, so the same whatever adds up the numbers
    return np.array(parents), np.array(lengths) / (mean or 1.0), np.array(leaves)


def _leaves_of(
    root: bytes,
    parents: NDArray[np.int64],
    branches: NDArray[np.float64],
    leaves: NDArray[np.int64],
    rates: NDArray[np.float64],
    generator: np.random.Generator,
) -> list[bytes]:
    """The sequences of the leaves, in their order; all branches as far from the root evolve at once."""
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
        rows = _mutate(generator, *_block(ancestors), -np.expm1(-branches[nodes] * rates[:, None]))
        above = nodes
        for place, row in zip(leaf_number[nodes].tolist(), rows, strict=True):
            if place >= 0:
                found[place] = row
    return found


def _mutate(
    generator: np.random.Generator,
    codes: NDArray[np.uint8],
    lengths: NDArray[np.int64],
    probabilities: NDArray[np.float64],
) -> list[bytes]:
    """Change, insert and lose bases, each at its own probability.

    Args:
        generator: What draws.
        codes: ``(N, n)`` codes, ``PADDING`` after the end.
        lengths: ``(N,)`` bases per sequence.
        probabilities: ``(3, N)`` of a substitution, an insertion and a deletion at each base of a sequence.
    """
    rows: list[bytes] = []
    for start in range(0, len(codes), _ROWS_AT_A_TIME):
        part = slice(start, start + _ROWS_AT_A_TIME)
        old = codes[part, : int(lengths[part].max())]
        substitution, insertion, deletion = probabilities[:, part, None]
        inside = old != PADDING
        changed = inside & (generator.random(old.shape) < substitution)
        # What stands at each base: one inserted before it, the base, one inserted after it.
        new = np.full((*old.shape, 3), PADDING, dtype=np.uint8)
        new[..., 1] = old
        step = 1 + _random_bases(generator, int(changed.sum()), _BASES - 1)
        new[changed, 1] = (old[changed] - FIRST_LETTER + step) % _BASES + FIRST_LETTER
        first = new[:, 0, 1].copy()
        new[generator.random(old.shape) < deletion, 1] = PADDING
        place = generator.random(old.shape)
        before = inside & (place < insertion / 2)
        after = inside & (place >= insertion / 2) & (place < insertion)
        new[before, 0] = _random_bases(generator, int(before.sum()), _BASES)
        new[after, 2] = _random_bases(generator, int(after.sum()), _BASES)
        new[:, 0, 1] = np.where(new.any(axis=(1, 2)), new[:, 0, 1], first)
        kept = new != PADDING
        rows += _cut(new[kept], kept.sum(axis=(1, 2)))
    return rows


def _strand_ways(length: int, gc: tuple[float, float], longest_run: int) -> tuple[NDArray[np.float64], int | None]:
    """Count the ways to finish a strand, by dynamic programming from its end.

    Returns:
        ``(length + 1, length + 2, 2, longest_run + 2)`` ways after so many bases, of which so many are C or G, the last one
        being C or G (1) or not (0), with a run of so many equal bases; each first index is scaled by a power of two of
        its own. And how many strands there are, or None for more than can be counted exactly.
    """
    shape = (length + 1, length + 2, 2, longest_run + 2)
    if 8 * math.prod(shape) > _TABLE_BYTES:
        raise InputError(
            f"length: expected strands whose table of rules fits into {_TABLE_BYTES >> 30} GiB, found {length} bases with "
            f"runs of up to {longest_run}; make shorter strands, or forbid shorter runs"
        )
    ways = np.zeros(shape)
    share = np.arange(length + 1) / length
    ways[length, :-1, :, 1:-1] = ((share >= gc[0]) & (share <= gc[1]))[:, None, None]
    exponent = 0
    for place in range(length - 1, 0, -1):
        # By whether the next base is C or G: the ways after it, counted from before it.
        after = (ways[place + 1, :-1, 0], ways[place + 1, 1:, 1])
        for last in range(2):
            ways[place, :-1, last, 1:-1] = after[last][:, 2:] + (after[last][:, 1] + 2 * after[1 - last][:, 1])[:, None]
        ways[place, place + 1 :] = 0  # more of C and G than bases; kept, they would dwarf the rest
        scale = int(np.frexp(ways[place].max())[1])
        ways[place] = np.ldexp(ways[place], -scale)
        exponent += scale
    total = 2 * float(ways[1, 0, 0, 1] + ways[1, 1, 1, 1])
    # What adds up to the total is no larger than it, so below 2 ** 53 the total is exact.
    countable = total == 0 or math.log2(total) + exponent < 53
    return ways, round(math.ldexp(total, exponent)) if countable else None


def _draw_strands(count: int, ways: NDArray[np.float64], generator: np.random.Generator) -> list[bytes]:
    """Draw strands base by base, each base in proportion to the ways to finish the strand after it."""
    length = len(ways) - 1
    strands = np.empty((count, length), dtype=np.uint8)
    last = np.full((count, 1), -1)
    run = np.zeros((count, 1), dtype=np.int64)
    held = np.zeros((count, 1), dtype=np.int64)
    for place in range(length):
        runs = np.where(np.arange(_BASES) == last, run + 1, 1)
        limits = ways[place + 1, held + _IS_GC, _IS_GC, runs].cumsum(axis=1)
        last = (generator.random((count, 1)) * limits[:, -1:] >= limits).sum(axis=1, keepdims=True)
        run = np.take_along_axis(runs, last, axis=1)
        held += _IS_GC[last]
        strands[:, place] = last[:, 0] + FIRST_LETTER
    return [row.tobytes() for row in strands]


def _make_distinct(rows: list[bytes], again: Callable[[list[int], int], list[bytes]]) -> None:
    """Replace every row that equals an earlier one, until all are distinct.

    Args:
        rows: The sequences; changed in place.
        again: From the numbers of some rows and of the attempt to other sequences for them.
    """
    seen: set[bytes] = set()
    pending: list[int] = []
    for number, row in enumerate(rows):
        if row in seen:
            pending.append(number)
        seen.add(row)
    attempt = in_vain = 0
    while pending:
        still = []
        for number, row in zip(pending, again(pending, attempt), strict=True):
            rows[number] = row
            if row in seen:
                still.append(number)
            seen.add(row)
        attempt += 1
        # The last free sequence among N is found by N draws in the mean; 20 N fail once in 5e8.
        in_vain = in_vain + len(pending) if len(still) == len(pending) else 0
        if attempt > 100 and in_vain > 20 * len(rows) + 1000:
            raise InputError(
                f"expected {len(rows)} distinct sequences, found only {len(seen)}; ask for fewer, for longer ones, or for "
                f"other rates"
            )
        pending = still


def _block(rows: list[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """``(N, n)`` codes, padded, and ``(N,)`` lengths."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    codes = np.full((len(rows), int(lengths.max())), PADDING, dtype=np.uint8)
    codes[np.arange(codes.shape[1]) < lengths[:, None]] = np.frombuffer(b"".join(rows), dtype=np.uint8)
    return codes, lengths


def _cut(flat: NDArray[np.uint8], lengths: NDArray[np.int64]) -> list[bytes]:
    """Cut codes that follow one another into sequences."""
    whole = flat.tobytes()
    ends = lengths.cumsum().tolist()
    return [whole[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _named(rows: list[bytes], names: list[str]) -> Sequences:
    codes, lengths = _block(rows)
    return Sequences(codes, lengths, np.array(names, dtype=np.str_))


def _check_whole(*, seed: int, **numbers: int) -> None:
    for name, value in numbers.items():
        if value < 1:
            raise InputError(f"{name}: expected at least 1, found {value}")
    if seed < 0:
        raise InputError(f"seed: expected at least 0, found {seed}")


def _check_rates(substitution: float, insertion: float, deletion: float) -> NDArray[np.float64]:
    """``(3,)`` rates."""
    for name, value in (("substitution", substitution), ("insertion", insertion), ("deletion", deletion)):
        if not 0 <= value <= 1:
            raise InputError(f"{name}: expected a rate between 0 and 1, found {value}")
    return np.array([substitution, insertion, deletion])
