"""A siamese model and its loader of (a, b, distance), with reads of mixed length: python examples/own_loader.py.

Three lines add NWA; they are marked.
"""

import argparse

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from printing import PrintDivergence
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from nwa_lightning import NWAMixin, edit_distances, load_sequences, pair_batch


class LastState(nn.GRU):
    """The last state of a GRU."""

    def forward(self, letters):
        return super().forward(letters)[1][-1]


class Siamese(LightningModule):
    """Embeds both reads of every pair; it does not know NWA."""

    def __init__(self, dim: int = 48) -> None:
        super().__init__()
        self.letters = nn.Embedding(128, 32)
        self.encoder = LastState(32, dim, batch_first=True)

    def training_step(self, batch, batch_idx):
        sides = [[torch.tensor(list(map(ord, read))) for read in side] for side in batch[:2]]
        one, two = (self.encoder(self.letters(pad_sequence(side, batch_first=True))) for side in sides)
        return nn.functional.mse_loss((one - two).norm(dim=1), batch[2].float() / 60)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class SiameseWithNWA(NWAMixin, Siamese):  # NWA 1
    """The same with NWA."""

    def nwa_batch(self, batch):  # NWA 2
        return pair_batch([*batch[0], *batch[1]])  # NWA 3


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    steps = parser.parse_args().steps
    seed_everything(0)
    reads = [read[: 30 + number % 30] for number, read in enumerate(load_sequences("human16s").to_strings())]
    pairs = torch.randint(len(reads), (4000, 2))
    samples = [(reads[a], reads[b], d) for (a, b), d in zip(pairs, edit_distances(reads, pairs.numpy()), strict=True)]
    loader = DataLoader(samples, batch_size=32, shuffle=True)
    options = {"logger": False, "enable_checkpointing": False, "callbacks": [PrintDivergence()]}
    # A loss on distances as fractions of a length is small, and so is its lambda.
    Trainer(max_steps=steps, max_epochs=-1, **options).fit(SiameseWithNWA(nwa_max_length=60, nwa_weight=1e-3), loader)
