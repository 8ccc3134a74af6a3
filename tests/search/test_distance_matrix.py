from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein
from skbio import DistanceMatrix

from nwa_lightning import InputError, Sequences, load_sequences
from nwa_lightning.search import distance_matrix
from nwa_lightning.search.distance_matrix import (
    EmbeddedDistances,
    ExactDistances,
    check_names,
    distances_of,
    write_distances,
)
from nwa_lightning.search.embedder import ReadEmbedder
from nwa_lightning.sequences.packed import Packed

READS = ["ACGT", "ACGA", "ACG", "TTTTTTT", "ACGT"]
NAMES = ["a", "b", "c", "d", "e"]


def named(strings, names=None):
    found = Sequences.from_strings(strings)
    return found if names is None else Sequences(found.bases, Packed.of(name.encode() for name in names))


def oracle(strings, fraction=False):
    edits = [[Levenshtein.distance(one, two) for two in strings] for one in strings]
    longer = [[max(len(one), len(two), 1) for two in strings] for one in strings]
    return np.array(edits) / np.array(longer) if fraction else np.array(edits)


def square(distances):
    return np.concatenate([block for _, block in distances.blocks()])


def read_phylip(path):
    count, *lines = path.read_text().splitlines()
    names, *numbers = zip(*(line.split() for line in lines), strict=True)
    assert int(count) == len(lines) == len(numbers)
    return list(names), np.array(numbers, dtype=float).T


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 16 rows, so that few reads need many."""
    monkeypatch.setattr(distance_matrix, "_MOST_ROWS", 16)


@pytest.fixture(scope="module")
def tree_reads():
    return load_sequences("tree:70x50")


@pytest.fixture(scope="module")
def embedder(tree_reads):
    return ReadEmbedder.from_landmarks(tree_reads, 32, 16)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text("ACGT", min_size=1, max_size=70), min_size=1, max_size=40), st.booleans())
def test_exact_distances(strings, fraction):
    found = ExactDistances(Sequences.from_strings(strings), fraction=fraction, threads=1)
    assert found.dtype == (np.float32 if fraction else np.int32)
    np.testing.assert_allclose(square(found), oracle(strings, fraction), rtol=1e-6)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("fraction", [False, True])
def test_blocks(tree_reads, fraction):
    found = ExactDistances(tree_reads, fraction=fraction, threads=2)
    expected = oracle(tree_reads.to_strings(), fraction)
    firsts = []
    for first, block in found.blocks(upper=True):
        firsts.append(first)
        np.testing.assert_allclose(block, expected[first : first + 16, first:], rtol=1e-6)
        assert block.dtype == found.dtype
    assert firsts == [0, 16, 32, 48, 64]
    np.testing.assert_allclose(square(found), expected, rtol=1e-6)


def test_many_reads_have_small_blocks():
    few, many = (ExactDistances(Sequences.from_strings(["A"] * count)) for count in (10, 40_000))
    assert (few.step, many.step) == (512, 419)


def test_no_reads_and_empty_reads(tmp_path):
    assert write_distances(ExactDistances(Sequences.from_strings([])), tmp_path / "none.tsv") == [tmp_path / "none.tsv"]
    assert (tmp_path / "none.tsv").read_text() == "\n"
    empty = Sequences(Packed.of([b"", b"", b"\2"]), Packed.of([b"a", b"b", b"c"]))
    assert square(ExactDistances(empty, fraction=True)).tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 0]]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("fraction", [False, True])
def test_embedded_distances_are_those_of_each_pair(tree_reads, embedder, fraction):
    found = square(EmbeddedDistances(tree_reads, embedder, fraction=fraction))
    vectors = torch.from_numpy(embedder.embed(tree_reads))
    pairs = torch.tensor(list(product(range(70), repeat=2)))
    expected = embedder.model.predicted_edits(vectors, pairs).view(70, 70).numpy()
    if fraction:
        expected = expected / np.maximum.outer(tree_reads.lengths, tree_reads.lengths)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert found.dtype == np.float32
    assert expected.max() > 0.1


@pytest.mark.usefixtures("small_blocks")
def test_embedded_distances_are_symmetric_to_the_last_bit(tree_reads, embedder):
    found = EmbeddedDistances(tree_reads, embedder)
    whole = square(found)
    assert np.array_equal(whole, whole.T)
    assert not whole.diagonal().any()
    for first, block in found.blocks(upper=True):
        assert np.array_equal(block, whole[first : first + 16, first:])


def test_a_pretrained_model_is_near_the_truth():
    reads = load_sequences("human16s").take(np.arange(0, 9000, 300))
    found = square(EmbeddedDistances(reads, ReadEmbedder.from_checkpoint("human16s-v4")))
    assert np.abs(found - oracle(reads.to_strings())).mean() < 1


def test_with_and_without_a_model(tree_reads, embedder):
    assert isinstance(distances_of(tree_reads), ExactDistances)
    assert isinstance(distances_of(tree_reads, embedder), EmbeddedDistances)


def test_a_read_that_is_too_long(embedder):
    with pytest.raises(InputError, match=r"expected at most .* bases"):
        EmbeddedDistances(Sequences.from_strings(["A" * 500]), embedder)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("fraction", [False, True])
def test_npy(tmp_path, tree_reads, fraction):
    out = tmp_path / "d.NPY"
    written = write_distances(ExactDistances(tree_reads, fraction=fraction), out)
    assert written == [out, tmp_path / "d.names.txt"]
    assert sorted(tmp_path.iterdir()) == sorted(written)
    found = np.load(out, mmap_mode="r", allow_pickle=False)
    assert found.dtype == (np.float32 if fraction else np.int32)
    np.testing.assert_allclose(found, oracle(tree_reads.to_strings(), fraction), rtol=1e-6)
    assert written[1].read_text().splitlines() == tree_reads.names


def test_tsv_to_the_letter(tmp_path):
    write_distances(ExactDistances(named(READS[:3], ["a b", "_", "ä"])), tmp_path / "d.tsv")
    assert (tmp_path / "d.tsv").read_text(encoding="utf-8") == "\ta b\t_\tä\na b\t0\t1\t1\n_\t1\t0\t1\nä\t1\t1\t0\n"


@pytest.mark.usefixtures("small_blocks")
def test_tsv_for_pandas_and_scikit_bio(tmp_path, tree_reads, embedder):
    found = EmbeddedDistances(tree_reads, embedder)
    write_distances(found, tmp_path / "d.tsv")
    frame = pd.read_csv(tmp_path / "d.tsv", sep="\t", index_col=0, dtype={0: str})
    assert frame.index.tolist() == frame.columns.tolist() == tree_reads.names
    np.testing.assert_allclose(frame.to_numpy(), square(found), rtol=1e-5)
    matrix = DistanceMatrix.read(tmp_path / "d.tsv")  # it refuses a matrix that is not symmetric
    assert list(matrix.ids) == tree_reads.names


def test_phylip_to_the_letter(tmp_path):
    for ending in (".phylip", ".phy"):
        path = tmp_path / f"d{ending}"
        write_distances(ExactDistances(named(READS[:3], NAMES[:3]), fraction=True), path)
        assert path.read_text() == "3\na 0 0.25 0.25\nb 0.25 0 0.25\nc 0.25 0.25 0\n"


@pytest.mark.usefixtures("small_blocks")
def test_phylip(tmp_path, tree_reads):
    write_distances(ExactDistances(tree_reads), tmp_path / "d.phylip")
    names, found = read_phylip(tmp_path / "d.phylip")
    assert names == tree_reads.names
    assert np.array_equal(found, oracle(tree_reads.to_strings()))


@pytest.mark.parametrize("ending", ["", ".csv", ".npy.gz"])
def test_an_unknown_ending(tmp_path, ending):
    with pytest.raises(
        InputError, match=r"--out: expected a file that ends in \.npy, \.tsv or \.phylip \(\.phy\), found"
    ):
        write_distances(ExactDistances(named(READS)), tmp_path / f"d{ending}")


def test_no_such_folder(tmp_path):
    with pytest.raises(InputError, match=r"--out: expected a file in a folder that exists, found no .*none; make"):
        write_distances(ExactDistances(named(READS)), tmp_path / "none" / "d.npy")


def test_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "d.tsv").mkdir()
    with pytest.raises(InputError, match=r"d\.tsv: expected .* found: .*irectory"):
        write_distances(ExactDistances(named(READS)), tmp_path / "d.tsv")
    assert [path.name for path in tmp_path.iterdir()] == ["d.tsv"]


def test_an_interrupted_run_leaves_the_old_file(tmp_path, monkeypatch):
    out = tmp_path / "d.npy"
    out.write_text("old")
    monkeypatch.setattr(ExactDistances, "edits", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_distances(ExactDistances(named(READS)), out)
    assert out.read_text() == "old"


@pytest.mark.parametrize(
    ("name", "ending", "message"),
    [
        ("a", ".tsv", r"d\.tsv: record 5: expected names that differ, found a twice; rename"),
        ("a", ".phy", r"d\.phy: record 5: expected names that differ, found a twice; rename"),
        ("x y", ".phylip", "record 5: expected a name without white space, found x y; rename the read, or write .tsv"),
        ("x\ty", ".tsv", r"record 5: expected a name without tabs and line ends, found 'x\\ty'; rename"),
        ("x\ny", ".npy", r"record 5: expected a name without tabs and line ends, found 'x\\ny'; rename"),
        ("", ".phy", "record 5: expected a name without tabs and line ends, found ''; rename"),
    ],
)
def test_names_that_do_not_fit(tmp_path, name, ending, message):
    with pytest.raises(InputError, match=message):
        write_distances(ExactDistances(named(READS, [*NAMES[:4], name])), tmp_path / f"d{ending}")
    assert not list(tmp_path.iterdir())


def test_names_that_fit(tmp_path):
    check_names(["a", "A", "a b", "0"], "reads")
    check_names(["a", "a"], "reads", unique=False)
    write_distances(ExactDistances(named(READS, ["a"] * 5)), tmp_path / "d.npy")
    assert (tmp_path / "d.names.txt").read_text() == "a\n" * 5
