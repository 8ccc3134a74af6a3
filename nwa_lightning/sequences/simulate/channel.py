"""Random errors in DNA sequences, and other common parts of the simulated sets.

Every random number, here and in the simulated sets, is drawn as a uniform float from a seeded generator, so a seed gives
the same sequences on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.errors import InputError
from nwa_lightning.sequences.alphabet import DNA, FIRST_LETTER, PADDING
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.packed import Packed

#: Number of different bases.
BASES: Final = len(DNA.letters)

_ROWS_AT_A_TIME: Final = 4096


def random_bases(generator: np.random.Generator, count: int) -> NDArray[np.uint8]:
    """``(count,)`` codes of bases, each equally likely."""
    return _numbers_below(BASES, generator, count) + FIRST_LETTER


def mutate(
    generator: np.random.Generator,
    codes: NDArray[np.uint8],
    lengths: NDArray[np.int64],
    probabilities: NDArray[np.float64],
) -> list[bytes]:
    """Substitute, insert and delete bases, each with its own probability.

    Args:
        generator: The random generator.
        codes: ``(N, n)`` codes, ``PADDING`` after the end.
        lengths: ``(N,)`` bases per sequence.
        probabilities: ``(3, N)`` of a substitution, an insertion and a deletion at each base of a sequence.

    Returns:
        The codes of the ``N`` changed sequences, without padding; none is empty.
    """
    rows: list[bytes] = []
    for start in range(0, len(codes), _ROWS_AT_A_TIME):
        part = slice(start, start + _ROWS_AT_A_TIME)
        old = codes[part, : int(lengths[part].max())]
        substitution, insertion, deletion = probabilities[:, part, None]
        inside = old != PADDING
        changed = inside & (generator.random(old.shape) < substitution)
        # Three places for each base: one inserted before it, the base itself, one inserted after it.
        new = np.full((*old.shape, 3), PADDING, dtype=np.uint8)
        new[..., 1] = old
        step = 1 + _numbers_below(BASES - 1, generator, int(changed.sum()))
        new[changed, 1] = (old[changed] - FIRST_LETTER + step) % BASES + FIRST_LETTER
        first = new[:, 0, 1].copy()
        new[generator.random(old.shape) < deletion, 1] = PADDING
        place = generator.random(old.shape)
        before = inside & (place < insertion / 2)
        after = inside & (place >= insertion / 2) & (place < insertion)
        new[before, 0] = random_bases(generator, int(before.sum()))
        new[after, 2] = random_bases(generator, int(after.sum()))
        new[:, 0, 1] = np.where(new.any(axis=(1, 2)), new[:, 0, 1], first)
        kept = new != PADDING
        rows += _cut(new[kept], kept.sum(axis=(1, 2)))
    return rows


def make_distinct(rows: list[bytes], again: Callable[[list[int], int], list[bytes]]) -> None:
    """Replace every row that equals an earlier one, until all are distinct.

    Args:
        rows: The sequences; changed in place.
        again: Maps the numbers of some rows and the number of the attempt to new sequences for these rows.

    Raises:
        InputError: If not enough different sequences are found.
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
        # Finding the last free sequence among N takes N draws on average; 20 N draws fail once in 5e8 times.
        in_vain = in_vain + len(pending) if len(still) == len(pending) else 0
        if attempt > 100 and in_vain > 20 * len(rows) + 1000:
            raise InputError(
                f"expected {len(rows)} distinct sequences, found only {len(seen)}; ask for fewer, for longer ones, or for "
                f"other rates"
            )
        pending = still


def padded(rows: list[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """``(N, n)`` codes, padded, and ``(N,)`` lengths."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    codes = np.full((len(rows), int(lengths.max())), PADDING, dtype=np.uint8)
    codes[np.arange(codes.shape[1]) < lengths[:, None]] = np.frombuffer(b"".join(rows), dtype=np.uint8)
    return codes, lengths


def named(rows: list[bytes], names: list[str]) -> Sequences:
    """The sequences of ``N`` rows and their names."""
    return Sequences(Packed.of(rows), Packed.of(name.encode() for name in names))


def check_whole(*, seed: int, **numbers: int) -> None:
    """Check that a seed is not negative, and that all other numbers are positive.

    Raises:
        InputError: With the name of the first that is not.
    """
    for name, value in numbers.items():
        if value < 1:
            raise InputError(f"{name}: expected at least 1, found {value}")
    if seed < 0:
        raise InputError(f"seed: expected at least 0, found {seed}")


def check_rates(substitution: float, insertion: float, deletion: float) -> NDArray[np.float64]:
    """Put the rates into one ``(3,)`` array.

    Raises:
        InputError: If one is not between 0 and 1.
    """
    for name, value in (("substitution", substitution), ("insertion", insertion), ("deletion", deletion)):
        if not 0 <= value <= 1:
            raise InputError(f"{name}: expected a rate between 0 and 1, found {value}")
    return np.array([substitution, insertion, deletion])


def _numbers_below(end: int, generator: np.random.Generator, count: int) -> NDArray[np.uint8]:
    drawn: NDArray[np.uint8] = (generator.random(count) * end).astype(np.uint8)
    return drawn


def _cut(flat: NDArray[np.uint8], lengths: NDArray[np.int64]) -> list[bytes]:
    """Cut codes that follow one another into sequences."""
    whole = flat.tobytes()
    ends = lengths.cumsum().tolist()
    return [whole[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
