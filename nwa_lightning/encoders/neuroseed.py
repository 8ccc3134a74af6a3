"""The encoders of NeuroSEED (Corso et al., "Neural Distance Embeddings for Biological Sequences", NeurIPS 2021)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from nwa_lightning.encoders.base import Encoder, OneHot
from nwa_lightning.encoders.checks import at_least_one, halved, multiple_of_heads, odd
from nwa_lightning.errors import InputError
from nwa_lightning.sequences.alphabet import DNA, FIRST_LETTER, PADDING


class NeuroSEEDCNN(Encoder):
    """Letters to channels; convolution, batch norm, ReLU and average pooling by two, several times; one linear layer.

    The published code ends in another batch norm by accident. It raised our test error by half, so we leave it out.

    Args:
        max_length: The most bases a sequence may have.
        embedding_dim: m, the dimension of the embeddings.
        vocabulary: Number of token values, padding and ``<sos>`` included.
        channels: Channels of every convolution.
        layers: Number of convolutions; each halves the length.
        kernel_size: Kernel size of every convolution, in positions; odd.

    Raises:
        InputError: If a number does not fit.
    """

    def __init__(
        self,
        max_length: int,
        embedding_dim: int = 128,
        vocabulary: int = DNA.size,
        channels: int = 64,
        layers: int = 4,
        kernel_size: int = 3,
    ) -> None:
        super().__init__(max_length, embedding_dim, vocabulary)
        at_least_one(channels=channels, layers=layers)
        odd(kernel_size=kernel_size)
        length = halved(max_length + 1, layers)
        self.letters = nn.Embedding(vocabulary, channels, padding_idx=PADDING)
        blocks: list[nn.Module] = []
        for _ in range(layers):
            blocks += [
                nn.Conv1d(channels, channels, kernel_size, padding=kernel_size // 2),
                nn.BatchNorm1d(channels),
                nn.ReLU(),
                nn.AvgPool1d(2),
            ]
        self.features = nn.Sequential(*blocks)
        self.readout = nn.Linear(channels * length, embedding_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(U, m)`` embeddings of ``(U, L)`` tokens; see ``Encoder``."""
        embeddings: Tensor = self.readout(self.features(self.letters(self.pad(tokens)).mT).flatten(1))
        return embeddings


class NeuroSEEDTransformer(Encoder):
    """Segments of letters to hidden vectors; positions, Transformer layers with post-norm and ReLU; one linear layer.

    ``<sos>`` is the same in every sequence and is left out, so that a segment holds only bases. A segment of padding alone
    is hidden from the other segments, and is 0 before the last layer. It keeps its place there, because that layer has one
    weight per segment.

    Args:
        max_length: The most bases a sequence may have.
        embedding_dim: m, the dimension of the embeddings.
        vocabulary: Number of token values, padding and ``<sos>`` included.
        segment: Bases per segment; the paper uses 4 and 8, and 1 attends over single bases.
        layers: Number of Transformer layers.
        heads: Number of attention heads in each layer.
        hidden_dim: Dimension of the hidden vector of a segment.
        feedforward_dim: Feed-forward dimension of the Transformer layers.
        positions: learnt, or sinusoidal: sines and cosines of fixed frequencies.
        window: Segments attend to those at most this many segments away; null attends to all.

    Raises:
        InputError: If a number does not fit.
    """

    def __init__(
        self,
        max_length: int,
        embedding_dim: int = 128,
        vocabulary: int = DNA.size,
        segment: int = 4,
        layers: int = 2,
        heads: int = 2,
        hidden_dim: int = 16,
        feedforward_dim: int = 16,
        positions: Literal["learnt", "sinusoidal"] = "learnt",
        window: int | None = None,
    ) -> None:
        super().__init__(max_length, embedding_dim, vocabulary)
        at_least_one(segment=segment, layers=layers, heads=heads, feedforward_dim=feedforward_dim, window=window)
        multiple_of_heads(heads, hidden_dim)
        if positions not in ("learnt", "sinusoidal"):
            raise InputError(f"positions: expected learnt or sinusoidal, found {positions!r}; name one of them")
        self.segment = segment
        self.heads = heads
        segments = -(-max_length // segment)
        self.letters = nn.Linear(segment * (vocabulary - FIRST_LETTER), hidden_dim)
        self.positions: Tensor
        if positions == "learnt":
            self.positions = nn.Parameter(0.02 * torch.randn(segments, hidden_dim))
        else:
            self.register_buffer("positions", _sinusoids(segments, hidden_dim), persistent=False)
        self.one_hot = OneHot(vocabulary)
        # Constants are buffers, so that an exported encoder can be moved to another device.
        places = torch.arange(segments)
        steps = (places[:, None] - places).abs()
        self.itself: Tensor
        self.register_buffer("itself", steps == 0, persistent=False)
        self.near: Tensor
        self.register_buffer("near", steps <= (segments if window is None else window), persistent=False)
        layer = nn.TransformerEncoderLayer(hidden_dim, heads, feedforward_dim, dropout=0.0, batch_first=True)
        self.features = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.readout = nn.Linear(segments * hidden_dim, embedding_dim)

    def hidden(self, tokens: Tensor) -> Tensor:
        """One hidden vector per segment.

        Args:
            tokens: ``(U, L)``; see ``Encoder``.

        Returns:
            ``(U, S, hidden_dim)`` with S segments that hold ``max_length`` bases; 0 where a segment is padding alone.
        """
        segments = len(self.near)
        if tokens.shape[0] == 0:  # torch's attention refuses it; it occurs in distributed prediction
            return self.positions.new_zeros(0, *self.positions.shape)
        bases = nn.functional.pad(self.pad(tokens)[:, 1:], (0, segments * self.segment - self.max_length))
        bases = bases.reshape(-1, segments, self.segment)
        letters = self.one_hot(bases).flatten(2)
        present = (bases != PADDING).any(dim=2)
        # Every segment sees itself: the softmax of a segment that sees nothing would be 0 / 0.
        hidden_from = ~(self.near & (present[:, None] | self.itself))
        mask = hidden_from.repeat_interleave(self.heads, dim=0)
        features = self.features(self.letters(letters) + self.positions, mask, is_causal=False)
        return torch.where(present[..., None], features, 0.0)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(U, m)`` embeddings of ``(U, L)`` tokens; see ``Encoder``."""
        embeddings: Tensor = self.readout(self.hidden(tokens).flatten(1))
        return embeddings


def _sinusoids(count: int, size: int) -> Tensor:
    """``(count, size)`` sines in even columns, cosines in odd ones (Vaswani et al., 2017)."""
    frequencies = torch.exp(torch.arange(0, size, 2) * (-math.log(10_000) / size))
    angles = torch.arange(count)[:, None] * frequencies
    table = torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
    return table[:, :size].clone()
