"""What the jobs of searches and of clusters share: a folder for unfinished files, tables on disk, and which rows are left."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.errors import InputError, one_line
from nwa_lightning.search.extra import optional
from nwa_lightning.search.files import replaced
from nwa_lightning.search.format_rows import QueryHits, hit_rows
from nwa_lightning.search.hits import Hits
from nwa_lightning.search.reads import Reads, concatenated
from nwa_lightning.search.shards import Shards, open_shards
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.packed import Packed

#: Folder within a folder of embeddings, for searches and clusters that are not finished.
UNFINISHED: Final = ".unfinished"

#: File within a folder of embeddings, with the rows that were deleted.
DELETED: Final = "index/deleted.npy"


@contextmanager
def work_folder(folder: Path, what: str, settings: Any) -> Iterator[Path]:
    """A folder for the files of jobs. It is kept if the block fails, so the same call finds what was finished.

    Args:
        folder: Folder of ``nwa embed``, on storage that all workers share.
        what: First part of the name.
        settings: All that decides the content of the files, as values of JSON; other settings have another folder.

    Raises:
        InputError: If it cannot be made.
    """
    digest = hashlib.sha256(json.dumps(settings).encode()).hexdigest()
    work = folder / UNFINISHED / f"{what}-{digest[:16]}"
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{work}: {error.strerror}; make the folder of the embeddings writable, for the parts of the result"
        ) from None
    yield work
    shutil.rmtree(work, ignore_errors=True)
    with suppress(OSError):  # another run may have its folder there
        work.parent.rmdir()


def first_rows(shards: Shards) -> NDArray[np.int64]:
    """``(S + 1,)`` number of the first row of every shard among the rows of all, and the number of all rows."""
    return np.cumsum([0, *(record["rows"] for record in shards.manifest.shards)])


def read_deleted(folder: Path) -> NDArray[np.int64]:
    """``(D,)`` rows among those of all shards that were deleted, ascending.

    Raises:
        InputError: If the file is damaged.
    """
    path = folder / DELETED
    if not path.exists():
        return np.empty(0, dtype=np.int64)
    try:
        found: NDArray[np.int64] = np.load(path, allow_pickle=False)
        rows = open_shards(folder).manifest.distinct
        if found.dtype != np.int64 or (found < 0).any() or (found >= rows).any():
            raise ValueError("other numbers than those of rows")
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: expected rows of reads, found a damaged file ({one_line(error)})") from None
    return found


def write_deleted(folder: Path, rows: NDArray[np.int64]) -> None:
    """Write the rows that were deleted."""
    with replaced(folder / DELETED) as part, part.open("wb") as file:
        np.save(file, rows)


def count_live(shards: Shards, deleted: NDArray[np.int64]) -> int:
    """Number of rows that were not deleted, given what ``read_deleted`` returns.

    Raises:
        InputError: If none is left.
    """
    count = shards.manifest.distinct - len(deleted)
    if not count:
        raise InputError(
            f"{shards.folder}: expected reads, found none that are left; name another folder, or add reads"
        )
    return count


def live_rows(shards: Shards, number: int, deleted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of a shard that were not deleted, ascending.

    Args:
        shards: The shards.
        number: Which one, from 0.
        deleted: What ``read_deleted`` returns.
    """
    first, last = first_rows(shards)[[number, number + 1]]
    rows: NDArray[np.int64] = np.setdiff1d(np.arange(first, last), deleted) - first
    return rows


def write_table(table: Any, path: Path) -> None:
    """Write an Arrow table as Parquet.

    Raises:
        InputError: If it cannot be written.
    """
    parquet = optional("pyarrow.parquet")
    with replaced(path) as part:
        parquet.write_table(table, part, compression="zstd")


def read_table(path: Path, columns: list[str] | None = None, filters: list[tuple[str, str, Any]] | None = None) -> Any:
    """Read a Parquet file as an Arrow table.

    Args:
        path: Its path.
        columns: Which columns; None for all.
        filters: Conditions of pyarrow on the rows.

    Raises:
        InputError: If it cannot be read.
    """
    pa, parquet = optional("pyarrow"), optional("pyarrow.parquet")
    try:
        return parquet.read_table(path, columns=columns, filters=filters, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{path}: expected the result of a job, found a damaged file or none ({one_line(error)}); delete "
            f"{path.parent} and run the command again"
        ) from None


def hit_targets(shards: Shards, hits: Hits) -> tuple[NDArray[np.int64], Sequences]:
    """The reads that were found, without all others.

    Args:
        shards: The folder that was searched.
        hits: What was found.

    Returns:
        ``(T,)`` rows of the reads among all, ascending, and the T reads.

    Raises:
        InputError: If a shard cannot be read.
    """
    rows = np.unique(hits.target)
    first = first_rows(shards)
    parts = [Reads(Sequences(Packed.of([]), Packed.of([])), np.empty(0, dtype=np.int64))]
    for number in range(len(shards)):
        some = rows[(rows >= first[number]) & (rows < first[number + 1])] - first[number]
        if len(some):
            reads = shards.read(number, embeddings=False).reads.take(some)
            # Reads that were taken share the memory of the whole shard; copies do not.
            copies = Sequences(Packed.of(reads.sequences.bases), Packed.of(reads.sequences.labels))
            parts.append(Reads(copies, reads.sizes))
    return rows, concatenated(parts).sequences


def shard_hit_rows(shards: Shards, hits: Hits, queries: Sequences) -> Iterator[QueryHits]:
    """Every query with its hits, as ``hit_rows``, for a search of a folder; targets are numbered among all reads.

    Args:
        shards: The folder that was searched.
        hits: What was found.
        queries: The queries.

    Raises:
        InputError: If a shard cannot be read, or as ``hit_rows``.
    """
    rows, targets = hit_targets(shards, hits)
    few = Hits(hits.query, np.searchsorted(rows, hits.target), hits.edits, hits.reverse)
    for query in hit_rows(few, queries, targets, shards.alphabet):
        yield query._replace(hits=[replace(hit, target_row=int(rows[hit.target_row])) for hit in query.hits])
