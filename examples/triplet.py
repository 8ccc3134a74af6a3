"""A triplet model with dict batches and three calls of its encoder per step: python examples/triplet.py.

One argument of the trainer adds NWA; it is marked.
"""

import argparse

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from printing import PrintDivergence
from torch import nn
from torch.nn.functional import one_hot, triplet_margin_loss
from torch.utils.data import DataLoader, Dataset

from nwa_lightning import NWACallback, load_sequences, pair_batch


class Triplets(Dataset):
    """Two copies of one DNA-storage strand, and a copy of another strand."""

    def __init__(self):
        self.reads = load_sequences("storage:2000x100").to_strings()  # ten copies of each strand

    def __len__(self):
        return len(self.reads)

    def __getitem__(self, row):
        positive = row // 10 * 10 + (row + 1) % 10
        negative = (row + 20 + int(torch.randint(len(self) - 40, ()))) % len(self)
        return {"anchor": self.reads[row], "positive": self.reads[positive], "negative": self.reads[negative]}


class TripletModel(LightningModule):
    """One linear layer on the first hundred letters."""

    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(100 * 4, 256), nn.ReLU(), nn.Linear(256, dim))

    def embed(self, reads):
        letters = [["ACGT".index(letter) for letter in read[:100].ljust(100, "A")] for read in reads]
        return self.encoder(one_hot(torch.tensor(letters), 4).float())

    def training_step(self, batch, batch_idx):
        return triplet_margin_loss(*(self.embed(batch[side]) for side in ("anchor", "positive", "negative")))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    seed_everything(0)
    nwa = NWACallback(
        batch=lambda batch: pair_batch([read for side in batch.values() for read in side]), max_length=130
    )  # NWA
    options = {"logger": False, "enable_checkpointing": False, "callbacks": [nwa, PrintDivergence()]}
    loader = DataLoader(Triplets(), batch_size=32, shuffle=True)
    Trainer(max_steps=parser.parse_args().steps, max_epochs=-1, **options).fit(TripletModel(), loader)
