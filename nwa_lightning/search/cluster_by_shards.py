"""Cluster a folder of embeddings cell by cell, and write the result; memory depends on a cell and on the number of clusters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.errors import InputError
from nwa_lightning.progress import track
from nwa_lightning.search.cluster_shards import (
    cluster_shard,
    divide_shard,
    join_centroids,
    numbered,
    read_centroids,
    settle_shard,
    write_cells,
)
from nwa_lightning.search.executors import Executor, run_here
from nwa_lightning.search.extra import optional
from nwa_lightning.search.files import replaced, sha256
from nwa_lightning.search.limits import Limit
from nwa_lightning.search.shard_jobs import DELETED, count_live, read_deleted, read_table, work_folder
from nwa_lightning.search.shards import Shards, open_shards

#: Reads of a cell, on average: minutes of work, and less than a gigabyte.
CELL_READS: Final = 200_000


class ShardClusters(NamedTuple):
    """What ``cluster_by_shards`` returns.

    Attributes:
        reads: Number of reads, copies included.
        distinct: Number of distinct reads.
        sizes: ``(C,)`` reads of each cluster, copies included; the largest cluster first.
        joined: Clusters of different cells that were joined.
    """

    reads: int
    distinct: int
    sizes: NDArray[np.int64]
    joined: int


def cluster_by_shards(
    folder: str | Path,
    limit: Limit,
    *,
    members: Path | None = None,
    centroids: Path | None = None,
    exact: bool = False,
    cells: int | None = None,
    executor: Executor = run_here,
) -> ShardClusters:
    """Cluster the reads of a folder of embeddings, without deleted ones; the same call continues an interrupted one.

    With one cell, the clusters are those of ``greedy_clusters``. Clusters are numbered by their size, the largest is 0.

    Args:
        folder: Folder of ``nwa embed``.
        limit: How far a read may be from its centroid.
        members: Table to write, with a line for each distinct read, cell by cell: ``read``, ``cluster``, ``centroid``,
            ``edits`` to the centroid, ``size`` of the cluster, and an empty ``diameter``, as ``write_members`` writes it. A name
            that ends with ``.parquet`` is written as Parquet, with ``copies`` of the read in place of the diameter.
        centroids: FASTA of the centroids to write, with ``;size=N``; the largest cluster first.
        exact: Never let vectors choose which centroids are compared.
        cells: Number of cells; None for one per ``CELL_READS``.
        executor: Runs the jobs; by default in this process.

    Raises:
        InputError: If the folder cannot be used or has no reads left, a file cannot be written, or the limit is out of range.
    """
    limit.check()
    shards = open_shards(folder)
    if cells is not None and cells < 1:
        raise InputError(f"cells: expected at least 1, found {cells}; give a larger number")
    distinct = count_live(shards, read_deleted(shards.folder))
    count = min(cells or -(-distinct // CELL_READS), distinct)
    settings = [shards.manifest.shards, sha256(shards.folder / DELETED), limit, exact, count]
    with work_folder(shards.folder, "clusters", settings) as work:
        settled, joined = _run(shards, work, count, limit, exact=exact, executor=executor)
        table = _Table(settled)
        if members is not None:
            table.write_members(members)
        if centroids is not None:
            table.write_centroids(centroids)
        reads = int(table.sizes.sum())
        return ShardClusters(reads, distinct, table.sizes, len(read_table(joined, ["cell"])))


def _run(
    shards: Shards, work: Path, count: int, limit: Limit, *, exact: bool, executor: Executor
) -> tuple[list[Path], Path]:
    """Run all jobs; the tables of the cells, and the one of the centroids that have joined others."""
    means, joined = work / "cells.faiss", work / "joined.parquet"
    divided, clustered, settled = (work / name for name in ("divided", "clustered", "settled"))
    for place in (divided, clustered, settled):
        place.mkdir(exist_ok=True)
    if not means.exists():
        write_cells(shards, count, means)
    folder = {"folder": shards.folder}
    how = {**folder, "limit": limit, "exact": exact}
    jobs = [
        {**folder, "number": number, "cells": means, "target": path}
        for number, path in enumerate(numbered(divided, len(shards), ".arrow"))
    ]
    executor(divide_shard, jobs, "dividing")
    parts = numbered(clustered, count, ".parquet")
    jobs = [{**how, "divided": divided, "cell": cell, "target": path} for cell, path in enumerate(parts)]
    executor(cluster_shard, jobs, "clustering")
    executor(join_centroids, [{**how, "clustered": clustered, "cells": count, "target": joined}], "joining")
    found = numbered(settled, count, ".parquet")
    jobs = [
        {**how, "clustered": part, "joined": joined, "cell": cell, "target": path}
        for cell, (part, path) in enumerate(zip(parts, found, strict=True))
    ]
    executor(settle_shard, jobs, "settling")
    return found, joined


class _Table:
    """The clusters of all cells, numbered by size."""

    def __init__(self, settled: list[Path]) -> None:
        pa = optional("pyarrow")
        self.settled = settled
        found = [read_centroids(path) for path in settled]
        rows, which = np.unique(np.concatenate([some.rows for some in found]), return_inverse=True)
        weights = np.concatenate([some.sizes for some in found])
        sizes = np.bincount(which, weights=weights, minlength=len(rows)).astype(np.int64)
        order = np.lexsort((rows, -sizes))
        self.sizes = sizes[order]
        self.rows = rows
        self.number = np.argsort(order)
        own = np.concatenate([some.table["row"].to_numpy() for some in found])
        tables = [some.table.select(["id", "sequence"]) for some in found]
        whole = pa.concat_tables(tables).cast(pa.schema({"id": pa.large_string(), "sequence": pa.large_string()}))
        self.centroids = whole.take(np.argsort(own)[order])

    def cells(self) -> Iterator[Any]:
        """The reads of each cell."""
        pa = optional("pyarrow")
        for path in track(self.settled, "writing", worth=len(self.settled) > 10):
            table = read_table(path)
            cluster = self.number[np.searchsorted(self.rows, table["centroid"].to_numpy())]
            names = self.centroids["id"].take(pa.array(cluster))
            columns = {"read": table["id"], "cluster": cluster, "centroid": names, "edits": table["edits"]}
            yield pa.table({**columns, "size": self.sizes[cluster], "copies": table["size"]})

    def write_members(self, path: Path) -> None:
        """Write a line for each read."""
        parquet = optional("pyarrow.parquet")
        with replaced(path) as part:
            if path.suffix == ".parquet":
                writer = None
                for table in self.cells():
                    writer = writer or parquet.ParquetWriter(part, table.schema, compression="zstd")
                    writer.write_table(table)
                if writer is not None:
                    writer.close()
                return
            with part.open("w", encoding="utf-8", newline="\n") as file:
                file.write("read\tcluster\tcentroid\tedits\tsize\tdiameter\n")
                for table in self.cells():
                    columns = table.drop_columns(["copies"]).to_pydict().values()
                    file.writelines("\t".join(map(str, line)) + "\t\n" for line in zip(*columns, strict=True))

    def write_centroids(self, path: Path) -> None:
        """Write the centroids as FASTA."""
        with replaced(path) as part, part.open("w", encoding="utf-8", newline="\n") as file:
            first = 0
            for batch in self.centroids.to_batches(max_chunksize=1 << 16):
                sizes = self.sizes[first : first + len(batch)].tolist()
                lines = zip(batch["id"].to_pylist(), batch["sequence"].to_pylist(), sizes, strict=True)
                file.writelines(f">{name};size={size}\n{letters}\n" for name, letters, size in lines)
                first += len(batch)
