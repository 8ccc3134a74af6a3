"""Batches of sequences of similar lengths, so that little of a batch is padding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.errors import InputError


class LengthWindows:
    """Draws rows whose lengths are in a narrow window around that of one random row.

    Args:
        lengths: ``(N,)`` lengths.
        max_padding: How much of a batch may be padding, at least 0 and below 1. If too few lengths are in the window, those
            nearest to it in the order of the lengths are drawn, too.

    Raises:
        InputError: If ``max_padding`` is out of range.
    """

    def __init__(self, lengths: NDArray[np.int64], max_padding: float) -> None:
        check_max_padding(max_padding)
        self.max_padding = max_padding
        self._order = np.argsort(lengths, kind="stable")
        self._sorted = lengths[self._order]

    def draw(self, count: int, generator: np.random.Generator) -> NDArray[np.int64]:
        """``count`` different rows; every row is drawn about equally often."""
        middle = int(generator.integers(len(self._order)))
        # The row is anywhere in its window, so that those at the ends of a window are not drawn less often.
        longest = self._sorted[middle] / (1 - self.max_padding * generator.random())
        first = int(np.searchsorted(self._sorted, longest * (1 - self.max_padding), side="left"))
        last = int(np.searchsorted(self._sorted, longest, side="right"))
        if last - first < count:
            first = min(max(middle - count // 2, 0), len(self._order) - count)
            last = first + count
        return self._order[first + generator.choice(last - first, count, replace=False)]


def check_max_padding(max_padding: float | None) -> None:
    """Check the option of the DataModule.

    Raises:
        InputError: If it is out of range.
    """
    if max_padding is not None and not 0 <= max_padding < 1:
        raise InputError(
            f"max_padding: expected a fraction from 0 to below 1, found {max_padding}; write a tenth as 0.1, or null for "
            f"sequences of any length"
        )
