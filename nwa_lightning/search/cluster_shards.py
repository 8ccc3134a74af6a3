"""Greedy clusters of more reads than one process holds: jobs from files to files.

``divide_shard`` divides the reads of a shard among cells of near vectors, ``cluster_shard`` clusters a cell, ``join_centroids``
clusters the centroids of all cells with one another, and ``settle_shard`` moves the reads of the centroids that have joined
others. Every read is within the limit of its centroid, by exact edit distance. Two things differ from ``greedy_clusters`` for
all reads at once: a read joins the nearest centroid of its cell, though one of another cell may be nearer; and two centroids
of different cells may be within the limit, if both are made in the last step.

The cells are those of k-means, as in an inverted file (Jegou et al., 2011, doi 10.1109/TPAMI.2010.57); clusters are greedy as
in UCLUST (Edgar, 2010, doi 10.1093/bioinformatics/btq461).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from nwa_lightning.errors import InputError, one_line
from nwa_lightning.search.clusters import Clusters, greedy_clusters
from nwa_lightning.search.exact import exact_hits, letters_of
from nwa_lightning.search.extra import optional
from nwa_lightning.search.files import replaced
from nwa_lightning.search.hits import Hits
from nwa_lightning.search.hits import joined as joined_hits
from nwa_lightning.search.index_files import sample_vectors
from nwa_lightning.search.limits import Limit
from nwa_lightning.search.reads import Reads, concatenated
from nwa_lightning.search.shard_jobs import first_rows, live_rows, read_deleted, read_table, write_table
from nwa_lightning.search.shards import Shards, _flat, open_shards
from nwa_lightning.search.vectors import nearest_vectors, read_index, write_index
from nwa_lightning.sequences.alphabet import Alphabet
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.packed import Packed

#: Vectors per cell that k-means sees.
_TRAINED: Final = 256

#: Columns of the tables of a cell: ``row`` and ``centroid`` are rows among the reads of all shards.
COLUMNS: Final = ("id", "sequence", "size", "row", "centroid", "edits")


def write_cells(shards: Shards, cells: int, target: Path) -> None:
    """Choose the cells: the means of vectors of the first shards.

    Args:
        shards: The shards.
        cells: M, number of cells; no more than reads.
        target: The index of the ``(M, m)`` means to write.

    Raises:
        InputError: If a file cannot be read or written.
    """
    faiss = optional("faiss")
    vectors = np.ascontiguousarray(sample_vectors(shards, _TRAINED * cells))
    means = faiss.Kmeans(vectors.shape[1], cells, seed=0, min_points_per_centroid=1)
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # the last bits of a mean depend on it
    means.train(vectors)
    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatL2(vectors.shape[1])
    index.add(means.centroids)
    write_index(index, target)


def divide_shard(folder: Path, number: int, cells: Path, target: Path) -> None:
    """Divide the reads of a shard that were not deleted among the cells.

    The file is an Arrow file with a batch of reads for every cell, so that one cell is read without the others.

    Args:
        folder: Folder of ``nwa embed``.
        number: Which shard, from 0.
        cells: What ``write_cells`` wrote.
        target: The file to write.

    Raises:
        InputError: If a file cannot be read or written.
    """
    pa, ipc = optional("pyarrow"), optional("pyarrow.ipc")
    shards = open_shards(folder)
    live = live_rows(shards, number, read_deleted(shards.folder))
    vectors = shards.read(number).embeddings[live]
    means = read_index(cells)
    cell = nearest_vectors(means, vectors, 1, threads=torch.get_num_threads())[:, 0]
    order = live[np.argsort(cell, kind="stable")]
    ends = np.bincount(cell, minlength=means.ntotal).cumsum().tolist()
    table = read_table(shards.path(number), ["id", "sequence", "size"]).replace_schema_metadata(None)
    table = table.append_column("row", pa.array(first_rows(shards)[number] + np.arange(len(table))))
    table = table.take(order).combine_chunks()
    with replaced(target) as part:
        options = ipc.IpcWriteOptions(compression="zstd")
        with ipc.new_file(part, table.schema, options=options) as file:
            for start, end in zip([0, *ends], ends, strict=False):
                file.write_batch(_batch(table.slice(start, end - start)))


def cluster_shard(folder: Path, divided: Path, cell: int, target: Path, *, limit: Limit, exact: bool) -> None:
    """Cluster the reads of one cell.

    Args:
        folder: Folder of ``nwa embed``.
        divided: Folder of what ``divide_shard`` wrote, by ``numbered``.
        cell: Which cell, from 0.
        target: The Parquet file to write, with the ``COLUMNS``.
        limit: How far a read may be from its centroid.
        exact: Never let vectors choose which centroids are compared.

    Raises:
        InputError: If a file cannot be read or written.
    """
    pa = optional("pyarrow")
    shards = open_shards(folder)
    table = pa.Table.from_batches([_read_batch(path, cell) for path in numbered(divided, len(shards), ".arrow")])
    clusters = _clustered(_reads(table, shards.alphabet), limit, shards, exact=exact)
    centroid = table["row"].to_numpy()[clusters.centroids[clusters.cluster]]
    write_table(_with_centroids(table, centroid, clusters.edits), target)


def join_centroids(folder: Path, clustered: Path, cells: int, target: Path, *, limit: Limit, exact: bool) -> None:
    """Cluster the centroids of all cells, the ones of the largest clusters first.

    The file has a row for each centroid that joins another one: ``cell`` and ``centroid``, and of the other one ``into``,
    ``id``, ``sequence`` and ``size``.

    Args:
        folder: Folder of ``nwa embed``.
        clustered: Folder of what ``cluster_shard`` wrote, by ``numbered``.
        cells: Number of cells.
        target: The Parquet file to write.
        limit: How far the centroid of a cluster may be from the other one.
        exact: As in ``cluster_shard``.

    Raises:
        InputError: If a file cannot be read or written.
    """
    pa = optional("pyarrow")
    shards = open_shards(folder)
    tables = []
    for cell, path in enumerate(numbered(clustered, cells, ".parquet")):
        rows, sizes, own = read_centroids(path)
        sequences = own["sequence"].cast(pa.large_string())  # those of all cells may have more than 2 GiB
        columns = {"id": own["id"], "sequence": sequences, "size": sizes, "row": rows, "cell": np.full(len(rows), cell)}
        tables.append(pa.table(columns))
    table = pa.concat_tables(tables)
    into = np.arange(len(table))
    if len(tables) > 1:  # otherwise, all have been compared
        clusters = _clustered(_reads(table, shards.alphabet), limit, shards, exact=exact)
        into = clusters.centroids[clusters.cluster]
    moved = np.flatnonzero(into != np.arange(len(table)))
    one, other = table.take(moved), table.take(into[moved])
    found = {name: other[name] for name in ("id", "sequence", "size")}
    write_table(pa.table({"cell": one["cell"], "centroid": one["row"], "into": other["row"], **found}), target)


def settle_shard(
    folder: Path, clustered: Path, joined: Path, cell: int, target: Path, *, limit: Limit, exact: bool
) -> None:
    """Move the reads of the centroids that have joined others.

    Such a read follows its centroid if it is within the limit of the other one. Otherwise it joins the nearest centroid within
    the limit, among the centroids of its cell that are left and those that the others of its cell have joined. If there is none,
    it is clustered with the reads of the cell that have none either.

    Args:
        folder: Folder of ``nwa embed``.
        clustered: What ``cluster_shard`` wrote.
        joined: What ``join_centroids`` wrote.
        cell: Which cell, from 0.
        target: The Parquet file to write, with the ``COLUMNS``.
        limit: As in ``cluster_shard``.
        exact: As in ``cluster_shard``.

    Raises:
        InputError: If a file cannot be read or written.
    """
    shards = open_shards(folder)
    table, moves = read_table(clustered), read_table(joined, filters=[("cell", "==", cell)])
    reads = _reads(table, shards.alphabet)
    row, centroid, edits = (table[name].to_numpy().copy() for name in ("row", "centroid", "edits"))
    moved = np.flatnonzero(np.isin(centroid, moves["centroid"].to_numpy()))
    own = np.setdiff1d(np.flatnonzero(row == centroid), moved)
    others, first, which = np.unique(moves["into"].to_numpy(), return_index=True, return_inverse=True)
    targets = concatenated([reads.take(own), _reads(moves.take(first), shards.alphabet)]).sequences
    order = np.argsort(moves["centroid"].to_numpy())
    wanted = len(own) + which[order][np.searchsorted(moves["centroid"].to_numpy()[order], centroid[moved])]
    hits = _within(reads.sequences.take(moved), targets, wanted, limit)
    lost = np.setdiff1d(np.arange(len(moved)), hits.query)
    found = exact_hits(reads.sequences.take(moved[lost]), targets, limit=limit, threads=torch.get_num_threads())
    hits = joined_hits(hits, replace(found, query=lost[found.query]))
    near = moved[hits.query]
    centroid[near], edits[near] = np.concatenate([row[own], others])[hits.target], hits.edits
    left = np.setdiff1d(moved, near)
    again = _clustered(reads.take(left), limit, shards, exact=exact)
    centroid[left], edits[left] = row[left][again.centroids[again.cluster]], again.edits
    write_table(_with_centroids(table.select(COLUMNS[:4]), centroid, edits), target)


def numbered(folder: Path, count: int, suffix: str) -> list[Path]:
    """The files of a folder that jobs write, one for each shard or cell."""
    return [folder / f"{number:05d}{suffix}" for number in range(count)]


class Centroids(NamedTuple):
    """What ``read_centroids`` returns.

    Attributes:
        rows: ``(C,)`` centroids of the reads of a cell, ascending.
        sizes: ``(C,)`` reads of the cell that each of them has, copies included.
        table: The centroids that are in the cell themselves, in the same order.
    """

    rows: NDArray[np.int64]
    sizes: NDArray[np.int64]
    table: Any


def read_centroids(path: Path) -> Centroids:
    """The centroids of a cell.

    Args:
        path: A table with the ``COLUMNS``.

    Raises:
        InputError: If it cannot be read.
    """
    table = read_table(path)
    row, centroid = table["row"].to_numpy(), table["centroid"].to_numpy()
    rows, which = np.unique(centroid, return_inverse=True)
    sizes = np.bincount(which, weights=table["size"].to_numpy(), minlength=len(rows)).astype(np.int64)
    own = np.flatnonzero(row == centroid)
    return Centroids(rows, sizes, table.take(own[np.argsort(row[own])]))


def _clustered(reads: Reads, limit: Limit, shards: Shards, *, exact: bool) -> Clusters:
    embedder = None if exact else lambda _: shards.embedder()
    return greedy_clusters(reads, limit, embedder, threads=torch.get_num_threads())


def _within(queries: Sequences, targets: Sequences, wanted: NDArray[np.int64], limit: Limit) -> Hits:
    """Each query and its ``(Q,)`` target, where they are within the limit."""
    each = np.arange(len(queries))
    limits = limit.most_edits(queries.lengths, targets.lengths[wanted])
    letters = letters_of(queries, targets, threads=torch.get_num_threads())
    pairs = np.stack([each, len(queries) + wanted], axis=1)
    edits = letters.pairs(pairs, cutoff=int(limits.max(initial=0)), threads=torch.get_num_threads()).astype(np.int64)
    return Hits(each, wanted, edits, np.zeros(len(queries), dtype=bool)).take(edits <= limits)


def _with_centroids(table: Any, centroid: NDArray[np.int64], edits: NDArray[np.int64]) -> Any:
    pa = optional("pyarrow")
    return table.append_column("centroid", pa.array(centroid)).append_column("edits", pa.array(edits))


def _reads(table: Any, alphabet: Alphabet) -> Reads:
    letters = Packed(*_flat(table["sequence"]))
    codes = np.frombuffer(letters.flat.tobytes().translate(alphabet.codes), dtype=np.uint8)
    sequences = Sequences(Packed(codes, letters.starts, letters.lengths), Packed(*_flat(table["id"])))
    return Reads(sequences, table["size"].to_numpy())


def _batch(table: Any) -> Any:
    """The only batch of a part of a table."""
    batches = table.to_batches()
    return batches[0] if batches else optional("pyarrow").RecordBatch.from_pylist([], schema=table.schema)


def _read_batch(path: Path, number: int) -> Any:
    pa, ipc = optional("pyarrow"), optional("pyarrow.ipc")
    try:
        with pa.memory_map(str(path)) as file:
            return ipc.open_file(file).get_batch(number)
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{path}: expected the reads of a shard, found a damaged file or none ({one_line(error)}); delete {path.parent} and "
            f"run the command again"
        ) from None
