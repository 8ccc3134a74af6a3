"""A head for reads of any length: its decoder makes hidden vectors from an embedding and codes of the positions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nwa_lightning.encoders.checks import at_least_one
from nwa_lightning.errors import InputError
from nwa_lightning.nwa.heads import HeadOptions, NWAHead

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: Frequencies of the code of a position, and as many of its place within the read.
_WAVES = 16

#: Numbers in the code of a position: a sine and a cosine of each.
_CODES = 4 * _WAVES


class PositionHead(NWAHead):
    r"""``NWAHead`` with a decoder whose size does not depend on the length.

    The first layer of the published decoder has a matrix for every position. Here, the matrix of a position is a sum of 64
    learnt matrices, weighted by the code of the position, so that the hidden vector of position j is

    .. math:: h_j = \sum_k c_k(j) B_k z + C c(j).

    The code c(j) holds sines and cosines of j (Vaswani et al., 2017, https://arxiv.org/abs/1706.03762) and of j / n, with n
    the bases of the read. Transformer layers and cross-attention are those of ``NWAHead``.

    With a stride s, maps have rows and columns for the tokens 0, s, 2 s, ... only: those of two reads of 10,000 bases at
    s = 100 are 101 x 101. Time and memory of the head depend on the number of rows, not on the length.

    Args:
        embedding_dim: m, the dimension of the embeddings.
        max_length: The most bases a sequence may have; only the stride is compared with it, and longer ones work too.
        stride: s, tokens per row and column of the map.
        **sizes: ``hidden_dim``, ``heads``, ``layers`` and ``feedforward_dim`` of ``NWAHead``.

    Raises:
        InputError: If a number is below 1, ``hidden_dim`` is not a multiple of ``heads``, or maps would have one row.
    """

    def __init__(self, embedding_dim: int, max_length: int, *, stride: int = 1, **sizes: Unpack[HeadOptions]) -> None:
        at_least_one(stride=stride)
        super().__init__(embedding_dim, max_length, **sizes)
        if stride > max_length:
            raise InputError(
                f"stride: expected at most max_length, {max_length}, or maps have one row; found {stride}; give a smaller number"
            )
        self.stride = stride

    def _make_expand(self, embedding_dim: int, hidden: int) -> nn.Module:
        return _Expansion(embedding_dim, hidden)

    def _expanded(self, directions: Tensor, lengths: Tensor, size: int) -> Tensor:
        places = torch.arange(0, size, self.stride, device=lengths.device)
        hidden: Tensor = self.expand(directions, position_codes(places, lengths).to(directions.dtype))
        return hidden


class _Expansion(nn.Module):
    """Hidden vectors of an embedding and position codes."""

    def __init__(self, embedding_dim: int, hidden: int) -> None:
        super().__init__()
        self.matrices = nn.Linear(embedding_dim, _CODES * hidden)
        self.position = nn.Linear(_CODES, hidden)

    def forward(self, directions: Tensor, codes: Tensor) -> Tensor:
        """``(N, R, hidden)`` of ``(N, m)`` embeddings of norm 1 and ``(N, R, 64)`` codes."""
        # Components and sums of about 1, for which the initial weights of linear layers are made.
        vectors = self.matrices(directions * math.sqrt(directions.shape[-1])).unflatten(-1, (_CODES, -1))
        hidden: Tensor = codes @ vectors / math.sqrt(_CODES) + self.position(codes)
        return hidden


def position_codes(places: Tensor, lengths: Tensor) -> Tensor:
    """Codes of positions: sines and cosines of j w for waves from 6 bases to 600,000, and of k pi j / n for k from 1 to 16.

    Args:
        places: ``(R,)`` positions j, in tokens; 0 is ``<sos>``.
        lengths: ``(N,)`` bases per sequence, n.

    Returns:
        ``(N, R, 64)`` float32.
    """
    waves = torch.arange(_WAVES, device=places.device)
    rates = 10.0 ** (-5 * waves / (_WAVES - 1))
    absolute = (places[:, None] * rates).expand(len(lengths), -1, -1)
    relative = places[:, None] / lengths.clamp(min=1)[:, None, None] * (math.pi * (waves + 1))
    angles = torch.cat([absolute, relative], dim=-1)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
