import base64
import json
import re
import warnings
from collections import Counter
from html.parser import HTMLParser
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex, to_rgb
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

from nwa_lightning import InputError
from nwa_lightning.search import layout as layout_module
from nwa_lightning.search.layout import layout, sample_rows
from nwa_lightning.search.map_page import (
    COLORS,
    OTHERS_COLOR,
    UNKNOWN,
    UNKNOWN_COLOR,
    legend_of,
    map_page,
    point_radius,
    relative_areas,
)
from nwa_lightning.search.map_picture import map_figure


def vectors(count, dim=5, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def test_near_vectors_are_near_on_the_map():
    centers = 20 * vectors(6, 10, seed=1)
    cluster = np.arange(240) % 6
    given_vectors = centers[cluster] + vectors(240, 10)
    xy = layout(given_vectors)
    assert xy.shape == (240, 2)
    assert xy.dtype == np.float32
    apart = cdist(xy, xy)
    np.fill_diagonal(apart, np.inf)
    np.testing.assert_array_equal(cluster[apart.argmin(axis=1)], cluster)
    assert trustworthiness(given_vectors, xy, n_neighbors=10) > 0.9
    assert trustworthiness(given_vectors, xy, n_neighbors=10) > trustworthiness(
        given_vectors, layout(given_vectors, method="pca"), n_neighbors=10
    )


def test_a_map_depends_on_the_seed_and_not_on_the_threads(monkeypatch):
    monkeypatch.setattr(layout_module, "_STEPS", (20, 20))
    first = layout(vectors(150)).tobytes()
    assert layout(vectors(150)).tobytes() == first
    assert layout(vectors(150), threads=2).tobytes() == first
    assert layout(vectors(150), seed=1).tobytes() != first


@pytest.mark.parametrize(("count", "dim"), [(2, 3), (3, 3), (40, 1), (40, 2), (40, 7), (5, 30)])
def test_principal_components(count, dim):
    given_vectors = vectors(count, dim)
    xy = layout(given_vectors, method="pca")
    kept = min(2, count - 1, dim)
    other = PCA(kept).fit(given_vectors.astype(np.float64))
    expected = other.transform(given_vectors.astype(np.float64))
    signs = [1 if axis[np.abs(axis).argmax()] > 0 else -1 for axis in other.components_]
    np.testing.assert_allclose(xy[:, :kept], expected * signs, atol=1e-5)
    np.testing.assert_allclose(xy[:, kept:], 0, atol=1e-5)


@pytest.mark.parametrize("method", ["tsne", "pca"])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9, 31, 95])
def test_few_vectors(count, method):
    xy = layout(vectors(count), method=method)
    assert xy.shape == (count, 2)
    assert np.isfinite(xy).all()
    assert len(np.unique(xy, axis=0)) == count
    if count < 8:
        np.testing.assert_array_equal(xy, layout(vectors(count), method="pca"))


def test_equal_vectors_get_one_point():
    np.testing.assert_array_equal(layout(np.ones((50, 3), np.float32)), np.zeros((50, 2)))
    np.testing.assert_array_equal(layout(np.zeros((4, 0), np.float32)), np.zeros((4, 2)))
    some = vectors(12)
    some[3] = 0.0
    which = np.random.default_rng(0).integers(12, size=300)
    many = some[which]
    many[which == 3] *= np.where(np.arange((which == 3).sum()) % 2, 1, -1)[:, None].astype(np.float32)  # 0.0 and -0.0
    xy = layout(many)
    assert len(np.unique(xy, axis=0)) == 12
    assert len(np.unique(np.column_stack([xy, which]), axis=0)) == 12


def test_points_on_a_line_leave_it():
    xy = layout(np.linspace(0, 1, 60, dtype=np.float32)[:, None])
    assert np.isfinite(xy).all()
    assert (np.ptp(xy, axis=0) > 0.1).all()


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e18])
def test_the_unit_of_the_vectors_is_free(scale):
    given_vectors = (vectors(80) * scale).astype(np.float32)
    assert trustworthiness(vectors(80), layout(given_vectors), n_neighbors=10) > 0.85


