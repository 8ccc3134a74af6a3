"""The effect of NWA on each system of the paper: every row without and with NWA, from several seeds, in one table.

Run it with ``python examples/study/reproduce.py``. A cell is one training run and its test. Every finished cell is a line of
``cells.csv`` in the output folder, so an interrupted study resumes, and ``--tables`` makes the table and the pictures of
the finished cells. Runs that differ only in NWA start from the same seed, and have the same split, batches, steps and
schedule. Nothing is chosen on the test set: a run ends after its last step.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from finished import add_cell, find_cell, read_cells
from lightning.pytorch import Callback, Trainer
from numpy.typing import NDArray
from reproduce_figures import lambda_figure, maps_figure
from reproduce_rows import KNOWN, MAPPED, MUON, POWER, STEMS, arguments, is_hyperbolic, published_lambda
from reproduce_tables import BANDS, CELLS, COLUMNS, KEYS, KINDS, tables, typed_cells
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch import Tensor

from nwa_lightning.cli.lightning_cli import NWACLI
from nwa_lightning.data.batch import PairBatch
from nwa_lightning.data.datamodule import NWADataModule
from nwa_lightning.models.baselines import ConstantBaseline, KmerBaseline
from nwa_lightning.models.edit_distance import predictor
from nwa_lightning.models.metrics import evaluate
from nwa_lightning.plots import prediction_figure

#: By default: the systems of the paper and around it, and encoders that know no places.
ROWS = (*MAPPED, "mlp", "linear", "kmer")
#: Baselines with one fitted line: what any encoder has to beat.
BASELINES: dict[str, Callable[[NWADataModule], ConstantBaseline | KmerBaseline]] = {
    "constant": lambda data: ConstantBaseline(),
    "kmer_euclidean": lambda data: KmerBaseline(data.vocabulary),
    "kmer_cosine": lambda data: KmerBaseline(data.vocabulary, distance="cosine"),
    "ffp": lambda data: KmerBaseline(data.vocabulary, distance="jensen-shannon"),
}


def short(data: str) -> str:
    """Name of a data set as part of a file name."""
    return Path(data).name.split(".")[0].replace(":", "-")


class Cell(NamedTuple):
    """One training run and its test."""

    row: str
    #: without, with (the published lambda), auto, a lambda, or longer: without it, for as many seconds as with it.
    nwa: str
    dim: int
    train_size: int | None
    seed: int
    #: Initial radius of the sphere of the hyperbolic distance.
    radius: float | None = None

    def name(self, options: argparse.Namespace) -> str:
        """The name of its pictures and weights."""
        budget = f"{options.seconds}s" if options.seconds else options.steps
        place = f"m{self.dim}-n{self.train_size or 'all'}-{budget}{f'-r{self.radius}' if self.radius else ''}-seed{self.seed}"
        return f"{short(options.data)}-{self.row}-{self.nwa}-{place}"

    def key(self, options: argparse.Namespace) -> dict[str, Any]:
        """The values that identify it in the file of cells."""
        budget = {"steps": None if options.seconds else options.steps, "seconds_asked": options.seconds}
        return {"data": Path(options.data).name, **self._asdict(), **budget}

    def finished(self, options: argparse.Namespace) -> dict[str, str] | None:
        """Its line in the file of cells, if it is done."""
        return find_cell(read_cells(options.out / CELLS), self.key(options))


def steps_of(cell: Cell, options: argparse.Namespace) -> int:
    """Steps of a cell; a ``longer`` cell gets the steps that take as many seconds as the same cell with NWA."""
    if options.seconds:
        clock = Clock()
        cli = build(cell, options, Clock.LAST)
        cli.trainer.callbacks.append(clock)
        cli.trainer.fit(cli.model, cli.datamodule)
        return round(options.seconds / clock.seconds_per_step)
    if cell.nwa != "longer":
        return int(options.steps)
    without, term = (cell._replace(nwa=nwa).finished(options) for nwa in ("without", "with"))
    if without is None or term is None:
        raise SystemExit(
            f"longer: expected {cell.row} without and with NWA to be trained; train both (--nwa without with)"
        )
    return round(options.steps * max(1.0, float(term["seconds"]) / float(without["seconds"])))


class Clock(Callback):
    """CPU seconds per step, without the first steps."""

    FIRST, LAST = 20, 80

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step == self.FIRST:
            self.start = time.process_time()
        if trainer.global_step == self.LAST:
            self.seconds_per_step = (time.process_time() - self.start) / (self.LAST - self.FIRST)


def build(cell: Cell, options: argparse.Namespace, steps: int) -> NWACLI:
    """The model, data and trainer of ``nwa fit`` for a cell, without folders for logs and checkpoints."""
    plain = cell.nwa in ("without", "longer")
    settings = {
        "seed_everything": cell.seed,
        "data.data": options.data,
        "data.seed": cell.seed,
        "model.encoder.embedding_dim": cell.dim,
        "trainer.max_steps": steps,
        "trainer.limit_val_batches": 0,
        "trainer.logger": "false",
        "trainer.enable_model_summary": "false",
        "trainer.enable_progress_bar": "false",
        "checkpoint.save_top_k": 0,
        "checkpoint.save_last": "false",
        "checkpoint.monitor": "null",
    }
    if cell.radius is not None:
        settings["model.distance.radius"] = cell.radius
    if cell.train_size is not None:
        settings["data.train_size"] = cell.train_size
    if cell.nwa not in KINDS or cell.nwa == "auto":
        settings["model.nwa_weight"] = cell.nwa
    row = arguments(cell.row, nwa=not plain)
    return NWACLI([*row, *(f"--{name}={value}" for name, value in settings.items())], run=False)


def first_radius(row: str, options: argparse.Namespace) -> float | None:
    """The requested radius, if the row has one."""
    return options.radius if is_hyperbolic(row) else None


def run_cell(cell: Cell, options: argparse.Namespace) -> None:
    """Train and test one cell; write its figures, and for the first seed its weights and predictions."""
    steps = steps_of(cell, options)
    cli = build(cell, options, steps)
    start = time.process_time()
    cli.trainer.fit(cli.model, cli.datamodule)
    seconds = time.process_time() - start
    model = cli.model.eval()
    predict = predictor(model)
    validation = evaluate(predict, cli.datamodule.val_dataloader())["rmse"]
    about = {"steps_run": steps, "seconds": seconds, "val_rmse": validation}
    predicted, distance = test_cell(cell, options, predict, cli.datamodule, about)
    if cell.seed == 0:
        picture = prediction_figure({f"{cell.row}, {cell.nwa} NWA, m = {cell.dim}": predicted}, distance)
        picture.savefig(options.out / "pictures" / f"{cell.name(options)}.png", dpi=80)
        weights = {name: value.contiguous() for name, value in model.state_dict().items()}
        save_file(weights, options.out / "weights" / f"{cell.name(options)}.safetensors")


def fitted(baseline: str, data: NWADataModule) -> ConstantBaseline | KmerBaseline:
    """A baseline, fitted to the pairs of 20 training batches."""
    training = data.train_dataloader().dataset
    return BASELINES[baseline](data).fit([training[number] for number in range(20)])


def run_baseline(cell: Cell, options: argparse.Namespace) -> None:
    """Fit a baseline to the pairs of 20 training batches, and test it."""
    data = NWADataModule(options.data, seed=cell.seed, train_size=cell.train_size, nwa_batch_size=0)
    start = time.process_time()
    baseline = fitted(cell.row, data)
    test_cell(cell, options, baseline, data, {"seconds": time.process_time() - start})


def test_cell(
    cell: Cell,
    options: argparse.Namespace,
    predict: Callable[[PairBatch], Tensor],
    data: NWADataModule,
    about: dict[str, float],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Test and write a cell; return predicted and true edits of all test pairs."""
    batches = list(data.test_dataloader())
    predictions = [predict(batch) for batch in batches]
    predicted = np.concatenate([part.numpy() for part in predictions])
    distance = np.concatenate([batch.distance.numpy() for batch in batches])
    longest = np.concatenate([batch.longest.numpy() for batch in batches])
    remaining = iter(predictions)
    measured = evaluate(lambda batch: next(remaining), batches)
    figures: dict[str, Any] = {**cell.key(options), **about, "threads": torch.get_num_threads()}
    figures |= {name: None if math.isnan(value) else value for name, value in measured.items()}
    squares = ((predicted - distance) / longest) ** 2
    for name, (low, high) in BANDS.items():
        chosen = (distance >= low) & (distance <= high)
        figures[name] = 100 * float(np.sqrt(squares[chosen].mean())) if chosen.any() else None
    add_cell(options.out / CELLS, (*KEYS, "steps_run", "val_rmse", *COLUMNS, "threads"), figures)
    return predicted, distance


