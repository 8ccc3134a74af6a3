"""``nwa tree``: a tree of reads."""

from __future__ import annotations

import argparse
from pathlib import Path

from nwa_lightning.cli.command import Command
from nwa_lightning.cli.distances import add_distance_arguments, chosen_distances, kind_of


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Make a tree of reads from their edit distances: exact, or predicted by a model. nj: neighbour joining; gme: greedy "
        "minimum evolution, for more than a few thousand reads; upgma: average linkage, with a root."
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="file in Newick format")
    parser.add_argument("--method", choices=("nj", "gme", "upgma"), default="nj", help="default: nj")
    add_distance_arguments(parser)


def _run(chosen: argparse.Namespace) -> None:
    from nwa_lightning.search.distance_matrix import check_folder
    from nwa_lightning.search.extra import optional
    from nwa_lightning.search.trees import build_tree, check_tree, write_tree

    check_folder(chosen.out)
    if chosen.method != "upgma":
        optional("skbio.tree")
    distances = chosen_distances(chosen, lambda names: check_tree(names, chosen.method))
    write_tree(build_tree(distances, chosen.method), distances.names, chosen.out)
    print(f"written: {chosen.out}; tree of {len(distances):,} reads by {chosen.method} from {kind_of(distances)}")


COMMAND = Command("make a tree of reads from exact or predicted edit distances", _add_arguments, _run)
