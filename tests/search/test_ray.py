"""Two workers of Ray write the bytes of one process, and an error of a job is one line."""

import os
import subprocess
import sys

from nwa_lightning.sequences.catalog import load_sequences

#: In a process of its own, as a program would run it; every file that a job writes is kept.
SCRIPT = """
import sys
from pathlib import Path

import ray

from nwa_lightning import load_sequences
from nwa_lightning.errors import InputError
from nwa_lightning.search import partition
from nwa_lightning.search.cluster_by_shards import cluster_by_shards
from nwa_lightning.search.embed import embed_reads, embed_shard
from nwa_lightning.search.executors import RayExecutor, run_here
from nwa_lightning.search.index_files import index_here
from nwa_lightning.search.limits import Limit
from nwa_lightning.search.search_shards import search_by_shards
from nwa_lightning.search.shards import open_shards


class Keeping:
    def __init__(self, executor):
        self.executor, self.files = executor, {}

    def __call__(self, function, jobs, what):
        self.executor(function, jobs, what)
        for job in jobs:
            self.files[function.__name__, job["target"].name] = job["target"].read_bytes()


def work(executor, folder):
    kept = Keeping(executor)
    embed_reads(["reads.fasta"], folder, landmarks=16, executor=kept)
    index_here(open_shards(folder), "ivf", executor=kept)
    found = search_by_shards(folder, load_sequences("reads.fasta"), 2, executor=kept).hits
    cluster_by_shards(folder, Limit(8), members=Path(f"{folder}.tsv"), cells=3, executor=kept)
    return kept.files, found.target.tolist(), Path(f"{folder}.tsv").read_bytes()


partition.PART_BYTES = Path("reads.fasta").stat().st_size // 3
with RayExecutor(workers=2) as executor:
    one, two = work(run_here, "here"), work(executor, "ray")
    assert one == two
    print(sorted((name, sum(key[0] == name for key in one[0])) for name in {key[0] for key in one[0]}))
    job = {"part": Path("none.tsv"), "target": Path("out.parquet"), "model": Path("here/model.ckpt")}
    try:
        executor(embed_shard, [job] * 3, "embedding")
    except InputError as error:
        print(error)
    try:
        executor(embed_shard, [{**job, "wrong": 1}], "embedding")
    except ray.exceptions.RayTaskError as error:
        print("unexpected keyword argument 'wrong'" in str(error))
    print(ray.is_initialized())
print(ray.is_initialized())
"""

JOBS = {
    "embed_shard": 3,
    "build_shard": 3,
    "measure_shard": 3,
    "search_shard": 3,
    "divide_shard": 3,
    "cluster_shard": 3,
    "join_centroids": 1,
    "settle_shard": 3,
}


def test_ray(tmp_path):
    sequences = load_sequences("storage:90x30")
    lines = (f">{name}\n{row}\n" for name, row in zip(sequences.names, sequences.to_strings(), strict=True))
    (tmp_path / "reads.fasta").write_text("".join(lines))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    *_, counts, message, is_bug, inside, after = done.stdout.splitlines()
    assert counts == str(sorted(JOBS.items()))
    assert message.startswith(f"{tmp_path / 'none.tsv'}: expected a part of the reads, found")
    assert (is_bug, inside, after) == ("True", "True", "False")
