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
from nwa_lightning.search.partition import describe_sources
from nwa_lightning.search.shard_jobs import read_deleted, write_deleted
from nwa_lightning.search.shards import MANIFEST, open_shards, write_manifest

#: Folder within the folder, for embeddings that are not finished.
_ADDING: Final = ".adding"


def add_reads(folder: str | Path, sources: Sequence[str]) -> None:
    """Embed more reads with the model of a folder, into more shards; the same call continues an interrupted one.

    A read that is there already becomes another row. Files that were added before are left out.

    Args:
        folder: Folder of ``nwa embed``.
        sources: Files or sets of reads.

    Raises:
        InputError: If the reads cannot be used, only some of the files were added before, or the folder cannot be written.
    """
    shards = open_shards(folder)
    known = shards.manifest
    adding = shards.folder / _ADDING
    if (adding / MANIFEST).exists() and set(open_shards(adding).manifest.source) <= set(known.source):
        shutil.rmtree(adding, ignore_errors=True)  # an interrupted call has listed its shards, and left this behind
    wanted = describe_sources(sources)
    before = [name for name in wanted if name in known.source]
    if len(before) == len(wanted):
        print(f"{folder}: holds these reads already")
        return
    if before:
        raise InputError(f"{folder}: expected files that are not in it yet, found {before[0]}; leave it out")
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
