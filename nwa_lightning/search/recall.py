"""How many candidates an index has to return, so that the true nearest reads are among them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.search.hits import Hits

#: Queries whose true nearest targets are computed: as many as fit into this many pairs, within these bounds.
_PAIRS: Final = 50_000_000
_FEWEST: Final = 100
_MOST: Final = 500

#: Candidates that are tried; the cells follow from them.
EFFORTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Effort(NamedTuple):
    """How much an index does for a query.

    Attributes:
        candidates: Targets whose exact edit distance is computed.
        cells: Cells of the index that are searched.
    """

    candidates: int
    cells: int


class Recall(NamedTuple):
    """What was measured on a sample of the queries.

    Attributes:
        effort: The least effort that reached the wanted recall, or the greatest effort.
        found: Queries of the sample whose nearest target was found.
        sample: Queries of the sample that have one.
    """

    effort: Effort
    found: int
    sample: int

    @property
    def fraction(self) -> float:
        """The recall; 1 for an empty sample."""
        return self.found / self.sample if self.sample else 1.0


def efforts(targets: int, cells: int, least: int) -> list[Effort]:
    """Efforts from small to great, for an index with that many targets and cells.

    Args:
        targets: Number of targets.
        cells: Cells of the index.
        least: The fewest candidates that make sense: the hits that are wanted of each query.
    """
    found = [Effort(min(targets, max(number, least)), min(cells, number)) for number in EFFORTS]
    return list(dict.fromkeys(found))


def sample_size(queries: int, targets: int) -> int:
    """Queries whose true nearest targets are worth their time."""
    return min(queries, max(_FEWEST, min(_MOST, _PAIRS // max(1, targets))))


def measure(
    sample: NDArray[np.int64],
    truth: Hits,
    search: Callable[[NDArray[np.int64], Effort], Hits],
    ladder: list[Effort],
    wanted: float,
) -> Recall:
    """Try greater and greater efforts until the recall is reached.

    Args:
        sample: ``(S,)`` rows of queries.
        truth: The true nearest target of each of them, if there is one within the limits; its queries count from 0.
        search: Returns the hits of the queries of the sample with an effort; its queries count from 0.
        ladder: Efforts from small to great.
        wanted: Fraction of the sample.
    """
    nearest = np.full(len(sample), -1, dtype=np.int64)
    nearest[truth.query[::-1]] = truth.edits[::-1]  # the first hit of a query is the nearest
    having = nearest >= 0
    found, effort = 0, ladder[0]
    for effort in ladder:
        hits = search(sample, effort)
        best = np.full(len(sample), -1, dtype=np.int64)
        best[hits.query[::-1]] = hits.edits[::-1]
        found = int((best[having] == nearest[having]).sum())
        if found >= wanted * having.sum():
            break
    return Recall(effort, found, int(having.sum()))
