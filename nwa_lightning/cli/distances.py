"""``nwa distances``: distances of all reads to all, in a file for other programs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from nwa_lightning.cli.command import Command
from nwa_lightning.cli.reads_options import (
    READS,
    add_model_arguments,
    add_threads,
    chosen_embedder,
    read_sequences,
    threads_of,
    trained_embedder,
)

if TYPE_CHECKING:
    from nwa_lightning.search.distance_matrix import Distances


def add_distance_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the reads, ``--fraction``, and the arguments of models and threads."""
    parser.add_argument("reads", help=READS)
    parser.add_argument(
        "--fraction", action="store_true", help="edits / length of the longer read, in place of numbers of edits"
    )
    add_model_arguments(parser, "default: none, exact distances")
    add_threads(parser)


def chosen_distances(chosen: argparse.Namespace, check: Callable[[list[str]], object]) -> Distances:
    """The distances that were asked for.

    Args:
        chosen: Arguments of ``add_distance_arguments``.
        check: Checks the names of the reads, before they are embedded.

    Raises:
        InputError: If the reads or the model cannot be used.
    """
    from nwa_lightning.search.distance_matrix import distances_of

    threads = threads_of(chosen)
    embedder = trained_embedder(chosen)
    sequences = read_sequences(chosen.reads, chosen, None if embedder is None else embedder.alphabet)
    check(sequences.names)
    embedder = embedder or chosen_embedder(chosen, sequences)
    return distances_of(sequences, embedder, fraction=chosen.fraction, threads=threads)


def kind_of(distances: Distances) -> str:
    """What they are, in words."""
    from nwa_lightning.search.distance_matrix import ExactDistances

    return "exact edit distances" if isinstance(distances, ExactDistances) else "edit distances predicted by the model"


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Write the edit distances of all reads to all: exact, or predicted by a model. Memory does not grow with the square "
        "of the reads."
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="file that ends in .npy (and names in .names.txt), .tsv, or .phylip (.phy); all are square",
    )
    add_distance_arguments(parser)


def _run(chosen: argparse.Namespace) -> None:
    from nwa_lightning.search.distance_matrix import check_out, write_distances

    distances = chosen_distances(chosen, lambda names: check_out(chosen.out, names))
    written = write_distances(distances, chosen.out)
    print(
        f"written: {', '.join(map(str, written))}; {kind_of(distances)} of {len(distances):,} reads, {distances.dtype}"
    )


COMMAND = Command("write the edit distances of all reads to all, exact or by a model", _add_arguments, _run)
