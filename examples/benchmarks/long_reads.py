"""Time and memory of a training step against the length of the reads, with fitted exponents.

Run it with ``python examples/benchmarks/long_reads.py``, on a GPU with ``--device cuda``. A batch has 64 reads of families that
descend from one sequence, and 1,024 pairs of them. The model is ``PooledCNN``, without NWA or with the head for any length, in
every step, on the pairs of 6 reads, with maps of every 100th row and column. Each cell runs in a process of its own. Its peak of
memory is that of the process on a CPU, that of its tensors on a GPU. An exponent is the slope of the logarithm of
seconds, or of bytes above those of reads of 100 bases, against that of the length; 1 is proportional to the length.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any, Final

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from nwa_lightning import EditDistanceModel, PairBatch, PooledCNN, evolve_tree, pair_batch

READS, NWA_READS, PAIRS, STRIDE = 64, 6, 1024, 100
#: A read this short shows the memory of the program itself.
SHORT: Final = 100
PARTS: Final = {"batch": "labels and matrices", "encoder": "step without NWA", "nwa": "step with NWA"}


def batch_of(length: int, with_nwa: bool) -> PairBatch:
    """The batch of a training step."""
    reads = evolve_tree(READS, length, seed=0)
    pairs = np.stack(np.triu_indices(READS, 1), axis=1)
    pairs = pairs[np.argsort(pairs[:, 1] >= NWA_READS, kind="stable")][:PAIRS]
    stride = min(STRIDE, length // 2)
    return pair_batch(reads, pairs, nwa_batch_size=NWA_READS if with_nwa else 0, stride=stride)


def measure(part: str, length: int, device: str, repeats: int) -> dict[str, float]:
    """Median seconds of a part, and the peak of memory in bytes."""
    batch = batch_of(length, part != "encoder")
    if part == "batch":
        seconds = timed(lambda: batch_of(length, True), device, repeats)
    else:
        weight = 1e-5 if part == "nwa" else None
        model = EditDistanceModel(
            PooledCNN(length), nwa_weight=weight, nwa_every=1, nwa_head="positions", nwa_stride=batch.nw_stride
        )
        model.log_dict = lambda *_, **__: None  # type: ignore[method-assign]  # there is no trainer to log to
        model.to(device)
        moved = batch._replace(
            **{name: getattr(batch, name).to(device) for name in ("tokens", "lengths", "pairs", "distance", "nw")}
        )
        optimizer = torch.optim.RAdam(model.parameters(), foreach=True)
        seconds = timed(lambda: step(model, optimizer, moved), device, repeats)
    peak = (
        torch.cuda.max_memory_allocated()
        if device == "cuda"
        else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )
    return {"seconds": seconds, "bytes": peak}


def step(model: EditDistanceModel, optimizer: torch.optim.Optimizer, batch: PairBatch) -> None:
    loss = model.training_step(batch, 0)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def timed(work: Callable[[], Any], device: str, repeats: int) -> float:
    """Median seconds of a call, after two calls that are not counted."""
    found = []
    for number in range(repeats + 2):
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        if number >= 2:
            found.append(time.perf_counter() - start)
    return median(found)


def exponent(lengths: list[int], values: list[float]) -> float:
    """Slope of the line through the logarithms."""
    return float(np.polyfit(np.log(lengths), np.log(values), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1000, 3000, 10_000])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--parts", choices=PARTS, nargs="+", default=list(PARTS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--one", nargs=2, metavar=("PART", "LENGTH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        part, length = options.one
        print(json.dumps(measure(part, int(length), options.device, options.repeats)))
        return
    table = Table(
        title=f"{READS} reads, {PAIRS} pairs, maps of every {STRIDE}th row; {options.device}, {torch.get_num_threads()} threads"
    )
    for title in ("part", *(f"{length:,} bases" for length in options.lengths), "exponents: seconds", "bytes"):
        table.add_column(title, justify="left" if title == "part" else "right")
    for part in options.parts:
        common = ["--device", options.device, "--repeats", str(options.repeats)]
        cells = {}
        for length in [SHORT, *options.lengths]:
            command = [sys.executable, __file__, *common, "--one", part, str(length)]
            cells[length] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        shown = [
            f"{cells[length]['seconds']:.3f} s, {cells[length]['bytes'] / 1e9:.2f} GB" for length in options.lengths
        ]
        more = [max(1.0, cells[length]["bytes"] - cells[SHORT]["bytes"]) for length in options.lengths]
        slopes = [
            exponent(options.lengths, [cells[length]["seconds"] for length in options.lengths]),
            exponent(options.lengths, more),
        ]
        table.add_row(PARTS[part], *shown, *(f"{slope:.2f}" for slope in slopes))
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
