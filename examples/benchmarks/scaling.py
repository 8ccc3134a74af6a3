"""How time and memory of a training step grow with pairs, length and batch.

Run it with ``python examples/benchmarks/scaling.py``. Every point is a separate process, so the peak memory is that of the
point alone; memory in use before the first step is subtracted. The exponents are those of power laws fitted to the upper
half of each series, where the constant part is small. Writes ``scaling.png``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from rich.table import Table

from nwa_lightning import EditDistanceModel, NeuroSEEDCNN
from nwa_lightning.alignment import Scores
from nwa_lightning.data.datasets import DrawnPairs
from nwa_lightning.sequences.collection import Sequences

SERIES = {
    "NWA pairs": [{"nwa": count} for count in (8, 12, 16, 24, 32, 46, 64)],
    "length": [{"length": length} for length in (75, 150, 300, 600, 1200)],
    "batch": [{"batch": count} for count in (32, 64, 128, 256, 512)],
}


def point(batch: int = 64, nwa: int = 8, length: int = 150, repeats: int = 3) -> dict[str, float]:
    codes = np.random.default_rng(0).integers(2, 6, (batch, length)).astype(np.uint8)
    reads = Sequences.from_codes(codes, map(str, range(batch)))
    drawn = DrawnPairs(
        reads, batch_size=batch, pairs=max(1024, nwa * (nwa - 1) // 2), nwa_batch_size=nwa, scores=Scores(), seed=0
    )
    model = EditDistanceModel(NeuroSEEDCNN(length))
    model.log_dict = lambda *_, **__: None  # type: ignore[method-assign]  # there is no trainer to log to
    optimizer = torch.optim.RAdam(model.parameters(), foreach=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for number in range(repeats + 1):
        start = time.perf_counter()
        loss = model.training_step(drawn[number], 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "seconds": median(times[1:]),
        "mebibytes": peak / 1024,
        "length": length,
        "batch": batch,
        "NWA pairs": nwa * (nwa - 1) / 2,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("scaling.png"))
    parser.add_argument("--point", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point is not None:
        print(json.dumps(point(**options.point)))
        return

    points = [(name, settings) for name, series in SERIES.items() for settings in series]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in SERIES}
    for name, settings in track(points, "measuring"):
        command = [sys.executable, __file__, "--point", json.dumps(settings)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found[name].append(json.loads(done.stdout))

    table = Table(
        title=f"a training step of 1,024 pairs, {torch.get_num_threads()} threads; otherwise 64 reads of 150 bases, 28 with NWA"
    )
    for title in ("what grows", "value", "s a step", "MiB a step", "time grows as", "memory grows as"):
        table.add_column(title, justify="left" if title == "what grows" else "right")
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    for axis, (name, rows) in zip(figure.subplots(1, 3), found.items(), strict=True):
        upper = rows[len(rows) // 2 :]
        powers = [
            np.polyfit(np.log([row[name] for row in upper]), np.log([row[what] for row in upper]), 1)[0]
            for what in ("seconds", "mebibytes")
        ]
        for row in rows:
            last = row is rows[-1]
            grows = [f"{name}^{power:.2f}" if last else "" for power in powers]
            table.add_row(
                name, f"{row[name]:.0f}", f"{row['seconds']:.3f}", f"{row['mebibytes']:.0f}", *grows, end_section=last
            )
        axis.loglog([row[name] for row in rows], [row["seconds"] for row in rows], marker="o")
        axis.set(xlabel=name, ylabel="seconds a step", title=f"{name}^{powers[0]:.2f}")
    figure.savefig(options.out, dpi=120)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
