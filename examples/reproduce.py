"""What NWA does for each system of the paper: every row without and with it, from several seeds, in one table.

Run it with ``python examples/reproduce.py``. A cell is one training run and its test; it is written to
``cells/*.json`` in the output folder when it is done, so a study that was cut off goes on where it was, and
``--tables`` draws up the tables of what there is. Both runs of a pair start from the same seed and take the same batches,
steps and schedule. Nothing is chosen on the test set: a run ends after its last step.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import logging
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from rich.progress import track

from nwa_lightning.cli import NWACLI
from nwa_lightning.figures import prediction_figure
from nwa_lightning.metrics import evaluate

#: What `nwa fit` is given for each row, and the published lambda.
ROWS: dict[str, tuple[list[str], str]] = {
    "cnn": (["--model.encoder=NeuroSEEDCNN"], "1e-5"),
    "transformer": (["--model.encoder=NeuroSEEDTransformer"], "1e-5"),
    "transformer_local": (["--model.encoder=NeuroSEEDTransformer", "--model.encoder.window=8"], "1e-5"),
    "dsee": (["--model.encoder=DSEECNN", "--model.distance=squared", "--model.loss=chi_square"], "1e-6"),
    "cnned": (["--model.encoder=CNNED", "--model.distance=euclidean", "--model.loss=triplet"], "1e-5"),
    "gru": (["--model.encoder=GRUEncoder"], "1e-5"),
}
#: Upper ends of the bands of edit distance, and their names.
BANDS = {"ED 1-10": (1, 10), "ED 11-20": (11, 20), "ED 21-40": (21, 40), "ED > 40": (41, 10**6)}
#: The figures of a cell that make a column.
COLUMNS = ("rmse", "rmse_homologous", *BANDS, "r2", "spearman", "seconds")


def cell_name(row: str, nwa: str, dim: int, train_size: int | None, seed: int) -> str:
    return f"{row}-{nwa}-m{dim}-n{train_size or 'all'}-seed{seed}"


def run_cell(row: str, nwa: str, dim: int, train_size: int | None, seed: int, options: argparse.Namespace) -> None:
    """Train and test one cell; write its figures, and for the first seed its predictions as a picture."""
    arguments, published = ROWS[row]
    weight = {"without": "null", "with": published, "auto": "auto"}[nwa]
    settings = {
        "seed_everything": seed,
        "data.data": options.data,
        "data.seed": seed,
        "data.nwa_sequences": 0 if nwa == "without" else options.nwa_sequences,
        "model.nwa_weight": weight,
        "model.encoder.embedding_dim": dim,
        "trainer.max_steps": options.steps,
        "trainer.limit_val_batches": 0,
        "trainer.logger": "false",
        "trainer.enable_model_summary": "false",
        "trainer.enable_progress_bar": "false",
        "checkpoint.save_top_k": 0,
        "checkpoint.save_last": "false",
        "checkpoint.monitor": "null",
    }
    if train_size is not None:
        settings["data.train_size"] = train_size
    cli = NWACLI([*arguments, *(f"--{name}={value}" for name, value in settings.items())], run=False)
    start = time.perf_counter()
    cli.trainer.fit(cli.model, cli.datamodule)
    seconds = time.perf_counter() - start
    model = cli.model.eval()
    found, true, length = [], [], []

    def predict(batch):
        with torch.inference_mode():
            edits = model.predicted_edits(model.encode(batch.tokens), batch.pairs)
        found.append(edits.numpy())
        true.append(batch.distance.numpy())
        length.append(batch.longest.numpy())
        return edits

    figures: dict[str, Any] = evaluate(predict, cli.datamodule.test_dataloader())
    predicted, distance, longest = (np.concatenate(parts) for parts in (found, true, length))
    squares = ((predicted - distance) / longest) ** 2
    for name, (low, high) in BANDS.items():
        chosen = (distance >= low) & (distance <= high)
        figures[name] = 100 * float(np.sqrt(squares[chosen].mean())) if chosen.any() else None
    figures |= {"row": row, "nwa": nwa, "dim": dim, "train_size": train_size, "seed": seed}
    figures |= {"steps": options.steps, "data": options.data, "seconds": seconds, "threads": torch.get_num_threads()}
    name = cell_name(row, nwa, dim, train_size, seed)
    if seed == 0:
        (options.out / "predictions").mkdir(exist_ok=True)
        picture = prediction_figure({f"{row}, {nwa} NWA, m = {dim}": predicted}, distance)
        picture.savefig(options.out / "predictions" / f"{name}.png", dpi=80)
    # Written under another name first, so that a cell is whole or not there.
    unfinished = options.out / "cells" / f"{name}.tmp"
    unfinished.write_text(f"{json.dumps(figures, indent=1)}\n")
    unfinished.rename(unfinished.with_suffix(".json"))


def tables(folder: Path) -> str:
    """Write table.csv with every cell, and table.md with mean and spread over seeds and what NWA changes."""
    cells = [json.loads(path.read_text()) for path in sorted((folder / "cells").glob("*.json"))]
    if not cells:
        return "no cell is done yet"
    keys = ("data", "row", "dim", "train_size", "steps", "nwa")
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*keys, "seed", *COLUMNS, "threads"])
        writer.writeheader()
        writer.writerows(cells)
    heads = ["data", "encoder", "m", "training sequences", "NWA", "seeds", *COLUMNS, "change by NWA, RMSE %"]
    lines = [f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * len(heads))} |"]

    def order(cell: dict[str, Any]) -> tuple[Any, ...]:
        return (cell["data"], cell["row"], cell["dim"], cell["train_size"] or 10**9, cell["steps"])

    for _, group in itertools.groupby(sorted(cells, key=order), key=order):
        members = list(group)
        without = {cell["seed"]: cell["rmse"] for cell in members if cell["nwa"] == "without"}
        for nwa in ("without", "with", "auto"):
            runs = [cell for cell in members if cell["nwa"] == nwa]
            if not runs:
                continue
            changes = [
                cell["rmse"] - without[cell["seed"]] for cell in runs if nwa != "without" and cell["seed"] in without
            ]
            first = runs[0]
            place = [first["data"], first["row"], first["dim"], first["train_size"] or "all", nwa, len(runs)]
            values = [spread([run[name] for run in runs if run[name] is not None]) for name in COLUMNS]
            lines.append(f"| {' | '.join(map(str, [*place, *values, spread(changes)]))} |")
    text = "\n".join(lines)
    (folder / "table.md").write_text(f"{text}\n")
    return text


def spread(values: Iterable[float]) -> str:
    """Mean and standard deviation."""
    numbers = list(values)
    if not numbers:
        return ""
    return f"{mean(numbers):.3g}" if len(numbers) < 2 else f"{mean(numbers):.3f} ± {stdev(numbers):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--nwa", nargs="+", choices=("without", "with", "auto"), default=["without", "with"])
    parser.add_argument("--dims", type=int, nargs="+", default=[128])
    parser.add_argument("--train-sizes", type=int, nargs="+", help="training sequences; by default all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--data", default="human16s", help="a named set or a file of sequences")
    parser.add_argument("--nwa-sequences", type=int, default=8, help="sequences of a batch that feed the term")
    parser.add_argument("--out", type=Path, default=Path("examples/results/study"))
    parser.add_argument("--tables", action="store_true", help="train nothing; only draw up the tables of what there is")
    options = parser.parse_args()
    (options.out / "cells").mkdir(parents=True, exist_ok=True)
    if not options.tables:
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        # Seed by seed, so that an early end leaves every row with as many seeds.
        grid = itertools.product(
            range(options.seeds), options.dims, options.train_sizes or [None], options.rows, options.nwa
        )
        wanted = [(row, nwa, dim, size, seed) for seed, dim, size, row, nwa in grid]
        missing = [key for key in wanted if not (options.out / "cells" / f"{cell_name(*key)}.json").exists()]
        for key in track(missing, f"training {len(missing)} of {len(wanted)} cells"):
            run_cell(*key, options)
    print(tables(options.out))


if __name__ == "__main__":
    main()
