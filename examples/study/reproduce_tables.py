"""Tables of the study: every cell, and mean and spread over seeds."""

from __future__ import annotations

import itertools
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from finished import read_cells

#: What a run may be, beside a lambda.
KINDS = ("without", "longer", "with", "auto")
#: Lower and upper ends of the bands of edit distance, in edits, by their names.
BANDS = {"ED 1-10": (1, 10), "ED 11-20": (11, 20), "ED 21-40": (21, 40), "ED > 40": (41, 10**6)}
#: Name of the file of finished cells.
CELLS = "cells.csv"
#: What tells two cells apart, and which of its columns are texts.
KEYS = ("data", "row", "dim", "train_size", "steps", "seconds_asked", "radius", "nwa", "seed")
TEXTS = ("data", "row", "nwa")
#: Columns of whole numbers.
WHOLE = ("dim", "train_size", "steps", "seconds_asked", "seed", "steps_run", "threads")
#: The figures of a cell that make a column of the table.
COLUMNS = ("rmse", "rmse_homologous", *BANDS, "r2", "spearman", "seconds")
#: A change of RMSE, in percent of the length, that is none, however sure it is.
SMALLEST = 0.01


def typed_cells(path: Path) -> list[dict[str, Any]]:
    """Every finished cell, with numbers as numbers and empty values as None."""
    return [{name: _typed(name, value) for name, value in cell.items()} for cell in read_cells(path)]


def _typed(name: str, value: str) -> str | int | float | None:
    if name in TEXTS:
        return value
    if not value:
        return None
    return int(value) if name in WHOLE else float(value)


def tables(folder: Path, order: list[str], against: list[str]) -> str:
    """Write table.md: mean and spread over seeds, and the changes.

    Args:
        folder: Folder with ``cells.csv``.
        order: Order of the rows.
        against: Rows to compare with, at the same budget: each row is compared with the one that its name begins with, or
            else with the first one.

    Returns:
        The content of table.md.
    """
    cells = typed_cells(folder / CELLS)
    if not cells:
        return "no cell is done yet"
    heads = ["data", "m", "training sequences", "encoder", "NWA", "seeds", "steps", "radius", *COLUMNS]
    heads += ["RMSE less that without NWA, equal steps", "equal seconds", f"RMSE less that of {' or '.join(against)}"]
    lines = [f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * len(heads))} |"]

    def contest(cell: dict[str, Any]) -> tuple[Any, ...]:
        """The values that two comparable cells share: data, dimension, training sequences, budget, initial radius."""
        sizes = cell["dim"], cell["train_size"] or 10**9
        budget = cell["steps"] or 0, cell["seconds_asked"] or 0
        return (cell["data"], *sizes, *budget, cell["radius"] or 0)

    def place(cell: dict[str, Any]) -> tuple[Any, ...]:
        nwa = cell["nwa"]
        return (*contest(cell), order.index(cell["row"]), KINDS.index(nwa) if nwa in KINDS else len(KINDS), nwa)

    rmse = {(contest(cell), cell["row"], cell["nwa"], cell["seed"]): cell["rmse"] for cell in cells}
    for _, group in itertools.groupby(sorted(cells, key=place), key=place):
        runs = list(group)
        first = runs[0]
        steps = round(mean(run["steps_run"] for run in runs)) if first["steps_run"] else ""
        line = [
            first["data"],
            first["dim"] or "",
            first["train_size"] or "all",
            first["row"],
            first["nwa"],
            len(runs),
            steps,
            first["radius"] or "",
        ]
        line += [spread([run[name] for run in runs if run[name] is not None]) for name in COLUMNS]
        base = next((row for row in against if first["row"].startswith(f"{row}_")), against[0])
        others = [(first["row"], "without"), (first["row"], "longer"), (base, "without")]
        if first["nwa"] in ("without", "longer"):
            others[:2] = [None, None]
        if first["row"] in against:
            others[2] = None
        for other in others:
            bases = [rmse.get((contest(run), *other, run["seed"])) if other else None for run in runs]
            line.append("" if None in bases else verdict([run["rmse"] for run in runs], bases))
        lines.append(f"| {' | '.join(map(str, line))} |")
    text = "\n".join(lines)
    (folder / "table.md").write_text(f"{text}\n")
    return text


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    if not values:
        return ""
    return f"{mean(values):.3g}" if len(values) < 2 else f"{mean(values):.3f} ± {stdev(values):.3f}"


def verdict(values: list[float], bases: list[float]) -> str:
    """Mean and spread of the changes by seed; a change counts if it exceeds SMALLEST and two of its standard deviations."""
    changes = [value - base for value, base in zip(values, bases, strict=True)]
    share = f"{mean(changes):+.3f} ({100 * (mean(values) / mean(bases) - 1):+.1f} %)"
    if len(changes) < 2:
        return share
    found = "within the spread"
    if abs(mean(changes)) > max(SMALLEST, 2 * stdev(changes)):
        found = "better" if mean(changes) < 0 else "worse"
    return f"{share} ± {stdev(changes):.3f}: {found}"
