"""The finished cells of a study: one line each in a CSV file, so that an interrupted study resumes."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from statistics import fmean, stdev
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


def spread(group: list[dict[str, str]], name: str) -> str:
    """Mean and standard deviation of a column; empty if a set has no such number, such as an error of pairs it has not."""
    values = [float(cell[name]) for cell in group if cell[name]]
    if not values or not all(map(isfinite, values)):
        return ""
    return f"{fmean(values):.2f} ± {stdev(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


def table(cells: list[dict[str, str]], keys: Mapping[str, str], shown: Mapping[str, str]) -> str:
    """Markdown: for each group of cells, its seeds, mean steps, and mean and standard deviation of some columns.

    Args:
        cells: Finished cells, with a column ``steps``.
        keys: Columns that tell groups apart, and their titles.
        shown: Columns of numbers, and their titles.
    """
    numbers = ("---:",) * (2 + len(shown))
    sides = ["---:" if name in ("budget", "train_size") else "---" for name in keys]
    rows = [(*keys.values(), "seeds", "steps", *shown.values()), (*sides, *numbers)]
    for key, group in grouped(cells, *keys).items():
        steps = fmean(int(cell["steps"]) for cell in group)
        rows.append((*key, str(len(group)), f"{steps:,.0f}", *(spread(group, name) for name in shown)))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def finish_cells(
    options: argparse.Namespace,
    columns: Sequence[str],
    about: Callable[[str, int], dict[str, Any]],
    run: Callable[[str, int], dict[str, Any]],
) -> None:
    """Compute every cell that is not finished, write it, and print it without its first columns.

    Args:
        options: Of ``study_parser``.
        columns: Columns of the file.
        about: Key of a cell, from its row and seed.
        run: All other columns, from the same.
    """
    for seed in options.seeds:
        for row in options.rows:
            key = about(row, seed)
            if find_cell(read_cells(options.out), key):
                continue
            cell = key | run(row, seed)
            add_cell(options.out, columns, cell)
            print(" ".join(f"{name}={cell[name]}" for name in columns if name not in ("data", "machine")), flush=True)


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
