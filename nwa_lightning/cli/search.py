"""``nwa search``: the nearest reads of every query."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nwa_lightning.cli.command import Command
from nwa_lightning.cli.embed import add_executor, chosen_executor
from nwa_lightning.cli.reads_options import (
    READS,
    add_model_arguments,
    add_threads,
    alphabet_of,
    chosen_embedder,
    is_folder,
    read_sequences,
    threads_of,
    trained_embedder,
)
from nwa_lightning.errors import InputError

if TYPE_CHECKING:
    from nwa_lightning.search.executors import Executor
    from nwa_lightning.search.format_rows import QueryHits
    from nwa_lightning.search.formats import Output
    from nwa_lightning.search.index import Found, Index

#: Columns that are printed if no file is asked for.
_PRINTED = "query+target+dist+id"


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Find the nearest reads of every query by edit distance. In a folder of `nwa index`, vectors find candidates, whose "
        "exact edit distances decide; as many candidates as a sample of your queries needs. Without a model, or with "
        "--exact, every query is compared with every read."
    )
    parser.add_argument("queries", help=READS)
    parser.add_argument("targets", metavar="DIR_OR_READS", help="folder of `nwa index`, or reads as for the queries")
    parser.add_argument("--id", type=float, dest="identity", help="lowest identity, 1 - edits / longer length: 0.97")
    parser.add_argument("--maxdist", type=int, help="most edits of a hit")
    parser.add_argument("--hits", type=int, default=1, metavar="K", help="most hits of a query (default: 1)")
    parser.add_argument(
        "--strand", choices=("plus", "both"), default="plus", help="strands of the query (default: plus)"
    )
    parser.add_argument(
        "--recall",
        type=float,
        default=0.99,
        help="fraction of the nearest reads to find, measured on a sample (default: 0.99)",
    )
    parser.add_argument("--exact", action="store_true", help="compare every query with every read")
    files = parser.add_argument_group("output files; without any, query, target, edits and identity are printed")
    files.add_argument("--blast6out", metavar="FILE", help="12 columns of BLAST, as vsearch writes them")
    files.add_argument("--uc", metavar="FILE", help="UCLUST format")
    files.add_argument("--userout", metavar="FILE", help="the columns of --userfields")
    files.add_argument(
        "--userfields", metavar="A+B", help="as in vsearch, and dist (edits); default: query+target+dist+id"
    )
    files.add_argument("--paf", metavar="FILE", help="PAF, with NM:i and cg:Z")
    files.add_argument("--parquet", metavar="FILE", help="Parquet: query, target, edits, identity, strand")
    add_model_arguments(parser, "for targets that are no folder; default: none, exact distances alone")
    add_threads(parser)
    add_executor(parser, "memory", "shards", "ray")


def _run(chosen: argparse.Namespace) -> None:
    from nwa_lightning.search.formats import write_hits

    outputs = _outputs(chosen)
    threads = threads_of(chosen)
    with chosen_executor(chosen) as executor:
        done = _in_memory(chosen, threads) if chosen.executor == "memory" else _by_shards(chosen, executor)
    if outputs:
        write_hits(done.rows, outputs)
        print(f"written: {', '.join(str(output.path) for output in outputs)}")
        print(_summary(done, chosen))
    else:
        _print(done.rows)
        print(_summary(done, chosen), file=sys.stderr)  # not among the hits


class _Done(NamedTuple):
    """A search: what was found, as numbers and as rows to write, among how many reads, for how many queries, in what time."""

    found: Found
    rows: Iterator[QueryHits]
    reads: int
    queries: int
    seconds: float


def _in_memory(chosen: argparse.Namespace, threads: int) -> _Done:
    from nwa_lightning.search.format_rows import hit_rows

    index = _index(chosen)
    queries = read_sequences(chosen.queries, chosen, index.alphabet)
    started = time.perf_counter()
    found = index.search(queries, chosen.hits, **_options(chosen), threads=threads)
    seconds = time.perf_counter() - started
    rows = hit_rows(found.hits, queries, index.reads.sequences, index.alphabet)
    return _Done(found, rows, len(index.reads), len(queries), seconds)


def _by_shards(chosen: argparse.Namespace, executor: Executor) -> _Done:
    from nwa_lightning.search.search_shards import search_by_shards
    from nwa_lightning.search.shard_jobs import shard_hit_rows
    from nwa_lightning.search.shards import open_shards

    if not is_folder(chosen.targets):
        raise InputError(
            f"--executor {chosen.executor}: expected a folder of `nwa embed`, found {chosen.targets}; embed these reads first"
        )
    _check_no_model(chosen)
    shards = open_shards(chosen.targets)
    queries = read_sequences(chosen.queries, chosen, shards.alphabet)
    started = time.perf_counter()
    found = search_by_shards(chosen.targets, queries, chosen.hits, **_options(chosen), executor=executor)
    seconds = time.perf_counter() - started
    rows = shard_hit_rows(shards, found.hits, queries)
    return _Done(found, rows, shards.manifest.distinct, len(queries), seconds)


def _options(chosen: argparse.Namespace) -> dict[str, Any]:
    return {
        "maxdist": chosen.maxdist,
        "identity": chosen.identity,
        "recall": chosen.recall,
        "exact": chosen.exact,
        "both_strands": chosen.strand == "both",
    }


def _index(chosen: argparse.Namespace) -> Index:
    from nwa_lightning.search.index import Index

    if is_folder(chosen.targets):
        _check_no_model(chosen)
        return Index.load(chosen.targets)
    trained = trained_embedder(chosen)
    alphabet = alphabet_of(chosen) if trained is None else trained.alphabet
    targets = read_sequences(chosen.targets, chosen, alphabet)
    return Index.build(targets, trained or chosen_embedder(chosen, targets), alphabet=alphabet)


def _check_no_model(chosen: argparse.Namespace) -> None:
    if chosen.ckpt_path is not None or chosen.landmarks is not None:
        raise InputError(
            f"--ckpt_path, --landmarks: expected none for {chosen.targets}, which has its own model; leave them out"
        )


def _outputs(chosen: argparse.Namespace) -> list[Output]:
    from nwa_lightning.search.format_lines import blast6_lines, paf_lines, uc_lines, userout_lines
    from nwa_lightning.search.formats import ParquetOutput, TextOutput

    if chosen.userfields is not None and chosen.userout is None:
        raise InputError("--userfields: expected --userout FILE too, found none; name the file")
    userout = userout_lines(chosen.userfields or _PRINTED)
    lines = {"blast6out": blast6_lines, "uc": uc_lines, "userout": userout, "paf": paf_lines}
    outputs: list[Output] = [
        TextOutput(Path(getattr(chosen, name)), made)
        for name, made in lines.items()
        if getattr(chosen, name) is not None
    ]
    return [*outputs, ParquetOutput(Path(chosen.parquet))] if chosen.parquet is not None else outputs


def _print(rows: Iterator[QueryHits]) -> None:
    from nwa_lightning.search.format_lines import userout_lines

    lines = userout_lines(_PRINTED)
    for row in rows:
        print(lines(row), end="")


def _summary(done: _Done, chosen: argparse.Namespace) -> str:
    having = len(set(done.found.hits.query.tolist()))
    line = f"{having:,} of {done.queries:,} queries have a hit among {done.reads:,} reads; {done.seconds:.1f} s"
    measured = done.found.recall
    if measured is None:
        return f"{line}; all pairs compared"
    each = "query" if chosen.executor == "memory" else "query and shard"
    line += (
        f"; {measured.effort.candidates} candidates per {each}: on a sample of {measured.sample:,} queries, they contain the "
        f"nearest read of {measured.fraction:.1%}"
    )
    return (
        line
        if measured.fraction >= chosen.recall
        else f"{line}, fewer than the {chosen.recall:.1%} asked for; use --exact"
    )


COMMAND = Command("find the nearest reads of every query, by embeddings and exact edit distance", _add_arguments, _run)
