"""Pictures of the study: the error against lambda, and attention maps without and with NWA."""

from __future__ import annotations

from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torch import Tensor

from nwa_lightning import EditDistanceModel, NWADataModule, nw_matrix, nw_target
from nwa_lightning.data.batch import chosen_pairs
from nwa_lightning.nwa.capture import captured_calls

#: Bases along each side of the zoomed region.
ZOOM = 40


def lambda_figure(cells: dict[str, list[dict[str, Any]]], title: str) -> Figure:
    """RMSE against lambda, of all and of homologous pairs (after Fig. 4 of Lee & No, 2024).

    Args:
        cells: The cells of each seed, by lambda; "without" and "auto" have no lambda and are drawn as lines.
        title: Title of the picture.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    numbers = sorted((name for name in cells if name not in ("without", "auto")), key=float)
    for axis, column, name in zip(axes, ("rmse", "rmse_homologous"), ("all pairs", "ED at most 40"), strict=True):
        values = [[cell[column] for cell in cells[number]] for number in numbers]
        spreads = [stdev(seeds) if len(seeds) > 1 else 0.0 for seeds in values]
        axis.errorbar(
            [float(number) for number in numbers], [mean(seeds) for seeds in values], spreads, marker="o", capsize=3
        )
        for kind, colour in (("without", "tab:gray"), ("auto", "tab:orange")):
            seeds = [cell[column] for cell in cells.get(kind, [])]
            if seeds:
                axis.axhline(mean(seeds), color=colour, label=kind)
            if len(seeds) > 1:
                axis.axhspan(mean(seeds) - stdev(seeds), mean(seeds) + stdev(seeds), color=colour, alpha=0.2)
        axis.set(xscale="log", xlabel="lambda", ylabel="RMSE (%)", title=name)
        axis.legend()
    figure.suptitle(f"{title}: mean and standard deviation over seeds")
    return figure


def maps_figure(without: EditDistanceModel, with_nwa: EditDistanceModel, data: NWADataModule) -> Figure:
    """Maps without and with NWA beside the matrix, whole and zoomed into a diffuse region (after Fig. 5 of the paper).

    Without NWA there is no head to draw a map. In this case the map is the row softmax of the dot products of the encoder's own
    features before its readout, one per position or segment, centred and scaled to mean square 1.

    Args:
        without: A model trained without NWA.
        with_nwa: The same model trained with NWA.
        data: Data of both. The pair is the one in the first test group whose edit distance is nearest to the first decile.
    """
    batch = next(iter(data.test_dataloader()))
    wanted = batch.distance.float().quantile(0.1)
    number = int((batch.distance - wanted).abs().argmin())
    shown = chosen_pairs(batch, [number])
    tokens = shown.tokens
    rows, columns = (shown.lengths + 1).tolist()
    one, two = (data.alphabet.decode(row.numpy().astype(np.uint8)) for row in tokens)
    matrix = nw_matrix(one, two, **data.scores._asdict())
    target = nw_target(torch.from_numpy(matrix)[None], temperature=with_nwa.nwa.temperature)[0]
    with torch.inference_mode():
        attention = with_nwa.nwa_attention(shown)[0, :rows, :columns]
        features = _feature_map(without, tokens)
    # Positions of the features stand for several bases each: drawn as large as those.
    stretched = torch.nn.functional.interpolate(features[None, None], size=tuple(tokens.shape[1:] * 2))[
        0, 0, :rows, :columns
    ]
    panels = {
        "without NWA: encoder features": stretched.numpy(),
        "with NWA: attention map": attention.numpy(),
        "target: row softmax of the matrix": target.numpy(),
        "Needleman-Wunsch matrix": matrix,
    }
    corner = _diffuse_corner(target)
    figure = Figure(figsize=(16, 8.4), layout="constrained")
    axes = figure.subplots(2, len(panels))
    for (title, image), (whole, zoomed) in zip(panels.items(), axes.T, strict=True):
        norm = None if image is matrix else PowerNorm(0.5, vmin=0.0, vmax=float(np.quantile(image, 0.999)))
        for axis, part in ((whole, (0, 0, rows, columns)), (zoomed, (corner, corner, corner + ZOOM, corner + ZOOM))):
            extent = (-0.5, columns - 0.5, rows - 0.5, -0.5)
            axis.imshow(
                image, cmap="viridis" if image is matrix else "magma", norm=norm, extent=extent, interpolation="nearest"
            )
            axis.set(xlim=(part[1] - 0.5, part[3] - 0.5), ylim=(part[2] - 0.5, part[0] - 0.5))
        whole.set_title(title)
        frame = (corner - 0.5, corner - 0.5)
        whole.add_patch(Rectangle(frame, ZOOM, ZOOM, fill=False, edgecolor="white", linewidth=1))
    axes[0, 0].set_ylabel("first sequence (bases), whole")
    axes[1, 0].set_ylabel("first sequence (bases), zoomed")
    figure.suptitle(
        f"Two test sequences of edit distance {int(batch.distance[number])}; every map in its own colour scale"
    )
    return figure


def _feature_map(model: EditDistanceModel, tokens: Tensor) -> Tensor:
    """``(S, S)`` map of two sequences from the output of the encoder's ``features``, before the readout."""
    with captured_calls(model, "encoder.features") as kept:
        model.encode(tokens)
    output = kept[0].output
    found = output[0] if isinstance(output, tuple) else output  # recurrent layers return their last state too
    if isinstance(model.encoder.get_submodule("features"), torch.nn.Sequential):
        found = found.reshape(len(tokens), -1, found.shape[-1]).mT  # convolutions have channels before positions
    found = found - found.mean(dim=(0, 1))
    found = found / found.square().mean().sqrt()
    return torch.softmax(found[0] @ found[1].mT / found.shape[2] ** 0.5, dim=-1)


def _diffuse_corner(target: Tensor) -> int:
    """Top and left edge of the square on the diagonal whose rows are the least certain, by their mean entropy."""
    entropy: NDArray[np.float32] = torch.special.entr(target).sum(dim=1).numpy()
    last = min(target.shape) - ZOOM
    means = [entropy[start : start + ZOOM].mean() for start in range(max(1, last))]
    return int(np.argmax(means))
