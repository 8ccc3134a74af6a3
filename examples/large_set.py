"""A set of any size, shard by shard: python examples/large_set.py reads.fasta --queries queries.fasta --out known.

Every step runs a plain function from files to files for each shard or cell: by default in this process, one after the
other, and with ``--ray`` on all processors of this machine, with the same result. For a cluster, give RayExecutor its
address. Without files, 3,000 reads of DNA storage are simulated. The table shows the cost of each function: seconds, CPU
seconds of this process, and those before it, which no executor shares: to split the reads, to train the index, and to
embed the queries.
"""

import argparse
import resource
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

from nwa_lightning import load_sequences
from nwa_lightning.search import partition
from nwa_lightning.search.cluster_by_shards import cluster_by_shards
from nwa_lightning.search.embed import embed_reads
from nwa_lightning.search.executors import Executor, RayExecutor, run_here
from nwa_lightning.search.index_files import index_here
from nwa_lightning.search.limits import Limit
from nwa_lightning.search.search_shards import search_by_shards
from nwa_lightning.search.shards import open_shards


class Timed:
    """Another executor, and the time that its jobs take. An executor is a function of a function and its arguments."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.rows = ["function          jobs   seconds       CPU    before"]
        self.ended = time.process_time()

    def __call__(self, function, jobs, what) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        self.executor(function, jobs, what)
        columns = time.perf_counter() - wall, time.process_time() - cpu, cpu - self.ended
        self.rows.append(f"{function.__name__:16}{len(jobs):6}" + "".join(f"{seconds:10.2f}" for seconds in columns))
        self.ended = time.process_time()


def simulate(folder: Path) -> tuple[Path, Path]:
    """Ten noisy reads of each of 300 strands; every tenth of them is a query, too."""
    paths = folder / "reads.fasta", folder / "queries.fasta"
    for path, every in zip(paths, (1, 10), strict=True):
        rows = load_sequences("storage:3000x60").to_strings()[::every]
        path.write_text("".join(f">{path.stem}{number}\n{row}\n" for number, row in enumerate(rows)))
    partition.PART_BYTES = paths[0].stat().st_size // 3  # so that this small set has several shards, too
    return paths


def run(reads: Path, queries: Path, folder: Path, chosen: argparse.Namespace, executor: Executor) -> None:
    timed = Timed(executor)
    embed_reads([str(reads)], folder, chosen.ckpt_path, executor=timed)
    index_here(open_shards(folder), executor=timed)
    found = search_by_shards(folder, load_sequences(queries), identity=chosen.id, executor=timed)
    table = folder / "members.parquet"
    clusters = cluster_by_shards(folder, Limit(identity=chosen.id), members=table, cells=chosen.cells, executor=timed)
    print(f"{len(set(found.hits.query.tolist())):,} queries have a hit; {found.recall}")
    print(f"{clusters.distinct:,} distinct reads: {len(clusters.sizes):,} clusters; {clusters.joined:,} joined others")
    print(*timed.rows, sep="\n")
    for name, pattern in (("shards", "[0-9]*.parquet"), ("index", "index/[0-9]*.faiss"), ("clusters", table.name)):
        size = sum(path.stat().st_size for path in folder.glob(pattern))
        print(f"{name}: {size / clusters.distinct:.0f} bytes a read")
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10:,} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reads", type=Path, nargs="?", help="FASTA or FASTQ; without it, reads are simulated")
    parser.add_argument("--queries", type=Path, help="reads to look for; default: the reads themselves")
    parser.add_argument("--out", type=Path, help="folder for embeddings, index and clusters; default: a temporary one")
    parser.add_argument("--ckpt_path", help="model, such as human16s-v4; default: 512 landmarks")
    parser.add_argument("--id", type=float, default=0.75, help="lowest identity of hits and within clusters (0.75)")
    parser.add_argument("--cells", type=int, help="cells to cluster in; default: one for 200,000 reads")
    parser.add_argument("--ray", action="store_true", help="run the jobs on all processors")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        reads, queries = chosen.reads, chosen.queries or chosen.reads
        if reads is None:
            reads, queries = simulate(Path(temporary))
        with RayExecutor() if chosen.ray else nullcontext(run_here) as executor:
            run(reads, queries, chosen.out or Path(temporary) / "known", chosen, executor)


if __name__ == "__main__":
    main()
