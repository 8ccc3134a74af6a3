"""The finished cells of a study: one line each in a CSV file, so that an interrupted study resumes."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def read_cells(path: Path) -> list[dict[str, str]]:
    """Every finished cell; none if the file does not exist yet."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def add_cell(path: Path, columns: Sequence[str], cell: Mapping[str, Any]) -> None:
    """Append a cell, with a line of column names before the first one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns)
        if not file.tell():
            writer.writeheader()
        writer.writerow(cell)


def find_cell(cells: list[dict[str, str]], key: Mapping[str, Any]) -> dict[str, str] | None:
    """The first cell with all the values of a key, in which None means an empty value; None if there is no such cell."""
    wanted = {name: "" if value is None else str(value) for name, value in key.items()}
    return next((cell for cell in cells if wanted.items() <= cell.items()), None)


def grouped(cells: list[dict[str, str]], *names: str) -> dict[tuple[str, ...], list[dict[str, str]]]:
    """The cells by their values of some columns, in the order of the first cell of each group."""
    groups: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for cell in cells:
        groups.setdefault(tuple(cell[name] for name in names), []).append(cell)
    return groups


def study_parser(description: str | None, *, rows: Sequence[str], seconds: float, out: Path) -> argparse.ArgumentParser:
    """A parser with the options that studies of rows and seeds share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", default=rows)
    parser.add_argument(
        "--seconds", type=float, default=seconds, help="seconds of training, per cell (default: %(default)g)"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--table", action="store_true", help="print the table of the finished cells, and stop")
    return parser
