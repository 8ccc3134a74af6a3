"""A plain PyTorch loop with a contrastive loss and your own loader of strings: python examples/plain_pytorch.py.

Three lines add NWA; they are marked.
"""

import argparse

import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize, one_hot
from torch.utils.data import DataLoader

from nwa_lightning import NWALoss, load_sequences, pair_batch


class Encoder(nn.Module):
    """Letters to channels, two convolutions, the mean over positions, one linear layer."""

    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(4, 32, 9, 2), nn.ReLU(), nn.Conv1d(32, 64, 9, 2), nn.ReLU())
        self.readout = nn.Linear(64, dim)

    def forward(self, reads: list[str]) -> torch.Tensor:
        letters = torch.tensor([["ACGT".index(letter) for letter in read] for read in reads])
        return self.readout(self.layers(one_hot(letters, 4).float().mT).mean(dim=2))


def damaged(read: str) -> str:
    """The read with a tenth of its letters drawn again."""
    drawn = zip(read, torch.rand(len(read)), torch.randint(4, (len(read),)), strict=True)
    return "".join("ACGT"[other] if chance < 0.1 else letter for letter, chance, other in drawn)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    steps = parser.parse_args().steps
    torch.manual_seed(0)
    reads = load_sequences("human16s").to_strings()
    encoder = Encoder()
    nwa = NWALoss(embedding_dim=64, max_length=150)  # NWA 1
    optimizer = torch.optim.Adam([*encoder.parameters(), *nwa.parameters()], lr=1e-3)  # NWA 2
    loader = DataLoader(reads, batch_size=32, shuffle=True, drop_last=True)
    for step, batch in zip(range(steps), (batch for _ in range(steps) for batch in loader), strict=False):
        embeddings = encoder([*batch, *map(damaged, batch)])
        one, two = normalize(embeddings).chunk(2)
        loss = cross_entropy(one @ two.T / 0.1, torch.arange(len(batch)))
        loss = loss + nwa(embeddings[: len(batch)], pair_batch(batch))  # NWA 3
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % max(1, steps // 10) == 0:
            print(f"step {step:4d}  loss {loss:7.3f}  L_nw {nwa.last:6.2f}")
    print(f"step {steps:4d}  loss {loss:7.3f}  L_nw {nwa.last:6.2f}")


if __name__ == "__main__":
    main()
