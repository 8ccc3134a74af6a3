"""Reads of either strand: the error of encoders of one strand and of both, at equal seconds of one core.

Run it with ``python examples/study/strands.py``, and with ``--table`` for the table. The reads are those of human16s, half of
them turned into their reverse complements. The labels are edit distances to the nearer strand (``--data.both_strands``). A row is
one of ``landmarks.py``. Finished cells are lines of the CSV file.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from baselines import fitting_batches
from finished import finish_cells, read_cells, study_parser, table
from landmarks import machine, train_cell

from nwa_lightning import NWADataModule
from nwa_lightning.models.baselines import ConstantBaseline
from nwa_lightning.models.edit_distance import predictor
from nwa_lightning.models.metrics import evaluate
from nwa_lightning.sequences.strands import reverse_complement

RESULTS: Final = Path(__file__).parents[1] / "results" / "strands.csv"
ROWS: Final = ("constant", "residual", "alone+l128", "counts+k4+both", "residual+both", "alone+l128+both")
METRICS: Final = ("val_rmse", "rmse", "rmse_homologous", "spearman")
#: Columns of the table, and their titles.
KEYS: Final = {"budget": "s", "row": "row"}
SHOWN: Final = {"rmse": "RMSE %", "rmse_homologous": "at ED <= 40", "spearman": "Spearman"}
COLUMNS: Final = ("row", "budget", "seed", "steps", "seconds", *METRICS, "machine")


def write_either(path: Path) -> int:
    """Write human16s with half of its reads from the other strand; returns the length of the longest."""
    reads = NWADataModule().sequences
    turned = np.random.default_rng(0).random(len(reads)) < 0.5
    both = zip(reads.to_strings(), reverse_complement(reads).to_strings(), turned, strict=True)
    path.write_text("".join(f"{other if other_strand else read}\n" for read, other, other_strand in both))
    return reads.max_length


def run_cell(row: str, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Train and test one cell."""
    if row == "constant":
        data = NWADataModule(str(options.data), seed=seed, both_strands=True)
        predict: Any = ConstantBaseline().fit(fitting_batches(data))
        steps, seconds = 0, 0.0
    else:
        more = [f"--model.encoder.encoder.max_length={options.longest}"] if "both" in row.split("+") else []
        cli, steps, seconds = train_cell(row, options, seed, "--data.both_strands=true", *more)
        predict, data = predictor(cli.model.eval()), cli.datamodule
    found = {"val_rmse": evaluate(predict, data.val_dataloader())["rmse"]} | evaluate(predict, data.test_dataloader())
    return {"steps": steps, "seconds": round(seconds, 1)} | {name: round(found[name], 4) for name in METRICS}


def main() -> None:
    parser = study_parser(__doc__, rows=ROWS, seconds=60, out=RESULTS)
    options = parser.parse_args()
    if options.table:
        print(table(read_cells(options.out), KEYS, SHOWN))
        return
    torch.set_num_threads(1)
    options.train_size = None
    with tempfile.TemporaryDirectory() as folder:
        options.data = Path(folder) / "either.txt"
        options.longest = write_either(options.data)

        def about(row: str, seed: int) -> dict[str, Any]:
            return {"row": row, "budget": "" if row == "constant" else f"{options.seconds:g}", "seed": seed}

        def run(row: str, seed: int) -> dict[str, Any]:
            return run_cell(row, options, seed) | {"machine": machine()}

        finish_cells(options, COLUMNS, about, run)


if __name__ == "__main__":
    main()
