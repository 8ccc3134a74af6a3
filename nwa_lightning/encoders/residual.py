"""Our own residual convolutional encoder: of all that we tried, it has the lowest error for its training time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nwa_lightning.encoders.base import Encoder, OneHot
from nwa_lightning.encoders.checks import at_least_one, halved, odd
from nwa_lightning.sequences.alphabet import DNA


class ResidualCNN(Encoder):
    """One-hot letters; a wide strided convolution; stages of residual blocks, halved in between; one linear layer.

    The first convolution leaves a quarter of the positions, so that the blocks of 64 channels are cheap. Features are stored
    channels-last, the fastest layout for convolutions on the CPU. ``docs/results/what_pays.md`` compares it with the
    published CNN.

    Args:
        max_length: The most bases a sequence may have.
        embedding_dim: m, the dimension of the embeddings.
        vocabulary: Number of token values, padding and ``<sos>`` included.
        channels: Channels of every convolution.
        stem_kernel: Kernel size of the first convolution, in positions; odd.
        stem_stride: Stride of the first convolution, in positions.
        stages: Number of stages; the positions are halved between two stages.
        blocks: Residual blocks per stage, of two convolutions with kernels of 3.

    Raises:
        InputError: If a number does not fit.
    """

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
    ) -> None:
        super().__init__(max_length, embedding_dim, vocabulary)
        at_least_one(channels=channels, stem_stride=stem_stride, stages=stages, blocks=blocks)
        odd(stem_kernel=stem_kernel)
        length = halved(max_length // stem_stride + 1, stages - 1, "stages - 1")
        self.one_hot = OneHot(vocabulary)
        layers: list[nn.Module] = [convolution(self.one_hot.letters, channels, stem_kernel, stem_stride)]
        layers += [nn.BatchNorm2d(channels), nn.GELU()]
        for stage in range(stages):
            layers += [nn.AvgPool2d((1, 2))] if stage else []
            layers += [_Residual(channels) for _ in range(blocks)]
        self.features = nn.Sequential(*layers)
        self.readout = nn.Linear(channels * length, embedding_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(U, m)`` embeddings of ``(U, L)`` tokens; see ``Encoder``."""
        letters = self.one_hot(self.pad(tokens)).mT[:, :, None]
        features = self.features(letters.contiguous(memory_format=torch.channels_last))
        embeddings: Tensor = self.readout(features.flatten(1))
        return embeddings


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        first = [convolution(channels, channels, 3), nn.BatchNorm2d(channels), nn.GELU()]
        self.inner = nn.Sequential(*first, convolution(channels, channels, 3), nn.BatchNorm2d(channels))

    def forward(self, features: Tensor) -> Tensor:
        return nn.functional.gelu(features + self.inner(features))


def convolution(seen: int, made: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution over the last dimension of ``(U, channels, 1, P)``, without a bias, as a norm follows."""
    # Two-dimensional, because only these support channels-last.
    return nn.Conv2d(seen, made, (1, kernel), (1, stride), (0, kernel // 2), bias=False)
