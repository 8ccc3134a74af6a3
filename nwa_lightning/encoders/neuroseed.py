"""The encoders of NeuroSEED (Corso et al., "Neural Distance Embeddings for Biological Sequences", NeurIPS 2021)."""

from __future__ import annotations

from torch import Tensor, nn

from nwa_lightning.alphabet import DNA, PADDING
from nwa_lightning.encoders.base import Encoder


class NeuroSEEDCNN(Encoder):
    """Letters to channels; convolution, batch norm, ReLU and average pooling by two, several times; one linear layer.

    The published code by accident ends in another batch norm; it raised our test error by half and is left out.

    Args:
        max_length: The most bases a sequence may have.
        embedding_dim: m, the dimension of the embeddings.
        vocabulary: Number of token values, padding and ``<sos>`` included.
        channels: Of every convolution.
        layers: Number of convolutions; each halves the length.
        kernel_size: Of every convolution, in positions; odd.
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
        length = (max_length + 1) >> layers
        if length == 0:
            raise ValueError(
                f"Expected max_length of at least {2**layers - 1} for {layers} halvings but got {max_length}; use fewer layers."
            )
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
