"""Baselines with one fitted line: what any model has to beat."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from nwa_lightning.data.batch import PairBatch
from nwa_lightning.errors import InputError
from nwa_lightning.sequences.alphabet import FIRST_LETTER

KmerDistance = Literal["euclidean", "cosine", "jensen-shannon"]

_PAIRS_AT_A_TIME: Final = 1024


class ConstantBaseline:
    """Predicts the mean distance of the training pairs for every pair, whatever the target of the batches is."""

    def __init__(self) -> None:
        self.mean = torch.tensor(torch.nan)

    def fit(self, batches: Iterable[PairBatch]) -> ConstantBaseline:
        """Take the mean over the pairs of some batches."""
        self.mean = _true(batch.distance for batch in batches).mean().float()
        return self

    def __call__(self, batch: PairBatch) -> Tensor:
        """``(P,)`` predicted distances, in the unit of the batches that were fitted."""
        return self.mean.expand(len(batch.pairs))


class KmerBaseline:
    """Predicts the distance of a pair, whatever the target is, from that of k-mer counts, by a least-squares line.

    With ``distance="jensen-shannon"`` this is the feature frequency profile of Sims et al. (2009, doi
    10.1073/pnas.0813249106). A sequence shorter than k has no k-mers. Its cosine or Jensen-Shannon distance is the largest
    possible, 1 or ln 2, to every sequence with k-mers, and 0 to another sequence without. Euclidean distance needs no
    such rule.

    Args:
        vocabulary: Number of token values, padding and ``<sos>`` included.
        k: Letters per k-mer. A smaller k is used if the alphabet would give more than 4,096 k-mers.
        distance: ``"euclidean"`` distance of the counts, ``"cosine"`` distance (1 - cosine similarity) of the counts, or
            ``"jensen-shannon"``, the divergence of the k-mer frequencies in nats.

    Raises:
        InputError: If k or the distance cannot be used.
    """

    def __init__(self, vocabulary: int, k: int = 5, distance: KmerDistance = "euclidean") -> None:
        if k < 1:
            raise InputError(f"k: expected at least 1 letter, found {k}")
        if distance not in get_args(KmerDistance):
            raise InputError(f"distance: expected one of {', '.join(get_args(KmerDistance))}, found {distance!r}")
        self.letters = vocabulary - FIRST_LETTER
        while k > 1 and self.letters**k > 4096:
            k -= 1
        self.k = k
        self.distance = distance
        self.slope = self.intercept = torch.tensor(torch.nan)

    def fit(self, batches: Iterable[PairBatch]) -> KmerBaseline:
        """Fit the line to the pairs of some batches."""
        batches = list(batches)
        true = _true(batch.distance for batch in batches)
        counted = torch.cat([self.distances(batch) for batch in batches]).double()
        spread = counted - counted.mean()
        # If all distances are equal, the line is flat.
        slope = (spread * true).sum() / spread.square().sum() if counted.min() < counted.max() else torch.zeros(())
        self.slope, self.intercept = slope.float(), (true.mean() - slope * counted.mean()).float()
        return self

    def __call__(self, batch: PairBatch) -> Tensor:
        """``(P,)`` predicted distances, in the unit of the batches that were fitted."""
        return self.slope * self.distances(batch) + self.intercept

    def distances(self, batch: PairBatch) -> Tensor:
        """``(P,)`` distances of the k-mer counts of every pair."""
        counts = self.counts(batch.tokens)
        if self.distance == "jensen-shannon":
            return _jensen_shannon(counts, batch.pairs)
        first, second = batch.pairs.unbind(1)
        wide = counts.double()  # products of whole numbers are exact
        products = wide @ wide.T
        squares = products.diagonal()
        if self.distance == "euclidean":
            return (squares[first] + squares[second] - 2 * products[first, second]).sqrt().float()
        norms = (squares[first] * squares[second]).sqrt()
        cosine = torch.where(norms > 0, products[first, second] / norms, (squares[first] == squares[second]).double())
        return (1 - cosine).clamp(min=0).float()

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


def _true(distances: Iterable[Tensor]) -> Tensor:
    """All distances of some batches, float64; at least one is required."""
    true = torch.cat([torch.empty(0, dtype=torch.float64), *distances])
    if not len(true):
        raise InputError("fit: expected batches with at least one pair, found none; give more training sequences")
    return true


def _jensen_shannon(counts: Tensor, pairs: Tensor) -> Tensor:
    """``(P,)`` Jensen-Shannon divergences, in nats, of the frequencies of ``(U, K)`` counts.

    A divergence is the entropy of the mean minus the mean of the entropies, computed for 1,024 pairs at a time. Sequences
    without k-mers share one extra k-mer, which no other sequence has.
    """
    totals = counts.sum(dim=1, keepdim=True)
    profiles = torch.cat([counts, (totals == 0).to(counts)], dim=1).double() / totals.clamp(min=1)
    entropies = torch.special.entr(profiles).sum(dim=1)
    divergences: Tensor = -entropies[pairs].mean(dim=1)
    for start in range(0, len(pairs), _PAIRS_AT_A_TIME):
        part = slice(start, start + _PAIRS_AT_A_TIME)
        first, second = pairs[part].unbind(1)
        divergences[part] += torch.special.entr((profiles[first] + profiles[second]) / 2).sum(dim=1)
    return divergences.clamp(min=0).float()
