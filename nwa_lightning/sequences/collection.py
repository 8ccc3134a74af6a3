"""Sequences in one block of memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.sequences.alphabet import DNA, PADDING, Alphabet
from nwa_lightning.sequences.content import content_hashes
from nwa_lightning.sequences.packed import Packed


@dataclass(frozen=True, eq=False)
class Sequences:
    """Many sequences in one block of memory, which data-loader workers share instead of copying it.

    Attributes:
        bases: The codes of each sequence.
        labels: The record name of each sequence in UTF-8, as the file gives it, or its line number.
        groups: The value of a column of the file for each sequence, in UTF-8; None if no column was asked for.
    """

    bases: Packed
    labels: Packed
    groups: Packed | None = None

    @classmethod
    def from_codes(cls, codes: Iterable[NDArray[np.uint8]], names: Iterable[str]) -> Sequences:
        """Pack separately encoded sequences into one block."""
        return cls(Packed.of(row.tobytes() for row in codes), Packed.of(name.encode() for name in names))

    @classmethod
    def from_padded(cls, codes: NDArray[np.uint8], lengths: NDArray[np.int64], labels: Packed) -> Sequences:
        """Take over ``(N, n)`` padded codes as they are, with their ``(N,)`` lengths."""
        starts = np.arange(len(codes), dtype=np.int64) * codes.shape[1]
        return cls(Packed(np.ascontiguousarray(codes).reshape(-1), starts, lengths), labels)

    @classmethod
    def from_strings(cls, strings: Iterable[str], alphabet: Alphabet = DNA) -> Sequences:
        """Encode sequences held in memory; their names are their numbers, from 1."""
        codes = [alphabet.encode(string) for string in strings]
        return cls.from_codes(codes, (str(number) for number in range(1, len(codes) + 1)))

    def __len__(self) -> int:
        return len(self.bases)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """``(N,)`` bases per sequence."""
        return self.bases.lengths

    @cached_property
    def max_length(self) -> int:
        """The longest length, in bases."""
        return int(self.lengths.max(initial=0))

    @property
    def names(self) -> list[str]:
        """The N names."""
        return [name.decode() for name in self.labels]

    @cached_property
    def hashes(self) -> NDArray[np.uint64]:
        """``(N,)`` hashes of the bases, see ``content_hashes``; computed once."""
        return content_hashes(self.bases)

    def padded(self, width: int | None = None) -> NDArray[np.uint8]:
        """``(N, width)`` codes, ``PADDING`` after the end of each sequence; by default as wide as the longest."""
        return self.bases.padded(self.max_length if width is None else width, PADDING)

    def take(self, rows: NDArray[np.int64]) -> Sequences:
        """The chosen rows, in the order given; they share the memory of this collection."""
        groups = None if self.groups is None else self.groups.take(rows)
        taken = Sequences(self.bases.take(rows), self.labels.take(rows), groups)
        if "hashes" in self.__dict__:  # seconds for millions of sequences
            taken.__dict__["hashes"] = self.hashes[rows]
        return taken

    def cut(self, length: int) -> Sequences:
        """The sequences, each cut to at most ``length`` bases."""
        bases = Packed(self.bases.flat, self.bases.starts, np.minimum(self.lengths, length))
        return Sequences(bases, self.labels, self.groups)

    def unique(self) -> Sequences:
        """The first occurrence of every distinct sequence, in the order of the file."""
        _, first = np.unique(self.hashes, return_index=True)
        return self if len(first) == len(self) else self.take(np.sort(first))

    def to_strings(self, alphabet: Alphabet = DNA) -> list[str]:
        """The sequences as upper-case letters."""
        return [alphabet.decode(np.frombuffer(row, dtype=np.uint8)) for row in self.bases]

    def bytes_of(self, rows: NDArray[np.int64]) -> list[bytes]:
        """The codes of the chosen rows, in the form that the edit-distance code takes."""
        return list(self.bases.take(rows))