@pytest.mark.parametrize(("count", "offset"), [(9, 0), (200, 0), (200, 1000)])
def test_neighbours_are_those_of_all_pairs(count, offset):
    given_vectors = vectors(count) + np.float32(offset)
    rows, distances = layout_module._neighbours(given_vectors, 5, threads=2)
    apart = cdist(given_vectors.astype(np.float64), given_vectors.astype(np.float64))
    np.fill_diagonal(apart, np.inf)
    expected = np.sort(apart, axis=1)[:, :5]
    np.testing.assert_allclose(distances, expected / expected.mean(), rtol=1e-4)
    np.testing.assert_allclose(np.take_along_axis(apart, rows, axis=1), expected, rtol=1e-4)


def test_vectors_that_cannot_be_drawn():
    broken = vectors(9)
    broken[[4, 7], 1] = np.nan, np.inf
    with pytest.raises(InputError, match="expected finite numbers, found others in 2 vectors, the first in row 5"):
        layout(broken)
    with pytest.raises(InputError, match="method: expected one of tsne, pca, found umap"):
        layout(vectors(9), method="umap")


def test_a_sample_of_too_many():
    np.testing.assert_array_equal(sample_rows(100_000), np.arange(100_000))
    rows = sample_rows(250_000)
    assert len(np.unique(rows)) == len(rows) == 100_000
    assert (np.diff(rows) > 0).all()
    assert rows[-1] > 249_000
    np.testing.assert_array_equal(rows, sample_rows(250_000))
    assert (rows != sample_rows(250_000, seed=1)).any()


def linear(color):
    values = np.array(to_rgb(color))
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def oklab(rgb):
    """Coordinates in which equal distances look equally different (Ottosson, 2020)."""
    cones = np.array([[0.41222, 0.53633, 0.05145], [0.21190, 0.68070, 0.10740], [0.08830, 0.28172, 0.62998]])
    axes = np.array([[0.21045, 0.79362, -0.00407], [1.97800, -2.42859, 0.45059], [0.02590, 0.78277, -0.80868]])
    return axes @ np.cbrt(cones @ np.clip(rgb, 0, 1))


#: Linear RGB as seen without the red or the green cones (Machado et al., 2009), and the least difference of two colours.
VISIONS = [
    (np.eye(3), 0.1),
    ([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]], 0.05),
    ([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]], 0.05),
]


@pytest.mark.parametrize(("vision", "least"), VISIONS, ids=["normal", "red-blind", "green-blind"])
def test_no_two_colors_look_alike(vision, least):
    seen = {color: oklab(np.array(vision) @ linear(color)) for color in [*COLORS, OTHERS_COLOR]}
    assert len(seen) == 21
    for one, two in combinations(seen, 2):
        assert np.linalg.norm(seen[one] - seen[two]) > least, (one, two)
    for one, two in combinations(COLORS[:6], 2):
        assert np.linalg.norm(seen[one] - seen[two]) > 1.5 * least, (one, two)


@pytest.mark.parametrize("page", ["#ffffff", "#0f1216"])
def test_colors_are_visible_on_the_page(page):
    def brightness(color):
        return linear(color) @ [0.2126, 0.7152, 0.0722] + 0.05

    for color in [*COLORS, OTHERS_COLOR]:
        low, high = sorted([brightness(color), brightness(page)])
        assert high / low > 2


def test_the_largest_groups_get_colors():
    groups = [f"g{number:02}" for number in range(23) for _ in range(30 - number)] + ["", UNKNOWN, ""]
    entries, entry_of = legend_of(groups)
    assert [entry.name for entry in entries] == [*(f"g{number:02}" for number in range(20)), "3 other groups", UNKNOWN]
    assert [entry.color for entry in entries] == [*COLORS, OTHERS_COLOR, UNKNOWN_COLOR]
    assert [entry.points for entry in entries] == [*range(30, 10, -1), 10 + 9 + 8, 3]
    assert [entries[number].points for number in entry_of[-4:]] == [27, 3, 3, 3]
    assert legend_of(groups[:-3])[0][-1].name == "3 other groups"
    assert legend_of([f"{number}" for number in range(21)])[0][-1].name == "1 other group"
    assert [entry.name for entry in legend_of(["b", "a", "c", "c"])[0]] == ["c", "a", "b"]


