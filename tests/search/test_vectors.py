import faiss
import numpy as np
import pytest

from nwa_lightning.errors import InputError
from nwa_lightning.search import vectors as vectors_module
from nwa_lightning.search.vectors import (
    KINDS,
    MOST_FLAT,
    MOST_WIDE,
    cells_of,
    extend,
    filled,
    merge,
    nearest_vectors,
    read_index,
    suitable_cells,
    suitable_kind,
    trained,
    wanted_sample,
    write_index,
)

ALL = 1000


@pytest.fixture
def points():
    return np.random.default_rng(0).normal(size=(600, 5)).astype(np.float32)


@pytest.fixture
def queries():
    return np.random.default_rng(1).normal(size=(300, 5)).astype(np.float32)


def naive(points, queries, count, left_out=()):
    """Numbers of the nearest points; random numbers have no ties."""
    table = ((queries[:, None].astype(np.float64) - points[None]) ** 2).sum(axis=-1)
    table[:, list(left_out)] = np.inf
    order = np.argsort(table, axis=1)[:, :count]
    order[np.take_along_axis(table, order, axis=1) == np.inf] = -1
    return order


def build(kind, points):
    return filled(trained(kind, points[: wanted_sample(kind, len(points))], len(points)), points)


def test_suitable_sizes():
    assert [suitable_kind(count) for count in (0, MOST_FLAT, MOST_FLAT + 1, MOST_WIDE, MOST_WIDE + 1)] == [
        "flat", "flat", "ivf", "ivf", "ivf8"
    ]  # fmt: skip
    assert [suitable_cells(count) for count in (0, 1, 49, 100, 20_000)] == [1, 1, 1, 2, 282]
    assert [suitable_cells(count) for count in (1_000_000, 10**12)] == [2000, 65_536]
    for count in (0, 1, 100, 20_000, 5_000_000):
        for kind in KINDS:
            assert wanted_sample(kind, count) <= max(1, count)


@pytest.mark.parametrize("kind", ["flat", "ivf"])
@pytest.mark.parametrize("threads", [1, 3])
def test_all_cells_find_the_nearest(points, queries, kind, threads, monkeypatch):
    monkeypatch.setattr(vectors_module, "_CHUNK", 70)
    index = build(kind, points)
    assert cells_of(index) == (1 if kind == "flat" else 12)
    found = nearest_vectors(index, queries, 7, cells=ALL, threads=threads)
    assert np.array_equal(found, naive(points, queries, 7))


def test_eight_bits_are_nearly_exact(points, queries):
    found = nearest_vectors(build("ivf8", points), queries, 10, cells=ALL)
    expected = naive(points, queries, 1)[:, 0]
    assert (found == expected[:, None]).any(axis=1).mean() > 0.99


def test_fewer_cells_find_fewer(points, queries):
    index, expected = build("ivf", points), naive(points, queries, 1)
    found = [(nearest_vectors(index, queries, 1, cells=cells) == expected).mean() for cells in (1, 3, 12)]
    assert found[0] < found[1] < found[2] == 1


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_some_are_left_out(points, queries, kind):
    gone = np.array([3, 5, *range(100, 590)])
    found = nearest_vectors(build(kind, points), queries, 200, cells=ALL, deleted=gone)
    assert np.array_equal(found, naive(points, queries, 200, gone))
    assert (found[:, 108:] == -1).all()
    assert (found[:, :108] >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_find(points, queries, kind):
    empty = trained(kind, points, len(points))
    assert (nearest_vectors(empty, queries, 2, cells=3) == -1).all()
    index = build(kind, points)
    assert nearest_vectors(index, queries[:0], 2, cells=3).shape == (0, 2)
    assert nearest_vectors(index, queries, 0, cells=3).shape == (300, 0)
    assert (nearest_vectors(index, queries, 2, cells=3, deleted=np.arange(600)) == -1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_more_than_there_are(points, queries, kind):
    found = nearest_vectors(build(kind, points[:4]), queries[:2], 9, cells=ALL)
    assert [sorted(row) for row in found.tolist()] == [[-1] * 5 + [0, 1, 2, 3]] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_parts_are_merged(points, queries, kind):
    empty = trained(kind, points, len(points))
    whole = faiss.clone_index(empty)
    for part in (points[:250], points[:0], points[250:]):
        merge(whole, filled(empty, part))
    assert empty.ntotal == 0
    at_once, one_by_one = filled(empty, points), faiss.clone_index(empty)
    extend(one_by_one, points[:11])
    extend(one_by_one, points[11:])
    expected = nearest_vectors(at_once, queries, 5, cells=ALL)
    for index in (whole, one_by_one):
        assert index.ntotal == len(points)
        assert np.array_equal(nearest_vectors(index, queries, 5, cells=ALL), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_files(points, queries, kind, tmp_path):
    for name in ("one", "two"):
        write_index(build(kind, points), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    index = read_index(tmp_path / "one")
    expected = nearest_vectors(build(kind, points), queries, 5, cells=ALL)
    assert np.array_equal(nearest_vectors(index, queries, 5, cells=ALL), expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_damaged_files(points, tmp_path):
    write_index(build("flat", points), tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    (tmp_path / "cut").write_bytes(content[:-50])
    (tmp_path / "text").write_text("no index")
    (tmp_path / "empty").write_bytes(b"")
    for name in ("cut", "text", "empty", "none"):
        with pytest.raises(
            InputError, match=f"{name}: expected an index, found a damaged file or none .*again"
        ) as error:
            read_index(tmp_path / name)
        assert "\n" not in str(error.value)


def test_faiss_keeps_its_threads(points):
    before = faiss.omp_get_max_threads()
    build("ivf", points)
    assert faiss.omp_get_max_threads() == before
