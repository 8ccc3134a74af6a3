"""The encoder of SENSE (Zheng et al., "SENSE: Siamese neural network for sequence embedding", Bioinformatics 2019)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from nwa_lightning.encoders.base import Encoder, OneHot
from nwa_lightning.encoders.checks import at_least_one, halved, odd
from nwa_lightning.sequences.alphabet import DNA


class SENSE(Encoder):
    """One-hot letters; convolution, maximum pooling by two and ReLU, three times; one linear layer.

    From the paper and its code: these layers, kernels of 5, channels 16, 32 and 48, embeddings of dimension 120. SENSE
    compares two embeddings by their componentwise maxima and minima; we leave this out, so that all our distances work.
    Our choice: other sizes grow in the same way; the k-th layer has k times the channels of the first.

    Args:
        max_length: The most bases a sequence may have.
        embedding_dim: m, the dimension of the embeddings.
        vocabulary: Number of token values, padding and ``<sos>`` included.
        channels: Channels of the first convolution.
        layers: Number of convolutions; each halves the length.
        kernel_size: Kernel size of every convolution, in positions; odd.

    Raises:
        InputError: If an argument does not fit.
    """

    def __init__(
        self,
        max_length: int,
        embedding_dim: int = 120,
        vocabulary: int = DNA.size,
        channels: int = 16,
        layers: int = 3,
        kernel_size: int = 5,
    ) -> None:
        super().__init__(max_length, embedding_dim, vocabulary)
        at_least_one(channels=channels, layers=layers)
        odd(kernel_size=kernel_size)
        length = halved(max_length, layers)
        self.one_hot = OneHot(vocabulary)
        sizes = [self.one_hot.letters, *(channels * layer for layer in range(1, layers + 1))]
        blocks: list[nn.Module] = []
        for seen, made in pairwise(sizes):
            blocks += [nn.Conv1d(seen, made, kernel_size, padding=kernel_size // 2), nn.MaxPool1d(2), nn.ReLU()]
        self.features = nn.Sequential(*blocks)
        self.readout = nn.Linear(sizes[-1] * length, embedding_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(U, m)`` embeddings of ``(U, L)`` tokens; see ``Encoder``."""
        letters = self.one_hot(self.pad(tokens)[:, 1:]).mT
        embeddings: Tensor = self.readout(self.features(letters).flatten(1))
        return embeddings
