"""Timing for the benchmarks."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median


def interleaved_medians(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each run; all take turns many times, after one round for warm-up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if number > 0:
                times[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in times.items()}
