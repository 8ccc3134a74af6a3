"""The finished cells of a study: one line each in a CSV file, so that an interrupted study resumes."""

from __future__ import annotations

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
