"""Time of one training step: this package, and a plain version that works pair by pair.

Run it with ``python examples/benchmarks/train_step.py``. Both train the same NeuroSEED-CNN on human16s, with and without
NWA, on 1,024 pairs per step. The plain version encodes and decodes both sequences of every pair separately, makes one map
per head, merges the maps by a small MLP, and computes the Jensen-Shannon divergence by its textbook formula. All rows take
turns many times, so that other work on the machine affects all of them; the medians are printed. If the term is in every k-th
step, the time is that of k steps in a row, divided by k.
"""

from __future__ import annotations

import argparse
import math
import time
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

from nwa_lightning import EditDistanceModel, HyperbolicDistance, NeuroSEEDCNN, NWADataModule, NWAHead, PairBatch
from nwa_lightning.nwa.loss import DEFAULT_EVERY


class PairByPair(nn.Module):
    """The same model as in a plain loop over pairs, which share nothing."""

    def __init__(self, max_length: int, with_nwa: bool) -> None:
        super().__init__()
        self.encoder = NeuroSEEDCNN(max_length)
        self.distance = HyperbolicDistance()
        self.length = max_length
        self.head = NWAHead(self.encoder.embedding_dim, max_length) if with_nwa else None
        self.merge = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))

    def loss(self, batch: PairBatch) -> Tensor:
        left, right = self.encoder(batch.left), self.encoder(batch.right)
        loss = (self.distance(left, right) - batch.distance / self.length).square().mean()
        if self.head is None:
            return loss
        size = batch.tokens.shape[1]
        one, two = (
            self.head.decode(side, batch.lengths[batch.pairs[:, k]], size) for k, side in enumerate((left, right))
        )
        query, key = (
            layer(side).unflatten(-1, (4, -1)).transpose(1, 2)
            for layer, side in ((self.head.query, one), (self.head.key, two))
        )
        maps = query @ key.mT / math.sqrt(query.shape[-1])
        attention = self.merge(maps.permute(0, 2, 3, 1)).squeeze(-1).softmax(-1)
        target = batch.nw.float().softmax(-1)
        centre = (attention + target) / 2
        divergence = attention * (attention / centre + 1e-10).log() + target * (target / centre + 1e-10).log()
        return loss + 1e-5 * (divergence.sum((1, 2)) / 2).mean()


def step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: PairBatch) -> float:
    start = time.perf_counter()
    loss = model.loss(batch) if isinstance(model, PairByPair) else model.training_step(batch, 0)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3, help="of the pair-by-pair steps; ours run ten times as often")
    options = parser.parse_args()

    data = NWADataModule(pairs=options.pairs)
    every = 2
    while every * (every - 1) // 2 < options.pairs:
        every += 1
    # All pairs of a few sequences, cut to the number wanted, so that each pair has a matrix.
    whole = NWADataModule(batch_size=every, pairs=None, nwa_batch_size=every).train_dataloader().dataset[0]
    dense = whole._replace(
        pairs=whole.pairs[: options.pairs], distance=whole.distance[: options.pairs], nw=whole.nw[: options.pairs]
    )
    default = data.train_dataloader().dataset[0]
    through = (
        NWADataModule(pairs=options.pairs, nwa_kind="best_through", nwa_batch_size=16).train_dataloader().dataset[0]
    )
    features = {"nwa_features": "encoder.features.11", "nwa_channels": 64}
    rows = {
        ("without NWA", "pair by pair"): (PairByPair(data.max_length, False), default),
        ("without NWA", "nwa_lightning"): (model(data, None), default),
        ("NWA on every pair", "pair by pair"): (PairByPair(data.max_length, True), dense),
        ("NWA on every pair", "nwa_lightning"): (model(data, 1e-5, nwa_every=1), dense),
        (f"NWA on {len(default.nw)} pairs", "nwa_lightning"): (model(data, 1e-5, nwa_every=1), default),
        (f"NWA on {len(default.nw)} pairs, every {DEFAULT_EVERY}th step (default)", "nwa_lightning"): (
            model(data, 1e-5),
            default,
        ),
        (f"NWA on {len(through.nw)} pairs, by features", "nwa_lightning"): (
            model(data, 1e-3, nwa_every=1, **features),
            through,
        ),
    }
    optimizers = {name: torch.optim.RAdam(net.parameters(), foreach=True) for name, (net, _) in rows.items()}
    times: dict[tuple[str, str], list[float]] = {name: [] for name in rows}
    # A step that makes a map of every pair takes gigabytes, and leaves caches and heap behind as no training would.
    heavy = {name for name in rows if name[1] == "pair by pair" or name[0] == "NWA on every pair"}
    turns = [set(rows) - heavy] * options.repeats + [heavy] * options.repeats
    for turn in track(turns, "stepping"):
        for name, (net, batch) in rows.items():
            if name not in turn:
                continue
            for _ in range(1 if name[1] == "pair by pair" else 10):
                cycle = getattr(getattr(net, "nwa", None), "every", 1)
                times[name].append(sum(step(net, optimizers[name], batch) for _ in range(cycle)) / cycle)

    table = Table(title=f"one step of {options.pairs} pairs, {torch.get_num_threads()} threads, medians")
    for title in (
        "work",
        "written as",
        "s a step",
        "pairs/s",
        "times as fast as pair by pair",
        "cost against without NWA",
    ):
        table.add_column(title, justify="left" if title in ("work", "written as") else "right")
    seconds = {name: median(values) for name, values in times.items()}
    for (work, how), value in seconds.items():
        faster = f"{seconds[work, 'pair by pair'] / value:.1f}" if (work, "pair by pair") in seconds else ""
        cost = f"{value / seconds['without NWA', how]:.2f}"
        table.add_row(work, how, f"{value:.3f}", f"{options.pairs / value:,.0f}", faster, cost)
    Console(width=130).print(table)


def model(data: NWADataModule, weight: float | None, **options: Any) -> EditDistanceModel:
    made = EditDistanceModel(NeuroSEEDCNN(data.max_length), nwa_weight=weight, **options)
    made.log_dict = lambda *_, **__: None  # type: ignore[method-assign]  # there is no trainer to log to
    return made


if __name__ == "__main__":
    main()