@given(groups=st.lists(st.sampled_from(["", *map(str, range(30))]), max_size=80), seed=st.integers(0, 9))
def test_every_point_is_in_its_entry_and_drawn_once(groups, seed):
    legend = legend_of(groups)
    counts = Counter(groups)
    own = {entry.name for entry in legend.entries}
    assert sum(entry.points for entry in legend.entries) == len(groups)
    for group, number in zip(groups, legend.entry_of.tolist(), strict=True):
        entry = legend.entries[number]
        if group in own or not group:
            assert (entry.name, entry.points) == (group or UNKNOWN, counts[group])
        else:
            assert entry.name.endswith(" other group") or entry.name.endswith(" other groups")
            assert counts[group] <= min(counts[name] for name in own if name in counts)
    sizes = np.random.default_rng(seed).integers(1, 9, size=len(groups))
    order = legend.paint_order(sizes)
    assert sorted(order.tolist()) == list(range(len(groups)))
    for one, two in zip(order[:-1].tolist(), order[1:].tolist(), strict=True):
        first, second = (legend.entries[legend.entry_of[row]] for row in (one, two))
        if first == second:
            assert sizes[one] >= sizes[two]
        elif second.color == OTHERS_COLOR:
            assert first.color == UNKNOWN_COLOR
        else:
            assert second.color in COLORS
            assert first.color not in COLORS or first.points >= second.points


class Page(HTMLParser):
    """What a browser finds: texts of the elements, and the names of all attributes."""

    def __init__(self, text):
        super().__init__()
        self.texts, self.attributes, self.open = {}, set(), []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.attributes |= {name for name, _ in attrs}
        self.open.append(tag)
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, text):
        if self.open:
            self.texts[self.open[-1]][-1] += text

    @property
    def data(self):
        return json.loads(self.texts["script"][0])


def numbers(text, dtype):
    return np.frombuffer(base64.b64decode(text), dtype=dtype)


def test_the_page_holds_every_read():
    xy, sizes = vectors(30, 2), np.arange(30) * 1000
    ids, groups = (
        [f"read {number}" for number in range(30)],
        [f"g{number % 7 % 5}" if number else "" for number in range(30)],
    )
    data = Page(map_page(xy, ids, groups, sizes, title="reads")).data
    row = [ids.index(name) for name in data["ids"]]
    assert sorted(row) == list(range(30))
    np.testing.assert_array_equal(numbers(data["xy"], "<f4").reshape(-1, 2), xy[row])
    np.testing.assert_array_equal(numbers(data["sizes"], "<u4"), sizes[row])
    np.testing.assert_allclose(numbers(data["areas"], "<f4"), 1 + np.log(np.maximum(sizes[row], 1)), rtol=1e-6)
    shown = [data["groups"][number] for number in numbers(data["groupOf"], "<u4")]
    assert shown == [groups[number] or UNKNOWN for number in row]
    entries = [data["entries"][number] for number in numbers(data["entryOf"], "u1")]
    assert [entry["name"] for entry in entries] == shown
    assert [entry["points"] for entry in data["entries"]] == [entry.points for entry in legend_of(groups).entries]


TEXTS = st.text(max_size=12) | st.sampled_from(
    [
        "</script><script>alert(1)</script>",
        "<!--<script>",
        "{{data}}",
        "&lt;",
        "'\"",
        "\u2028",
        "</title>",
        "\\u003c",
        "]]>",
    ]
)


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(TEXTS, min_size=4, max_size=4), ids=st.lists(TEXTS, min_size=3, max_size=3))
def test_any_text_is_shown_as_it_is(texts, ids):
    title, grouping, note, group = texts
    plain = Page(map_page(vectors(3, 2), ["a"] * 3, ["b"] * 3, np.ones(3, np.int64), title="c"))
    made = map_page(vectors(3, 2), ids, [group] * 3, np.ones(3, np.int64), title=title, grouping=grouping, note=note)
    page = Page(made)
    assert sorted(page.data["ids"]) == sorted(ids)
    assert page.data["groups"] == [group or UNKNOWN]
    assert page.texts["script"][1] == plain.texts["script"][1]
    assert {tag: len(found) for tag, found in page.texts.items()} == {
        tag: len(found) for tag, found in plain.texts.items()
    }
    shown = [page.texts[tag][0] for tag in ("title", "h1", "summary", "footer")]
    assert shown == [title, title, grouping, note]


