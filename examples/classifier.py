"""A classifier with labels, its own tokens and matrices made by the loader: python examples/classifier.py.

Two lines add NWA; they are marked.
"""

import argparse

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from printing import PrintDivergence
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from nwa_lightning import NWACallback, NWACollate, load_sequences

STRANDS = 100


def collate(samples):
    """Tokens of a tokenizer that does not know this package, and labels."""
    tokens = [torch.tensor([10 + 7 * "ACGT".index(letter) for letter in read]) for read, _ in samples]
    return {"ids": pad_sequence(tokens, batch_first=True), "label": torch.tensor([label for _, label in samples])}


def reads_of(samples):
    """The sequences of a batch, in the order in which the model encodes them."""
    return [read for read, _ in samples]


class Classifier(LightningModule):
    """Finds the DNA-storage strand that a noisy read comes from."""

    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        self.letters = nn.Embedding(40, 16, padding_idx=0)
        self.body = nn.Sequential(nn.Conv1d(16, 64, 9, 2), nn.ReLU(), nn.Conv1d(64, 64, 9, 2), nn.ReLU())
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool1d(8), nn.Flatten(), nn.Linear(8 * 64, dim))
        self.decide = nn.Linear(dim, STRANDS)

    def training_step(self, batch, batch_idx):
        embeddings = self.pooled(self.body(self.letters(batch["ids"]).mT))
        return nn.functional.cross_entropy(self.decide(embeddings), batch["label"])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    steps = parser.parse_args().steps
    seed_everything(0)
    found = load_sequences(f"storage:{10 * STRANDS}x100")
    samples = list(zip(found.to_strings(), (row // 10 for row in range(len(found))), strict=True))
    loader = DataLoader(samples, 64, shuffle=True, collate_fn=NWACollate(reads_of, collate))  # NWA 1
    nwa = NWACallback(encoder="pooled", max_length=130)  # NWA 2
    options = {"logger": False, "enable_checkpointing": False, "callbacks": [nwa, PrintDivergence()]}
    Trainer(max_steps=steps, max_epochs=-1, **options).fit(Classifier(), loader)
