"""Speed of soft alignment of reads with templates, forward and backward: this package's kernel and plain tensors.

Run it with ``python examples/benchmarks/soft_align.py``; ``--no-tensors`` leaves out the plain tensors, which are slow and need
hundreds of megabytes. A step is the forward and backward pass of an encoder with its default sizes. All rows take turns many
times, so that other work on the machine affects all of them; the medians are printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from timing import interleaved_medians

from nwa_lightning import EINN, AsMac, Encoder
from nwa_lightning.encoders import soft_alignment
from nwa_lightning.sequences.alphabet import FIRST_LETTER, SOS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reads", type=int, default=64)
    parser.add_argument("--length", type=int, default=150)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-tensors", action="store_true")
    options = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    tokens = torch.randint(FIRST_LETTER, FIRST_LETTER + 4, (options.reads, options.length + 1))
    tokens[:, 0] = SOS
    encoders: list[Encoder] = [AsMac(options.length), EINN(options.length)]

    def step(encoder: Encoder) -> None:
        encoder.zero_grad()
        encoder(tokens).sum().backward()

    def embed(encoder: Encoder) -> None:
        with torch.no_grad():
            encoder(tokens)

    def by_tensors(run: Callable[[Encoder], None], encoder: Encoder) -> None:
        chosen, soft_alignment._kernel_fits = soft_alignment._kernel_fits, lambda *_inputs: False
        try:
            run(encoder)
        finally:
            soft_alignment._kernel_fits = chosen

    rows: dict[str, Callable[[], object]] = {}
    for encoder in encoders:
        for what, run in (("embeddings", embed), ("step", step)):
            name = f"{type(encoder).__name__}, {what}"
            rows[f"{name}, kernel"] = lambda run=run, encoder=encoder: run(encoder)
            if not options.no_tensors:
                rows[f"{name}, plain tensors"] = lambda run=run, encoder=encoder: by_tensors(run, encoder)
    seconds = interleaved_medians(rows, options.repeats)
    title = f"{options.reads} reads of {options.length} bases, {torch.get_num_threads()} threads, medians"
    table = Table(title=title)
    for column in ("", "s", "time / kernel"):
        table.add_column(column, justify="right" if column else "left")
    for name, value in seconds.items():
        kernel = seconds[f"{name.rpartition(', ')[0]}, kernel"]
        table.add_row(name, f"{value:.4f}", f"{value / kernel:.1f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
