"""``nwa cluster``: groups of similar reads."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.cli.command import Command
from nwa_lightning.cli.embed import add_executor, chosen_executor
from nwa_lightning.cli.reads_options import (
    READS,
    add_model_arguments,
    add_threads,
    alphabet_of,
    is_folder,
    read_sequences,
    threads_of,
    trained_embedder,
)
from nwa_lightning.errors import InputError

if TYPE_CHECKING:
    from nwa_lightning.search.cluster_files import Records
    from nwa_lightning.search.clusters import Clusters
    from nwa_lightning.search.embedder import ReadEmbedder
    from nwa_lightning.search.executors import Executor
    from nwa_lightning.search.limits import Limit
    from nwa_lightning.search.reads import Reads
    from nwa_lightning.sequences.alphabet import Alphabet
    from nwa_lightning.sequences.collection import Sequences

#: Output files, and their help.
_FILES = {
    "members": "table: read, cluster, centroid, edits, size, diameter",
    "centroids": "FASTA of the centroids, with ;size=N",
    "uc": "UCLUST format",
    "otutab": "reads per cluster and sample (;sample=X in the name, or its beginning)",
    "consensus": "FASTA of the consensus of every cluster, for DNA storage",
}


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Cluster reads by exact edit distance: copies count, the clusters do not depend on the order of the reads or on the "
        "number of threads. greedy: the commonest reads are centroids, others join the nearest one. components: a chain "
        "of near reads connects (single linkage). average: the mean distance between two clusters decides."
    )
    parser.add_argument("reads", metavar="READS_OR_DIR", help=f"{READS}; or a folder of `nwa embed`")
    parser.add_argument("--id", type=float, dest="identity", help="lowest identity, 1 - edits / longer length: 0.97")
    parser.add_argument("--maxdist", type=int, help="most edits")
    parser.add_argument(
        "--method", choices=("greedy", "components", "average"), default="greedy", help="default: greedy"
    )
    parser.add_argument("--exact", action="store_true", help="always find the nearest of all centroids")
    files = parser.add_argument_group("output files")
    for name, text in _FILES.items():
        files.add_argument(f"--{name}", metavar="FILE", help=text)
    add_model_arguments(parser, "default: 512 landmarks, if there are many clusters that k-mers do not tell apart")
    add_threads(parser)
    add_executor(parser, "memory", "shards", "ray")


def _run(chosen: argparse.Namespace) -> None:
    from nwa_lightning.search.cluster_report import diameters
    from nwa_lightning.search.limits import Limit

    limit = Limit(chosen.maxdist, chosen.identity)
    limit.check()
    if chosen.identity is None and chosen.maxdist is None:
        raise InputError("nwa cluster: expected --id or --maxdist, found neither; give one, such as --id 0.97")
    _check_outputs(chosen)
    threads = threads_of(chosen)
    with chosen_executor(chosen) as executor:
        if chosen.executor != "memory":
            _by_shards(chosen, limit, executor)
            return
    reads, records, alphabet, embedder = _read(chosen)
    started = time.perf_counter()
    clusters = _clustered(chosen.method, reads, limit, embedder, threads)
    seconds = time.perf_counter() - started
    wide = diameters(clusters, threads=threads)
    _write(chosen, clusters, records, wide, alphabet)
    singles = int((clusters.sizes == 1).sum())
    print(
        f"{clusters.sizes.sum():,} reads, {len(reads):,} of them distinct: {len(clusters):,} clusters, {singles:,} of one read; "
        f"largest distance within a cluster {max(wide.max(initial=0), 0)} edits; {seconds:.1f} s"
    )
    _check(chosen, clusters, limit, threads)


def _check_outputs(chosen: argparse.Namespace) -> None:
    paths = [Path(getattr(chosen, name)).absolute() for name in _FILES if getattr(chosen, name) is not None]
    if not paths:
        raise InputError(f"nwa cluster: expected an output file, found none; give one of --{', --'.join(_FILES)}")
    for number, path in enumerate(paths):
        if path in paths[:number]:
            raise InputError(
                f"{path}: expected a file for each output, found two outputs for it; choose another name for one"
            )
    if chosen.otutab is not None and is_folder(chosen.reads):
        raise InputError(
            f"--otutab: expected a file of reads, found {chosen.reads}, where copies of a read are only counted, without their "
            f"samples; give the file that was embedded"
        )


def _by_shards(chosen: argparse.Namespace, limit: Limit, executor: Executor) -> None:
    from nwa_lightning.search.cluster_by_shards import cluster_by_shards

    where = f"--executor {chosen.executor}"
    if not is_folder(chosen.reads):
        raise InputError(f"{where}: expected a folder of `nwa embed`, found {chosen.reads}; embed these reads first")
    others = [name for name in _FILES if name not in ("members", "centroids") and getattr(chosen, name) is not None]
    if chosen.method != "greedy" or others:
        other = f"--{others[0]}" if others else f"--method {chosen.method}"
        raise InputError(
            f"{where}: expected --method greedy, --members and --centroids alone, found {other}; leave it out"
        )
    started = time.perf_counter()
    members, centroids = (None if name is None else Path(name) for name in (chosen.members, chosen.centroids))
    found = cluster_by_shards(
        chosen.reads, limit, members=members, centroids=centroids, exact=chosen.exact, executor=executor
    )
    seconds = time.perf_counter() - started
    print(f"written: {', '.join(str(path) for path in (members, centroids) if path is not None)}")
    print(
        f"{found.reads:,} reads, {found.distinct:,} of them distinct: {len(found.sizes):,} clusters, "
        f"{(found.sizes == 1).sum():,} of one read; {found.joined:,} clusters joined one of another cell; {seconds:.1f} s"
    )


def _read(
    chosen: argparse.Namespace,
) -> tuple[Reads, Records, Alphabet, Callable[[Sequences], ReadEmbedder] | None]:
    """The reads, their records, and a function that makes the model when it is needed."""
    from nwa_lightning.search.cluster_files import Records
    from nwa_lightning.search.reads import concatenated, distinct_reads
    from nwa_lightning.search.shard_jobs import count_live, read_deleted
    from nwa_lightning.search.shards import open_shards

    if is_folder(chosen.reads):
        shards = open_shards(chosen.reads)
        deleted = read_deleted(shards.folder)
        count_live(shards, deleted)
        known = concatenated([shards.read(number, embeddings=False).reads for number in range(len(shards))])
        reads = known.take(np.setdiff1d(np.arange(len(known)), deleted))
        records = Records(reads.sequences.labels, np.arange(len(reads)))
        return reads, records, shards.alphabet, None if chosen.exact else lambda _: shards.embedder()
    trained = trained_embedder(chosen)
    alphabet = alphabet_of(chosen) if trained is None else trained.alphabet
    sequences = read_sequences(chosen.reads, chosen, alphabet)
    distinct = distinct_reads(sequences)

    def make(some: Sequences) -> ReadEmbedder:
        from nwa_lightning.search.embedder import ReadEmbedder

        return trained or ReadEmbedder.from_landmarks(some, chosen.landmarks or 512, alphabet=alphabet)

    return distinct.reads, Records(sequences.labels, distinct.member_of), alphabet, None if chosen.exact else make


def _clustered(
    method: str, reads: Reads, limit: Limit, make: Callable[[Sequences], ReadEmbedder] | None, threads: int
) -> Clusters:
    from nwa_lightning.search.clusters import canonical_order, greedy_clusters

    if method == "greedy":
        return greedy_clusters(reads, limit, make, threads=threads)
    from nwa_lightning.search.linkage import MOST_COMPARED, average_clusters, component_clusters

    embedder = (
        None if make is None or len(reads) <= MOST_COMPARED else make(reads.sequences.take(canonical_order(reads)))
    )
    function = component_clusters if method == "components" else average_clusters
    return function(reads, limit, embedder, threads=threads)


def _write(
    chosen: argparse.Namespace, clusters: Clusters, records: Records, wide: NDArray[np.int64], alphabet: Alphabet
) -> None:
    from nwa_lightning.search import cluster_files
    from nwa_lightning.search.formats import write_cluster_uc

    if chosen.members is not None:
        cluster_files.write_members(clusters, records, wide, Path(chosen.members))
    if chosen.centroids is not None:
        cluster_files.write_centroids(clusters, Path(chosen.centroids), alphabet)
    if chosen.uc is not None:
        write_cluster_uc(cluster_files.members(clusters, alphabet), Path(chosen.uc))
    if chosen.otutab is not None:
        cluster_files.write_otu_table(clusters, records, Path(chosen.otutab))
    if chosen.consensus is not None:
        cluster_files.write_consensus(clusters, Path(chosen.consensus), alphabet)
    print(f"written: {', '.join(str(getattr(chosen, name)) for name in _FILES if getattr(chosen, name) is not None)}")


def _check(chosen: argparse.Namespace, clusters: Clusters, limit: Limit, threads: int) -> None:
    """Say how complete the clusters are, where not all centroids were compared."""
    from nwa_lightning.search.centroids import MOST_COMPARED
    from nwa_lightning.search.cluster_report import missed_centroids

    if chosen.exact or chosen.method != "greedy" or len(clusters) <= MOST_COMPARED:
        return
    found = missed_centroids(clusters, limit, threads=threads)
    print(
        f"not all centroids were compared: of a sample of {found.sample:,} centroids, {found.missed:,} are within "
        f"the limit of an earlier one"
    )


COMMAND = Command(
    "cluster reads by exact edit distance; centroids, members, OTU table, consensus", _add_arguments, _run
)
