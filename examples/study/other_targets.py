r"""Other targets for the maps of an encoder's features; docs/results/what_pays.md has their effect.

A model for ``nwa fit`` and for ``reproduce.py``; run it from this folder, so that it is found::

    nwa fit --config ../configs/cnn.yaml --config ../configs/features.yaml --config other_targets.yaml \
        --model.encoder NeuroSEEDCNN
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from nwa_lightning import EditDistanceModel, PairBatch


class OtherTargetModel(EditDistanceModel):
    """Trains its maps on a target other than a Needleman-Wunsch matrix.

    Args:
        target: diagonal, the distance to the diagonal, which does not depend on the sequences and serves as a baseline; or
            posterior, the probability that an alignment pairs two bases.
        **kwargs: Passed on to ``EditDistanceModel``.
    """

    def __init__(self, *args: Any, target: Literal["diagonal", "posterior"] = "diagonal", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.target = target

    def training_step(self, batch: PairBatch, batch_idx: int) -> Tensor:
        """The usual step, with other scores in place of the matrices."""
        if self.target == "diagonal":
            places = torch.arange(batch.tokens.shape[1], dtype=torch.int16, device=batch.tokens.device)
            scores = -(places[:, None] - places).abs().expand(len(batch.nw_pairs), -1, -1)
        else:
            sides = [(batch.tokens[rows, 1:], batch.lengths[rows]) for rows in batch.nw_pairs.T]
            scores = log_posterior(*sides)
        return super().training_step(batch._replace(nw=scores), batch_idx)


def log_posterior(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """The probability that an alignment pairs a base of the first sequence with a base of the second.

    The probability of an alignment is proportional to the exponential of its score: 1 for a match, -1 for a mismatch or a gap.
    Computed by the forward and backward recursions (Durbin et al., "Biological sequence analysis", 1998, chapter 4).

    Args:
        first: ``(Q, n)`` codes and ``(Q,)`` lengths of the first sequences.
        second: Codes and lengths of the second sequences.

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
