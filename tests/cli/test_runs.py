"""Runs of ``nwa fit``: how long, how often validated, what is kept; with models of ours and of others."""

import csv
import sys
from pathlib import Path

import pytest
import torch

from nwa_lightning.cli.lightning_cli import NWACLI
from nwa_lightning.cli.main import main

QUIET = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
LOGGED = ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=.", "--trainer.log_every_n_steps=1", *QUIET]
SMALL = [
    "--model.encoder.layers=2",
    "--model.encoder.channels=8",
    "--data.batch_size=16",
    "--data.train_size=92",
    "--model.nwa_weight=null",
]

THEIRS = """
import torch
from lightning.pytorch import LightningModule
from torch import nn


class Blind(LightningModule):  # no validation_step
    def __init__(self, width: int = 4):
        super().__init__()
        self.save_hyperparameters()
        self.bag = nn.EmbeddingBag(6, width, padding_idx=0)

    def loss(self, batch):
        found = self.bag(batch.tokens)
        one, two = (found[side] for side in batch.pairs.unbind(1))
        return ((one - two).norm(dim=1) - batch.distance).square().mean()

    def training_step(self, batch, batch_idx):
        return self.loss(batch)

    def predict_step(self, batch, batch_idx):
        return self.bag(batch.tokens)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Seeing(Blind):
    def validation_step(self, batch, batch_idx):
        self.log("their/error", self.loss(batch), batch_size=len(batch.pairs))

    def test_step(self, batch, batch_idx):
        self.log("their/test_error", self.loss(batch), batch_size=len(batch.pairs))
"""


@pytest.fixture
def theirs(here):
    (here / "theirs_of_runs.py").write_text(THEIRS)
    yield "theirs_of_runs"
    sys.modules.pop("theirs_of_runs", None)


def rows_with(column):
    """Steps at which a column of the log has a value."""
    with next(Path().glob("lightning_logs/*/metrics.csv")).open() as file:
        return [int(row["step"]) for row in csv.DictReader(file) if row.get(column)]


def kept():
    return {path.name for path in Path().glob("**/*.ckpt")}


def test_a_model_without_validation(theirs, reads):
    main(["fit", str(reads), f"--model={theirs}.Blind", *LOGGED, "--trainer.max_steps=4"])
    assert kept() == {"last.ckpt"}


def test_a_model_with_validation_and_no_monitor(theirs, reads):
    main(["fit", str(reads), f"--model={theirs}.Seeing", *LOGGED, "--trainer.max_steps=4"])
    assert kept() == {"last.ckpt"}
    assert rows_with("their/error")


def test_a_model_with_another_monitored_name(theirs, reads, capsys):
    options = [f"--model={theirs}.Seeing", "--checkpoint.monitor=their/error", "--data.batch_size=16"]
    main(["fit", str(reads), *options, *LOGGED, "--trainer.max_steps=12"])
    assert kept() == {"best.ckpt", "last.ckpt"}
    best = next(Path().glob("**/best.ckpt"))
    main(["test", str(best), *QUIET, "--trainer.logger=false"])
    assert "their/test_error" in capsys.readouterr().out
    main(["predict", str(best), *QUIET, "--trainer.logger=false"])
    with pytest.raises(SystemExit):
        main(["test", str(best), "--model.width=5", *QUIET, "--trainer.logger=false"])
    assert "--model.width: expected 4, with which the checkpoint was trained, found 5" in capsys.readouterr().err


def test_a_monitored_name_that_nobody_logs(theirs, reads, refused):
    options = [f"--model={theirs}.Seeing", "--checkpoint.monitor=thier/error", "--trainer.max_steps=4"]
    assert "thier/error" in refused("fit", reads, *options, *LOGGED)


@pytest.mark.parametrize("model", ["Blind", "Seeing", None])
def test_checkpointing_can_be_switched_off(theirs, reads, model):
    chosen = SMALL if model is None else [f"--model={theirs}.{model}"]
    main(["fit", str(reads), *chosen, *LOGGED, "--trainer.max_steps=3", "--trainer.enable_checkpointing=false"])
    assert kept() == set()


def test_a_run_without_validation_has_no_best(here, reads):
    main(["fit", str(reads), *SMALL, *LOGGED, "--trainer.max_steps=3", "--trainer.limit_val_batches=0"])
    assert kept() == {"last.ckpt"}


@pytest.mark.parametrize(("steps", "validations"), [(50, 10), (57, 11), (9, 9), (400, 80)])
def test_a_run_is_validated_at_least_ten_times(here, reads, steps, validations):
    """92 reads in batches of 16 make 5 steps an epoch; the longest run has more epochs than ten."""
    main(["fit", str(reads), *SMALL, *LOGGED, f"--trainer.max_steps={steps}"])
    assert len(rows_with("val/rmse")) == validations
    assert "best.ckpt" in kept()


def test_an_interval_of_ones_own_is_kept(here, reads):
    main(["fit", str(reads), *SMALL, *LOGGED, "--trainer.max_steps=20", "--trainer.check_val_every_n_epoch=2"])
    assert len(rows_with("val/rmse")) == 2


def test_epochs_alone_bind(here, reads):
    main(["fit", str(reads), *SMALL, *LOGGED, "--trainer.max_epochs=3"])
    state = torch.load(next(Path().glob("**/last.ckpt")), weights_only=True)
    assert state["global_step"] == 15
    assert state["lr_schedulers"][0]["_last_lr"][0] < 1e-3  # half a cosine has come down


@pytest.mark.parametrize(("steps", "epochs", "expected"), [(7, 3, 7), (50, 2, 10)])
def test_whichever_binds_first(here, reads, steps, epochs, expected):
    main(["fit", str(reads), *SMALL, *LOGGED, f"--trainer.max_steps={steps}", f"--trainer.max_epochs={epochs}"])
    state = torch.load(next(Path().glob("**/last.ckpt")), weights_only=True)
    assert state["global_step"] == expected
    assert state["lr_schedulers"][0]["_last_lr"][0] < 2e-3


def test_the_default_is_two_thousand_steps(reads, here):
    trainer = NWACLI([f"--data.data={reads}", "--trainer.logger=false"], run=False).trainer
    assert (trainer.max_steps, trainer.max_epochs) == (2000, -1)
