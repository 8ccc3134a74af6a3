"""Options of ``nwa demo``."""

from __future__ import annotations

import argparse
from pathlib import Path

from nwa_lightning.cli.command import Command


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "reads",
        nargs="?",
        default="human16s",
        help="file in FASTA, FASTQ or one read per line, or name of a set: human16s, tree, storage (default: human16s)",
    )
    parser.add_argument("--out", type=Path, default=Path("nwa_demo"), help="output folder (default: nwa_demo)")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the split, the batches and the weights (default: 0)"
    )
    parser.add_argument("--steps", type=int, help="training steps of each model (default: 2000; with --fast 150)")
    parser.add_argument("--fast", action="store_true", help="the one-minute version: few steps, a rough table")


def _run(chosen: argparse.Namespace) -> None:
    from nwa_lightning.cli.demo import run_demo

    run_demo(chosen.reads, out=chosen.out, seed=chosen.seed, steps=chosen.steps, fast=chosen.fast)


COMMAND = Command(
    "train the published encoder without and with NWA, and a better one; compare them in a table and in pictures",
    _add_arguments,
    _run,
)
