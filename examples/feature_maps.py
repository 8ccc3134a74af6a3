"""NWA without a decoder: the map is drawn from the encoder's own features. What it is worth: results/what_pays.md.

A model for ``nwa fit`` and for ``reproduce.py``; run from this folder, so that it is found::

    nwa fit --config configs/cnn_features.yaml

The features of N sequences of a batch, before the readout, go through one linear layer for the queries and one for the
keys; their dot products are the logits of S x S maps, S positions after pooling. A target is the row softmax of scores,
each the largest of the cells that a position of the first and one of the second sequence stand for.

``shifted_reads.py`` makes reads whose alignments leave the diagonal, where an alignment says more than a position does.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_max_pool2d

from nwa_lightning import EditDistanceModel, Encoder, PairBatch, nw_matrices, row_jsd
from nwa_lightning.alphabet import PADDING
from nwa_lightning.term import captured_embeddings


class FeatureMapModel(EditDistanceModel):
    """Adds to the encoder loss the divergence of maps of its features, summed over rows, averaged over pairs.

    Args:
        encoder: From tokens to embeddings.
        features: Dotted name of a part of the encoder that returns ``(U, channels, S)`` or ``(U, S, channels)``.
        channels: Of the features.
        target: prefix, the published matrix; through, the best whole alignment through each cell; posterior, how probable
            it is that an alignment sets two bases together; or diagonal, the distance to the diagonal, which knows nothing
            of the sequences: a target that is to beat.
        feature_weight: Of the divergence.
        sequences: N, sequences of a batch that are mapped, all pairs of them.
        **kwargs: Handed on to ``EditDistanceModel``.
    """

    def __init__(
        self,
        encoder: Encoder,
        features: str,
        channels: int,
        target: Literal["prefix", "through", "posterior", "diagonal"] = "through",
        feature_weight: float = 1e-3,
        sequences: int = 16,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, nwa_weight=None, **kwargs)
        self.features = features
        self.target = target
        self.feature_weight = feature_weight
        self.sequences = sequences
        self.query = nn.Linear(channels, channels // 2)
        self.key = nn.Linear(channels, channels // 2, bias=False)

    def training_step(self, batch: PairBatch, batch_idx: int) -> Tensor:
        """Encoder loss plus the weighted divergence."""
        with captured_embeddings(self, f"encoder.{self.features}") as kept:
            loss = super().training_step(batch, batch_idx)
        features = kept[0][: self.sequences]
        if features.shape[2] != self.query.in_features:
            features = features.mT
        pairs = torch.combinations(torch.arange(len(features), device=features.device))
        query, key = self.query(features).index_select(0, pairs[:, 0]), self.key(features).index_select(0, pairs[:, 1])
        logits = torch.bmm(query, key.mT) / math.sqrt(query.shape[2])
        divergence = row_jsd(logits, self._scores(batch, pairs, features.shape[1])).mean()
        self.log("train/feature_divergence", divergence.detach(), batch_size=len(pairs))
        return loss + self.feature_weight * divergence

    def _scores(self, batch: PairBatch, pairs: Tensor, size: int) -> Tensor:
        """``(Q, size, size)`` scores of the pairs, pooled."""
        longest = self.length + 1
        if self.target == "diagonal":
            places = torch.arange(longest, dtype=torch.float32)
            scores = -(places[:, None] - places).abs().expand(len(pairs), -1, -1)
        else:
            codes = np.ascontiguousarray(self.encoder.pad(batch.tokens).cpu().numpy()[:, 1:].astype(np.uint8))
            lengths = (codes != PADDING).sum(axis=1)
            if self.target == "posterior":
                sides = [(torch.from_numpy(codes)[side], torch.from_numpy(lengths)[side]) for side in pairs.cpu().T]
                scores = log_posterior(*sides)
            else:
                scores = torch.from_numpy(nw_matrices(codes, lengths, pairs.cpu().numpy(), kind=self.target)).float()
            inside = torch.arange(longest) <= torch.from_numpy(lengths)[:, None]
            cells = inside[pairs[:, 0], :, None] & inside[pairs[:, 1], None]
            scores = scores.masked_fill(~cells, float(-longest))
        return adaptive_max_pool2d(scores[:, None], size)[:, 0].to(self.device)


def log_posterior(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """How probable it is that an alignment sets a base of the first beside one of the second sequence.

    An alignment has a probability in proportion to the exponential of its score: 1 for a match, -1 for a mismatch or a gap.
    By the forward and the backward recursion (Durbin et al., "Biological sequence analysis", 1998, chapter 4).

    Args:
        first: ``(Q, n)`` codes and ``(Q,)`` lengths of the first sequences.
        second: Of the second ones.

    Returns:
        ``(Q, n + 1, n + 1)`` logarithms, where cell (i, j) has the i-th and the j-th base; -inf in row and column 0.
    """
    forward = _log_partition(first, second)
    backward = _log_partition(_reversed(first), _reversed(second))
    (one, lengths), (two, columns) = first, second
    number = torch.arange(len(one))
    whole = forward[number, lengths, columns]
    # What is left after the i-th and the j-th base, wherever the sequences end.
    places = torch.arange(one.shape[1] + 1)
    rows, right = (lengths[:, None] - places).clamp(min=0), (columns[:, None] - places).clamp(min=0)
    after = backward[number[:, None, None], rows[:, :, None], right[:, None, :]]
    posterior = torch.full_like(forward, -torch.inf)
    matched = forward[:, :-1, :-1] + _substitution(one, two) + after[:, 1:, 1:] - whole[:, None, None]
    inside = (places[1:] <= lengths[:, None])[:, :, None] & (places[1:] <= columns[:, None])[:, None]
    posterior[:, 1:, 1:] = matched.masked_fill(~inside, -torch.inf)
    return posterior


def _substitution(one: Tensor, two: Tensor) -> Tensor:
    return torch.where(one[:, :, None] == two[:, None], 1.0, -1.0)


def _reversed(side: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    codes, lengths = side
    places = (lengths[:, None] - 1 - torch.arange(codes.shape[1])).clamp(min=0)
    return codes.gather(1, places), lengths


def _log_partition(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """``(Q, n + 1, n + 1)``: the logarithm of the sum over all alignments of two prefixes of the exponential of the score."""
    substitution = _substitution(first[0], second[0])
    gaps = -torch.arange(substitution.shape[2] + 1, dtype=torch.float32)
    rows = [gaps.expand(len(substitution), -1)]
    for scores in substitution.unbind(1):
        from_above = rows[-1] - 1
        from_above[:, 1:] = torch.logaddexp(from_above[:, 1:], rows[-1][:, :-1] + scores)
        # Then any number of gaps to the right: a cumulative sum, once each column's own gaps are taken off.
        rows.append(torch.logcumsumexp(from_above - gaps, dim=1) + gaps)
    return torch.stack(rows, dim=1)
