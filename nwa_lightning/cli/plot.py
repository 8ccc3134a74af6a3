"""``nwa plot``: a map of reads."""

from __future__ import annotations

import argparse
import csv
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.cli.command import Command
from nwa_lightning.cli.messages import did_you_mean
from nwa_lightning.cli.reads_options import (
    READS,
    add_model_arguments,
    add_threads,
    alphabet_of,
    check_model_arguments,
    is_folder,
    read_sequences,
    threads_of,
)
from nwa_lightning.errors import InputError, one_line
from nwa_lightning.sequences.table import DELIMITERS, excerpt

if TYPE_CHECKING:
    from nwa_lightning.search.reads import Reads

#: Endings of the files, and what they become.
_ENDINGS: Final = (".html", ".png")

#: What the page says about each method.
_NOTES: Final = {
    "tsne": "t-SNE: near points are similar reads. Distances between clusters, and sizes of clusters, mean little.",
    "pca": "Principal components: points that are far apart differ; near points may differ in other components.",
}

#: Pixels per inch of a picture.
_DPI: Final = 150


class _Points(NamedTuple):
    """Reads to draw.

    Attributes:
        reads: N reads, a sample if there are too many.
        embeddings: ``(N, m)``.
        total: Number of distinct reads of the source.
    """

    reads: Reads
    embeddings: NDArray[np.float32]
    total: int


class _Groups(NamedTuple):
    """A column of a table.

    Attributes:
        column: Its name.
        of_id: The value of each id.
    """

    column: str
    of_id: dict[str, str]


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Draw a map of reads, in which similar reads are near each other: as a web page to zoom in, to point at and to search "
        "in, or as a picture. More than 100,000 distinct reads are sampled."
    )
    parser.add_argument("reads", metavar="READS_OR_DIR", help=f"{READS}; or a folder of `nwa embed`")
    parser.add_argument(
        "--out", nargs="+", required=True, metavar="FILE", help="map.html, map.png or both; the ending decides"
    )
    parser.add_argument(
        "--color",
        metavar="TABLE",
        help="CSV or TSV with a header; ids of reads are in the first column: members of `nwa cluster`, metadata, taxonomy",
    )
    parser.add_argument("--column", metavar="NAME", help="column of the table with the groups (default: the second)")
    parser.add_argument(
        "--method",
        choices=tuple(_NOTES),
        default="tsne",
        help="tsne keeps neighbours together; pca is a linear projection (default: tsne)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample and of t-SNE (default: 0)")
    add_model_arguments(parser, "default: 512 landmarks without training")
    add_threads(parser)


def _run(chosen: argparse.Namespace) -> None:
    from nwa_lightning.search.layout import layout

    check_model_arguments(chosen)
    paths = [_checked_path(name) for name in chosen.out]
    if chosen.seed < 0:
        raise InputError(f"--seed: expected at least 0, found {chosen.seed}; give a larger number")
    if chosen.column is not None and chosen.color is None:
        raise InputError(f"--column {chosen.column}: expected --color TABLE too, found none; name the table")
    table = None if chosen.color is None else _read_groups(Path(chosen.color), chosen.column)
    threads = threads_of(chosen)
    points = _from_folder(chosen) if is_folder(chosen.reads) else _from_reads(chosen)
    names = points.reads.sequences.names
    groups = ["reads"] * len(names) if table is None else _groups_of(names, table, chosen.color)
    xy = layout(points.embeddings, seed=chosen.seed, method=chosen.method, threads=threads)
    _write(paths, chosen, points, xy, groups, "" if table is None else table.column)
    print(f"written: {', '.join(map(str, paths))}: {_described(points)}")


def _checked_path(name: str) -> Path:
    path = Path(name)
    if path.suffix.lower() not in _ENDINGS:
        raise InputError(
            f"--out {name}: expected a name that ends in {' or '.join(_ENDINGS)}; give it one of these endings"
        )
    if not path.parent.is_dir():
        raise InputError(f"--out {name}: expected an existing folder, found none at {path.parent}; make it first")
    return path


def _from_folder(chosen: argparse.Namespace) -> _Points:
    """The reads of a folder of embeddings that were not deleted; only the sample is kept in memory."""
    from nwa_lightning.search.layout import sample_rows
    from nwa_lightning.search.reads import concatenated
    from nwa_lightning.search.shard_jobs import count_live, read_deleted
    from nwa_lightning.search.shards import open_shards

    if chosen.ckpt_path is not None or chosen.landmarks is not None:
        raise InputError(
            f"--ckpt_path, --landmarks: expected none for {chosen.reads}, which has its own model; leave them out"
        )
    shards = open_shards(chosen.reads)
    deleted = read_deleted(shards.folder)
    total = count_live(shards, deleted)
    rows = sample_rows(total, chosen.seed)
    rows += np.searchsorted(deleted - np.arange(len(deleted)), rows, side="right")  # the deleted rows before each
    parts: list[Reads] = []
    embeddings, start = [], 0
    for number in range(len(shards)):
        shard = shards.read(number)
        first, last = np.searchsorted(rows, [start, start + len(shard.reads)])
        parts.append(shard.reads.take(rows[first:last] - start))
        embeddings.append(shard.embeddings[rows[first:last] - start])
        start += len(shard.reads)
    return _Points(concatenated(parts), np.concatenate(embeddings), total)


