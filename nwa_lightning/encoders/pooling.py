"""Features of a read of any length as a fixed number of vectors: means over equal parts of it, and attention."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi
from typing import Final

import torch
from torch import Tensor, nn

#: Sines of the code of a position, and as many cosines: half periods per read are 1 to this number.
_WAVES: Final = 4


def bin_weights(lengths: Tensor, bins: Sequence[int], positions: int, stride: int) -> Tensor:
    """Weights of the positions of a read in the means over its bins.

    Bin b of B of a read with n bases reaches from b n / B to (b + 1) n / B, and position p stands for the bases from p s to
    (p + 1) s. The weight is the length that the two have in common, divided by the length of the bin.

    Args:
        lengths: ``(U,)`` bases per read, n.
        bins: Numbers of bins, B.
        positions: P, number of positions; the bases after the last one have no weight.
        stride: s, bases per position.

    Returns:
        ``(U, sum of bins, P)`` float32; the weights of a bin sum to 1, and to 0 for a read without a base.
    """
    edges = stride * torch.arange(positions + 1, device=lengths.device)
    weights = []
    for count in bins:
        # Multiplied by the number of bins, all edges are whole numbers, so the weights are exact for any length.
        cuts = lengths[:, None, None] * torch.arange(count + 1, device=lengths.device)[:, None]
        first = torch.maximum(cuts[:, :-1], count * edges[:-1])
        last = torch.minimum(cuts[:, 1:], count * edges[1:])
        weights.append((last - first).clamp(min=0))
    return torch.cat(weights, dim=1).float() / lengths.clamp(min=1)[:, None, None]


class AttentionPooling(nn.Module):
    r"""A weighted mean of a read's features for each learnt query.

    Positions p with features :math:`f_p` have keys :math:`k_p = W f_p + V c_p`; the weights of query q are the softmax of
    :math:`q \cdot k_p / \sqrt{C} + \log b_p`, with :math:`b_p` the bases of the position: fewer in the last one. So equal keys
    give the mean over the read. The code :math:`c_p` of the place x of the middle of these bases, from 0 at the start of the
    read to 1 at its end, holds :math:`\sin(h \pi x)` and :math:`\cos(h \pi x)` for h from 1 to 4.

    Learnt queries over a set are the pooling of the Set Transformer (Lee et al., 2019, https://arxiv.org/abs/1810.00825);
    weights from the features themselves, with the features as values, are that of Ilse et al. (2018,
    https://arxiv.org/abs/1802.04712). The places are our addition.

    Args:
        channels: C, features per position.
        queries: Q, number of queries.
    """

    def __init__(self, channels: int, queries: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(queries, channels))
        # Without biases: they would add the same to the scores of all positions.
        self.keys = nn.Linear(channels, channels, bias=False)
        self.places = nn.Linear(2 * _WAVES, channels, bias=False)

    def forward(self, features: Tensor, lengths: Tensor, stride: int) -> Tensor:
        """``(U, Q, C)`` weighted means.

        Args:
            features: ``(U, P, C)``, 0 behind the end of each read.
            lengths: ``(U,)`` bases per read; one without a base has zeros.
            stride: Bases per position.
        """
        starts = stride * torch.arange(features.shape[1], device=lengths.device)
        bases = (lengths[:, None] - starts).clamp(0, stride).to(torch.float32)
        middle = (starts + bases / 2) / lengths.clamp(min=1)[:, None]
        angles = middle[:, :, None] * (pi * torch.arange(1, _WAVES + 1, device=lengths.device))
        code = torch.cat([angles.sin(), angles.cos()], dim=2).to(features.dtype)
        keys = self.keys(features) + self.places(code)
        scores = self.queries @ keys.mT / features.shape[2] ** 0.5 + bases.clamp(min=1).log()[:, None].to(
            features.dtype
        )
        inside = (bases > 0)[:, None]
        # The lowest number in place of minus infinity, which a read without a base would turn into nan.
        weights = scores.masked_fill(~inside, torch.finfo(scores.dtype).min).softmax(dim=2) * inside
        means: Tensor = weights @ features
        return means
