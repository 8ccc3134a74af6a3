"""Simulated DNA-storage strands: random strands that obey rules, copied by a noisy channel."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.errors import InputError
from nwa_lightning.sequences.alphabet import DNA, FIRST_LETTER
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.simulate.channel import (
    BASES,
    check_rates,
    check_whole,
    make_distinct,
    mutate,
    named,
    padded,
)

#: 1 for C and G, 0 for A and T, in the order of the codes.
_IS_GC: Final = np.array([letter in "CG" for letter in DNA.letters], dtype=np.int64)
_TABLE_BYTES: Final = 2**31


def storage_strands(
    strands: int,
    copies: int,
    length: int,
    *,
    gc_content: tuple[float, float] = (0.45, 0.55),
    max_homopolymer: int = 3,
    substitution: float = 0.022,
    insertion: float = 0.017,
    deletion: float = 0.02,
    seed: int = 0,
) -> Sequences:
    """Strands as DNA storage writes them, each read several times through a noisy channel.

    Every strand that obeys the two rules is equally likely. The rules are for the strands, not for their noisy copies.
    The default rates, 6 % in total, are about those of nanopore reads of stored DNA (Srinivasavaradhan et al., 2021,
    "Trellis BMA"). With one copy and rates of 0 the same seed returns the strands themselves.

    Args:
        strands: Number of strands; all differ from one another.
        copies: Noisy copies of each strand; all copies of all strands differ from one another.
        length: Bases of a strand.
        gc_content: Smallest and largest fraction of C and G in a strand, both included.
        max_homopolymer: The most equal bases in a row; 1 forbids equal neighbours.
        substitution: Probability that a base is replaced by another one.
        insertion: Probability that a random base is put before or after a base.
        deletion: Probability that a base is lost. The last base left is never lost.
        seed: Seed of all random numbers.

    Returns:
        ``strands * copies`` sequences, the copies of a strand in a row; ``strand12/3`` is the third copy of strand 12.

    Raises:
        InputError: If a number is out of its domain, or there are not enough different sequences.
    """
    check_whole(strands=strands, copies=copies, length=length, max_homopolymer=max_homopolymer, seed=seed)
    rates = check_rates(substitution, insertion, deletion)
    low, high = gc_content
    if not 0 <= low <= high <= 1:
        raise InputError(
            f"gc_content: expected a smallest and a largest fraction between 0 and 1, found {low} and {high}"
        )
    ways, possible = _strand_ways(length, (low, high), min(max_homopolymer, length))
    if possible == 0:
        raise InputError(
            f"gc_content: expected fractions between which a strand of {length} bases can have one, found {low} to {high}; allow "
            f"more fractions, or change the length"
        )
    if possible is not None and strands > possible:
        raise InputError(
            f"strands: expected at most {possible} distinct strands of {length} bases with a GC content of {low} to {high} and "
            f"runs of at most {max_homopolymer}, found {strands}; ask for fewer or for longer ones, or relax the rules"
        )
    generator = np.random.default_rng(seed)
    designed = _draw_strands(strands, ways, generator)
    make_distinct(designed, lambda chosen, _: _draw_strands(len(chosen), ways, generator))

    def read(chosen: list[int]) -> list[bytes]:
        block = padded([designed[number // copies] for number in chosen])
        return mutate(generator, *block, np.repeat(rates[:, None], len(chosen), axis=1))

    rows = read(list(range(strands * copies)))
    make_distinct(rows, lambda chosen, _: read(chosen))
    return named(rows, [f"strand{one}/{two}" for one in range(1, strands + 1) for two in range(1, copies + 1)])


def _strand_ways(
    length: int, gc_content: tuple[float, float], max_homopolymer: int
) -> tuple[NDArray[np.float64], int | None]:
    """Count the ways to finish a strand, by dynamic programming from its end.

    Returns:
        ``(length + 1, length + 2, 2, max_homopolymer + 2)`` ways to finish a strand. The indices are: number of bases so far,
        number of C and G among them, whether the last one is C or G (1) or not (0), and length of the run of equal bases at
        the end. Each first index has its own scale, a power of two. Also the number of strands, or None if there are more
        than can be counted exactly.
    """
    shape = (length + 1, length + 2, 2, max_homopolymer + 2)
    if 8 * math.prod(shape) > _TABLE_BYTES:
        raise InputError(
            f"length: expected strands whose table of rules fits into {_TABLE_BYTES >> 30} GiB, found {length} bases with "
            f"runs of up to {max_homopolymer}; make shorter strands, or forbid shorter runs"
        )
    ways = np.zeros(shape)
    fraction = np.arange(length + 1) / length
    ways[length, :-1, :, 1:-1] = ((fraction >= gc_content[0]) & (fraction <= gc_content[1]))[:, None, None]
    exponent = 0
    for place in range(length - 1, 0, -1):
        # The ways after the next base, if it is not C or G and if it is, indexed by the counts before it.
        after = (ways[place + 1, :-1, 0], ways[place + 1, 1:, 1])
        for last in range(2):
            ways[place, :-1, last, 1:-1] = after[last][:, 2:] + (after[last][:, 1] + 2 * after[1 - last][:, 1])[:, None]
        ways[place, place + 1 :] = 0  # more C and G than bases: impossible, but these numbers would dwarf the rest
        scale = int(np.frexp(ways[place].max())[1])
        ways[place] = np.ldexp(ways[place], -scale)
        exponent += scale
    total = 2 * float(ways[1, 0, 0, 1] + ways[1, 1, 1, 1])
    # No term of the sum is larger than the total, so a total below 2 ** 53 is exact.
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
        runs = np.where(np.arange(BASES) == last, run + 1, 1)
        limits = ways[place + 1, held + _IS_GC, _IS_GC, runs].cumsum(axis=1)
        last = (generator.random((count, 1)) * limits[:, -1:] >= limits).sum(axis=1, keepdims=True)
        run = np.take_along_axis(runs, last, axis=1)
        held += _IS_GC[last]
        strands[:, place] = last[:, 0] + FIRST_LETTER
    return [row.tobytes() for row in strands]
