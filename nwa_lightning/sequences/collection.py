"""Sequences in one block of memory; the distinct ones, and three disjoint sets of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.errors import InputError
from nwa_lightning.sequences.alphabet import DNA, PADDING, Alphabet

#: Train : validation : test, in the proportions of Lee & No (2024): 7,000 / 700 / 1,500.
PUBLISHED_SPLIT: Final = (7000, 700, 1500)


@dataclass(frozen=True)
class Sequences:
    """Many sequences in one block of memory, so that data-loader workers share instead of copying it.

    Attributes:
        codes: ``(N, n)`` codes, ``PADDING`` after the end of each sequence; ``n`` is the longest length.
        lengths: ``(N,)`` bases per sequence.
        names: ``(N,)`` record names as the file gives them, or line numbers.
    """

    codes: NDArray[np.uint8]
    lengths: NDArray[np.int64]
    names: NDArray[np.str_]

    @classmethod
    def from_codes(cls, codes: list[NDArray[np.uint8]], names: list[str]) -> Sequences:
        """Pack separately encoded sequences into one block."""
        lengths = np.array([len(row) for row in codes], dtype=np.int64)
        block = np.full((len(codes), int(lengths.max(initial=0))), PADDING, dtype=np.uint8)
        block[np.arange(block.shape[1]) < lengths[:, None]] = np.concatenate(codes) if codes else 0
        return cls(block, lengths, np.array(names, dtype=np.str_))

    @classmethod
    def from_strings(cls, strings: Iterable[str], alphabet: Alphabet = DNA) -> Sequences:
        """Encode sequences held in memory; their names are their numbers, from 1."""
        codes = [alphabet.encode(string) for string in strings]
        return cls.from_codes(codes, [str(number) for number in range(1, len(codes) + 1)])

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def max_length(self) -> int:
        """The longest length, in bases."""
        return int(self.lengths.max(initial=0))

    def take(self, rows: NDArray[np.int64]) -> Sequences:
        """The chosen rows, in the order given."""
        return Sequences(self.codes[rows], self.lengths[rows], self.names[rows])

    def unique(self) -> Sequences:
        """The first occurrence of every distinct sequence, in the order of the file."""
        _, first = np.unique(self.codes, axis=0, return_index=True)
        return self.take(np.sort(first))

    def to_strings(self, alphabet: Alphabet = DNA) -> list[str]:
        """The sequences as upper-case letters."""
        return [alphabet.decode(row[:length]) for row, length in zip(self.codes, self.lengths, strict=True)]

    def bytes_of(self, rows: NDArray[np.int64]) -> list[bytes]:
        """The codes of the chosen rows, each without its padding, as the edit-distance code wants them."""
        return [self.codes[row, : self.lengths[row]].tobytes() for row in rows.tolist()]


class Split(NamedTuple):
    """Three disjoint sets of sequences."""

    train: Sequences
    val: Sequences
    test: Sequences


def split_sequences(
    sequences: Sequences,
    *,
    seed: int = 0,
    train_size: int | None = None,
    val_size: int | None = None,
    test_size: int | None = None,
) -> Split:
    """Shuffle the distinct sequences and cut them into three disjoint sets.

    The test set is cut first and the training set last, so a smaller ``train_size`` leaves the other two as they were.

    Args:
        sequences: What to split; later duplicates are left out.
        seed: Of the shuffle.
        train_size: Sequences to train on; by default all that the other two leave.
        val_size: Sequences to validate on; by default the published fraction, 700 of 9,200.
        test_size: Sequences to test on; by default the published fraction, 1,500 of 9,200.

    Returns:
        The three sets; each has at least two sequences, so that there is a pair.

    Raises:
        InputError: If there are too few distinct sequences for these sizes.
    """
    distinct = sequences.unique()
    count = len(distinct)
    val = max(2, count * PUBLISHED_SPLIT[1] // sum(PUBLISHED_SPLIT)) if val_size is None else val_size
    test = max(2, count * PUBLISHED_SPLIT[2] // sum(PUBLISHED_SPLIT)) if test_size is None else test_size
    train = count - val - test if train_size is None else train_size
    if min(train, val, test) < 2 or train + val + test > count:
        raise InputError(
            f"expected at least 2 sequences each to train, validate and test, found {count} distinct sequences for "
            f"{max(train, 2)} + {val} + {test}; give more sequences or smaller sizes"
        )
    order = np.random.default_rng(seed).permutation(count)
    return Split(
        train=distinct.take(order[test + val : test + val + train]),
        val=distinct.take(order[test : test + val]),
        test=distinct.take(order[:test]),
    )