def kind(text: str) -> str:
    """Check the kind of a run."""
    if text in KINDS or float(text) > 0:
        return text
    raise ValueError(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows",
        nargs="+",
        metavar="ROW",
        choices=KNOWN,
        default=list(ROWS),
        help=f"rows (default: those of the paper): {', '.join(STEMS)}; append {POWER} for the default power of the hyperbolic "
        f"distance, {MUON} for training by Muon, or {POWER}{MUON} for both",
    )
    parser.add_argument(
        "--nwa",
        nargs="+",
        type=kind,
        default=["without", "with", "longer"],
        help="without; with: the published lambda; longer: without, but for as many seconds as with; auto; or a lambda",
    )
    parser.add_argument("--dims", type=int, nargs="+", default=[128], help="dimensions of the embeddings")
    parser.add_argument("--train-sizes", type=int, nargs="+", help="training sequences; by default all")
    parser.add_argument("--seeds", type=int, default=3, help="how many; each has its own split, batches and weights")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seconds", type=int, help="instead of steps: CPU seconds of training")
    parser.add_argument("--radius", type=float, help="initial radius of the sphere of hyperbolic distances")
    parser.add_argument(
        "--against",
        nargs="+",
        metavar="ROW",
        choices=KNOWN,
        default=["cnn"],
        help="rows to compare with: each row is compared with the one that its name begins with, or else with the first one",
    )
    parser.add_argument("--data", default="human16s", help="a named set or a file of sequences")
    parser.add_argument("--out", type=Path, default=Path("examples/results/study"))
    parser.add_argument("--tables", action="store_true", help="train nothing; only report finished cells")
    options = parser.parse_args()
    for folder in ("pictures", "weights"):
        (options.out / folder).mkdir(parents=True, exist_ok=True)
    if not options.tables:
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        train_missing(options)
    print(tables(options.out, [*BASELINES, *ROWS, *(row for row in KNOWN if row not in ROWS)], options.against))
    draw_figures(options)