def _from_reads(chosen: argparse.Namespace) -> _Points:
    """The distinct reads of a file or a set, embedded by the model that was asked for."""
    from nwa_lightning.landmarks.features import warn_of_foreign
    from nwa_lightning.progress import counted
    from nwa_lightning.search.embedder import ReadEmbedder
    from nwa_lightning.search.layout import sample_rows
    from nwa_lightning.search.reads import distinct_reads

    embedder = None if chosen.ckpt_path is None else ReadEmbedder.from_checkpoint(chosen.ckpt_path)
    sequences = read_sequences(chosen.reads, chosen, None if embedder is None else embedder.alphabet)
    distinct = distinct_reads(sequences).reads
    reads = distinct.take(sample_rows(len(distinct), chosen.seed))
    if embedder is None:
        embedder = ReadEmbedder.from_landmarks(reads.sequences, chosen.landmarks or 512, alphabet=alphabet_of(chosen))
    embedder.check(reads.sequences, chosen.reads)
    warn_of_foreign(embedder.model, reads.sequences)
    with counted("embeddings", len(reads), worth=len(reads) > 5000, unit="reads") as done:
        return _Points(reads, embedder.embed(reads.sequences, done), len(distinct))


def _read_groups(path: Path, column: str | None) -> _Groups:
    """Read one column of a table.

    Args:
        path: CSV or TSV with a header; ids are in the first column.
        column: Name of the column; None for the second.
    """
    from xopen import xopen

    try:
        with xopen(path, "rt", encoding="utf-8-sig", newline="") as file:
            return _parsed_groups(path, file, column)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
        raise InputError(f"--color {path}: expected a table in UTF-8, found: {reason}; check the file") from None


def _parsed_groups(path: Path, lines: Iterable[str], column: str | None) -> _Groups:
    lines = iter(lines)
    first = next(lines, "")
    delimiter = next((delimiter for delimiter in DELIMITERS if delimiter in first), None)
    if delimiter is None:
        found = f"one column in its first line, {excerpt(first.strip())}" if first.strip() else "an empty file"
        raise InputError(
            f"--color {path}: expected a header and at least two columns, ids and groups, found {found}; write CSV or TSV"
        )
    # Tables with tabs are mostly written without quotes around anything.
    rows = csv.reader(
        itertools.chain([first], lines),
        delimiter=delimiter,
        quoting=csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL,
        strict=True,
    )
    of_id: dict[str, str] = {}
    try:
        header = [name.strip() for name in next(rows)]
        place = _place_of(path, header, column)
        for row in rows:
            if not "".join(row).strip():
                continue
            if len(row) != len(header):
                raise InputError(
                    f"--color {path}: line {rows.line_num}: expected {len(header)} columns as in the header, found "
                    f"{len(row)}; mend the row"
                )
            name, value = row[0].strip(), row[place].strip()
            if of_id.setdefault(name, value) != value:
                raise InputError(
                    f"--color {path}: line {rows.line_num}: expected one value of {excerpt(name)}, found "
                    f"{excerpt(of_id[name])} before and {excerpt(value)} now; keep one of the lines"
                )
    except csv.Error as error:
        raise InputError(
            f"--color {path}: line {rows.line_num}: the row cannot be read: {one_line(error)}; check its quotes"
        ) from None
    return _Groups(header[place], of_id)


def _place_of(path: Path, header: list[str], column: str | None) -> int:
    if column is None:
        return 1
    if header.count(column) != 1:
        raise InputError(
            f"--column {column}: expected one column of {path}, found: {excerpt(', '.join(header), 120)}"
            f"{did_you_mean(column, header)}; name one that is there once"
        )
    return header.index(column)


def _groups_of(names: Sequence[str], table: _Groups, path: str) -> list[str]:
    """The group of each read; empty, and counted, for those that the table lacks."""
    missing = [name for name in names if name not in table.of_id]
    if len(missing) == len(names):
        raise InputError(
            f"--color {path}: expected ids of reads in its first column, such as {excerpt(names[0])}, found none of them; put "
            f"the ids there"
        )
    if missing:
        print(
            f"{path}: {len(missing):,} of {len(names):,} reads are missing, such as {excerpt(missing[0])}; they become grey"
        )
    return [table.of_id.get(name, "") for name in names]


def _described(points: _Points) -> str:
    count = len(points.reads)
    if count < points.total:
        return f"a random sample of {count:,} of {points.total:,} distinct reads"
    return f"{count:,} distinct read{'s' if count > 1 else ''}"


def _write(
    paths: Sequence[Path],
    chosen: argparse.Namespace,
    points: _Points,
    xy: NDArray[np.float32],
    groups: Sequence[str],
    column: str,
) -> None:
    from nwa_lightning.search.files import replaced
    from nwa_lightning.search.map_page import map_page
    from nwa_lightning.search.map_picture import map_figure

    name = Path(chosen.reads).resolve().name if is_folder(chosen.reads) else Path(chosen.reads).name
    title = f"{name}: {_described(points)}"
    sizes = points.reads.sizes
    for path in paths:
        with replaced(path) as part:
            if path.suffix.lower() == ".png":
                figure = map_figure(xy, groups, sizes, title=title, grouping=column)
                figure.savefig(part, dpi=_DPI, format="png")
            else:
                ids = points.reads.sequences.names
                note = _NOTES[chosen.method]
                page = map_page(xy, ids, groups, sizes, title=title, grouping=column, note=note)
                part.write_text(page, encoding="utf-8")


COMMAND = Command(
    "draw a map of reads, as a web page or a picture, coloured by cluster or metadata", _add_arguments, _run
)
