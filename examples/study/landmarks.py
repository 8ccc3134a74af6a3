"""The effect of landmarks and NWA on each encoder, at equal seconds of one thread, and the best combination.

Run it with ``python examples/study/landmarks.py``, and with ``--table`` for the table of the finished cells. A row is an encoder
and its changes, joined by ``+``::

    alone       landmarks without another encoder; the others: cnn, transformer, dsee (as published),
                dseecnn, residual, linear, own, counts (KmerEncoder)
    mds         landmark MDS, without training
    l128        128 landmarks (for alone: instead of 128)
    nwa         with the published lambda
    v, V        a quarter of each batch variants with up to 5 % edits; half of it with up to 15 %
    vx          as v, and another quarter of each batch prefixes of random lengths
    b128        128 sequences a batch, and 32 times as many pairs
    p1.75       power of the hyperbolic distance
    r0.98       first radius of its sphere
    m256        dimension of the embeddings, instead of 128
    s50         a head for any length, and every 50th row and column of the maps
    near        a quarter of each batch has the same value of near=... in the header as another gene
    q8, c128    attention-pooled vectors and channels of PooledCNN
    k6          letters per k-mer of KmerEncoder
    both        the encoder inside StrandInvariant

A run has as many steps as fit into its CPU seconds; the time of a step is measured over 60 steps first, and includes labels and
features. Every finished cell is a line of the CSV file, so an interrupted study resumes. Settings are chosen by the validation
error, never by the test error. ``--unseen`` is another file of reads, some of which are tested too.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
from baselines import fitted_mds, fitting_batches
from finished import add_cell, find_cell, read_cells, study_parser, table
from lightning.pytorch import Callback, Trainer
from prefixes import WithPrefixes

from nwa_lightning import NWADataModule
from nwa_lightning.cli.lightning_cli import NWACLI
from nwa_lightning.data.batch import PairBatch
from nwa_lightning.models.baselines import ConstantBaseline, KmerBaseline
from nwa_lightning.models.edit_distance import predictor
from nwa_lightning.models.metrics import evaluate

RESULTS: Final = Path(__file__).parents[1] / "results" / "landmarks.csv"
ENCODERS: Final = {
    "alone": ["--model.encoder=LandmarkEncoder"],
    "cnn": ["--model.encoder=NeuroSEEDCNN"],
    "transformer": ["--model.encoder=NeuroSEEDTransformer"],
    "dsee": ["--model.encoder=DSEECNN", "--model.distance=SquaredEuclideanDistance", "--model.loss=ChiSquareLoss"],
    "dseecnn": ["--model.encoder=DSEECNN"],
    "residual": ["--model.encoder=ResidualCNN"],
    "linear": ["--model.encoder=LinearEncoder"],
    "own": ["--model.encoder=own_encoder.OwnEncoder"],
    "counts": ["--model.encoder=KmerEncoder"],
}
#: Fraction of a batch and highest rate of edits.
VARIANTS: Final = {"v": (0.25, 0.05), "V": (0.5, 0.15), "vx": (0.25, 0.05)}
ENCODER_OPTIONS: Final = {"m": "embedding_dim", "q": "queries", "c": "channels", "k": "k"}
BASELINES: Final = ("constant", "kmer", "mds")
METRICS: Final = ("rmse", "rmse_homologous", "r2", "spearman")
COLUMNS: Final = (
    "data", "train_size", "row", "budget", "seed", "steps", "seconds", "val_rmse", *METRICS, "unseen_rmse", "machine",
)  # fmt: skip
#: Columns of the table, and their titles.
KEYS: Final = {"data": "data", "train_size": "train", "budget": "s", "row": "row"}
SHOWN: Final = {
    "val_rmse": "validation RMSE %", "rmse": "test RMSE %", "rmse_homologous": "at ED <= 40", "unseen_rmse": "unseen RMSE %",
}  # fmt: skip
#: What a run leaves out: folders for logs and checkpoints, and what it prints.
QUIET: Final = {
    "trainer.logger": "false",
    "trainer.enable_model_summary": "false",
    "trainer.enable_progress_bar": "false",
    "trainer.limit_val_batches": 0,
    "checkpoint.save_top_k": 0,
    "checkpoint.save_last": "false",
    "checkpoint.monitor": "null",
}
#: Reads of the other file that are tested.
UNSEEN: Final = 1500


class Clock(Callback):
    """CPU seconds per step, without the first steps; and what is spent once, before them."""

    FIRST, LAST = 20, 80
    now: Callable[[], float] = staticmethod(time.process_time)
    seconds_before = 0.0

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step == self.FIRST:
            self.start = self.now()
        if trainer.global_step == self.LAST:
            self.seconds_per_step = (self.now() - self.start) / (self.LAST - self.FIRST)


def options_of(row: str) -> list[str]:
    """The options of a row on the command line."""
    encoder, *changes = row.split("+")
    if encoder not in ENCODERS:
        raise SystemExit(f"{row}: expected one of {', '.join((*ENCODERS, *BASELINES))}, found {encoder}")
    found = [*ENCODERS[encoder], "--model.encoder.embedding_dim=128"]
    if "nwa" not in changes:
        found += ["--model.nwa_weight=null", "--data.nwa_batch_size=0"]
    for change in changes:
        letter, number = change[0], change[1:]
        if change in ("nwa", "both"):
            continue
        if change == "near":
            found += ["--data.near.fraction=0.25", "--data.near.group=near"]
            continue
        if change in VARIANTS:
            fraction, edits = VARIANTS[change]
            found += [f"--data.augment.fraction={fraction}", f"--data.augment.edits={edits}"]
        elif letter == "l":
            found.append(f"--model.encoder.count={number}" if encoder == "alone" else f"--model.landmarks={number}")
        elif letter == "b":
            found += [f"--data.batch_size={number}", f"--data.pairs={32 * int(number)}"]
        elif letter == "p":
            found.append(f"--model.distance.power={number}")
        elif letter == "r":
            found.append(f"--model.distance.radius={number}")
        elif letter in ENCODER_OPTIONS:
            found.append(f"--model.encoder.{ENCODER_OPTIONS[letter]}={number}")
        elif letter == "s":
            found += ["--model.nwa_head=positions", f"--model.nwa_stride={number}", f"--data.nwa_stride={number}"]
        else:
            raise SystemExit(f"{row}: expected changes such as {'nwa, v, l128'}, found {change}")
    return in_both_strands(found) if "both" in changes else found


def in_both_strands(options: list[str]) -> list[str]:
    """The options of a model whose encoder is inside ``StrandInvariant``."""
    inside = [option.replace("--model.encoder", "--model.encoder.encoder") for option in options]
    return ["--model.encoder=StrandInvariant", *inside]


def build(row: str, options: argparse.Namespace, seed: int, steps: int, *more: str) -> NWACLI:
    """The model, data and trainer of ``nwa fit``, with more options of it, without folders for logs and checkpoints."""
    settings = {
        "seed_everything": seed,
        "data.data": options.data,
        "data.seed": seed,
        "trainer.max_steps": steps,
        **QUIET,
    }
    if options.train_size:
        settings["data.train_size"] = options.train_size
    cli = NWACLI([f"--{name}={value}" for name, value in settings.items()] + options_of(row) + list(more), run=False)
    if "vx" in row.split("+"):
        cli.datamodule.augment = WithPrefixes(**asdict(cli.datamodule.augment))
    return cli


def train_cell(
    row: str, options: argparse.Namespace, seed: int, *more: str, clock: Clock | None = None
) -> tuple[NWACLI, int, float]:
    """Train a row for as many steps as fit into its seconds.

    Args:
        row: The row.
        options: With ``data``, ``train_size`` and ``seconds``.
        seed: The seed.
        *more: Options of ``nwa fit``.
        clock: How the seconds are counted; by default, CPU seconds.

    Returns:
        The run, its steps and its seconds.
    """
    clock = Clock() if clock is None else clock
    cli = build(row, options, seed, clock.LAST, *more)
    cli.trainer.callbacks.append(clock)
    cli.trainer.fit(cli.model, cli.datamodule)
    steps = round((options.seconds - clock.seconds_before) / clock.seconds_per_step)
    if steps < 1:
        raise SystemExit(
            f"{row}: expected seconds for a step after the first {clock.seconds_before:.0f}; give more --seconds"
        )
    cli = build(row, options, seed, steps, *more)
    start = clock.now() - clock.seconds_before
    cli.trainer.fit(cli.model, cli.datamodule)
    return cli, steps, clock.now() - start


def run_cell(row: str, options: argparse.Namespace, seed: int, unseen: list[PairBatch]) -> dict[str, Any]:
    """Train and test one cell."""
    if row.split("+")[0] in BASELINES:
        data = NWADataModule(options.data, seed=seed, train_size=options.train_size, nwa_batch_size=0)
        start = time.process_time()
        predict, steps = baseline(row, data, seed), 0
        seconds = time.process_time() - start
    else:
        cli, steps, seconds = train_cell(row, options, seed)
        predict, data = predictor(cli.model.eval()), cli.datamodule
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
            cli.trainer.save_checkpoint(options.keep / f"{row}-{options.seconds:g}s-{seed}.ckpt")
    found: dict[str, Any] = {"steps": steps, "seconds": round(seconds, 1)}
    found["val_rmse"] = evaluate(predict, data.val_dataloader())["rmse"]
    found |= evaluate(predict, data.test_dataloader())
    found["unseen_rmse"] = evaluate(predict, unseen)["rmse"] if unseen else ""
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in found.items()}


def baseline(row: str, data: NWADataModule, seed: int) -> Any:
    """A predictor that is fitted without training."""
    if row.split("+")[0] == "mds":
        return predictor(fitted_mds(row, data, seed))
    fitted = ConstantBaseline() if row == "constant" else KmerBaseline(data.vocabulary, distance="cosine")
    return fitted.fit(fitting_batches(data))


def machine() -> str:
    """Name of the processor, from the system."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return f"{found[1] if found else platform.machine()}, {os.cpu_count()} cores"


