"""Two processes give the table of one, also with an odd number of batches and with models of others."""

import re
import subprocess
import sys

import pytest

THEIRS = """
import torch
from lightning.pytorch import LightningModule
from torch import nn
from torchmetrics import MeanSquaredError


class Theirs(LightningModule):
    def __init__(self, width: int = 4):
        super().__init__()
        self.bag = nn.EmbeddingBag(6, width, padding_idx=0)
        self.norm = nn.BatchNorm1d(width)  # its buffers are sent round in every step, so all processes must take equally many
        self.error = MeanSquaredError()

    def predicted(self, batch):
        one, two = (self.norm(self.bag(batch.tokens))[side] for side in batch.pairs.unbind(1))
        return (one - two).norm(dim=1)

    def training_step(self, batch, batch_idx):
        return (self.predicted(batch) - batch.distance).square().mean()

    def measure(self, batch, name):
        predicted, target = self.predicted(batch), batch.distance.float()
        self.error.update(predicted, target)
        self.log(f"{name}/object", self.error, batch_size=len(target))
        mean = (predicted - target).square().mean()
        self.log(f"{name}/mean", mean, batch_size=len(target), sync_dist=True)

    def validation_step(self, batch, batch_idx):
        self.measure(batch, "val")

    def test_step(self, batch, batch_idx):
        self.measure(batch, "test")

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)
"""


def test_the_table_of_a_foreign_model(here, reads):
    """25 reads in groups of 8 make three batches of 28 pairs, so that one of them is shared out.

    An even number of pairs, as Lightning rounds half of it down where it averages over two processes.
    """
    (here / "theirs.py").write_text(THEIRS)
    quiet = ["--trainer.logger=false", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
    run = [sys.executable, "-m", "nwa_lightning"]
    fit = ["fit", f"--data.data={reads}", "--data.test_size=25", "--model=theirs.Theirs", "--trainer.max_steps=4"]
    test = ["test", "checkpoints/last.ckpt", "--data.test_group=8"]
    tables = []
    for args in (fit, test, [*test, "--trainer.strategy=ddp", "--trainer.devices=2"]):
        done = subprocess.run([*run, *args, *quiet], capture_output=True, text=True, cwd=here)
        assert done.returncode == 0, done.stderr
        tables.append(re.findall(r"test/(\w+) +│ +(\S+)", done.stdout))
    assert [name for name, _ in tables[1]] == ["mean", "object"]
    one, two = ([float(value) for _, value in table] for table in tables[1:])
    assert one == pytest.approx(two, rel=1e-5)
    assert one[0] == pytest.approx(one[1], rel=1e-5)
