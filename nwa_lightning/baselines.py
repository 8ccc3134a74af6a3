"""Predictors of the edit distance that learn nothing but a line: what any model has to beat."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from nwa_lightning.alphabet import FIRST_LETTER
from nwa_lightning.batch import PairBatch


class ConstantBaseline:
    """Predicts the mean edit distance of the training pairs, whatever the pair."""

    def __init__(self) -> None:
        self.mean = torch.tensor(torch.nan)

    def fit(self, batches: Iterable[PairBatch]) -> ConstantBaseline:
        """Take the mean over the pairs of some batches."""
        self.mean = torch.cat([batch.distance for batch in batches]).double().mean().float()
        return self

    def __call__(self, batch: PairBatch) -> Tensor:
        """``(P,)`` predicted edit distances, in edits."""
        return self.mean.expand(len(batch.pairs))


class KmerBaseline:
    """Predicts the edit distance from the Euclidean distance of k-mer counts, by a least-squares line.

    Args:
        vocabulary: Number of token values, padding and ``<sos>`` included.
        k: Letters of a k-mer; fewer where an alphabet has so many letters that there are over 4,096 k-mers.
    """

    def __init__(self, vocabulary: int, k: int = 5) -> None:
        self.letters = vocabulary - FIRST_LETTER
        while k > 1 and self.letters**k > 4096:
            k -= 1
        self.k = k
        self.slope = self.intercept = torch.tensor(torch.nan)

    def fit(self, batches: Iterable[PairBatch]) -> KmerBaseline:
        """Fit the line to the pairs of some batches."""
        sides = [(self._count_distance(batch), batch.distance) for batch in batches]
        counted, edits = (torch.cat(side).double() for side in zip(*sides, strict=True))
        design = torch.stack([counted, torch.ones_like(counted)], dim=1)
        self.slope, self.intercept = torch.linalg.lstsq(design, edits[:, None]).solution[:, 0].float()
        return self

    def __call__(self, batch: PairBatch) -> Tensor:
        """``(P,)`` predicted edit distances, in edits."""
        return self.slope * self._count_distance(batch) + self.intercept

    def _count_distance(self, batch: PairBatch) -> Tensor:
        counts = self.counts(batch.tokens)
        distance: Tensor = (counts[batch.pairs[:, 0]] - counts[batch.pairs[:, 1]]).norm(dim=1)
        return distance

    def counts(self, tokens: Tensor) -> Tensor:
        """``(U, letters ** k)`` k-mer counts of ``(U, L)`` tokens."""
        codes = tokens[:, 1:] - FIRST_LETTER
        if codes.shape[1] < self.k:
            return torch.zeros(len(tokens), self.letters**self.k)
        windows = codes.unfold(1, self.k, 1)
        place = self.letters ** torch.arange(self.k)
        inside = (windows >= 0).all(dim=-1)
        index = (windows * place).sum(dim=-1).masked_fill(~inside, 0)
        counts = torch.zeros(len(tokens), self.letters**self.k)
        return counts.scatter_add(1, index, inside.float())
