"""The encoder of CNN-ED (Dai et al., "Convolutional Embedding for Edit Distance", SIGIR 2020)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from nwa_lightning.encoders.base import Encoder, OneHot
from nwa_lightning.encoders.checks import at_least_one, halved, odd
from nwa_lightning.errors import InputError
from nwa_lightning.sequences.alphabet import DNA


class CNNED(Encoder):
    """The positions of each letter; convolution and pooling by two, several times; one linear layer.

    As in the published code, the positions of each letter go through the same convolutions separately. These have 8 channels
    and no bias, and there is no activation. That code uses average pooling, which leaves the whole encoder linear; our
    default is maximum pooling. It has up to 12 layers for strings of thousands of letters; 4 suit short reads.

    Args:
        max_length: The most bases a sequence may have.
        embedding_dim: m, the dimension of the embeddings.
        vocabulary: Number of token values, padding and ``<sos>`` included.
        channels: Channels of every convolution.
        layers: Number of convolutions; each halves the length.
        kernel_size: Kernel size of every convolution, in positions; odd.
        pooling: Maximum (max) or average of two positions.

    Raises:
        InputError: If an argument does not fit.
    """

    def __init__(
        self,
        max_length: int,
        embedding_dim: int = 128,
        vocabulary: int = DNA.size,
        channels: int = 8,
        layers: int = 4,
        kernel_size: int = 3,
        pooling: Literal["max", "average"] = "max",
    ) -> None:
        super().__init__(max_length, embedding_dim, vocabulary)
        if pooling not in ("max", "average"):
            raise InputError(f"pooling: expected max or average, found {pooling!r}; name one of them")
        at_least_one(channels=channels, layers=layers)
        odd(kernel_size=kernel_size)
        length = halved(max_length, layers)
        self.one_hot = OneHot(vocabulary)
        blocks: list[nn.Module] = []
        for layer in range(layers):
            seen = channels if layer else 1
            blocks.append(nn.Conv1d(seen, channels, kernel_size, padding=kernel_size // 2, bias=False))
            blocks.append(nn.MaxPool1d(2) if pooling == "max" else nn.AvgPool1d(2))
        self.features = nn.Sequential(*blocks)
        self.readout = nn.Linear(self.one_hot.letters * channels * length, embedding_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(U, m)`` embeddings of ``(U, L)`` tokens; see ``Encoder``."""
        letters = self.one_hot(self.pad(tokens)[:, 1:]).mT
        features = self.features(letters.flatten(0, 1)[:, None])
        embeddings: Tensor = self.readout(features.reshape(-1, self.readout.in_features))
        return embeddings
