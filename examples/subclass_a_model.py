"""A model that knows nothing of NWA, and the one line that adds it: python examples/subclass_a_model.py --steps 200."""

import argparse

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from torch import nn

from nwa_lightning import NWADataModule, NWAMixin


class Theirs(LightningModule):
    """Somebody's siamese model: embeds both sides of every pair."""

    def __init__(self, length):
        super().__init__()
        self.encoder = nn.Sequential(nn.Embedding(6, 8), nn.Flatten(), nn.Linear(8 * (length + 1), 64))
        self.length = length

    def training_step(self, batch, batch_idx):
        distance = (self.encoder(batch.left) - self.encoder(batch.right)).norm(dim=1)
        return nn.functional.mse_loss(distance, batch.distance / self.length)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class TheirsWithNWA(NWAMixin, Theirs):
    """The same, with NWA."""


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=500)
    seed_everything(0)
    data = NWADataModule(pairs=256)
    model = TheirsWithNWA(data.max_length, nwa_embedding_dim=64, nwa_max_length=data.max_length)
    trainer = Trainer(max_steps=parser.parse_args().steps, max_epochs=-1, limit_val_batches=0, logger=False)
    trainer.fit(model, data)
    print({name: round(value.item(), 4) for name, value in trainer.callback_metrics.items()})