def main() -> None:
    rows = ["constant", "kmer", "mds", "residual+v", "residual+v+l128"]
    parser = study_parser(__doc__, rows=rows, seconds=100, out=RESULTS)
    parser.add_argument("--data", default="human16s", help="a named set or a file of sequences")
    parser.add_argument("--train-size", type=int)
    parser.add_argument("--unseen", type=Path, help="reads that are tested too, see greengenes.py --unseen")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep a checkpoint of each cell")
    options = parser.parse_args()
    if options.table:
        print(table(read_cells(options.out), KEYS, SHOWN))
        return
    torch.set_num_threads(1)
    unseen: list[PairBatch] = []
    if options.unseen:
        others = NWADataModule(str(options.unseen), test_size=UNSEEN, nwa_batch_size=0)
        unseen = list(others.test_dataloader())
    for row in options.rows:
        for seed in options.seeds:
            budget = "" if row.split("+")[0] in BASELINES else f"{options.seconds:g}"
            about = {
                "data": Path(options.data).name, "train_size": options.train_size or "", "row": row, "budget": budget,
                "seed": seed,
            }  # fmt: skip
            if find_cell(read_cells(options.out), about):
                continue
            cell = about | run_cell(row, options, seed, unseen) | {"machine": machine()}
            add_cell(options.out, COLUMNS, cell)
            shown = f"validation {cell['val_rmse']:.3f}, test {cell['rmse']:.3f}, {cell['steps']} steps in {cell['seconds']} s"
            print(f"{row} seed {seed}: {shown}", flush=True)


if __name__ == "__main__":
    main()
