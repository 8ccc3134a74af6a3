"""Clusters: how right and how fast, against vsearch, MMseqs2, swarm and CD-HIT at their best settings.

    python examples/benchmarks/clusters.py cnr cnr_clusters_valid.tsv.gz   # nanopore reads of known strands
    python examples/benchmarks/clusters.py storage --reads 1000000 --errors 0.05          # simulated
    python examples/benchmarks/clusters.py human16s                                       # 16S at 97 %

Every program runs as a whole, from file to file, and is stopped after ten minutes. The seconds are medians of ``--repeats`` runs.
Right is measured by the adjusted Rand index (Hubert & Arabie, 1985, doi 10.1007/BF01908075). Cells are added to
``examples/results/clusters.csv``; finished ones are not run again.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from peers import (
    MANY_ERRORS,
    MOST_SECONDS,
    Clustering,
    TooSlowError,
    cdhit_clusters,
    mmseqs_clusters,
    run,
    swarm_clusters,
    vsearch_clusters,
)
from search import add_cell, find_cell, machine, read_cells, write_fasta
from simulated_reads import storage_origin, write_reads

from nwa_lightning import load_sequences
from nwa_lightning.search.cluster_report import diameters
from nwa_lightning.search.clusters import Clusters
from nwa_lightning.search.reads import distinct_reads
from nwa_lightning.sequences.collection import Sequences

RESULTS = Path(__file__).parents[1] / "results" / "clusters.csv"
COLUMNS = ("task", "reads", "method", "clusters", "ari", "largest", "seconds", "peak_mb", "threads", "machine")


#: The best settings of the others that we found for each task, and their own defaults with a suitable identity.
CNR: dict[str, Callable[..., Clustering]] = {
    "vsearch, defaults, id 0.8": partial(vsearch_clusters, identity=0.8, maxaccepts=1, maxrejects=32, tuned=False),
    "vsearch, tuned": vsearch_clusters,
    "MMseqs2 linclust, tuned": partial(mmseqs_clusters, mode="easy-linclust"),
    "MMseqs2, tuned": mmseqs_clusters,
    "CD-HIT, id 0.82": cdhit_clusters,
    "swarm, 12 differences": swarm_clusters,
}
STORAGE: dict[float, dict[str, Callable[..., Clustering]]] = {
    0.05: {
        "vsearch, tuned": vsearch_clusters,
        "MMseqs2, tuned": partial(mmseqs_clusters, coverage=0.8),
        "MMseqs2 linclust, tuned": partial(mmseqs_clusters, mode="easy-linclust", coverage=0.8),
    },
    0.15: {
        "vsearch, tuned": partial(vsearch_clusters, identity=0.65, options=MANY_ERRORS),
        "MMseqs2 linclust, tuned": partial(mmseqs_clusters, mode="easy-linclust", coverage=0.5),
    },
}


def adjusted_rand_index(one: np.ndarray, two: np.ndarray) -> float:
    """Agreement of two partitions: 1 if they are the same, about 0 by chance."""
    _, pairs = np.unique(np.stack([one, two]), axis=1, return_counts=True)
    both, first, second = (
        float((counts * (counts - 1.0) / 2).sum())
        for counts in (pairs, np.unique(one, return_counts=True)[1], np.unique(two, return_counts=True)[1])
    )
    expected = first * second / (len(one) * (len(one) - 1) / 2)
    return (both - expected) / ((first + second) / 2 - expected)


def ours(reads: Path, options: list[str], threads: int) -> Clustering:
    """``nwa cluster``, from file to file."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "members.tsv"
        command = [sys.executable, "-m", "nwa_lightning", "cluster", str(reads), "--members", str(out)]
        seconds, peak = run([*command, "--threads", str(threads), *options])
        with out.open() as file:
            labels = [int(row["cluster"]) for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    return Clustering(np.array(labels), seconds, peak)


def in_time(method: Callable[[], Clustering]) -> Clustering | None:
    """The clusters, or None if the program was stopped."""
    try:
        return method()
    except TooSlowError:
        return None


def measure(
    task: str,
    reads: Path,
    truth: np.ndarray | None,
    methods: dict[str, Callable[[], Clustering]],
    threads: int,
    repeats: int,
) -> None:
    """Run the methods that are not in the table yet; they take turns."""
    sequences = load_sequences(reads)
    keys = {name: {"task": task, "reads": len(sequences), "method": name, "threads": threads} for name in methods}
    known = read_cells(RESULTS)
    left = {name: method for name, method in methods.items() if find_cell(known, keys[name]) is None}
    found: dict[str, list[Clustering]] = {name: [] for name in left}
    for _ in range(repeats):
        for name, method in list(left.items()):
            result = in_time(method)
            if result is None:
                add_cell(RESULTS, COLUMNS, {**keys[name], "seconds": f"> {MOST_SECONDS}", "machine": machine()})
                del left[name]
            else:
                print(name, f"{result.seconds:.2f} s", flush=True)
                found[name].append(result)
    for name, runs in found.items():
        if runs:
            cell = {
                **keys[name],
                "clusters": len(np.unique(runs[0].labels)),
                "ari": "" if truth is None else f"{adjusted_rand_index(truth, runs[0].labels):.4f}",
                "largest": largest_distance(sequences, runs[0].labels, threads),
                "seconds": f"{median(run.seconds for run in runs):.2f}",
                "peak_mb": f"{max(run.peak_mb for run in runs):.0f}",
                "machine": machine(),
            }
            add_cell(RESULTS, COLUMNS, cell)
            print(cell, flush=True)


def largest_distance(sequences: Sequences, labels: np.ndarray, threads: int) -> int:
    """The largest edit distance between two reads of one cluster."""
    distinct = distinct_reads(sequences)
    _, number = np.unique(labels, return_inverse=True)
    cluster = np.zeros(len(distinct.reads), dtype=np.int64)
    cluster[distinct.member_of] = number  # copies that a program put into several clusters count once
    _, cluster = np.unique(cluster, return_inverse=True)
    whole = Clusters(
        distinct.reads, np.unique(cluster, return_index=True)[1], cluster, np.zeros(len(cluster), dtype=np.int64)
    )
    return int(diameters(whole, threads=threads).max())


def cnr(reads: Path, truth: np.ndarray, threads: int, repeats: int) -> None:
    """Nanopore reads of 110 bases with 6 % errors, of 998 known strands."""
    methods = {
        "nwa greedy, id 0.75": lambda: ours(reads, ["--id", "0.75"], threads),
        "nwa average, id 0.75": lambda: ours(reads, ["--id", "0.75", "--method", "average"], threads),
        "nwa components, id 0.82": lambda: ours(reads, ["--id", "0.82", "--method", "components"], threads),
        **{f"{name}": partial(run, reads, threads=threads) for name, run in CNR.items()},
    }
    measure("cnr", reads, truth, methods, threads, repeats)


def storage(reads: Path, truth: np.ndarray, errors: float, threads: int, repeats: int) -> None:
    """Ten noisy copies of each of many random strands of 150 bases."""
    identity = 0.8 if errors < 0.1 else 0.6
    methods = {
        f"nwa greedy, id {identity}": lambda: ours(reads, ["--id", str(identity)], threads),
        **{f"{name}": partial(run, reads, threads=threads) for name, run in STORAGE[errors].items()},
    }
    measure(f"storage, {errors:.0%} errors", reads, truth, methods, threads, repeats)


def human16s(reads: Path, threads: int, repeats: int) -> None:
    """16S V4 reads at 97 %; there is no known answer."""
    methods: dict[str, Callable[[], Clustering]] = {
        f"nwa {method}, id 0.97": partial(ours, reads, ["--id", "0.97", "--method", method], threads)
        for method in ("greedy", "average", "components")
    }
    methods["vsearch cluster_size, id 0.97"] = partial(
        vsearch_clusters,
        reads,
        threads=threads,
        identity=0.97,
        method="cluster_size",
        maxaccepts=1,
        maxrejects=32,
        tuned=False,
    )
    methods["CD-HIT, id 0.97"] = partial(cdhit_clusters, reads, threads=threads, identity=0.97)
    methods["MMseqs2, id 0.97"] = partial(
        mmseqs_clusters, reads, threads=threads, identity=0.97, coverage=0.97, tuned=False
    )
    measure("human16s", reads, None, methods, threads, repeats)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("cnr", "storage", "human16s"))
    parser.add_argument("file", nargs="?", type=Path, help="clustered nanopore reads, for cnr")
    parser.add_argument("--reads", type=int, default=1_000_000)
    parser.add_argument("--errors", type=float, default=0.05)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("cluster_work"), help="folder for simulated reads")
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    threads, repeats = chosen.threads, chosen.repeats
    if chosen.task == "cnr":
        with gzip.open(chosen.file, "rt") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        reads = chosen.work / "cnr.fasta"
        write_fasta(reads, Sequences.from_strings([row["read"] for row in rows]))
        cnr(reads, np.array([int(row["cluster_index"]) for row in rows]), threads, repeats)
    elif chosen.task == "storage":
        reads = chosen.work / f"storage_{chosen.reads}_{chosen.errors}.fasta"
        if not reads.exists():
            write_reads(storage_origin(chosen.reads, 10, 150, chosen.errors, 0), 0, reads)
        truth = np.array(
            [int(line.partition("strand=")[2].split()[0]) for line in reads.open() if line.startswith(">")]
        )
        storage(reads, truth, chosen.errors, threads, repeats)
    else:
        reads = chosen.work / "human16s.fasta"
        write_fasta(reads, load_sequences("human16s"))
        human16s(reads, threads, repeats)


if __name__ == "__main__":
    main()
