"""How far a hit may be from its query."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.errors import InputError
from nwa_lightning.search.hits import Hits

#: More edits than any pair has.
FAR: Final = np.iinfo(np.int32).max - 1


class Limit(NamedTuple):
    """How far a hit may be.

    Attributes:
        maxdist: The most edits; None for any.
        identity: The lowest identity, 1 minus edits over the longer length; None for any.
    """

    maxdist: int | None = None
    identity: float | None = None

    def check(self) -> None:
        """Check the numbers.

        Raises:
            InputError: If one is out of range.
        """
        if self.maxdist is not None and self.maxdist < 0:
            raise InputError(f"maxdist: expected at least 0, found {self.maxdist}; give a number of edits")
        if self.identity is not None and not 0 <= self.identity <= 1:
            raise InputError(f"id: expected 0 to 1, found {self.identity}; write 97 % as 0.97")

    def most_edits(self, lengths: NDArray[np.int64], others: NDArray[np.int64] | int) -> NDArray[np.int64]:
        """The most edits of pairs of sequences of these lengths."""
        # It grows with the longer length. So it is computed for the lengths, of which there are fewer than pairs.
        return np.maximum(self._most(np.asarray(lengths)), self._most(np.asarray(others)))

    def _most(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        most = lengths.astype(np.int64)  # more edits than that do not occur
        if self.identity is not None:
            most = np.floor((1 - self.identity) * lengths + 1e-9).astype(np.int64)
        return most if self.maxdist is None else np.minimum(most, self.maxdist)

    def keeps(self, hits: Hits, queries: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which hits are near enough, given the ``(Q,)`` and ``(N,)`` lengths."""
        return hits.edits <= self.most_edits(queries[hits.query], targets[hits.target])


#: Any hit will do.
ANY: Final = Limit()
