"""Speed of Needleman-Wunsch matrices: this package, parasail, a double loop, and only filling the memory.

Run it with ``python examples/benchmarks/nw_fill.py``; parasail comes with the ``test`` extra. All rows take turns many times,
so that other work on the machine affects all of them; the medians are printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
import parasail
from rich.console import Console
from rich.table import Table
from timing import interleaved_medians

from nwa_lightning import _nw
from nwa_lightning._kernels import parallel_slices
from nwa_lightning.alignment import nw_matrices

LOOP_PAIRS = 1


def double_loop(first: str, second: str) -> list[list[int]]:
    rows = [[-j for j in range(len(second) + 1)]]
    for i, a in enumerate(first, start=1):
        above, row = rows[-1], [-i]
        for j, b in enumerate(second, start=1):
            row.append(max(above[j - 1] + (1 if a == b else -1), above[j] - 1, row[-1] - 1))
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=4096)
    parser.add_argument("--length", type=int, default=150)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    codes = rng.integers(2, 6, (64, options.length)).astype(np.uint8)
    lengths = np.full(64, options.length)
    pairs = rng.integers(0, 64, (options.pairs, 2))
    out = np.zeros((options.pairs, options.length + 1, options.length + 1), dtype=np.int16)
    texts = ["".join("ACGT"[code - 2] for code in row) for row in codes]
    written = [(texts[first], texts[second]) for first, second in pairs]
    identity = parasail.matrix_create("ACGT", 1, -1)

    def ours(count: int = options.pairs, **scores: int | str) -> None:
        nw_matrices(codes, lengths, pairs[:count], out=out[:count], **scores)  # type: ignore[arg-type]

    def theirs() -> None:
        for first, second in written:
            result = parasail.nw_table_scan_16(first, second, 1, 1, identity)
            result.score_table  # noqa: B018  # a view that is made on access

    def fill_by_two() -> None:
        parallel_slices(lambda part: out[part].fill(7), len(out), threads=2)

    small = min(66, options.pairs)
    every = options.pairs
    rows: dict[str, tuple[int, Callable[[], object]]] = {
        "fill the same memory (the limit)": (every, partial(out.fill, 7)),
        "fill the same memory, 2 threads": (every, fill_by_two),
        "nw_matrices": (every, ours),
        "nw_matrices, 2 threads": (every, partial(ours, threads=2)),
        "nw_matrices, unit costs": (every, partial(ours, match=0)),
        "nw_matrices, through": (every, partial(ours, kind="best_through")),
        "nw_matrices, through, 2 threads": (every, partial(ours, kind="best_through", threads=2)),
        "parasail nw_table_scan_16": (every, theirs),
        f"double loop in Python ({LOOP_PAIRS} pair)": (LOOP_PAIRS, partial(double_loop, *written[0])),
        f"fill, {small} pairs": (small, partial(out[:small].fill, 7)),
        f"nw_matrices, {small} pairs": (small, partial(ours, small)),
    }
    seconds = interleaved_medians({name: run for name, (_, run) in rows.items()}, options.repeats)
    each = {name: seconds[name] / count for name, (count, _) in rows.items()}
    base, parasail_time = (each[name] for name in ("fill the same memory (the limit)", "parasail nw_table_scan_16"))
    table = Table(
        title=f"{every} pairs of {options.length} letters, {_nw.instruction_set}, median of {options.repeats} runs"
    )
    for heading in ("", "µs a matrix", "matrices/s", "time / fill", "parasail / this"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, time_each in each.items():
        fill = each[f"fill, {small} pairs"] if name.endswith(f"{small} pairs") else base
        table.add_row(
            name,
            f"{time_each * 1e6:.2f}",
            f"{1 / time_each:,.0f}",
            f"{time_each / fill:.2f}",
            f"{parasail_time / time_each:.2f}",
        )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
