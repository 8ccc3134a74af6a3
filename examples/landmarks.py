"""Edit distances to landmarks in addition to your own encoder, in a plain PyTorch loop: python examples/landmarks.py.

Two lines add them; they are marked.
"""

import argparse

import numpy as np
import torch
from torch import nn

from nwa_lightning import LandmarkEncoder, Sequences, load_sequences, pair_batch


class Encoder(nn.Module):
    """Letters to channels, two convolutions, the mean over positions, one linear layer."""

    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        self.letters = nn.Embedding(6, 16, padding_idx=0)
        self.layers = nn.Sequential(nn.Conv1d(16, 32, 9, 2), nn.ReLU(), nn.Conv1d(32, 64, 9, 2), nn.ReLU())
        self.readout = nn.Linear(64, dim)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.readout(self.layers(self.letters(tokens).mT).mean(dim=2))


def error_of(encoder: nn.Module, train: Sequences, test: Sequences, steps: int) -> float:
    """Train the Euclidean distance of embeddings as the edit distance; RMSE of test reads in percent of their length."""
    optimizer = torch.optim.Adam(encoder.parameters(), lr=2e-3)
    for step in range(steps + 1):
        rows = torch.randperm(len(train))[:32].numpy()
        batch = pair_batch(train.take(rows) if step < steps else test, "all", nwa_batch_size=0)
        one, two = encoder(batch.tokens)[batch.pairs].unbind(1)
        loss = ((one - two).norm(dim=1) - batch.distance).square().mean()
        if step < steps:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return 100 * loss.item() ** 0.5 / 150


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=150)
    steps = parser.parse_args().steps
    reads = load_sequences("human16s")
    train, test = (reads.take(rows) for rows in np.split(np.arange(len(reads)), [len(reads) - 300]))
    torch.manual_seed(0)
    alone = error_of(Encoder(), train, test, steps)
    torch.manual_seed(0)
    encoder = LandmarkEncoder(Encoder(), count=128, max_length=150, embedding_dim=64)  # landmarks 1
    encoder.landmarks.draw(train)  # landmarks 2
    print(f"RMSE % without {alone:.2f}, with landmarks {error_of(encoder, train, test, steps):.2f}")


if __name__ == "__main__":
    main()
