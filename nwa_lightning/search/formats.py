"""Files of hits and clusters, written as they come; a file appears under its name when it is complete."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from nwa_lightning.errors import InputError, one_line
from nwa_lightning.search.extra import optional
from nwa_lightning.search.format_lines import Lines, cluster_lines
from nwa_lightning.search.format_rows import Hit, Member, QueryHits

#: Hits of a row group of Parquet.
_ROWS: Final = 1 << 16


class Output(Protocol):
    """A file of hits."""

    @property
    def path(self) -> Path:
        """Where it will be."""

    def open(self) -> AbstractContextManager[Callable[[QueryHits], None]]:
        """A function that writes the hits of a query; at the end of the context, the file is complete.

        Raises:
            InputError: If the file cannot be written.
        """


@dataclass(frozen=True)
class TextOutput:
    """A file of lines.

    Attributes:
        path: Where it will be.
        lines: Lines of a query and its hits: ``blast6_lines``, ``uc_lines``, ``paf_lines`` or ``userout_lines(...)``.
    """

    path: Path
    lines: Lines

    @contextmanager
    def open(self) -> Iterator[Callable[[QueryHits], None]]:
        """See ``Output``."""
        with _text(self.path) as write:
            yield lambda found: write(self.lines(found))


@dataclass(frozen=True)
class ParquetOutput:
    """A Parquet file with the columns query, target, edits, identity and strand.

    ``identity`` is 1 minus edits over the longer length, which needs no alignment.

    Attributes:
        path: Where it will be.
    """

    path: Path

    @contextmanager
    def open(self) -> Iterator[Callable[[QueryHits], None]]:
        """See ``Output``."""
        arrow, parquet = optional("pyarrow"), optional("pyarrow.parquet")
        text = arrow.string()
        schema = arrow.schema(
            [
                ("query", text),
                ("target", text),
                ("edits", arrow.int32()),
                ("identity", arrow.float64()),
                ("strand", text),
            ]
        )
        waiting: list[Hit] = []

        def flush() -> None:
            columns: dict[str, Any] = {name: [getattr(hit, name) for hit in waiting] for name in schema.names}
            waiting.clear()
            writer.write_table(arrow.table(columns, schema=schema))

        def add(found: QueryHits) -> None:
            waiting.extend(found.hits)
            if len(waiting) >= _ROWS:
                with _disk(self.path):
                    flush()

        with _part(self.path) as part:
            with _disk(self.path):
                writer = parquet.ParquetWriter(part, schema)
            try:
                yield add
                with _disk(self.path):
                    flush()
            finally:
                with _disk(self.path):
                    writer.close()


def write_hits(found: Iterable[QueryHits], outputs: Iterable[Output]) -> int:
    """Write hits to files of several formats at once, so that every hit is aligned at most once.

    Args:
        found: Queries with their hits, such as those of ``hit_rows``.
        outputs: Files to write; existing ones are replaced.

    Returns:
        Number of hits.

    Raises:
        InputError: If a file cannot be written, or two outputs have one path. No incomplete file is left then.
    """
    outputs = list(outputs)
    paths = [output.path.absolute() for output in outputs]
    for number, path in enumerate(paths):
        if path in paths[:number]:
            raise InputError(
                f"{path}: expected a file for each format, found two formats for it; choose another name for one"
            )
    count = 0
    with ExitStack() as stack:
        adders = [stack.enter_context(output.open()) for output in outputs]
        for one in found:
            for add in adders:
                add(one)
            count += len(one.hits)
    return count


def write_cluster_uc(members: Iterable[Member], path: Path) -> None:
    """Write clusters in the format of ``--uc``, see ``cluster_lines``.

    Args:
        members: All sequences, each centroid before the other members of its cluster.
        path: File to write; an existing one is replaced.

    Raises:
        InputError: If the file cannot be written.
    """
    with _text(path) as write:
        for line in cluster_lines(members):
            write(line)


@contextmanager
def _text(path: Path) -> Iterator[Callable[[str], None]]:
    """A function that writes text to a file; the file appears at the end."""
    with _part(path) as part:
        with _disk(path):
            file = part.open("w", encoding="utf-8", newline="\n")

        def write(text: str) -> None:
            with _disk(path):
                file.write(text)

        try:
            yield write
        finally:
            with _disk(path):
                file.close()


@contextmanager
def _part(path: Path) -> Iterator[Path]:
    """A temporary name beside the path; the file gets its own name at the end, and is removed if something fails."""
    part = path.with_name(f"{path.name}.part")
    try:
        with _disk(path):
            if path.is_dir():
                raise IsADirectoryError(None, "Is a directory")
        yield part
        with _disk(path):
            os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """Errors of the disk become one line; it names this file, and several may be open."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise InputError(
            f"{path}: expected a file that can be written, found: {reason}; check the folder, its permissions and its space"
        ) from None
