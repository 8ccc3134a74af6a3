"""What batches of similar lengths save (``--data.max_padding``), and what they cost.

Run it with ``python examples/benchmarks/padding.py``. The reads are the first 300 to 3,000 bases of descendants of one sequence.
For each value, the table has the padding of the training batches, the seconds per step of ``PooledCNN`` with its labels, and two
test errors after equal seconds: of all pairs, and of those whose lengths differ by at most a tenth.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from lightning.pytorch import Trainer, seed_everything
from rich.console import Console
from rich.table import Table
from torch import Tensor

from nwa_lightning import EditDistanceModel, NWADataModule, PairBatch, PooledCNN, evolve_tree
from nwa_lightning.models.baselines import ConstantBaseline
from nwa_lightning.models.edit_distance import predictor

VALUES: Final = (None, 0.3, 0.1)
SHORTEST: Final = 0.1
LIKE: Final = 0.9
#: How many steps tell how long one takes.
FIRST_STEPS: Final = 20


def write_reads(path: Path, count: int, longest: int) -> None:
    """Write reads whose lengths are drawn evenly on a logarithmic scale."""
    lengths = longest * SHORTEST ** np.random.default_rng(0).random(count)
    reads = evolve_tree(count, longest, seed=0).to_strings()
    path.write_text("".join(f"{read[: int(length)]}\n" for read, length in zip(reads, lengths, strict=True)))


def train(data: NWADataModule, steps: int) -> tuple[EditDistanceModel, float]:
    """A model, and its seconds per step."""
    seed_everything(0, verbose=False)
    model = EditDistanceModel(PooledCNN(data.max_length), nwa_weight=None)
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        limit_val_batches=0,
        max_steps=steps,
    )
    start = time.perf_counter()
    trainer.fit(model, data)
    return model.eval(), (time.perf_counter() - start) / steps


def errors(predict: Any, data: NWADataModule) -> dict[str, float]:
    """RMSE in % of the longer length: of all test pairs, and of pairs of like lengths."""
    squares: list[Tensor] = []
    alike: list[Tensor] = []
    with torch.inference_mode():
        for batch in data.test_dataloader():
            squares.append((100 * (predict(batch) - batch.distance) / batch.longest).square())
            alike.append(batch.lengths[batch.pairs].amin(dim=1) >= LIKE * batch.longest)
    square, like = torch.cat(squares), torch.cat(alike)
    return {"all": square.mean().sqrt().item(), "like": square[like].mean().sqrt().item()}


def measure(path: Path, max_padding: float | None, seconds: float) -> dict[str, float]:
    """The numbers of a value; without training, those of a constant."""
    data = NWADataModule(str(path), nwa_batch_size=0, max_padding=max_padding)
    batches: Any = data.train_dataloader().dataset
    some: list[PairBatch] = [batches[number] for number in range(20)]
    padding = np.mean([1 - batch.lengths.float().mean() / batch.lengths.max() for batch in some])
    if not seconds:
        return errors(ConstantBaseline().fit(some), data)
    _, step = train(data, FIRST_STEPS)
    model, step = train(data, max(1, round(seconds / step)))
    return {"padding": 100 * float(padding), "step": step, **errors(predictor(model), data)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reads", type=int, default=2000)
    parser.add_argument("--longest", type=int, default=3000, help="bases; the shortest have a tenth of it")
    parser.add_argument("--seconds", type=float, default=60, help="of training, for each value")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    threads = torch.get_num_threads()
    table = Table(
        title=f"{options.reads:,} reads of up to {options.longest:,} bases, {options.seconds:g} s, {threads} threads"
    )
    for title in ("max_padding", "padding %", "s per step", "RMSE %, all pairs", "RMSE %, like lengths"):
        table.add_column(title, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reads.txt"
        write_reads(path, options.reads, options.longest)
        constant = measure(path, None, 0)
        table.add_row("a constant", "", "", f"{constant['all']:.2f}", f"{constant['like']:.2f}")
        for value in VALUES:
            found = measure(path, value, options.seconds)
            numbers = f"{found['padding']:.1f}", f"{found['step']:.3f}", f"{found['all']:.2f}", f"{found['like']:.2f}"
            table.add_row(str(value), *numbers)
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
