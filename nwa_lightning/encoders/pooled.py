"""A residual convolutional encoder for reads of any length: its features are averaged over each read and parts of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, gelu, pad

from nwa_lightning.encoders.base import Encoder, OneHot
from nwa_lightning.encoders.checks import at_least, at_least_one, odd
from nwa_lightning.encoders.pooling import AttentionPooling, bin_weights
from nwa_lightning.encoders.residual import convolution
from nwa_lightning.errors import InputError
from nwa_lightning.sequences.alphabet import DNA, PADDING


class PooledCNN(Encoder):
    """The layers of ``ResidualCNN``; then averages over equal parts of each read; one linear layer.

    A read of n bases is divided into B bins of n / B bases, for each B in ``bins``; a bin holds the mean of the features in
    it, so it also works for reads with fewer bases than bins. No weight depends on ``max_length``: it only limits the data
    that a model is trained on, and a trained encoder embeds longer reads too.

    After every convolution, positions behind the end of a read are set to 0, and each position is normalized by its own
    channels (Ba et al., 2016, https://arxiv.org/abs/1607.06450; in residual convolutions: Liu et al., 2022, doi
    10.1109/CVPR52688.2022.01167). So padding and the other reads of a batch have no influence, in training too. Batch norm
    would also keep statistics of the lengths it was trained with.

    Its positions do not stand for tokens of a fixed length: for maps from features (``nwa_features``) use ``ResidualCNN``.

    Args:
        max_length: The most bases a sequence of the data may have; the encoder itself takes any number.
        embedding_dim: m, the dimension of the embeddings.
        vocabulary: Number of token values, padding and ``<sos>`` included.
        channels: Channels of every convolution, at least 2.
        stem_kernel: Kernel size of the first convolution, in positions; odd.
        stem_stride: Stride of the first convolution, in positions.
        stages: Number of stages; the positions are halved between two stages.
        blocks: Residual blocks per stage, of two convolutions with kernels of 3.
        bins: Numbers of bins; the features of all of them are the input of the last layer.
        queries: Number of learnt queries, each of which adds a mean whose weights are attention (``AttentionPooling``).

    Raises:
        InputError: If a number does not fit.
    """

    any_length = True

    def __init__(
        self,
        max_length: int,
        embedding_dim: int = 128,
        vocabulary: int = DNA.size,
        channels: int = 64,
        stem_kernel: int = 9,
        stem_stride: int = 4,
        stages: int = 2,
        blocks: int = 1,
        bins: Sequence[int] = (1, 4, 16),
        queries: int = 0,
    ) -> None:
        super().__init__(max_length, embedding_dim, vocabulary)
        at_least(2, channels=channels)  # one channel, normalized by itself, is constant
        at_least_one(stem_stride=stem_stride, stages=stages, blocks=blocks)
        at_least(0, queries=queries)
        odd(stem_kernel=stem_kernel)
        if not isinstance(bins, (list, tuple)) or not bins:
            raise InputError(f"bins: expected a list of numbers of bins, found {bins!r}; give one such as [1, 4, 16]")
        for number in bins:
            at_least_one(bins=number)
        self.bins = tuple(bins)
        self.stem_stride = stem_stride
        self.one_hot = OneHot(vocabulary)
        self.stem = _Convolution(self.one_hot.letters, channels, stem_kernel, stem_stride)
        self.stages = nn.ModuleList(nn.ModuleList(_Residual(channels) for _ in range(blocks)) for _ in range(stages))
        self.attention = AttentionPooling(channels, queries) if queries else None
        self.readout = nn.Linear(channels * (sum(self.bins) + queries), embedding_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(U, m)`` embeddings of ``(U, L)`` tokens, with any L; see ``Encoder``."""
        lengths = ((tokens != PADDING).sum(dim=1) - 1).clamp(min=0)
        stride = self.stem_stride << (len(self.stages) - 1)  # bases per position of the last stage
        width = tokens.shape[1] - 1
        whole = max(1, -(-width // stride)) * stride
        # <sos> is the same in every read and is left out.
        letters = self.one_hot(pad(tokens[:, 1:], (0, whole - width))).mT[:, :, None]
        starts = torch.arange(0, whole, self.stem_stride, device=tokens.device)
        inside = (starts < lengths[:, None])[:, None, None].to(letters.dtype)
        features = inside * gelu(self.stem(letters.contiguous(memory_format=torch.channels_last)))
        for stage, blocks in enumerate(self.stages):
            if stage:
                features, inside = _halved(features, inside)
            for block in blocks:  # type: ignore[attr-defined]
                features = block(features, inside)
        features = features.squeeze(2)
        weights = bin_weights(lengths, self.bins, features.shape[2], stride).to(features.dtype)
        pooled = features @ weights.mT
        if self.attention is not None:
            pooled = torch.cat([pooled, self.attention(features.mT, lengths, stride).mT], dim=2)
        embeddings: Tensor = self.readout(pooled.flatten(1))
        return embeddings


class _Convolution(nn.Module):
    """A convolution, and a norm over the channels of each position."""

    def __init__(self, seen: int, made: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.convolution = convolution(seen, made, kernel, stride)
        self.norm = nn.LayerNorm(made)

    def forward(self, features: Tensor) -> Tensor:
        normalized: Tensor = self.norm(self.convolution(features).permute(0, 2, 3, 1))
        return normalized.permute(0, 3, 1, 2)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _Convolution(channels, channels, 3)
        self.second = _Convolution(channels, channels, 3)

    def forward(self, features: Tensor, inside: Tensor) -> Tensor:
        """The same shape; ``inside`` is ``(U, 1, 1, P)``, 1 up to the end of each read and 0 after it."""
        inner = self.second(inside * gelu(self.first(features)))
        return inside * gelu(features + inner)


def _halved(features: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Means of two positions each, of which the second may be behind the end of a read."""
    fraction = avg_pool2d(inside, (1, 2))
    return avg_pool2d(features, (1, 2)) / fraction.clamp(min=0.5), fraction.ceil()
