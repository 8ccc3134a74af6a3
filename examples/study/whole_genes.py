"""Whole 16S genes of 1,200 to 1,600 bases: errors and nearest genes of encoders, k-mers and landmark MDS, at equal seconds.

The genes are from Greengenes (see ``greengenes.py``)::

    python examples/study/greengenes.py --genes genes.fasta
    python examples/study/whole_genes.py --data genes.fasta
    python examples/study/whole_genes.py --data tree:2000x3000 --split content    # simulated families of other lengths
    python examples/study/whole_genes.py --table

No test gene has 95 % identity or more with a training gene. A row is an encoder and its changes, as in ``landmarks.py``, with
these too::

    pooled      PooledCNN
    asmac       AsMac and the cosine distance; asmac+m300 as published
    kmer5       counts of 5-mers and the best of three distances, by validation

Seconds are those of the clock with ``--threads`` threads (2), everything included, also the distances of the training genes to
the landmarks, which are computed once. ``nearest`` is how often the true nearest training gene of a test gene is nearest by the
vectors, and ``within10`` how often it is among the nearest ten. A finished cell is a line of the CSV file, so a study resumes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from baselines import best_kmers, fitted_mds, fitting_batches
from finished import finish_cells, read_cells, study_parser, table
from landmarks import ENCODERS, Clock, machine, train_cell
from lightning.pytorch import LightningModule, Trainer
from numpy.typing import NDArray
from torch import Tensor

from nwa_lightning import NWADataModule, Sequences
from nwa_lightning.data.batch import PairBatch
from nwa_lightning.data.datasets import SingleSequences
from nwa_lightning.landmarks.distances import distance_table
from nwa_lightning.landmarks.features import Landmarks
from nwa_lightning.models.baselines import ConstantBaseline, KmerBaseline
from nwa_lightning.models.edit_distance import predictor
from nwa_lightning.models.metrics import evaluate

RESULTS: Final = Path(__file__).parents[1] / "results" / "whole_genes.csv"
ENCODERS |= {
    "pooled": ["--model.encoder=PooledCNN"],
    "asmac": ["--model.encoder=AsMac", "--model.distance=CosineDistance"],
}
#: Edits of near pairs, a tenth of the length.
NEAR: Final = 150
#: Test genes whose nearest training gene is looked for.
QUERIES: Final = 1500
METRICS: Final = ("val_rmse", "rmse", "rmse_homologous", "spearman", "nearest", "within10")
#: Columns of the table, and their titles.
KEYS: Final = {"data": "data", "budget": "s", "row": "row"}
SHOWN: Final = {
    "rmse": "test RMSE %",
    "rmse_homologous": f"at ED <= {NEAR}",
    "spearman": "Spearman",
    "nearest": "nearest %",
    "within10": "within10 %",
}
COLUMNS: Final = ("data", "row", "budget", "seed", "threads", "steps", "seconds", *METRICS, "machine")
ROWS: Final = ("constant", "kmer4", "kmer5", "kmer6", "mds", "asmac+m300", "alone+l128", "pooled", "pooled+l128")


class WallClock(Clock):
    """Seconds per step; before the steps, the landmarks meet every training gene once, and remember its distances."""

    now = staticmethod(time.perf_counter)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        start = self.now()
        for module in pl_module.modules():
            if isinstance(module, Landmarks):
                for batch in batches_of(trainer.datamodule.split.train):
                    module.distances(batch.tokens)
        self.seconds_before = self.now() - start


def batches_of(genes: Sequences) -> Iterator[PairBatch]:
    """All genes, 64 at a time."""
    dataset = SingleSequences(genes, 64)
    return (dataset[number] for number in range(len(dataset)))


def run_cell(row: str, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Train and test one cell."""
    if row.startswith(("constant", "kmer", "mds")):
        data = NWADataModule(str(options.data), split_by=options.split, seed=seed, nwa_batch_size=0)
        start = time.perf_counter()
        predict, embed = baseline(row, data, seed)
        steps, seconds = 0, time.perf_counter() - start
    else:
        cli, steps, seconds = train_cell(row, options, seed, f"--data.split_by={options.split}", clock=WallClock())
        model, data = cli.model.eval(), cli.datamodule
        predict, embed = predictor(model), model.encode
    found: dict[str, Any] = {"steps": steps, "seconds": round(seconds, 1)}
    found["val_rmse"] = evaluate(predict, data.val_dataloader())["rmse"]
    found |= evaluate(predict, data.test_dataloader(), NEAR)
    if embed is not None:
        found |= nearest(embed, data, options.cache / f"nearest-{options.data.stem}-{seed}.npy")
    return {
        name: round(found[name], 4) if isinstance(found.get(name), float) else found.get(name, "")
        for name in COLUMNS[5:-1]
    }


