"""The files of an index, in the folder ``index`` beside the shards of ``nwa embed``.

``trained.faiss`` is an empty index; ``00000.faiss`` holds the vectors of the first shard, and so on; ``index.json`` lists them
with their checksums and comes last; ``deleted.npy`` holds the rows that were deleted. All can be made again from the shards.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.errors import InputError
from nwa_lightning.progress import track
from nwa_lightning.search.executors import Executor, run_here
from nwa_lightning.search.files import replaced, sha256
from nwa_lightning.search.reads import Reads, concatenated
from nwa_lightning.search.shard_jobs import read_deleted
from nwa_lightning.search.shards import (
    MANIFEST,
    MODEL,
    Manifest,
    Shard,
    Shards,
    open_shards,
    read_shard,
    write_manifest,
    write_shard,
)
from nwa_lightning.search.vectors import (
    Kind,
    emptied,
    filled,
    kind_of,
    merge,
    read_index,
    suitable_kind,
    trained,
    wanted_sample,
    write_index,
)
from nwa_lightning.sequences.alphabet import as_alphabet

if TYPE_CHECKING:
    from nwa_lightning.search.embedder import ReadEmbedder

FOLDER: Final = "index"
LIST: Final = "index.json"
PLAN: Final = "plan.json"
TRAINED: Final = "trained.faiss"

#: Rows of a shard that ``write_folder`` writes.
_ROWS: Final = 100_000


class Folder(NamedTuple):
    """What ``read_folder`` returns.

    Attributes:
        reads: The reads of all shards.
        embedder: The model.
        vectors: The FAISS index of all shards.
        deleted: Rows that were deleted.
    """

    reads: Reads
    embedder: ReadEmbedder
    vectors: Any
    deleted: NDArray[np.int64]


def build_shard(shard: Path, trained_index: Path, target: Path, *, alphabet: str, model: str) -> None:
    """Index the vectors of one shard: from file to file, and the same bytes wherever it runs.

    Args:
        shard: A shard of ``nwa embed``.
        trained_index: The empty index.
        target: The index to write.
        alphabet: Name of the alphabet of the reads.
        model: Fingerprint of the model.

    Raises:
        InputError: If a file cannot be read or written.
    """
    vectors = read_shard(shard, as_alphabet(alphabet), model).embeddings
    write_index(filled(read_index(trained_index), vectors), target)


class ShardJob(NamedTuple):
    """Arguments of ``build_shard`` for one shard."""

    shard: Path
    trained_index: Path
    target: Path


def prepare_index(shards: Shards, kind: Kind | None = None, *, rebuild: bool = False) -> list[ShardJob]:
    """Train an empty index, unless there is one already, and list the shards that are not indexed yet.

    Args:
        shards: The shards.
        kind: Kind of the index; None keeps that of the existing one, or chooses by the number of reads.
        rebuild: Whether to begin anew.

    Raises:
        InputError: If a file cannot be read or written.
    """
    folder = shards.folder / FOLDER
    manifest = shards.manifest
    plan = _read_json(folder / PLAN)
    known = plan.get("kind") if plan and plan.get("model") == manifest.model else None
    listed = _read_json(folder / LIST) or {}
    damaged = "trained" in listed and listed["trained"] != sha256(folder / TRAINED)
    anew = rebuild or damaged or known is None or (kind is not None and kind != known)
    if anew or not (folder / TRAINED).exists():
        chosen = kind or (None if rebuild else known) or suitable_kind(manifest.distinct)
        sample = sample_vectors(shards, wanted_sample(chosen, manifest.distinct))
        empty = trained(chosen, sample, manifest.distinct)  # before anything is deleted, for this may fail
        if anew:
            listed = {}
            for old in [*folder.glob("*.faiss"), folder / LIST]:
                old.unlink(missing_ok=True)
            _write_plan(manifest, chosen, folder)
        write_index(empty, folder / TRAINED)
    jobs = [ShardJob(shards.path(number), folder / TRAINED, _file(folder, number)) for number in range(len(shards))]
    done = {record["file"]: record for record in listed.get("files", [])}
    left = [job for number, job in enumerate(jobs) if not _up_to_date(job, done, manifest.shards[number])]
    for job in left:
        job.target.unlink(missing_ok=True)  # an executor leaves out what exists
    return left


def sample_vectors(shards: Shards, wanted: int) -> NDArray[np.float32]:
    """The first vectors, at most ``(wanted, m)``: each shard is a random part of the reads.

    Raises:
        InputError: If a shard cannot be read.
    """
    found = np.empty((0, shards.manifest.dim), dtype=np.float32)
    for number in range(len(shards)):
        if len(found) < wanted:
            found = np.concatenate([found, shards.read(number).embeddings])
    return found[:wanted]


def finish_index(shards: Shards) -> None:
    """Write the list of the finished files.

    Raises:
        InputError: If a file is missing, or the list cannot be written.
    """
    folder = shards.folder / FOLDER
    files = []
    for number, record in enumerate(shards.manifest.shards):
        path = _file(folder, number)
        files.append({"file": path.name, "shard": record["sha256"], "sha256": sha256(path)})
    content = {"model": shards.manifest.model, "trained": sha256(folder / TRAINED), "files": files}
    with replaced(folder / LIST) as part:
        part.write_text(f"{json.dumps(content, indent=1)}\n")


def read_folder(folder: Path) -> Folder:
    """Read shards, model and index.

    Raises:
        InputError: If a file is missing or damaged, or the index is older than the shards.
    """
    shards = open_shards(folder)
    content = read_list(shards)
    vectors = read_checked(folder, TRAINED, content["trained"])
    parts = []
    for number, record in enumerate(track(content["files"], "loading", worth=len(shards) > 10)):
        merge(vectors, read_checked(folder, record["file"], record["sha256"]))
        parts.append(shards.read(number, embeddings=False).reads)
    return Folder(concatenated(parts), shards.embedder(), vectors, read_deleted(folder))


def read_list(shards: Shards) -> dict[str, Any]:
    """The list of the files of an index: ``files`` in the order of the shards, each with its name and checksum.

    Raises:
        InputError: If there is no index, or it is older than the shards.
    """
    folder = shards.folder
    content = _read_json(folder / FOLDER / LIST)
    if content is None or not {"trained", "files"} <= content.keys():
        raise InputError(f"{folder}: expected an index, found only embeddings; make one: nwa index {folder}")
    wanted = [record["sha256"] for record in shards.manifest.shards]
    if [record["shard"] for record in content["files"]] != wanted:
        raise InputError(
            f"{folder}: expected an index of these shards, found one of others; bring it up to date: nwa index {folder}"
        )
    return content


def write_folder(folder: Path, reads: Reads, embedder: ReadEmbedder, vectors: Any) -> None:
    """Write reads, their vectors, model and index.

    Args:
        folder: Where to write.
        reads: The reads.
        embedder: The model.
        vectors: A FAISS index, whose kind and training the written one has.

    Raises:
        InputError: If the folder holds embeddings already, or cannot be written.
    """
    if (folder / MANIFEST).exists():
        raise InputError(f"{folder}: expected a folder without embeddings, found one with some; name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}; name a folder that can be written") from None
    embedder.save(folder / MODEL)
    records = []
    for number, start in enumerate(range(0, max(1, len(reads)), _ROWS)):
        part = reads.take(np.arange(start, min(start + _ROWS, len(reads))))
        path = folder / f"{number:05d}.parquet"
        write_shard(path, Shard(part, embedder.embed(part.sequences)), embedder.alphabet, embedder.fingerprint)
        records.append({"file": path.name, "rows": len(part), "sha256": sha256(path)})
    manifest = Manifest(
        embedder.fingerprint, embedder.dim, embedder.alphabet.name, [], int(reads.sizes.sum()), len(reads), records
    )
    write_manifest(folder, manifest)
    _write_plan(manifest, kind_of(vectors), folder / FOLDER)
    write_index(emptied(vectors), folder / FOLDER / TRAINED)
    index_here(open_shards(folder))


def index_here(
    shards: Shards, kind: Kind | None = None, *, rebuild: bool = False, executor: Executor = run_here
) -> int:
    """Index all shards that are not indexed yet.

    Args:
        shards: The shards.
        kind: As in ``prepare_index``.
        rebuild: As in ``prepare_index``.
        executor: Runs ``build_shard`` for every shard; by default in this process.

    Returns:
        Number of shards that were indexed.

    Raises:
        InputError: As ``prepare_index``.
    """
    jobs = prepare_index(shards, kind, rebuild=rebuild)
    shared = {"alphabet": shards.manifest.alphabet, "model": shards.manifest.model}
    executor(build_shard, [{**job._asdict(), **shared} for job in jobs], "indexing")
    finish_index(shards)
    return len(jobs)


def read_checked(folder: Path, name: str, checksum: str) -> Any:
    """A FAISS index from a file of the list.

    Raises:
        InputError: If it is missing or damaged.
    """
    path = folder / FOLDER / name
    if sha256(path) != checksum:
        raise InputError(
            f"{path}: expected the file that {LIST} describes, found another or a damaged one (its SHA-256 differs); make it "
            f"again: nwa index {folder} --rebuild"
        )
    return read_index(path)


def _up_to_date(job: ShardJob, done: dict[str, Any], shard: dict[str, Any]) -> bool:
    if not job.target.exists():
        return False
    record = done.get(job.target.name)  # an interrupted run has no list yet; its finished files are whole
    return record is None or (record["shard"] == shard["sha256"] and record["sha256"] == sha256(job.target))


def _write_plan(manifest: Manifest, kind: Kind, folder: Path) -> None:
    with replaced(folder / PLAN) as part:
        folder.mkdir(exist_ok=True)
        part.write_text(json.dumps({"model": manifest.model, "kind": kind, "rows": manifest.distinct}))


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.faiss"


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
