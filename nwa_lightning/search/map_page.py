"""A map of reads as one HTML page, which needs no network and no library."""

from __future__ import annotations

import base64
import html
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

#: The group of a read of which nothing is known.
UNKNOWN: Final = "unknown"

#: Colours of the groups, the largest group first. The first six are those of Okabe and Ito (2008, "Color universal design").
#: The others were added one by one, each as different as possible from those before it, in normal, red-blind and green-blind
#: vision (Machado et al., 2009, doi 10.1109/TVCG.2009.113), and visible on white and on a dark page.
COLORS: Final = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#a00068", "#8000f8", "#685000", "#8878f8"),
    *("#d010c0", "#40d070", "#684090", "#d80048", "#985868", "#187040", "#90a860", "#f880e0", "#9000b8", "#f808f8"),
)

#: Colours of all smaller groups together, and of ``UNKNOWN``, which is half transparent.
OTHERS_COLOR: Final = "#b0b0b0"
UNKNOWN_COLOR: Final = "#b0b0b080"

#: Grey points are drawn before all others.
_GREY_LAYERS: Final = {UNKNOWN_COLOR: -2, OTHERS_COLOR: -1}

_TEMPLATE: Final = Path(__file__).with_name("map_page.html")


class Entry(NamedTuple):
    """A line of the legend.

    Attributes:
        name: Name of a group, ``UNKNOWN``, or how many other groups there are.
        color: Colour in hexadecimal.
        points: Number of points.
    """

    name: str
    color: str
    points: int


class Legend(NamedTuple):
    """Colours of points by their groups.

    Attributes:
        entries: The largest groups first; then the other groups together and ``UNKNOWN``, if there are any.
        entry_of: ``(N,)`` number of the entry of each point.
    """

    entries: list[Entry]
    entry_of: NDArray[np.int64]

    def paint_order(self, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
        """``(N,)`` points in the order in which to draw them, so that small groups and small points stay visible.

        Args:
            sizes: ``(N,)`` copies of each read.
        """
        layers = [_GREY_LAYERS.get(entry.color, place) for place, entry in enumerate(self.entries)]
        layer = np.array(layers, dtype=np.int64)[self.entry_of]
        return np.lexsort((-sizes, layer))


def legend_of(groups: Sequence[str]) -> Legend:
    """Give a colour to each of the largest groups.

    Args:
        groups: N names of groups; an empty one is ``UNKNOWN``.
    """
    named = [group or UNKNOWN for group in groups]
    counts = Counter(named)
    unknown = counts.pop(UNKNOWN, 0)
    ranked = sorted(counts, key=lambda group: (-counts[group], group))
    largest, rest = ranked[: len(COLORS)], ranked[len(COLORS) :]
    entries = [Entry(name, color, counts[name]) for name, color in zip(largest, COLORS, strict=False)]
    number = {name: place for place, name in enumerate(largest)}
    if rest:
        number |= dict.fromkeys(rest, len(entries))
        entries.append(Entry(_other_groups(len(rest)), OTHERS_COLOR, sum(counts[name] for name in rest)))
    if unknown:
        number[UNKNOWN] = len(entries)
        entries.append(Entry(UNKNOWN, UNKNOWN_COLOR, unknown))
    return Legend(entries, np.array([number[name] for name in named], dtype=np.int64))


def _other_groups(count: int) -> str:
    return f"{count:,} other group{'s' if count > 1 else ''}"


def point_radius(count: int) -> float:
    """Radius of the point of a single read on a map of this many points, in points of 1/72 inch or CSS pixels."""
    return 5.0 * float(min(1.0, 200 / max(count, 1)) ** 0.27)


def relative_areas(sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """``(N,)`` areas of points: 1 for a single read, and more by the logarithm of the number of copies."""
    return 1 + np.log(np.maximum(sizes, 1))


def map_page(
    xy: NDArray[np.float32],
    ids: Sequence[str],
    groups: Sequence[str],
    sizes: NDArray[np.int64],
    *,
    title: str,
    grouping: str = "groups",
    note: str = "",
) -> str:
    """A page with a map to zoom in, to hover over and to search in.

    Args:
        xy: ``(N, 2)`` coordinates.
        ids: N names of reads.
        groups: N names of groups, such as clusters; an empty one is ``UNKNOWN``.
        sizes: ``(N,)`` copies of each read.
        title: Title of the page.
        grouping: What the groups are; title of the legend.
        note: What the page says below the legend, such as how to read the map.

    Returns:
        HTML, complete in itself.

    Raises:
        ValueError: If the numbers of points differ.
    """
    counts = {len(xy), len(ids), len(groups), len(sizes)}
    if len(counts) > 1:
        raise ValueError(
            f"Expected coordinates, ids, groups and sizes of the same points but got {sorted(counts)} of them."
        )
    legend = legend_of(groups)
    order = legend.paint_order(sizes)
    names = sorted(set(groups))
    number = {name: place for place, name in enumerate(names)}
    data = {
        "ids": [ids[row] for row in order.tolist()],
        "xy": _base64(xy[order], "<f4"),
        "sizes": _base64(np.minimum(sizes[order], 2**32 - 1), "<u4"),
        "areas": _base64(relative_areas(sizes[order]), "<f4"),
        "groups": [name or UNKNOWN for name in names],
        "groupOf": _base64(np.array([number[groups[row]] for row in order.tolist()]), "<u4"),
        "entries": [entry._asdict() for entry in legend.entries],
        "entryOf": _base64(legend.entry_of[order], "u1"),
        "radius": point_radius(len(xy)),
    }
    texts = {"title": title, "grouping": grouping, "note": note}
    parts = {name: html.escape(text) for name, text in texts.items()} | {"data": _json_in_html(data)}
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _TEMPLATE.read_text(encoding="utf-8"))


def _base64(values: NDArray[np.generic], dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode()


def _json_in_html(data: object) -> str:
    """JSON without any character that ends or changes a script element."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")
