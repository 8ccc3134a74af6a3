"""Fresh variants of training sequences; a batch computes their exact labels like all others, so they need no extra data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.errors import InputError
from nwa_lightning.sequences.alphabet import FIRST_LETTER, PADDING, Alphabet
from nwa_lightning.sequences.collection import Sequences

#: Fraction of variants that are shifted when ``shift > 0``: enough to learn from, few enough not to dominate.
_SHIFTED = 0.1


@dataclass(frozen=True)
class Augment:
    """Replace a fraction of every training batch by fresh variants of training sequences.

    A variant is the start of one training sequence and the rest of another, drawn from the whole training set, with random
    edits. It is never empty, and it is cut to the length of the longest training sequence.

    Args:
        fraction: Fraction of the sequences of a batch that are variants, 0 to 1; spread evenly over the batch.
        edits: Highest rate of edits per base, 0 to 1; each variant draws its own rate between 0 and it.
        indels: Fraction of the edits that are insertions or deletions, half of them each; the others are substitutions.
        crossover: Whether a variant has two parents; they are cut at the same random fraction of their lengths.
        shift: Largest shift in bases; one variant in ten is shifted. Use it for reads that sometimes start earlier or later
            than others: the first bases of the variant move to its end, or the last ones to its start.
        fixed_length: Whether a variant gets the length of its first parent: cut, or filled with random letters.
        crop: Largest fraction of a variant that is cut off, at both ends together; each variant draws its own, 0 for none. Use
            it for models that will also see fragments.

    Raises:
        InputError: If a fraction or a rate is not between 0 and 1, or the shift is below 0; or if variants of a fixed length are
            to be cropped.
    """

    fraction: float = 0.5
    edits: float = 0.15
    indels: float = 0.2
    crossover: bool = True
    shift: int = 0
    fixed_length: bool = False
    crop: float = 0.0

    def __post_init__(self) -> None:
        for name, kind in (("fraction", "fraction"), ("edits", "rate"), ("indels", "fraction"), ("crop", "fraction")):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(
                    f"augment.{name}: expected a {kind} between 0 and 1, found {getattr(self, name)}; write 15 % as 0.15"
                )
        if self.crop and self.fixed_length:
            raise InputError(
                f"augment.crop: expected 0 with augment.fixed_length, found {self.crop}; switch one of them off"
            )
        if self.shift < 0:
            raise InputError(f"augment.shift: expected a number of bases, 0 for none, found {self.shift}")

    def rows(self, count: int) -> NDArray[np.int64]:
        """The rows of a batch of ``count`` that are variants; every block of rows has about the same fraction of them."""
        return np.flatnonzero(np.diff(np.floor(np.arange(count + 1) * self.fraction + 0.5)))

    def vary(
        self,
        training: Sequences,
        drawn: NDArray[np.int64],
        alphabet: Alphabet,
        generator: np.random.Generator,
        *,
        max_length: int | None = None,
    ) -> Sequences:
        """The sequences of a batch.

        Args:
            training: The training set.
            drawn: ``(U,)`` rows of ``training``.
            alphabet: Alphabet of the training set; edits draw their letters uniformly from it.
            generator: The random generator.
            max_length: The most bases of a variant; None for the length of the longest training sequence.

        Returns:
            The U sequences, in which variants replace ``rows(U)``. The names are still those of the rows drawn.
        """
        batch = training.take(drawn)
        width = training.max_length if max_length is None else max_length
        block, sizes = batch.padded(width), batch.lengths.copy()
        rows = self.rows(len(drawn))
        parents = [training.take(side) for side in generator.integers(len(training), size=(2, len(rows)))]
        (codes, others), (lengths, other_lengths) = zip(
            *((side.padded(width), side.lengths) for side in parents), strict=True
        )
        wanted = lengths
        if self.crossover:
            codes, lengths = _cross(codes, lengths, others, other_lengths, generator)
        if self.shift:
            codes = _rotate(codes, lengths, self.shift, generator)
        if self.crop:
            codes, lengths = _crop(codes, lengths, self.crop, generator)
        codes, lengths = self.edit(codes, lengths, len(alphabet.letters), generator)
        if not self.fixed_length:
            wanted = np.minimum(lengths, width)
        codes = codes[:, :width]
        columns = np.arange(width)
        if self.fixed_length:
            gap = (columns >= lengths[:, None]) & (columns < wanted[:, None])
            codes[gap] = generator.integers(len(alphabet.letters), size=int(gap.sum())) + FIRST_LETTER
        codes[columns >= wanted[:, None]] = PADDING
        block[rows], sizes[rows] = codes, wanted
        return Sequences.from_padded(block, sizes, batch.labels)

    def edit(
        self, codes: NDArray[np.uint8], lengths: NDArray[np.int64], letters: int, generator: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Edit sequences at random.

        Each base gets at most one edit: it is deleted, gets a random neighbour, or becomes another letter. If a sequence
        would lose all its bases, its first base is kept.

        Args:
            codes: ``(N, n)`` padded codes; they are changed in place.
            lengths: ``(N,)`` lengths.
            letters: Letters of the alphabet.
            generator: The random generator.

        Returns:
            Padded codes, at least as wide as before, and ``(N,)`` lengths.
        """
        inside = np.arange(codes.shape[1]) < lengths[:, None]
        drawn = generator.random(codes.shape, dtype=np.float32)
        rate = self.edits * generator.random((len(codes), 1), dtype=np.float32)
        edited = inside & (drawn < rate)
        lost = edited & (drawn < rate * np.float32(self.indels / 2))
        indel = edited & (drawn < rate * np.float32(self.indels))
        gained, changed = indel & ~lost, edited & ~indel
        steps = generator.integers(1, letters, int(changed.sum()))
        codes[changed] = (codes[changed] - FIRST_LETTER + steps) % letters + FIRST_LETTER
        copies = (inside & ~lost).astype(np.int64) + gained
        copies[~copies.any(axis=1), 0] = 1
        flat = np.repeat(codes, copies.ravel())
        # One of the two copies of a base becomes the random neighbour.
        places = copies.cumsum()[gained.ravel()] - generator.integers(1, 3, int(gained.sum()))
        flat[places] = generator.integers(letters, size=len(places)) + FIRST_LETTER
        lengths = copies.sum(axis=1)
        block = np.full((len(codes), max(codes.shape[1], int(lengths.max(initial=0)))), PADDING, dtype=np.uint8)
        block[np.arange(block.shape[1]) < lengths[:, None]] = flat
        return block, lengths


