"""Heads that draw an attention map of two sequences from their embeddings or from earlier features; for training only."""

from __future__ import annotations

import math
from typing import TypedDict

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from nwa_lightning.encoders.checks import at_least_one, multiple_of_heads


class HeadOptions(TypedDict, total=False):
    """Sizes of ``NWAHead`` that may differ from the published ones; it describes them."""

    hidden_dim: int
    heads: int
    layers: int
    feedforward_dim: int


class NWAHead(nn.Module):
    """Turn embeddings into map logits (Lee & No, 2024, section on the NWA module).

    The decoder is a linear layer from the embedding to one hidden vector per position, then Transformer encoder layers;
    both sequences of a pair go through the same decoder. The cross-attention has one dot product per head and position
    pair, merged over heads by a linear layer with one output. A linear merge is a weight per head, so it is folded into
    the queries and all heads are one matrix product. Its bias, and that of the keys, would add the same to a whole row; they
    vanish in the row softmax and are left out.

    Args:
        embedding_dim: m, the dimension of the embeddings.
        max_length: The most bases a sequence may have; maps have up to ``max_length + 1`` rows, ``<sos>`` first.
        hidden_dim: Dimension of the decoder and the cross-attention; by default m / 2 as published, rounded up to a multiple
            of heads.
        heads: Number of heads of the decoder layers and of the cross-attention.
        layers: Number of Transformer layers of the decoder.
        feedforward_dim: Feed-forward dimension of the Transformer layers.

    Attributes:
        stride: s, tokens per row and column of the map; 1 here, a choice in ``PositionHead``.

    Raises:
        InputError: If a number is below 1, or ``hidden_dim`` is not a multiple of ``heads``.
    """

    stride = 1

    def __init__(
        self,
        embedding_dim: int,
        max_length: int,
        *,
        hidden_dim: int | None = None,
        heads: int = 4,
        layers: int = 2,
        feedforward_dim: int = 1024,
    ) -> None:
        super().__init__()
        at_least_one(
            embedding_dim=embedding_dim,
            max_length=max_length,
            heads=heads,
            layers=layers,
            feedforward_dim=feedforward_dim,
        )
        hidden = -(-embedding_dim // (2 * heads)) * heads if hidden_dim is None else hidden_dim
        multiple_of_heads(heads, hidden)
        self.max_length = max_length
        self.heads = heads
        self.expand = self._make_expand(embedding_dim, hidden)
        layer = nn.TransformerEncoderLayer(hidden, heads, feedforward_dim, dropout=0.0, batch_first=True)
        self.decoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden, bias=False)
        self.merge = nn.Parameter(torch.full((heads,), 1 / heads))

    def _make_expand(self, embedding_dim: int, hidden: int) -> nn.Module:
        """The layer for ``_expanded``."""
        return nn.Linear(embedding_dim, (self.max_length + 1) * hidden)

    def _expanded(self, directions: Tensor, lengths: Tensor, size: int) -> Tensor:
        """``(N, R, hidden)`` inputs of the Transformer layers, of ``(N, m)`` embeddings of norm 1; see ``decode``."""
        if size > self.max_length + 1:
            raise ValueError(
                f"Expected at most {self.max_length} bases (max_length) but got {size - 1}; build the head with a larger "
                f"max_length."
            )
        hidden: Tensor = self.expand(directions).unflatten(-1, (self.max_length + 1, -1))
        return hidden[:, :size]

    def decode(self, embeddings: Tensor, lengths: Tensor, size: int) -> Tensor:
        """One hidden vector per row of the map.

        Args:
            embeddings: ``(N, m)``; only their direction counts.
            lengths: ``(N,)`` bases per sequence; positions after the end are masked in the attention.
            size: L, number of tokens, ``<sos>`` included.

        Returns:
            ``(N, R, hidden)`` for the R tokens 0, s, 2 s, ... with s = ``stride``: all L of them, or every s-th.

        Raises:
            ValueError: If L is more than ``max_length + 1``; a ``PositionHead`` takes any L.
        """
        hidden = self._expanded(normalize(embeddings, dim=-1), lengths, size)
        after_end = torch.arange(0, size, self.stride, device=lengths.device) > lengths[:, None]
        decoded: Tensor = self.decoder(hidden, src_key_padding_mask=after_end)
        return decoded

    def attend(self, decoded: Tensor, pairs: Tensor) -> Tensor:
        """Map logits of pairs of decoded sequences.

        Args:
            decoded: ``(N, R, hidden)`` from ``decode``.
            pairs: ``(Q, 2)`` rows of ``decoded``: first (rows of the map), second (columns).

        Returns:
            ``(Q, R, R)`` logits; the attention map is their softmax over the last dimension.
        """
        head_dim = decoded.shape[-1] // self.heads
        query = self.query(decoded) * (self.merge / math.sqrt(head_dim)).repeat_interleave(head_dim)
        # index_select and not indexing: its gradient adds up in a fixed order, so a run can be repeated bit for bit.
        first, second = query.index_select(0, pairs[:, 0]), self.key(decoded).index_select(0, pairs[:, 1])
        return torch.bmm(first, second.mT)

    def forward(self, embeddings: Tensor, lengths: Tensor, pairs: Tensor, size: int) -> Tensor:
        """``(Q, R, R)`` map logits of ``(N, m)`` embeddings; see ``decode`` and ``attend``."""
        return self.attend(self.decode(embeddings, lengths, size), pairs)

    def pooled(self, scores: Tensor, inside: Tensor, pairs: Tensor, positions: int) -> tuple[Tensor, Tensor]:
        """Take the rows and columns of matrices that the maps have.

        Args:
            scores: ``(Q, L, L)`` matrices.
            inside: ``(N, L)`` true up to the end of each sequence.
            pairs: Unused, kept for a common signature with ``FeatureHead``.
            positions: Unused, kept for a common signature with ``FeatureHead``.

        Returns:
            ``(Q, R, R)`` scores, and ``(N, R)``, true up to the end of each sequence.
        """
        step = slice(None, None, self.stride)
        return scores[:, step, step], inside[:, step]

    def spread(self, logits: Tensor, size: int) -> Tensor:
        """Expand ``(Q, R, R)`` logits to matrices, ``(Q, size, size)``: each is repeated up to the next row and column."""
        whole = logits.repeat_interleave(self.stride, dim=1).repeat_interleave(self.stride, dim=2)
        return whole[:, :size, :size]


