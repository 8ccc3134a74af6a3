"""``nwa index``: make, extend and prune the index of a folder of embeddings."""

from __future__ import annotations

import argparse

from nwa_lightning.cli.command import Command
from nwa_lightning.cli.embed import add_executor, chosen_executor
from nwa_lightning.cli.reads_options import READS


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Index the shards of `nwa embed` for `nwa search`. The index is a FAISS index per shard: all vectors for a small set, "
        "cells of near vectors (IVF) for a large one. An interrupted run goes on by the same command."
    )
    parser.add_argument("folder", metavar="DIR", help="folder that `nwa embed` wrote")
    parser.add_argument(
        "--add", nargs="+", metavar="READS", help=f"embed more reads with the same model, and index them: {READS}"
    )
    parser.add_argument(
        "--delete", metavar="FILE", help="leave out the reads whose names are in this file, one per line"
    )
    parser.add_argument(
        "--kind",
        choices=("flat", "ivf", "ivf8"),
        help="kind of index; ivf8 takes a quarter of the memory (default: by size)",
    )
    parser.add_argument("--rebuild", action="store_true", help="make the index anew")
    add_executor(parser, "shards", "ray")


def _run(chosen: argparse.Namespace) -> None:
    from nwa_lightning.search.change import add_reads, delete_reads
    from nwa_lightning.search.index_files import index_here
    from nwa_lightning.search.shards import open_shards

    with chosen_executor(chosen) as executor:
        if chosen.add:
            add_reads(chosen.folder, chosen.add)
        shards = open_shards(chosen.folder)
        new = index_here(shards, chosen.kind, rebuild=chosen.rebuild, executor=executor)
    if chosen.delete:
        delete_reads(chosen.folder, chosen.delete)
    print(f"indexed: {shards.manifest.distinct:,} reads in {len(shards)} shards, {new} of them now, in {chosen.folder}")


COMMAND = Command("index a folder of embeddings for search; add and delete reads", _add_arguments, _run)
