"""Search a folder shard by shard: memory does not grow with the number of shards, and an executor runs the jobs.

Every shard gives the nearest of its own reads for each query; the nearest of all are among these. Edit distances are exact.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nwa_lightning._kernels import default_threads
from nwa_lightning.errors import InputError
from nwa_lightning.progress import counted
from nwa_lightning.search.executors import Executor, run_here
from nwa_lightning.search.extra import optional
from nwa_lightning.search.files import sha256
from nwa_lightning.search.hits import Hits, joined
from nwa_lightning.search.index import Found, Index, _Search
from nwa_lightning.search.index_files import FOLDER, LIST, TRAINED, read_checked, read_list
from nwa_lightning.search.limits import ANY, Limit
from nwa_lightning.search.reads import Reads, concatenated
from nwa_lightning.search.recall import Effort, Recall, efforts, sample_size
from nwa_lightning.search.shard_jobs import DELETED, first_rows, read_deleted, read_table, work_folder, write_table
from nwa_lightning.search.shards import Shard, Shards, open_shards, read_shard, write_shard
from nwa_lightning.search.vectors import cells_of
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.strands import reverse_complement

#: Queries that are searched at a time.
_QUERIES: Final = 4096


def search_shard(
    queries: Path,
    folder: Path,
    number: int,
    target: Path,
    *,
    most: int = 1,
    limit: Limit = ANY,
    effort: Effort | None = None,
) -> None:
    """Find the nearest reads of one shard: from files to a file, and the same bytes wherever it runs.

    The file has the columns ``query`` (row in ``queries``), ``target`` (row among the reads of all shards) and ``edits``.

    Args:
        queries: Queries and their vectors, in the form of a shard.
        folder: Folder of ``nwa embed`` and ``nwa index``.
        number: Which shard, from 0.
        target: The Parquet file to write.
        most: The most hits of a query.
        limit: How far a hit may be.
        effort: Candidates and cells of this shard; None compares all pairs, without an index.

    Raises:
        InputError: If a file cannot be read or written.
    """
    index, first = _open_shard(folder, number, exact=effort is None)
    asked = _read_queries(queries, folder)
    sequences = asked.reads.sequences
    job = _job(index, most, limit, sequences)
    if effort is None:
        hits = job.exact(sequences)
    else:
        parts = []
        for start in range(0, len(sequences), _QUERIES):
            rows = np.arange(start, min(start + _QUERIES, len(sequences)))
            part = job.ranked(sequences.take(rows), asked.embeddings[rows], effort)
            parts.append(replace(part, query=part.query + start))
        hits = _all(parts)
    _write(target, {"query": hits.query, "target": hits.target + first, "edits": hits.edits})


def measure_shard(
    queries: Path, folder: Path, number: int, target: Path, *, most: int, limit: Limit, ladder: list[Effort]
) -> None:
    """Find out how much effort finds the nearest reads of one shard.

    The file has the columns ``query``, ``edits`` to the nearest read of the shard, and ``step``: the first effort that finds a
    read as near. Queries without a read within the limit are left out.

    Args:
        queries: A sample of the queries, as in ``search_shard``.
        folder: As in ``search_shard``.
        number: As in ``search_shard``.
        target: The Parquet file to write.
        most: The hits that are wanted of a query.
        limit: How far a hit may be.
        ladder: Efforts from small to great.

    Raises:
        InputError: If a file cannot be read or written.
    """
    index, _ = _open_shard(folder, number, exact=False)
    asked = _read_queries(queries, folder)
    sequences = asked.reads.sequences
    job = _job(index, 1, limit, sequences)
    nearest = job.exact(sequences)
    edits = np.full(len(sequences), -1, dtype=np.int64)
    edits[nearest.query] = nearest.edits
    step = np.full(len(sequences), len(ladder), dtype=np.int64)
    for place, effort in enumerate(ladder):
        left = np.flatnonzero((edits >= 0) & (step == len(ladder)))
        if not len(left):
            break
        hits = job.ranked(sequences.take(left), asked.embeddings[left], effort)
        rows = left[hits.query]
        step[rows[hits.edits == edits[rows]]] = place
    having = np.flatnonzero(edits >= 0)
    _write(target, {"query": having, "edits": edits[having], "step": step[having]})


def search_by_shards(
    folder: str | Path,
    queries: Sequences,
    most: int = 1,
    *,
    maxdist: int | None = None,
    identity: float | None = None,
    recall: float = 0.99,
    effort: Effort | None = None,
    exact: bool = False,
    both_strands: bool = False,
    executor: Executor = run_here,
) -> Found:
    """The nearest reads of every query, shard by shard; arguments and result are those of ``Index.search``.

    Edit distances and limits are exact. An ``effort`` is that of each shard. The same call continues an interrupted one.

    Args:
        folder: Folder of ``nwa embed`` and ``nwa index``; an exact search needs no index.
        queries: Sequences to look for.
        most: The most hits of a query.
        maxdist: The most edits of a hit.
        identity: The lowest identity of a hit: 1 minus edits over the longer length.
        recall: Fraction of a sample of the queries whose nearest read has to be found.
        effort: Candidates and cells of each shard, in place of a measurement.
        exact: Compare every query with every read.
        both_strands: Also look for the reverse complement of every query.
        executor: Runs the jobs; by default in this process.

    Returns:
        Hits, whose targets are rows among the reads of all shards, and what was measured.

    Raises:
        InputError: If a file cannot be read or written, a query is too long for the model, or a number is out of range.
    """
    if most < 1:
        raise InputError(f"hits: expected at least 1, found {most}; give a larger number")
    if not 0 < recall <= 1:
        raise InputError(f"recall: expected more than 0 and at most 1, found {recall}; write 99 % as 0.99")
    limit = Limit(maxdist, identity)
    limit.check()
    shards = open_shards(folder)
    if not exact:
        read_list(shards)
    index = [sha256(shards.folder / name) for name in (f"{FOLDER}/{LIST}", DELETED)]
    content = hashlib.sha256(queries.hashes.tobytes()).hexdigest()
    settings = [shards.manifest.shards, index, content, most, limit, recall, effort, exact, both_strands]
    with work_folder(shards.folder, "search", settings) as work:
        run = _Run(shards, work, most, limit, executor)
        path = run.write_queries(queries, both_strands=both_strands, exact=exact)
        measured = None
        if not exact and effort is None:
            measured = run.measured(path, len(queries), recall)
            effort = measured.effort
        return Found(run.hits(path, len(queries), None if exact else effort), measured)


class _Run:
    """One search: its jobs, and what joins their files."""

    def __init__(self, shards: Shards, work: Path, most: int, limit: Limit, executor: Executor) -> None:
        self.shards = shards
        self.work = work
        self.most = most
        self.limit = limit
        self.executor = executor

    def write_queries(self, queries: Sequences, *, both_strands: bool, exact: bool) -> Path:
        """The queries, then their reverse complements, in the form of a shard."""
        path = self.work / "queries.parquet"
        if path.exists():
            return path
        strands = [queries, reverse_complement(queries, self.shards.alphabet)] if both_strands else [queries]
        each = np.ones(len(queries), dtype=np.int64)
        reads = concatenated([Reads(strand, each) for strand in strands])
        vectors = np.zeros((len(reads), 1), dtype=np.float32)  # not used if all pairs are compared
        if not exact:
            with counted("queries", len(reads), worth=len(reads) > 20_000, unit="reads") as progress:
                vectors = self.shards.embedder().embed(reads.sequences, progress)
        write_shard(path, Shard(reads, vectors), self.shards.alphabet, self.shards.manifest.model)
        return path

    def measured(self, queries: Path, count: int, wanted: float) -> Recall:
        """The least effort that finds the nearest reads of a sample of the queries: the nearest among those of all shards."""
        folder = self.shards.folder
        live = self.shards.manifest.distinct - len(read_deleted(folder))
        rows = np.sort(np.random.default_rng(0).permutation(count)[: sample_size(count, live)])
        asked = _read_queries(queries, folder)
        sample = self.work / "sample.parquet"
        some = Shard(asked.reads.take(rows), asked.embeddings[rows])
        write_shard(sample, some, self.shards.alphabet, self.shards.manifest.model)
        largest = max(record["rows"] for record in self.shards.manifest.shards)
        cells = cells_of(read_checked(folder, TRAINED, read_list(self.shards)["trained"]))
        ladder = efforts(largest, cells, self.most)
        shared = {"queries": sample, "most": self.most, "limit": self.limit, "ladder": ladder}
        nearest = np.full(len(rows), np.iinfo(np.int64).max)
        step = np.full(len(rows), len(ladder), dtype=np.int64)
        for path in self._run(measure_shard, "measured", shared):
            query, edits, found = (read_table(path).column(name).to_numpy() for name in ("query", "edits", "step"))
            step[query] = np.where(
                edits < nearest[query],
                found,
                np.where(edits == nearest[query], np.minimum(step[query], found), step[query]),
            )
            nearest[query] = np.minimum(nearest[query], edits)
        having = nearest < np.iinfo(np.int64).max
        found = np.bincount(step[having], minlength=len(ladder)).cumsum()[: len(ladder)]
        enough = np.flatnonzero(found >= wanted * having.sum())
        place = int(enough[0]) if len(enough) else len(ladder) - 1
        return Recall(ladder[place], int(found[place]), int(having.sum()))

    def hits(self, queries: Path, count: int, effort: Effort | None) -> Hits:
        """The nearest hits of all shards."""
        shared = {"queries": queries, "most": self.most, "limit": self.limit, "effort": effort}
        hits = _all([])
        for path in self._run(search_shard, "found", shared):
            query, target, edits = (read_table(path).column(name).to_numpy() for name in ("query", "target", "edits"))
            hits = joined(hits, Hits(query % count, target, edits, query >= count)).best(self.most)
        return hits

    def _run(self, function: Any, name: str, shared: dict[str, Any]) -> list[Path]:
        """Run a function for every shard; its files."""
        paths = [self.work / f"{name}-{number:05d}.parquet" for number in range(len(self.shards))]
        jobs = [{"folder": self.shards.folder, "number": number, "target": path} for number, path in enumerate(paths)]
        self.executor(function, [{**job, **shared} for job in jobs], "searching" if name == "found" else "measuring")
        return paths


def _open_shard(folder: Path, number: int, *, exact: bool) -> tuple[Index, int]:
    """The index of one shard, and its first row among all."""
    shards = open_shards(folder)
    vectors = None
    if not exact:
        record = read_list(shards)["files"][number]
        vectors = read_checked(folder, record["file"], record["sha256"])
    index = Index(shards.read(number, embeddings=False).reads, None, vectors, shards.alphabet)
    first = int(first_rows(shards)[number])
    deleted = read_deleted(folder) - first
    index.deleted[deleted[(deleted >= 0) & (deleted < len(index.reads))]] = True
    return index, first


def _job(index: Index, most: int, limit: Limit, queries: Sequences) -> _Search:
    return _Search(index, np.flatnonzero(~index.deleted), most, limit, default_threads(), queries)


def _read_queries(path: Path, folder: Path) -> Shard:
    shards = open_shards(folder)
    return read_shard(path, shards.alphabet, shards.manifest.model)


def _all(parts: list[Hits]) -> Hits:
    none = np.empty((0, 1), dtype=np.int64)
    whole = Hits.of_table(none, none)
    for part in parts:
        whole = joined(whole, part)
    return whole


def _write(target: Path, columns: dict[str, NDArray[np.int64]]) -> None:
    write_table(optional("pyarrow").table(columns), target)
