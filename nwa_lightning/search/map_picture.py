"""A map of reads as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from nwa_lightning.search.map_page import Legend, legend_of, point_radius, relative_areas

#: Opacity of the points, as on the page.
_OPACITY: Final = 0.85

#: The most letters of a name in the legend.
_LONGEST_NAME: Final = 40


def map_figure(
    xy: NDArray[np.float32], groups: Sequence[str], sizes: NDArray[np.int64], *, title: str = "", grouping: str = ""
) -> Figure:
    """Draw a map in the colours of ``map_page``.

    Args:
        xy: ``(N, 2)`` coordinates.
        groups: N names of groups, such as clusters; an empty one is ``UNKNOWN``.
        sizes: ``(N,)`` copies of each read.
        title: Title of the picture.
        grouping: What the groups are; title of the legend.

    Returns:
        One panel, and a legend if there is more than one group. The area of a point grows by the logarithm of its copies.

    Raises:
        ValueError: If the numbers of points differ.
    """
    if not len(xy) == len(groups) == len(sizes):
        raise ValueError(
            f"Expected coordinates, groups and sizes of the same points but got {len(xy)}, {len(groups)} and {len(sizes)}."
        )
    figure = Figure(figsize=(9.6, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    legend = legend_of(groups)
    order = legend.paint_order(sizes)
    # Scatter takes the square of the diameter.
    areas = (2 * point_radius(len(xy))) ** 2 * relative_areas(sizes)
    colors = to_rgba_array([entry.color for entry in legend.entries])
    colors[:, 3] *= _OPACITY
    axes.scatter(xy[order, 0], xy[order, 1], s=areas[order], c=colors[legend.entry_of[order]], linewidths=0)
    axes.set(xticks=[], yticks=[])
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_title(title, parse_math=False)
    if len(legend.entries) > 1:
        _add_legend(figure, legend, grouping)
    return figure


def _add_legend(figure: Figure, legend: Legend, grouping: str) -> None:
    marks = [
        Line2D([], [], linestyle="none", marker="o", markeredgewidth=0, color=entry.color) for entry in legend.entries
    ]
    labels = [f"{_short(entry.name)} ({entry.points:,})" for entry in legend.entries]
    # The texts come later: Matplotlib would leave out those that begin with an underscore.
    drawn = figure.legend(marks, ["name"] * len(marks), loc="outside right upper", frameon=False, fontsize="small")
    for text, label in zip(drawn.get_texts(), labels, strict=True):
        text.set(text=label, parse_math=False)
    drawn.set_title(_short(grouping))
    drawn.get_title().set_parse_math(False)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..."