def baseline(row: str, data: NWADataModule, seed: int) -> Any:
    """A predictor that is fitted without training, and its vectors, whose Euclidean distance ranks genes."""
    if row.startswith("mds"):
        fitted = fitted_mds(row, data, seed)
        return predictor(fitted), fitted
    if row == "constant":
        return ConstantBaseline().fit(fitting_batches(data)), None
    best = best_kmers(data, int(row.removeprefix("kmer")))
    return best, partial(kmer_vectors, best)


def kmer_vectors(fitted: KmerBaseline, tokens: Tensor) -> Tensor:
    """Vectors whose Euclidean distance has the order of the distance of the counts."""
    counts = fitted.counts(tokens)
    if fitted.distance == "cosine":
        return torch.nn.functional.normalize(counts)
    # Of frequencies, the Hellinger distance is within a small factor of the Jensen-Shannon divergence.
    return counts if fitted.distance == "euclidean" else (counts / counts.sum(dim=1, keepdim=True).clamp(min=1)).sqrt()


def nearest(embed: Any, data: NWADataModule, cache: Path) -> dict[str, float]:
    """How often the true nearest training gene is found first, and among the first ten; any of equally near ones counts."""
    train, test = data.split.train, data.reads.test.take(np.arange(min(QUERIES, len(data.reads.test))))
    truth = true_nearest(test, train, cache)
    with torch.inference_mode():
        vectors, queries = (torch.cat([embed(batch.tokens) for batch in batches_of(genes)]) for genes in (train, test))
        order = torch.cdist(queries, vectors).topk(10, largest=False).indices.numpy()
    edits = truth[np.arange(len(test))[:, None], order]
    right = edits == truth.min(axis=1)[:, None]
    return {"nearest": 100 * float(right[:, 0].mean()), "within10": 100 * float(right.any(axis=1).mean())}


def true_nearest(test: Sequences, train: Sequences, cache: Path) -> NDArray[np.int16]:
    """``(Q, N)`` exact edits of test to training genes, in minutes; later cells read them from a file."""
    if not cache.exists():
        cache.parent.mkdir(parents=True, exist_ok=True)
        np.save(cache, distance_table(test, train, threads=torch.get_num_threads()).astype(np.int16))
    found: NDArray[np.int16] = np.load(cache)
    return found


def main() -> None:
    parser = study_parser(__doc__, rows=ROWS, seconds=1200, out=RESULTS)
    parser.add_argument("--data", type=Path, default=Path("genes.fasta"), help="see greengenes.py --genes")
    parser.add_argument("--split", default="cluster", help="as --data.split_by; content for a simulated set")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--cache", type=Path, default=Path("cache"), help="folder for the exact distances to training genes"
    )
    options = parser.parse_args()
    if options.table:
        print(table(read_cells(options.out), KEYS, SHOWN))
        return
    torch.set_num_threads(options.threads)
    options.train_size = None

    def about(row: str, seed: int) -> dict[str, Any]:
        budget = "" if row.startswith(("constant", "kmer", "mds")) else f"{options.seconds:g}"
        return {"data": options.data.name, "row": row, "budget": budget, "seed": seed, "threads": options.threads}

    def run(row: str, seed: int) -> dict[str, Any]:
        return run_cell(row, options, seed) | {"machine": machine()}

    finish_cells(options, COLUMNS, about, run)


if __name__ == "__main__":
    main()
