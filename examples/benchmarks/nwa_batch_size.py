"""How many sequences of a batch should feed the NWA term? Error against training seconds.

Run it with ``python examples/benchmarks/nwa_batch_size.py``. Every cell trains the default model on human16s from one seed,
with the term on all pairs of N of the 64 sequences of a batch (0: without NWA), and is measured on the validation set. Each
finished cell is a line of the CSV file, so interrupted runs resume.
"""

from __future__ import annotations

import argparse
import csv
import logging
import time
from collections import defaultdict
from pathlib import Path
from statistics import mean, median, stdev

import torch
from lightning.pytorch import Trainer, seed_everything
from rich.console import Console
from rich.progress import track
from rich.table import Table

from nwa_lightning import EditDistanceModel, NeuroSEEDCNN, NWADataModule
from nwa_lightning.models.edit_distance import PUBLISHED

COLUMNS = ("nwa_batch_size", "seed", "steps", "rmse", "rmse_homologous", "nwa_loss", "seconds")


def cell(count: int, seed: int, steps: int) -> dict[str, float]:
    seed_everything(seed)
    data = NWADataModule(nwa_batch_size=count, pairs=None, seed=seed)
    encoder = NeuroSEEDCNN(data.max_length)
    weight = 1e-5 if count else None
    model = EditDistanceModel(encoder, nwa_weight=weight, **PUBLISHED)
    quiet = {
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "logger": False,
    }
    trainer = Trainer(max_steps=steps, max_epochs=-1, limit_val_batches=0, **quiet)
    start = time.perf_counter()
    trainer.fit(model, data)
    seconds = time.perf_counter() - start
    nwa_loss = float(trainer.callback_metrics.get("train/nwa_loss", torch.nan))
    found = Trainer(**quiet).validate(model, data, verbose=False)[0]
    return dict(
        zip(
            COLUMNS,
            (count, seed, steps, found["val/rmse"], found["val/rmse_homologous"], nwa_loss, seconds),
            strict=True,
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--counts", type=int, nargs="+", default=[0, 8, 12, 16, 32, 64])
    parser.add_argument("--out", type=Path, default=Path("examples/results/nwa_batch_size.csv"))
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    if not options.out.exists():
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(",".join(COLUMNS) + "\n")
    with options.out.open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    done = {(row["nwa_batch_size"], row["seed"], row["steps"]) for row in rows}
    # Seed by seed, so that a busy moment of the machine meets each count.
    wanted = [(count, seed, options.steps) for seed in range(options.seeds) for count in options.counts]
    for key in track([key for key in wanted if key not in done], "training"):
        rows.append(cell(*key))
        with options.out.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS).writerow(rows[-1])

    groups: dict[float, list[dict[str, float]]] = defaultdict(list)
    for row in rows:
        if (row["nwa_batch_size"], row["seed"], row["steps"]) in wanted:
            groups[row["nwa_batch_size"]].append(row)
    table = Table(title=f"validation, {options.steps} steps, {options.seeds} seeds, {torch.get_num_threads()} threads")
    for title in ("N", "RMSE %", "RMSE % at ED <= 40", "NWA loss (nats a map)", "s", "s against without"):
        table.add_column(title, justify="right")
    for count in options.counts:
        group = groups[count]
        errors = [
            f"{mean(values):.3f} ± {stdev(values) if len(values) > 1 else 0:.3f}"
            for values in ([row[name] for row in group] for name in ("rmse", "rmse_homologous"))
        ]
        loss, seconds = (median(row[name] for row in group) for name in ("nwa_loss", "seconds"))
        base = median(row["seconds"] for row in groups[options.counts[0]])
        table.add_row(str(count), *errors, f"{loss:.1f}", f"{seconds:.0f}", f"{seconds / base:.2f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
