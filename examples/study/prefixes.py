"""Prefixes of reads in every batch: does the distance of prefixes teach the distance of whole reads?

A common suffix does not change an edit distance, so each cell of a unit-cost matrix is an exact label of two prefixes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwa_lightning import Augment
from nwa_lightning.sequences.alphabet import PADDING, Alphabet
from nwa_lightning.sequences.collection import Sequences


class WithPrefixes(Augment):
    """The usual variants; in addition, every third of the other sequences is cut after a random base."""

    def vary(
        self,
        training: Sequences,
        drawn: NDArray[np.int64],
        alphabet: Alphabet,
        generator: np.random.Generator,
        **options: Any,
    ) -> Sequences:
        batch = super().vary(training, drawn, alphabet, generator, **options)
        rows = np.setdiff1d(np.arange(len(drawn)), self.rows(len(drawn)))[::3]
        block, sizes = batch.padded(batch.max_length), batch.lengths.copy()
        sizes[rows] = generator.integers(1, sizes[rows] + 1)
        block[np.arange(block.shape[1]) >= sizes[:, None]] = PADDING
        return Sequences.from_padded(block, sizes, batch.labels)
