"""What a search finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, eq=False)
class Hits:
    """Pairs of a query and a target, ordered by query, then by edits, then by target.

    Attributes:
        query: ``(H,)`` rows of the queries.
        target: ``(H,)`` rows of the targets.
        edits: ``(H,)`` exact edit distances.
        reverse: ``(H,)`` whether the reverse complement of the query was compared.
    """

    query: NDArray[np.int64]
    target: NDArray[np.int64]
    edits: NDArray[np.int64]
    reverse: NDArray[np.bool_]

    @classmethod
    def of_table(cls, target: NDArray[np.int64], edits: NDArray[np.int64]) -> Self:
        """From ``(Q, k)`` targets and edits, where a target of -1 is no hit."""
        query, place = np.nonzero(target >= 0)
        found = target[query, place]
        return cls(query, found, edits[query, place], np.zeros(len(query), dtype=bool))

    def __len__(self) -> int:
        return len(self.query)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Self:
        """The chosen hits."""
        return type(self)(self.query[rows], self.target[rows], self.edits[rows], self.reverse[rows])

    def best(self, most: int) -> Self:
        """The nearest ``most`` hits of every query; of a target that was found on both strands, the nearer one."""
        order = np.lexsort((self.reverse, self.target, self.edits, self.query))
        hits = self.take(order)
        _, first = np.unique(np.stack([hits.query, hits.target]), axis=1, return_index=True)
        hits = hits.take(np.sort(first))
        starts = np.searchsorted(hits.query, hits.query, side="left")
        return hits.take(np.arange(len(hits)) - starts < most)


def joined(one: Hits, two: Hits) -> Hits:
    """The hits of two searches of the same queries, such as those of the two strands."""
    fields = ("query", "target", "edits", "reverse")
    return Hits(*(np.concatenate([getattr(one, name), getattr(two, name)]) for name in fields))