def train_missing(options: argparse.Namespace) -> None:
    """Train all missing cells, seed by seed, so that all rows have the same number of seeds if the study is stopped early."""
    wanted = []
    radii = {row: first_radius(row, options) for row in options.rows}
    for seed, size in itertools.product(range(options.seeds), options.train_sizes or [None]):
        wanted += [Cell(row, "without", 0, size, seed) for row in BASELINES]
        wanted += [
            Cell(row, nwa, m, size, seed, radii[row])
            for m, row, nwa in itertools.product(options.dims, options.rows, options.nwa)
        ]
    done = read_cells(options.out / CELLS)
    missing = [cell for cell in wanted if not find_cell(done, cell.key(options))]
    for cell in track(missing, f"training {len(missing)} of {len(wanted)} cells"):
        if not cell.finished(options):  # another process may have trained it meanwhile
            (run_baseline if cell.row in BASELINES else run_cell)(cell, options)


def draw_figures(options: argparse.Namespace) -> None:
    """RMSE against lambda for rows with several lambdas, and attention maps for rows that have both weights."""
    lambdas: dict[tuple[str, str, int], dict[str, list[dict[str, Any]]]] = {}
    for cell in typed_cells(options.out / CELLS):
        if cell["nwa"] != "longer" and cell["train_size"] is None and cell["row"] not in BASELINES:
            name = published_lambda(cell["row"]) if cell["nwa"] == "with" else cell["nwa"]
            key = cell["data"], cell["row"], cell["dim"], cell["radius"]
            lambdas.setdefault(key, {}).setdefault(name, []).append(cell)
    for (data, row, dim, radius), found in lambdas.items():
        if len(found) > 2:
            figure = lambda_figure(found, f"{row}, m = {dim}, {data}")
            name = f"lambda-{short(data)}-{row}-m{dim}{f'-r{radius}' if radius else ''}.png"
            figure.savefig(options.out / "pictures" / name, dpi=100)
    for row, dim in itertools.product(MAPPED, options.dims):
        pair = [Cell(row, nwa, dim, None, 0, first_radius(row, options)) for nwa in ("without", "with")]
        weights = [options.out / "weights" / f"{cell.name(options)}.safetensors" for cell in pair]
        if all(path.exists() for path in weights):
            models = []
            for cell, path in zip(pair, weights, strict=True):
                cli = build(cell, options, options.steps)
                cli.model.load_state_dict(load_file(path))
                models.append(cli.model.eval())
            figure = maps_figure(*models, cli.datamodule)
            figure.savefig(options.out / "pictures" / f"maps-{pair[0].name(options)}.png", dpi=100)


if __name__ == "__main__":
    main()
