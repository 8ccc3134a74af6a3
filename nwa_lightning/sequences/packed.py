"""Many byte strings in one block of memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Strings whose places are Python integers at one time; for millions, these would take more memory than short strings.
_AT_A_TIME: Final = 1 << 16


@dataclass(frozen=True, eq=False)
class Packed:
    """Byte strings, one after the other in one flat array: a long one does not widen the others, and workers share memory.

    Attributes:
        flat: ``(total,)`` bytes of all strings; those taken from a larger collection share its array.
        starts: ``(N,)`` place of each string in ``flat``.
        lengths: ``(N,)`` bytes per string.
    """

    flat: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, strings: Iterable[bytes]) -> Packed:
        """Pack strings in their order."""
        packing = Packing()
        for string in strings:
            packing.add(string)
        return packing.packed()

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, row: int) -> bytes:
        start = self.starts[row]
        return self.flat[start : start + self.lengths[row]].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        view = self.flat.data
        for first in range(0, len(self), _AT_A_TIME):
            part = slice(first, first + _AT_A_TIME)
            for start, length in zip(self.starts[part].tolist(), self.lengths[part].tolist(), strict=True):
                yield bytes(view[start : start + length])

    def take(self, rows: NDArray[np.int64]) -> Packed:
        """The chosen strings, in the order given; no byte is copied."""
        return Packed(self.flat, self.starts[rows], self.lengths[rows])

    def padded(self, width: int, padding: int = 0) -> NDArray[np.uint8]:
        """``(N, width)``: each string from the left, then padding; longer strings are cut."""
        columns = np.arange(width)
        inside = columns < self.lengths[:, None]
        # Places beyond the last byte would be outside the array; they are padding anyway.
        places = np.minimum(self.starts[:, None] + columns, max(0, self.flat.size - 1))
        if not self.flat.size:
            return np.full((len(self), width), padding, dtype=np.uint8)
        return np.where(inside, self.flat[places], np.uint8(padding))


class Packing:
    """Collects byte strings one by one, in little more memory than they take themselves."""

    def __init__(self) -> None:
        self._flat = bytearray()
        self._lengths = array("q")  # eight bytes a number

    def __len__(self) -> int:
        return len(self._lengths)

    def add(self, string: bytes) -> None:
        """Append one."""
        self._flat += string
        self._lengths.append(len(string))

    def packed(self) -> Packed:
        """The strings that were added; call it once, at the end."""
        lengths = np.frombuffer(self._lengths, dtype=np.int64)
        starts = np.zeros(len(lengths), dtype=np.int64)
        np.cumsum(lengths[:-1], out=starts[1:])
        return Packed(np.frombuffer(self._flat, dtype=np.uint8), starts, lengths)
