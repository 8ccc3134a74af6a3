"""Your own model, which calls ``nwa_loss`` in its step: python examples/write_a_model.py --steps 200."""

import argparse

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from torch import nn

from nwa_lightning import NWADataModule, NWAMixin


class Mine(NWAMixin, LightningModule):
    """A linear embedding, whose Euclidean distance predicts the edit distance over the length."""

    def __init__(self, max_length, embedding_dim=64):
        super().__init__(nwa_embedding_dim=embedding_dim, nwa_max_length=max_length, nwa_weight=1e-5)
        self.encoder = nn.Sequential(nn.Embedding(6, 8), nn.Flatten(), nn.Linear(8 * (max_length + 1), embedding_dim))
        self.length = max_length

    def training_step(self, batch, batch_idx):
        embeddings = self.encode(batch.tokens)
        one, two = embeddings[batch.pairs].unbind(dim=1)
        loss = ((one - two).norm(dim=1) - batch.distance / self.length).square().mean()
        self.log("train/encoder_loss", loss, prog_bar=True)
        return loss + self.nwa_loss(embeddings, batch)

    def configure_optimizers(self):
        return torch.optim.RAdam(self.nwa_param_groups(lr=1e-3, nwa_lr=1e-3))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=500)
    seed_everything(0)
    data = NWADataModule(fixed_width=True)
    trainer = Trainer(max_steps=parser.parse_args().steps, max_epochs=-1, limit_val_batches=0, logger=False)
    trainer.fit(Mine(data.max_length), data)
    print({name: round(value.item(), 4) for name, value in trainer.callback_metrics.items()})
