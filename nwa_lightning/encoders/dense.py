"""Fully connected encoders of NeuroSEED (Corso et al., NeurIPS 2021): one weight per position and letter."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from nwa_lightning.encoders.base import Encoder, OneHot
from nwa_lightning.encoders.checks import at_least_one
from nwa_lightning.sequences.alphabet import DNA


class MLPEncoder(Encoder):
    """One-hot letters of all positions in one vector; linear layers with ReLU between them.

    The hidden dimension of 100 is the default of the published code; the two layers are our default.

    Args:
        max_length: The most bases a sequence may have.
        embedding_dim: m, the dimension of the embeddings.
        vocabulary: Number of token values, padding and ``<sos>`` included.
        layers: Number of linear layers; with one the encoder is linear.
        hidden_dim: Dimension between the layers.

    Raises:
        InputError: If a number does not fit.
    """

    def __init__(
        self,
        max_length: int,
        embedding_dim: int = 128,
        vocabulary: int = DNA.size,
        layers: int = 2,
        hidden_dim: int = 100,
    ) -> None:
        super().__init__(max_length, embedding_dim, vocabulary)
        at_least_one(layers=layers, hidden_dim=hidden_dim)
        self.one_hot = OneHot(vocabulary)
        sizes = [max_length * self.one_hot.letters, *(hidden_dim for _ in range(layers - 1)), embedding_dim]
        blocks: list[nn.Module] = []
        for seen, made in pairwise(sizes):
            blocks += [nn.Linear(seen, made), nn.ReLU()]
        self.features = nn.Sequential(*blocks[:-1])

    def forward(self, tokens: Tensor) -> Tensor:
        """``(U, m)`` embeddings of ``(U, L)`` tokens; see ``Encoder``."""
        embeddings: Tensor = self.features(self.one_hot(self.pad(tokens)[:, 1:]).flatten(1))
        return embeddings


class LinearEncoder(MLPEncoder):
    """One-hot letters of all positions in one vector; one linear layer.

    Args:
        max_length: The most bases a sequence may have.
        embedding_dim: m, the dimension of the embeddings.
        vocabulary: Number of token values, padding and ``<sos>`` included.
    """

    def __init__(self, max_length: int, embedding_dim: int = 128, vocabulary: int = DNA.size) -> None:
        super().__init__(max_length, embedding_dim, vocabulary, layers=1)