class FeatureHead(nn.Module):
    """Turn the encoder's own features into map logits, without a decoder.

    One linear layer for the queries and one for the keys; a logit is the dot product of the two. The map has a row for
    each of the S positions of the features, and the matrix is pooled to this size. If there is one position per token of the
    batch, each position stands for its token. Otherwise the S positions are spread evenly over ``max_length + 1`` tokens:
    this is what encoders see if they pad all sequences to one length.

    Args:
        channels: Number of channels of the features.
        max_length: The most bases a sequence may have.

    Raises:
        InputError: If a number is below 1.
    """

    def __init__(self, channels: int, max_length: int) -> None:
        super().__init__()
        at_least_one(channels=channels, max_length=max_length)
        self.channels = channels
        self.max_length = max_length
        hidden = max(1, channels // 2)
        self.query = nn.Linear(channels, hidden)
        # A bias would add the same to a whole row.
        self.key = nn.Linear(channels, hidden, bias=False)

    def forward(self, features: Tensor, lengths: Tensor, pairs: Tensor, size: int) -> Tensor:
        """Map logits of pairs of sequences.

        Args:
            features: ``(N, S, channels)``, ``(N, channels, S)`` or ``(N, channels, 1, S)``; with S = channels the first.
            lengths: ``(N,)``; unused, kept for a common signature with ``NWAHead``.
            pairs: ``(Q, 2)`` rows of ``features``: first (rows of the map), second (columns).
            size: Unused, kept for a common signature with ``NWAHead``.

        Returns:
            ``(Q, S, S)`` logits; the attention map is their softmax over the last dimension.

        Raises:
            ValueError: If the features have another shape.
        """
        shape = tuple(features.shape)
        if features.ndim == 4 and shape[2] == 1:
            features = features.squeeze(2)
        if features.ndim != 3 or features.shape[1:].numel() == 0 or self.channels not in features.shape[1:]:
            raise ValueError(
                f"Expected features of {self.channels} channels, (rows, positions, {self.channels}) or (rows, "
                f"{self.channels}, positions), but got {shape}; name another part of the model or its number of channels."
            )
        if features.shape[2] != self.channels:
            features = features.mT
        # index_select and not indexing: its gradient adds up in a fixed order, so a run can be repeated bit for bit.
        first = self.query(features).index_select(0, pairs[:, 0])
        second = self.key(features).index_select(0, pairs[:, 1])
        return torch.bmm(first, second.mT) / math.sqrt(first.shape[2])

    def pooled(self, scores: Tensor, inside: Tensor, pairs: Tensor, positions: int) -> tuple[Tensor, Tensor]:
        """Pool matrices to the size of the maps: the largest score of the cells that two positions stand for.

        Args:
            scores: ``(Q, L, L)`` matrices.
            inside: ``(N, L)`` true up to the end of each sequence.
            pairs: ``(Q, 2)`` rows of ``inside``.
            positions: S.

        Returns:
            ``(Q, S, S)`` scores, and ``(N, S)``, true where a position stands for a letter of the sequence.
        """
        missing = self._missing(positions, inside.shape[1])
        pad = nn.functional.pad
        letters = pad(inside, (0, missing))
        kind = torch.finfo(scores.dtype) if scores.is_floating_point() else torch.iinfo(scores.dtype)
        # Cells outside are capped at the lowest score. Each side is pooled by itself, in the type of the scores.
        caps = torch.where(letters, kind.max, kind.min).to(scores.dtype)
        first, second = (caps[side, :, None] for side in pairs.unbind(1))
        rows = _pooled(torch.minimum(pad(scores, (0, missing, 0, missing)), first), positions)
        columns = _pooled(torch.minimum(rows.mT.contiguous(), second), positions)
        return columns.mT, _pooled(letters, positions)

    def spread(self, logits: Tensor, size: int) -> Tensor:
        """Expand ``(Q, S, S)`` logits to matrices, ``(Q, size, size)``: each is repeated for the cells it stands for."""
        side = size + self._missing(logits.shape[1], size)
        whole = nn.functional.interpolate(logits[:, None], size=(side, side), mode="nearest")
        return whole[:, 0, :size, :size]

    def _missing(self, positions: int, size: int) -> int:
        """Number of tokens that the features stand for and a batch of ``(U, size)`` tokens lacks."""
        return 0 if positions == size else self.max_length + 1 - size


def _pooled(values: Tensor, size: int) -> Tensor:
    """Adaptive maximum pooling of dimension 1, like torch's, but for any type and several times as fast on the CPU."""
    whole = values.shape[1]
    number = torch.arange(size, device=values.device)
    starts, last = number * whole // size, ((number + 1) * whole - 1) // size
    pooled = values.index_select(1, starts)
    for step in range(1, whole // size + 2):
        pooled = torch.maximum(pooled, values.index_select(1, torch.minimum(starts + step, last)))
    return pooled
