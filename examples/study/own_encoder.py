"""A simple encoder of a user's own, for the study of landmarks."""

from __future__ import annotations

from torch import Tensor, nn

from nwa_lightning import Encoder


class OwnEncoder(Encoder):
    """Letters to channels, two convolutions, one linear layer of all positions."""

    def __init__(self, max_length: int, embedding_dim: int = 128, vocabulary: int = 6) -> None:
        super().__init__(max_length, embedding_dim, vocabulary)
        self.letters = nn.Embedding(vocabulary, 16, padding_idx=0)
        self.layers = nn.Sequential(nn.Conv1d(16, 32, 9, 2, 4), nn.ReLU(), nn.Conv1d(32, 32, 9, 2, 4), nn.ReLU())
        self.readout = nn.Linear(32 * ((max_length // 2 + 1) // 2 + (max_length // 2 + 1) % 2), embedding_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        features = self.layers(self.letters(self.pad(tokens)).mT)
        embeddings: Tensor = self.readout(features.flatten(1))
        return embeddings
