"""An ordinary siamese model: alone, as a subclass with NWA, and unchanged with the callback; the last two do the same.

Run it with ``python examples/existing_model.py --steps 500``.
"""

import argparse

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from torch import nn

from nwa_lightning import NWACallback, NWADataModule, NWAMixin


class Siamese(LightningModule):
    """Embeds both sequences of every pair; it does not know NWA."""

    def __init__(self, max_length: int = 150, dim: int = 64, lr: float = 1e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.encoder = nn.Sequential(nn.Embedding(6, 8), nn.Flatten(), nn.Linear(8 * (max_length + 1), dim))
        self.max_length = max_length
        self.lr = lr

    def training_step(self, batch, batch_idx):
        distance = (self.encoder(batch.left) - self.encoder(batch.right)).norm(dim=1)
        return nn.functional.mse_loss(distance, batch.distance / self.max_length)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)


class SiameseWithNWA(NWAMixin, Siamese):
    """The same, with NWA."""


class LossCurve(Callback):
    """Keeps the loss of every step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))


def train(make, steps, *callbacks):
    seed_everything(0)
    model, curve = make(), LossCurve()
    trainer = Trainer(
        max_steps=steps,
        max_epochs=-1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        callbacks=[*callbacks, curve],
    )
    trainer.fit(model, NWADataModule(pairs=256, fixed_width=True))
    return model, curve.losses


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=500)
    steps = parser.parse_args().steps
    _, alone = train(Siamese, steps)
    mixed, by_mixin = train(lambda: SiameseWithNWA(nwa_weight=1e-4, nwa_every=1), steps)
    plain, by_callback = train(Siamese, steps, NWACallback(weight=1e-4, every=1))

    print("step     alone     mixin  callback")
    for step in sorted({*range(0, steps, max(1, steps // 10)), steps - 1}):
        print(f"{step:4d}  {alone[step]:.6f}  {by_mixin[step]:.6f}  {by_callback[step]:.6f}")
    print("the same curve, bit for bit:", by_mixin == by_callback)
    same = all(torch.equal(value, mixed.state_dict()[name]) for name, value in plain.state_dict().items())
    print("the same weights:", same)
