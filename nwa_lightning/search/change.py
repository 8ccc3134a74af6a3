"""Add reads to a folder of embeddings, and delete reads from its index."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from nwa_lightning.errors import InputError
from nwa_lightning.search.embed import embed_reads
from nwa_lightning.search.index_files import read_deleted, write_deleted
from nwa_lightning.search.partition import describe_sources
from nwa_lightning.search.shards import MANIFEST, Shards, open_shards, write_manifest

#: Folder within the folder, for embeddings that are not finished.
_ADDING: Final = ".adding"


def add_reads(folder: str | Path, sources: Sequence[str]) -> None:
    """Embed more reads with the model of a folder, into more shards; the same call continues an interrupted one.

    A read that is there already becomes another row.

    Args:
        folder: Folder of ``nwa embed``.
        sources: Files or sets of reads.

    Raises:
        InputError: If the reads cannot be used, or the folder cannot be written.
    """
    shards = open_shards(folder)
    adding = shards.folder / _ADDING
    if _added_before(shards, adding):
        done = open_shards(adding).manifest.source == describe_sources(sources)
        shutil.rmtree(adding, ignore_errors=True)
        if done:
            return
    embed_reads(sources, adding, shards.embedder(), alphabet=shards.alphabet)
    new = open_shards(adding).manifest
    records = []
    for number, record in enumerate(new.shards, start=len(shards)):
        name = f"{number:05d}.parquet"
        try:
            os.replace(adding / record["file"], shards.folder / name)
        except OSError as error:
            raise InputError(f"{shards.folder / name}: {error.strerror}; run the command again") from None
        records.append({**record, "file": name, "added": True})
    known = shards.manifest
    write_manifest(
        shards.folder,
        replace(
            known,
            source=[*known.source, *new.source],
            reads=known.reads + new.reads,
            distinct=known.distinct + new.distinct,
            shards=[*known.shards, *records],
        ),
    )
    shutil.rmtree(adding, ignore_errors=True)


def _added_before(shards: Shards, adding: Path) -> bool:
    """Whether an interrupted call listed all of its shards, and only left the folder behind."""
    if not (adding / MANIFEST).exists():
        return False
    new = [record["sha256"] for record in open_shards(adding).manifest.shards]
    return [record["sha256"] for record in shards.manifest.shards][-len(new) :] == new


def delete_reads(folder: str | Path, names: str | Path) -> int:
    """Leave reads out of all searches to come; their rows stay in the shards.

    Args:
        folder: Folder with an index.
        names: File with a name of a read on each line.

    Returns:
        Number of reads.

    Raises:
        InputError: If the file cannot be read, or one of the reads is not there.
    """
    try:
        wanted = {line.strip().encode() for line in Path(names).read_text().splitlines() if line.strip()}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{names}: expected names of reads, one on each line, found {error}") from None
    shards = open_shards(folder)
    rows, seen, start = [], set(), 0
    for number in range(len(shards)):
        labels = list(shards.read(number, embeddings=False).reads.sequences.labels)
        found = [row for row, label in enumerate(labels) if label in wanted]
        seen |= {labels[row] for row in found}
        rows += [start + row for row in found]
        start += len(labels)
    if wanted - seen:
        raise InputError(
            f"{names}: expected names of reads in {folder}, found {min(wanted - seen).decode()} ({len(wanted - seen):,} unknown "
            f"names); a read that was embedded as a copy has the name of the first copy"
        )
    write_deleted(shards.folder, np.union1d(read_deleted(shards.folder), np.array(rows, dtype=np.int64)))
    print(f"deleted: {len(rows):,} reads")
    return len(rows)
