"""Pictures: an attention map beside its Needleman-Wunsch matrix, and predicted against true edit distances."""

from __future__ import annotations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray


def _figure(columns: int) -> Figure:
    """A figure that belongs to no window system and to no global list, so nothing has to be closed."""
    figure = Figure(figsize=(4.6 * columns, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def attention_figure(
    attention: NDArray[np.float32],
    target: NDArray[np.float32],
    matrix: NDArray[np.int16],
    names: tuple[str, str] = ("first sequence", "second sequence"),
) -> Figure:
    """Draw an attention map beside what it was taught.

    Args:
        attention: ``(L1, L2)`` map, rows of the first sequence, columns of the second.
        target: ``(L1, L2)`` row softmax of the matrix; shares the colour scale of the map.
        matrix: ``(L1, L2)`` Needleman-Wunsch matrix.
        names: Of the two sequences.

    Returns:
        Three panels: the map, the target, the matrix.
    """
    figure = _figure(3)
    axes = figure.subplots(1, 3, sharex=True, sharey=True)
    top = float(np.quantile(target, 0.999))
    shown = (("attention map", attention), ("row softmax of the matrix", target))
    for axis, (title, image) in zip(axes, shown, strict=False):
        drawn = axis.imshow(image, cmap="viridis", vmin=0.0, vmax=top, interpolation="nearest")
        axis.set_title(title)
    figure.colorbar(drawn, ax=axes[:2], label="probability within a row", shrink=0.8)
    scores = axes[2].imshow(matrix, cmap="magma", interpolation="nearest")
    axes[2].set_title("Needleman-Wunsch matrix")
    figure.colorbar(scores, ax=axes[2], label="score", shrink=0.8)
    for axis in axes:
        axis.set_xlabel(f"{names[1]} (bases)")
    axes[0].set_ylabel(f"{names[0]} (bases)")
    return figure


def prediction_figure(predicted: dict[str, NDArray[np.float32]], distance: NDArray[np.int64]) -> Figure:
    """Draw predicted against true edit distances.

    Args:
        predicted: For each model its ``(P,)`` predictions, in edits.
        distance: ``(P,)`` edit distances, in edits.

    Returns:
        One panel per model, coloured by the number of pairs.
    """
    figure = _figure(len(predicted))
    axes = np.atleast_1d(figure.subplots(1, len(predicted), sharex=True, sharey=True))
    top = float(max(distance.max(), *(values.max() for values in predicted.values())))
    for axis, (name, values) in zip(axes, predicted.items(), strict=True):
        bins = axis.hexbin(distance, values, gridsize=60, extent=(0, top, 0, top), bins="log", mincnt=1, cmap="viridis")
        axis.plot([0, top], [0, top], color="black", linewidth=0.8)
        axis.set(title=name, xlabel="edit distance (edits)", xlim=(0, top), ylim=(0, top), aspect="equal")
        figure.colorbar(bins, ax=axis, label="pairs", shrink=0.8)
    axes[0].set_ylabel("predicted (edits)")
    return figure
