"""The same names reach every logger of Lightning that this package is meant for."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from PIL import Image

from nwa_lightning import (
    AttentionMapLogger,
    EditDistanceModel,
    NeuroSEEDCNN,
    NWACallback,
    NWADataModule,
    NWAWeightSchedule,
)

METRICS = {f"val/{name}" for name in ("rmse", "rmse_homologous", "r2", "spearman")}
LOSSES = {"train/loss", "train/encoder_loss", "train/nwa_loss", "train/nwa_weight"}
RATES = {"lr-Muon/pg1", "lr-Muon/pg2"}
SCALARS = METRICS | LOSSES | RATES | {"epoch"}
PICTURES = {"val/attention_map_0", "val/attention_map_1", "val/predictions"}

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*:DeprecationWarning:(wandb|tensorboard|google)",  # their own, on new versions of Python and protobuf
)


@pytest.fixture
def wandb(tmp_path, monkeypatch):
    """W&B that writes into ``tmp_path`` and asks no server."""
    for name, value in (("MODE", "offline"), ("SILENT", "true"), ("DIR", str(tmp_path))):
        monkeypatch.setenv(f"WANDB_{name}", value)
    module = pytest.importorskip("wandb")
    yield module
    module.finish()


def fit(reads, folder, *loggers, model=None, callbacks=None, epochs=1, **options):
    data = NWADataModule(str(reads), batch_size=16, nwa_batch_size=6, val_group=10)
    if model is None:
        model = EditDistanceModel(NeuroSEEDCNN(32, embedding_dim=16, channels=4, layers=2), homologous=7)
    if callbacks is None:
        callbacks = [AttentionMapLogger(every_n_epochs=1), NWAWeightSchedule(), LearningRateMonitor()]
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=list(loggers),
        callbacks=callbacks,
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_train_batches=3,
        log_every_n_steps=1,
    )
    trainer.fit(model, data, **options)
    return trainer


def names_in(run):
    """What a W&B run has seen, without what it adds of its own; and without the numbers it gives to watched models."""
    return {re.sub(r"^gradients/graph_\d+", "gradients/", name) for name in dict(run.summary) if name[0] != "_"}


def test_names_in_the_csv_file(reads, tmp_path):
    logger = CSVLogger(tmp_path)
    fit(reads, tmp_path, logger)
    with open(Path(logger.log_dir) / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == SCALARS | {"step"}
    assert sum(bool(row["train/nwa_loss"]) for row in rows) == 3
    assert sum(bool(row["val/rmse"]) for row in rows) == 1
    assert "homologous: 7" in (Path(logger.log_dir) / "hparams.yaml").read_text()
    names = sorted(path.name for path in (Path(logger.log_dir) / "attention_maps").iterdir())
    assert names == ["step=3-pair=0.png", "step=3-pair=1.png", "step=3-predictions.png"]


def test_names_hyper_parameters_and_pictures_in_wandb(reads, tmp_path, wandb):
    logger = WandbLogger(project="nwa", save_dir=tmp_path, offline=True)
    fit(reads, tmp_path, logger)
    assert names_in(logger.experiment) == SCALARS | PICTURES | {"trainer/global_step"}
    assert logger.experiment.summary["trainer/global_step"] == 3
    assert logger.experiment.config["homologous"] == 7
    assert logger.experiment.config["nwa_weight"] == 1e-5
    media = Path(logger.experiment.dir) / "media" / "images" / "val"
    pictures = sorted(media.glob("*.png"))
    assert [path.name.rsplit("_", 2)[0] for path in pictures] == ["attention_map_0", "attention_map_1", "predictions"]
    assert np.asarray(Image.open(pictures[0])).std() > 0
    assert not list(tmp_path.rglob("attention_maps"))


def test_names_and_pictures_in_tensorboard(reads, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path)
    fit(reads, tmp_path, logger)
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    assert set(events.Tags()["scalars"]) - {"hp_metric"} == SCALARS
    assert set(events.Tags()["images"]) == PICTURES
    assert [image.step for image in events.Images("val/predictions")] == [3]
    assert len(events.Scalars("train/nwa_loss")) == 3
    assert "homologous: 7" in (Path(logger.log_dir) / "hparams.yaml").read_text()
    assert not list(tmp_path.rglob("attention_maps"))


def test_several_loggers_at_once(reads, tmp_path, wandb):
    """Each logger gets its pictures; files are written once, for the logger that takes none."""
    plain, online = CSVLogger(tmp_path / "csv"), WandbLogger(save_dir=tmp_path, offline=True)
    fit(reads, tmp_path, plain, online)
    assert names_in(online.experiment) == SCALARS | PICTURES | {"trainer/global_step"}
    assert len(list(Path(plain.log_dir).rglob("*.png"))) == 3
    with open(Path(plain.log_dir) / "metrics.csv", newline="") as file:
        assert set(next(csv.reader(file))) == SCALARS | {"step"}


@pytest.mark.parametrize("way", ["mixin", "callback"])
def test_watching_gradients_in_wandb(theirs, reads, tmp_path, wandb, way):
    logger = WandbLogger(save_dir=tmp_path, offline=True)
    if way == "mixin":
        model, callbacks = EditDistanceModel(NeuroSEEDCNN(32, embedding_dim=16, channels=4, layers=2)), []
    else:
        model, callbacks = theirs(), [NWACallback(embedding_dim=16, max_length=32)]
    logger.watch(model, log="all", log_freq=1)
    fit(reads, tmp_path, logger, model=model, callbacks=callbacks)
    names = names_in(logger.experiment)
    assert "train/nwa_loss" in names
    assert names >= {f"gradients/{name}" for name, value in model.named_parameters() if value.requires_grad}
    logger.experiment.unwatch(model)


def test_a_resumed_wandb_run_keeps_its_id(reads, tmp_path, wandb):
    first = WandbLogger(save_dir=tmp_path, offline=True)
    trainer = fit(reads, tmp_path, first, callbacks=[])
    name = first.version
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    wandb.finish()

    second = WandbLogger(save_dir=tmp_path, offline=True, id=name, resume="allow")
    trainer = fit(reads, tmp_path, second, callbacks=[], epochs=2, ckpt_path=tmp_path / "last.ckpt")
    assert trainer.global_step == 6
    assert second.version == second.experiment.id == name
    runs = sorted(path.name for path in (tmp_path / "wandb").glob("offline-run-*"))
    assert runs
    assert all(f"-{name}" in run for run in runs)
