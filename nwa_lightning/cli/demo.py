"""``nwa demo``: the published encoder without and with NWA, and better models, in a table and in pictures."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from nwa_lightning.cli.lightning_cli import NWACLI
from nwa_lightning.data.batch import PairBatch, chosen_pairs
from nwa_lightning.data.datamodule import NWADataModule
from nwa_lightning.encoders.landmark_mds import LandmarkMDS
from nwa_lightning.errors import InputError
from nwa_lightning.models.baselines import ConstantBaseline, KmerBaseline
from nwa_lightning.models.edit_distance import PUBLISHED, EditDistanceModel, predictor
from nwa_lightning.models.metrics import evaluate
from nwa_lightning.plots import attention_figure, prediction_figure

Predictor = Callable[[PairBatch], Tensor]

#: K of the column of homologous pairs, in edits.
HOMOLOGOUS = 40

#: Landmarks of the last model, and of the embeddings without training, if there are enough training sequences.
LANDMARKS = 512

AS_PUBLISHED = {f"model.{name}": value for name, value in PUBLISHED.items()}

#: Options of ``nwa fit`` for each model of the table: as published without and with NWA, and landmarks with fresh variants.
MODELS: dict[str, dict[str, object]] = {
    "cnn": {**AS_PUBLISHED, "model.nwa_weight": "null"},
    "cnn_nwa": {**AS_PUBLISHED, "model.nwa_weight": 1e-5},
    "landmarks": {
        "model.encoder": "LandmarkEncoder",
        "model.distance.power": 1.75,
        "model.nwa_weight": "null",
        "data.batch_size": 128,
        "data.pairs": 4096,
        "data.nwa_batch_size": 0,
        "data.augment.fraction": 0.25,
        "data.augment.edits": 0.05,
    },
}

COLUMNS = ("model", "rmse", "rmse_homologous", "r2", "spearman", "seconds")


def run_demo(reads: str, *, out: Path, seed: int = 0, steps: int | None = None, fast: bool = False) -> None:
    """Train each of ``MODELS``, compare them on the test set, and write the results.

    Writes ``table.csv``, ``attention.png``, ``predictions.png`` and a checkpoint for each model.

    Args:
        reads: A built-in set or a file of sequences.
        out: Folder to write into; created if missing.
        seed: Seed of the split, the batches and the weights.
        steps: Training steps of each model.
        fast: Use 150 steps instead of 2,000, and one test group instead of all.

    Raises:
        InputError: If the reads cannot be used, or the folder cannot be made.
    """
    if steps is None:
        steps = 150 if fast else 2000
    if steps < 1:
        raise InputError(f"--steps: expected at least 1, found {steps}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror}; name a folder that can be written") from None
    console = Console()
    models: dict[str, EditDistanceModel] = {}
    data = NWADataModule(reads, seed=seed)
    count = min(LANDMARKS, len(data.split.train))
    seconds: dict[str, float] = {}
    for name, options in MODELS.items():
        console.print(f"[bold]{name}[/bold]: {steps} training steps on {reads}, seed {seed}", highlight=False)
        if name == "landmarks":
            options = {**options, "model.encoder.count": count}
        cli = _build(reads, options, seed, steps)
        started = time.perf_counter()
        cli.trainer.fit(cli.model, cli.datamodule)
        seconds[name] = time.perf_counter() - started
        cli.trainer.save_checkpoint(out / f"{name}.ckpt", weights_only=False)
        models[name] = cli.model.eval()

    console.print("measuring on the test set ...")
    batches = list(data.test_dataloader())[: 1 if fast else None]
    fitting = [data.train_dataloader().dataset[number] for number in range(20)]
    mds = LandmarkMDS(data.max_length, vocabulary=data.vocabulary, count=count)
    baselines: dict[str, Callable[[], Predictor]] = {
        "constant": lambda: ConstantBaseline().fit(fitting),
        "kmer": lambda: KmerBaseline(data.vocabulary).fit(fitting),
        "landmark_mds": lambda: predictor(mds.fit(data.split.train, seed)),
    }
    predictors: dict[str, Predictor] = {}
    for name, fit in baselines.items():
        started = time.perf_counter()
        predictors[name] = fit()
        seconds[name] = time.perf_counter() - started
    predictors |= {name: predictor(model) for name, model in models.items()}
    rows = {name: evaluate(predict, batches, HOMOLOGOUS) for name, predict in predictors.items()}

    _write_table(out / "table.csv", rows, seconds)
    predicted = {
        name: np.concatenate([predict(batch).numpy() for batch in batches]) for name, predict in predictors.items()
    }
    distance = np.concatenate([batch.distance.numpy() for batch in batches])
    prediction_figure(predicted, distance).savefig(out / "predictions.png", dpi=120)
    _draw_attention(models["cnn_nwa"], batches[0], data, out / "attention.png")
    _print_table(console, rows, seconds, len(distance))
    console.print(
        f"written: {', '.join(sorted(str(path) for path in out.iterdir() if path.is_file()))}", soft_wrap=True
    )


def _build(reads: str, options: dict[str, object], seed: int, steps: int) -> NWACLI:
    """The model, data and trainer of ``nwa fit`` with these options, without folders for logs and checkpoints."""
    options = {
        **options,
        "seed_everything": seed,
        "data.data": reads,
        "data.seed": seed,
        "model.homologous": HOMOLOGOUS,
        "trainer.max_steps": steps,
        "trainer.logger": "false",
        "checkpoint.save_top_k": 0,
        "checkpoint.save_last": "false",
        "trainer.enable_model_summary": "false",
    }
    return NWACLI([f"--{name}={value}" for name, value in options.items()], run=False)


def _draw_attention(model: EditDistanceModel, batch: PairBatch, data: NWADataModule, path: Path) -> None:
    """Draw the test pair whose edit distance is nearest to the first decile: related, but not identical."""
    wanted = batch.distance.float().quantile(0.1)
    number = int((batch.distance - wanted).abs().argmin())
    shown = chosen_pairs(batch, [number])
    assert model.nwa is not None
    lengths = shown.lengths.tolist()
    one, two = (data.alphabet.decode(row.numpy().astype(np.uint8)) for row in shown.tokens)
    with torch.inference_mode():
        attention = model.nwa_attention(shown)[0, : lengths[0] + 1, : lengths[1] + 1]
    names = tuple(f"read {name}" for name in data.split.test.take(batch.pairs[number].numpy()).names)
    figure = attention_figure(
        attention.numpy(), one, two, names=(names[0], names[1]), scores=data.scores, temperature=model.nwa.temperature
    )
    figure.savefig(path, dpi=120)


def _write_table(path: Path, rows: dict[str, dict[str, float]], seconds: dict[str, float]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for name, row in rows.items():
            writer.writerow([name, *(f"{row[column]:.6g}" for column in COLUMNS[1:-1]), f"{seconds[name]:.1f}"])


def _print_table(console: Console, rows: dict[str, dict[str, float]], seconds: dict[str, float], pairs: int) -> None:
    table = Table(title=f"{pairs:,} test pairs")
    titles = ("model", "RMSE %", f"RMSE % at ED <= {HOMOLOGOUS}", "R2", "Spearman", "training s")
    for title in titles:
        table.add_column(title, justify="left" if title == "model" else "right")
    for name, row in rows.items():
        values = (f"{row['rmse']:.2f}", f"{row['rmse_homologous']:.2f}", f"{row['r2']:.3f}", f"{row['spearman']:.3f}")
        table.add_row(name, *values, f"{seconds[name]:.0f}")
    console.print(table)
