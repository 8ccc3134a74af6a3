"""Table and picture of the study of labels."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

#: What the columns of the table are called, by the columns of the CSV file.
TITLES = {
    "test_spearman": "Spearman",
    "test_nearest": "true nearest %",
    "test_family": "family %",
    "val_spearman": "validation: Spearman",
    "val_nearest": "true nearest %",
    "val_family": "family %",
    "l_nw": "L_nw",
    "accuracy": "training accuracy %",
    "steps": "steps",
    "seconds": "CPU s",
}


def labels_table(lines: list[dict[str, str]], names: list[str], columns: Sequence[str]) -> str:
    """The table: mean and standard deviation over seeds.

    Args:
        lines: Lines of the CSV file.
        names: Names of the rows.
        columns: Columns of the CSV file to show.
    """
    heads = ["row", "seeds", *(TITLES[column] for column in columns)]
    table = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for name in names:
        found = [line for line in lines if line["row"] == name]
        cells = [name, str(len(found))]
        for column in columns:
            values = np.array([float(line[column] or "nan") for line in found])
            digits = 3 if "spearman" in column else 0 if column == "steps" else 1
            deviation = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
            cells.append("" if np.isnan(values).any() else f"{values.mean():.{digits}f}{deviation}")
        table.append(f"| {' | '.join(cells)} |")
    return "\n".join(table)


def labels_figure(lines: list[dict[str, str]], names: list[str]) -> Figure:
    """How often the nearest read has the right family, against the Spearman correlation, on test families, by row."""
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    for name in names:
        found = [line for line in lines if line["row"] == name]
        if not found or name == "random":
            continue
        both = [[float(line[column]) for line in found] for column in ("test_spearman", "test_family")]
        means = [float(np.mean(values)) for values in both]
        spreads = [float(np.std(values, ddof=1)) if len(values) > 1 else 0.0 for values in both]
        colour = "tab:red" if "nwa" in name else "tab:blue" if name in ("plain", "triplet") else "tab:gray"
        axes.errorbar(*means, xerr=spreads[0], yerr=spreads[1], fmt="o", color=colour, capsize=2)
        axes.annotate(name, means, xytext=(5, 4), textcoords="offset points", fontsize=8, color=colour)
    axes.set(
        title="Families that no model has seen: without NWA (blue), with it (red), controls (gray)",
        xlabel="Spearman correlation of embedding distance and edit distance",
        ylabel="nearest read is of the right family (%)",
    )
    return figure


def machine() -> str:
    """The processor, the number of threads and the version of PyTorch."""
    cpus = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", cpus.read_text()) if cpus.exists() else None
    return f"{found[1] if found else platform.machine()}, one thread, PyTorch {torch.__version__}"