def _cross(
    codes: NDArray[np.uint8],
    lengths: NDArray[np.int64],
    others: NDArray[np.uint8],
    other_lengths: NDArray[np.int64],
    generator: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The start of one sequence and the rest of another, cut at the same random fraction; no longer than the longer one.

    Args:
        codes: ``(N, n)`` codes of the first parents.
        lengths: ``(N,)`` lengths of the first parents.
        others: ``(N, n)`` codes of the second parents.
        other_lengths: ``(N,)`` lengths of the second parents.
        generator: The random generator.

    Returns:
        ``(N, n)`` codes, with arbitrary values beyond the end, and ``(N,)`` lengths, at least 1: the cut is before the last
        base.
    """
    fraction = generator.random(len(codes))
    start, cut = ((fraction * side).astype(np.int64)[:, None] for side in (lengths, other_lengths))
    columns = np.arange(codes.shape[1])
    from_other = np.take_along_axis(others, np.minimum(columns - start + cut, len(columns) - 1), axis=1)
    return np.where(columns < start, codes, from_other), (start - cut)[:, 0] + other_lengths


def _crop(
    codes: NDArray[np.uint8], lengths: NDArray[np.int64], most: float, generator: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A random window of each of N sequences, of at least one base, with arbitrary values beyond its end; and its length."""
    kept = np.maximum(lengths - (most * generator.random(len(codes)) * lengths).astype(np.int64), 1)
    start = generator.integers(0, lengths - kept, endpoint=True)
    columns = np.minimum(np.arange(codes.shape[1]) + start[:, None], codes.shape[1] - 1)
    return np.take_along_axis(codes, columns, axis=1), kept


def _rotate(
    codes: NDArray[np.uint8], lengths: NDArray[np.int64], most: int, generator: np.random.Generator
) -> NDArray[np.uint8]:
    """``(N, n)`` codes of ``(N,)`` lengths, ``_SHIFTED`` of them rotated by 1 to ``most`` bases, to the left or the right."""
    steps = generator.integers(1, most + 1, len(codes)) * generator.choice([-1, 1], len(codes))
    steps *= generator.random(len(codes)) < _SHIFTED
    columns = np.arange(codes.shape[1])
    within = lengths[:, None]
    source = np.where(columns < within, (columns + steps[:, None]) % np.maximum(within, 1), columns)
    return np.take_along_axis(codes, source, axis=1)
