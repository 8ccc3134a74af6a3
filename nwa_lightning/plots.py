"""Pictures: an attention map beside its Needleman-Wunsch matrix, and predicted against true distances."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from nwa_lightning.alignment import PUBLISHED_SCORES, Kind, Scores, edit_distances, nw_matrix, optimal_path
from nwa_lightning.data.targets import QUANTITIES, UNITS, TargetName
from nwa_lightning.nwa.functional import nw_target
from nwa_lightning.scoring import Scoring, strided_matrices
from nwa_lightning.sequences.alphabet import DNA, Alphabet
from nwa_lightning.sequences.collection import Sequences

#: Titles of the targets of a map.
_TARGETS: dict[Kind, str] = {
    "prefix": "target: row softmax of the matrix",
    "best_through": "target: row softmax of whole alignments",
}

#: The most letters of a name in a label.
_LONGEST_NAME = 32


def _figure(columns: int, height: float = 4.4) -> Figure:
    """A figure outside of any window system and of pyplot's global list, so it need not be closed."""
    figure = Figure(figsize=(4.6 * columns, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def attention_figure(
    attention: NDArray[np.float32],
    first: str,
    second: str,
    *,
    names: tuple[str, str] = ("first sequence", "second sequence"),
    scores: Scores | Scoring = PUBLISHED_SCORES,
    temperature: float = 1.0,
    kind: Kind = "prefix",
    alphabet: Alphabet = DNA,
) -> Figure:
    """Draw an attention map beside its target, with the optimal alignment as a line over all panels.

    Args:
        attention: ``(n1 + 1, n2 + 1)`` map, rows of the first sequence, columns of the second, both beginning with ``<sos>``.
        first: The sequence of the rows, n1 letters.
        second: The sequence of the columns, n2 letters.
        names: Names of the two sequences.
        scores: Scores of the Needleman-Wunsch matrix; with a ``Scoring``, no alignment is drawn over the panels.
        temperature: Divides the scores of the matrix before its row softmax.
        kind: Kind of the target's matrix, as in ``nw_matrices``.
        alphabet: The letters of a ``Scoring``.

    Returns:
        Three panels: the map and the row softmax of the target's matrix, in one colour scale, and the Needleman-Wunsch
        matrix.

    Raises:
        ValueError: If the map has another shape.
    """
    shape = (len(first) + 1, len(second) + 1)
    if attention.shape != shape:
        raise ValueError(
            f"Expected a map of shape {shape} for {len(first)} and {len(second)} letters but got {attention.shape}; cut "
            f"it to the lengths of the sequences, <sos> included."
        )
    if isinstance(scores, Scores):
        matrix: NDArray[Any] = nw_matrix(first, second, **scores._asdict())
        taught: NDArray[Any] = nw_matrix(first, second, **scores._asdict(), kind=kind)
        path = optimal_path(first, second, matrix, **scores._asdict())
    else:
        matrix, taught = (_matrix_by(scores, alphabet, first, second, each) for each in ("prefix", kind))
        path = np.empty((0, 2), dtype=np.int64)
    target = nw_target(torch.from_numpy(taught)[None], temperature=temperature)[0].numpy()
    edits = int(edit_distances([first.upper(), second.upper()], [[0, 1]])[0])
    names = (_short(names[0]), _short(names[1]))

    figure = _figure(3, height=5.6)
    axes = figure.subplots(1, 3, sharex=True, sharey=True)
    # A square-root scale shows faint values better than a linear one. The maximum ignores the few sharpest rows.
    norm = PowerNorm(0.5, vmin=0.0, vmax=float(np.quantile(target, 0.999)))
    fill: dict[str, Any] = {"aspect": "auto", "interpolation": "nearest"}
    shown = (("attention map", attention), (_TARGETS[kind], target))
    for axis, (title, image) in zip(axes, shown, strict=False):
        drawn = axis.imshow(image, cmap="magma", norm=norm, **fill)
        axis.set_title(title)
    below: dict[str, Any] = {"location": "bottom", "aspect": 40, "pad": 0.03}
    figure.colorbar(
        drawn, ax=axes[:2], label="probability within a row", extend="max", shrink=0.6, ticks=MaxNLocator(5), **below
    )
    heights = axes[2].imshow(matrix, cmap="magma", **fill)
    axes[2].set_title("Needleman-Wunsch matrix")
    figure.colorbar(heights, ax=axes[2], label="score", shrink=0.9, ticks=MaxNLocator(5), **below)
    for axis in axes:
        if len(path):
            axis.plot(path[:, 1], path[:, 0], color="deepskyblue", linewidth=0.6, label="optimal alignment")
        axis.set_xlabel(f"{names[1]} (bases)", parse_math=False)
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_locator(MaxNLocator(6, integer=True))
            side.set_major_formatter(FuncFormatter(_position))
    axes[0].set_ylabel(f"{names[0]} (bases)", parse_math=False)
    if len(path):
        axes[0].legend(loc="upper right", facecolor="black", edgecolor="none", labelcolor="white")
    figure.suptitle(
        f"{names[0]} and {names[1]}: edit distance {edits} of {max(shape) - 1} bases",
        fontsize="large",
        parse_math=False,
    )
    return figure


def _matrix_by(scoring: Scoring, alphabet: Alphabet, first: str, second: str, kind: Kind) -> NDArray[np.int32]:
    """``(n1 + 1, n2 + 1)`` Needleman-Wunsch matrix by any scores."""
    both = Sequences.from_strings([first, second], alphabet)
    whole = strided_matrices(both.padded(), both.lengths, [[0, 1]], scoring=scoring, kind=kind)
    return whole[0, : len(first) + 1, : len(second) + 1]


def _position(place: float, _number: int | None = None) -> str:
    return "<sos>" if place == 0 else f"{place:g}"


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..."


def prediction_figure(
    predicted: dict[str, NDArray[np.float32]], distance: NDArray[Any], target: TargetName = "edits"
) -> Figure:
    """Draw predicted against true distances.

    Args:
        predicted: The ``(P,)`` predictions of each model, in the unit of the target; those that are not finite are left out.
        distance: ``(P,)`` distances, in the same unit.
        target: What is predicted, for the labels.

    Returns:
        One panel per model, coloured by the number of pairs.
    """
    figure = _figure(len(predicted))
    axes = np.atleast_1d(figure.subplots(1, len(predicted), sharex=True, sharey=True))
    top = float(max(distance.max(), *(values[np.isfinite(values)].max(initial=0) for values in predicted.values())))
    for axis, (name, values) in zip(axes, predicted.items(), strict=True):
        shown = np.isfinite(values)
        bins = axis.hexbin(
            distance[shown], values[shown], gridsize=60, extent=(0, top, 0, top), bins="log", mincnt=1, cmap="viridis"
        )
        if not shown.any():
            bins.set_norm(LogNorm(1, 10))  # without numbers, it cannot find its own scale
        axis.plot([0, top], [0, top], color="black", linewidth=0.8)
        axis.set(
            title=name, xlabel=f"{QUANTITIES[target]} ({UNITS[target]})", xlim=(0, top), ylim=(0, top), aspect="equal"
        )
        figure.colorbar(bins, ax=axis, label="pairs", shrink=0.8)
    axes[0].set_ylabel(f"predicted ({UNITS[target]})")
    return figure