def test_the_page_is_complete_in_itself():
    text = map_page(vectors(3, 2), ["a"] * 3, ["b"] * 3, np.ones(3, np.int64), title="c")
    assert re.findall(r"https?:|//\w+\.|@import|url\(|fetch\(|XMLHttpRequest|import\(", text) == []
    page = Page(text)
    assert "src" not in page.attributes
    assert "{{" not in text
    assert "default-src 'none'" in text
    assert "needs JavaScript" in page.texts["noscript"][0]
    assert page.texts["title"] == page.texts["h1"] == ["c"]


def test_a_page_of_no_reads():
    assert Page(map_page(np.empty((0, 2), np.float32), [], [], np.empty(0, np.int64), title="")).data["ids"] == []


def test_numbers_of_points_must_agree():
    with pytest.raises(
        ValueError, match=r"Expected coordinates, ids, groups and sizes of the same points but got \[2, 3\]"
    ):
        map_page(vectors(3, 2), ["a"] * 3, ["b"] * 2, np.ones(3, np.int64), title="")
    with pytest.raises(ValueError, match="of the same points but got 3, 2 and 3"):
        map_figure(vectors(3, 2), ["b"] * 2, np.ones(3, np.int64))


def test_points_shrink_with_their_number_and_grow_with_their_copies():
    radii = [point_radius(count) for count in (0, 1, 200, 1000, 10_000, 100_000)]
    assert radii[0] == radii[1] == radii[2] == 5
    assert radii[2] > radii[3] > radii[4] > radii[5] > 0.8
    np.testing.assert_allclose(relative_areas(np.array([1, 10, 1000])), [1, 3.302585, 7.907755], rtol=1e-6)


def test_the_picture_has_the_colors_of_the_page():
    groups = [f"g{number}" for number in range(24) for _ in range(30 - number)] + [""] * 5
    count = len(groups)
    xy, sizes = vectors(count, 2), np.arange(count) + 1
    figure = map_figure(xy, groups, sizes, title="title", grouping="phylum")
    (points,) = figure.axes[0].collections
    data = Page(map_page(xy, groups, groups, sizes, title="")).data
    np.testing.assert_array_equal(points.get_offsets(), numbers(data["xy"], "<f4").reshape(-1, 2))
    wanted = [data["entries"][number]["color"] for number in numbers(data["entryOf"], "u1")]
    assert [to_hex(color) for color in points.get_facecolors()] == [color[:7] for color in wanted]
    faint = points.get_facecolors()[:, 3] < 0.5
    np.testing.assert_array_equal(faint, [color == UNKNOWN_COLOR for color in wanted])
    assert points.get_sizes().min() == pytest.approx((2 * point_radius(count)) ** 2)
    np.testing.assert_allclose(points.get_sizes() / points.get_sizes().min(), numbers(data["areas"], "<f4"), rtol=1e-5)
    (legend,) = figure.legends
    assert legend.get_title().get_text() == "phylum"
    assert [text.get_text() for text in legend.get_texts()] == [
        f"{entry['name']} ({entry['points']})" for entry in data["entries"]
    ]
    assert len(legend.get_texts()) == 22
    assert figure.axes[0].get_title() == "title"


def test_any_name_can_be_drawn(tmp_path):
    names = ["_hidden", "$a_{", "x" * 60, "<b>"]
    figure = map_figure(vectors(4, 2), names, np.ones(4, np.int64), title="$a_{", grouping="_$x")
    figure.savefig(tmp_path / "map.png")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "$a_{ (1)",
        "<b> (1)",
        "_hidden (1)",
        f"{'x' * 37}... (1)",
    ]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_points_in_one_place(count, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = map_figure(np.zeros((count, 2), np.float32), ["reads"] * count, np.ones(count, np.int64))
        figure.savefig(tmp_path / "map.png")
    assert not figure.legends
