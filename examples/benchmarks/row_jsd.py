"""Speed of the divergence of attention maps and of its gradient: this package's kernel, eager torch, torch.compile.

Run it with ``python examples/benchmarks/row_jsd.py``; ``--no-compile`` leaves out torch.compile, which needs a C++ compiler.
All rows take turns many times, so that other work on the machine affects all of them; the medians are printed. The limit is
a copy of the logits into an array of the same size: the least that has to be read and written, apart from the scores.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from timing import interleaved_medians
from torch import Tensor

from nwa_lightning.nwa.functional import _row_jsd_by_tensors, row_jsd


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1024)
    parser.add_argument("--length", type=int, default=152)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--no-compile", action="store_true")
    options = parser.parse_args()

    torch.manual_seed(0)
    size = options.length + 1
    logits = torch.randn(options.pairs, size, size, requires_grad=True)
    scores = torch.randint(-150, 150, (options.pairs, size, size)).to(torch.int16)
    mask = torch.ones(options.pairs, size, dtype=torch.bool)
    copy = torch.zeros_like(logits)

    def there_and_back(divergence: Callable[..., Tensor], *more: float) -> None:
        logits.grad = None
        divergence(logits, scores, mask, mask, *more).mean().backward()

    def on_one_thread() -> None:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        there_and_back(row_jsd)
        torch.set_num_threads(threads)

    rows: dict[str, Callable[[], object]] = {
        "copy the logits (the limit)": lambda: copy.copy_(logits.detach()),
        "row_jsd": lambda: there_and_back(row_jsd),
        "row_jsd, 1 thread": on_one_thread,
        "eager torch": lambda: there_and_back(_row_jsd_by_tensors, 1.0),
    }
    if not options.no_compile:
        compiled = torch.compile(_row_jsd_by_tensors)
        rows["torch.compile"] = lambda: there_and_back(compiled, 1.0)
    seconds = interleaved_medians(rows, options.repeats)
    title = f"{options.pairs} maps of {size} x {size}, forward and backward, {torch.get_num_threads()} threads, medians"
    table = Table(title=title)
    for column in ("", "s", "time / limit", "time / row_jsd"):
        table.add_column(column, justify="right" if column else "left")
    limit, ours = seconds["copy the logits (the limit)"], seconds["row_jsd"]
    for name, value in seconds.items():
        table.add_row(name, f"{value:.4f}", f"{value / limit:.1f}", f"{value / ours:.2f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
