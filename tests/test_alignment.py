import multiprocessing
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import oracle
import parasail
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rapidfuzz.distance import Levenshtein

from nwa_lightning import _nw, alignment
from nwa_lightning.alignment import check_scores, edit_distances, nw_matrices, nw_matrix
from nwa_lightning.errors import InputError

UNIT = {"match": 0, "mismatch": -1, "gap": -1}


def scored(match, mismatch, gap):
    return {"match": match, "mismatch": mismatch, "gap": gap}


def random_batch(seed, pairs=37, width=45, sequences=9, same_length=False, letters=4):
    """Codes with rubbish after each sequence's length, which nothing may read."""
    rng = np.random.default_rng(seed)
    lengths = np.full(sequences, width) if same_length else rng.integers(0, width + 1, sequences)
    codes = rng.integers(2, 2 + letters, (sequences, width)).astype(np.uint8)
    return codes, lengths, rng.integers(0, sequences, (pairs, 2))


@st.composite
def batches(draw):
    width, sequences = draw(st.integers(0, 80)), draw(st.integers(1, 5))
    lengths = draw(st.lists(st.integers(0, width), min_size=sequences, max_size=sequences))
    codes = draw(hnp.arrays(np.uint8, (sequences, width), elements=st.integers(0, 5)))
    row = st.integers(0, sequences - 1)
    return codes, lengths, draw(st.lists(st.tuples(row, row), max_size=12))


scores = st.one_of(
    st.sampled_from(
        [(1, -1, -1), (0, -1, -1), (5, -4, -10), (-1, 1, -1), (1, -1, 1), (0, 0, 0), (7, -100, -3), (-9, -1, -5)]
    ),
    st.tuples(*[st.integers(-450, 450)] * 3),
)


def test_a_matrix_by_hand():
    expected = [
        [0, -1, -2, -3],
        [-1, 1, 0, -1],
        [-2, 0, 0, -1],
        [-3, -1, 1, 0],
        [-4, -2, 0, 2],
    ]
    matrix = nw_matrix("ACGT", "AGT")
    assert matrix.tolist() == expected
    assert matrix.dtype == np.int16
    assert matrix.flags.c_contiguous


def test_rows_are_the_first_sequence():
    assert nw_matrix("AAAA", "C").shape == (5, 2)
    codes = np.array([[2, 2, 2, 2], [3, 0, 0, 0]], dtype=np.uint8)
    found = nw_matrices(codes, [4, 1], [[0, 1]])[0]
    assert found[:, 0].tolist() == [0, -1, -2, -3, -4]
    assert found[0].tolist() == [0, -1, 0, 0, 0]


def test_unit_costs_by_hand():
    assert nw_matrix("KITTEN", "SITTING", **UNIT)[-1, -1] == -3
    assert nw_matrix("AC", "CA", **UNIT).tolist() == [[0, -1, -2], [-1, -1, -1], [-2, -1, -2]]


def test_through_by_hand():
    codes = np.array([[2, 3], [3, 2]], dtype=np.uint8)
    through = nw_matrices(codes, [2, 2], [[0, 1]], **UNIT, kind="best_through")[0]
    assert through.tolist() == [[-2, -2, -4], [-2, -2, -2], [-4, -2, -2]]


def test_letters_of_either_case_and_any_ascii_character():
    np.testing.assert_array_equal(nw_matrix("acgtN-*", "ACGTn-*"), nw_matrix("ACGTN-*", "ACGTN-*"))
    assert nw_matrix("\x00\x01~", "\x00\x01~")[-1, -1] == 3


@pytest.mark.parametrize(("a", "b"), [("", ""), ("", "ACG"), ("ACG", "")])
def test_empty_sequences(a, b):
    np.testing.assert_array_equal(nw_matrix(a, b), oracle.nw_matrix(a, b))


@settings(deadline=None, max_examples=60)
@given(batch=batches(), score=scores, kind=st.sampled_from(["prefix", "best_through"]), threads=st.integers(1, 3))
def test_any_batch_is_what_the_recurrence_says(batch, score, kind, threads):
    codes, lengths, pairs = batch
    try:
        check_scores(max(lengths), **scored(*score), kind=kind)
    except InputError:
        return
    found = nw_matrices(codes, lengths, pairs, **scored(*score), kind=kind, threads=threads)
    np.testing.assert_array_equal(found, oracle.nw_matrices(codes, lengths, pairs, *score, kind))


# Around the widths of a register and of a group of pairs.
@pytest.mark.parametrize("width", [1, 6, 7, 8, 14, 15, 16, 17, 30, 31, 32])
@pytest.mark.parametrize("pairs", [1, 7, 8, 9, 15, 16, 17, 24, 25, 33])
def test_group_edges(width, pairs):
    for same_length in (True, False):
        batch = random_batch(width * 100 + pairs, pairs, width, same_length=same_length)
        np.testing.assert_array_equal(nw_matrices(*batch), oracle.nw_matrices(*batch))


def parasail_table(function, a, b, match=1, mismatch=-1, gap=-1):
    result = function(a, b, -gap, -gap, parasail.matrix_create("ACGT", match, mismatch))
    return result.score_table.copy()  # the table lies in the result, which has to outlive it


@pytest.mark.parametrize("function", [parasail.nw_table, parasail.nw_table_scan_16, parasail.nw_table_diag_16])
def test_parasail_agrees(function):
    rng = np.random.default_rng(5)
    for _ in range(20):
        a, b = ("".join(rng.choice(list("ACGT"), rng.integers(1, 160))) for _ in range(2))
        np.testing.assert_array_equal(nw_matrix(a, b)[1:, 1:], parasail_table(function, a, b))


def test_unit_cost_corner_is_minus_the_edit_distance():
    codes, lengths, pairs = random_batch(1, pairs=200, width=150, sequences=40)
    matrices = nw_matrices(codes, lengths, pairs, **UNIT)
    corners = matrices[np.arange(len(pairs)), lengths[pairs[:, 0]], lengths[pairs[:, 1]]]
    whole = [row[:length].tobytes() for row, length in zip(codes, lengths, strict=True)]
    assert (-corners).tolist() == [Levenshtein.distance(whole[first], whole[second]) for first, second in pairs]


@pytest.mark.parametrize("kind", ["prefix", "best_through"])
@pytest.mark.parametrize("same_length", [True, False])
def test_a_batch_is_its_pairs_one_by_one(kind, same_length):
    codes, lengths, pairs = random_batch(2, same_length=same_length)
    together = nw_matrices(codes, lengths, pairs, kind=kind)
    for matrix, pair in zip(together, pairs, strict=True):
        np.testing.assert_array_equal(matrix, nw_matrices(codes, lengths, [pair], kind=kind)[0])
    text = ["".join("??ACGT"[code] for code in row[:length]) for row, length in zip(codes, lengths, strict=True)]
    for matrix, (first, second) in zip(nw_matrices(codes, lengths, pairs), pairs, strict=True):
        alone = nw_matrix(text[first], text[second])
        np.testing.assert_array_equal(matrix[: alone.shape[0], : alone.shape[1]], alone)


@pytest.mark.parametrize("kind", ["prefix", "best_through"])
@pytest.mark.parametrize("threads", [2, 3, 8])
def test_threads_change_nothing(threads, kind):
    for pairs in (1, 2, 5, 100):
        batch = random_batch(3, pairs=pairs)
        np.testing.assert_array_equal(nw_matrices(*batch, kind=kind, threads=threads), nw_matrices(*batch, kind=kind))


@pytest.mark.parametrize("kind", ["prefix", "best_through"])
def test_out_is_filled_whole_and_nothing_beside_it(kind):
    codes, lengths, pairs = random_batch(4)
    guarded = np.full((len(pairs) + 2, 46, 46), 12345, dtype=np.int16)
    out = guarded[1:-1]
    assert nw_matrices(codes, lengths, pairs, kind=kind, out=out) is out
    np.testing.assert_array_equal(out, oracle.nw_matrices(codes, lengths, pairs, kind=kind))
    assert (guarded[[0, -1]] == 12345).all()
    for matrix, (first, second) in zip(out, pairs, strict=True):
        assert not matrix[lengths[first] + 1 :].any()
        assert not matrix[:, lengths[second] + 1 :].any()


def test_no_pairs_no_letters_no_sequences():
    assert nw_matrices(np.zeros((3, 5), np.uint8), [1, 2, 3], []).shape == (0, 6, 6)
    assert nw_matrices(np.zeros((3, 0), np.uint8), [0, 0, 0], [[0, 1]], gap=10**30).tolist() == [[[0]]]
    assert nw_matrices(np.zeros((0, 5), np.uint8), [], [], threads=2).shape == (0, 6, 6)
    assert not nw_matrices(np.ones((3, 5), np.uint8), [0, 0, 0], [[0, 1]], match=10**9).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint64, ">i4"])
def test_any_integers_and_any_layout(dtype):
    codes, lengths, pairs = random_batch(6)
    spread = np.zeros((9, 90), dtype=np.uint8)[:, ::2]
    spread[:] = codes
    turned = np.asfortranarray(pairs).astype(dtype, order="F")
    doubled = np.repeat(lengths.astype(dtype), 2)[::2]
    spread.flags.writeable = False
    np.testing.assert_array_equal(nw_matrices(spread, doubled, turned), oracle.nw_matrices(codes, lengths, pairs))


def test_through_peaks_at_the_optimal_score_and_turns_with_the_pair():
    codes, lengths, pairs = random_batch(7, width=30)
    whole = nw_matrices(codes, lengths, pairs)
    through = nw_matrices(codes, lengths, pairs, kind="best_through")
    swapped = nw_matrices(codes, lengths, pairs[:, ::-1], kind="best_through")
    np.testing.assert_array_equal(through, swapped.transpose(0, 2, 1))
    for prefix, cells, (first, second) in zip(whole, through, pairs, strict=True):
        rows, columns = lengths[first], lengths[second]
        assert cells[: rows + 1, : columns + 1].max() == prefix[rows, columns] == cells[0, 0] == cells[rows, columns]


LIMITS = [  # length, scores, kind: fits; one letter more does not
    (32767, (1, -1, -1), "prefix"),
    (32768, (0, -1, -1), "prefix"),
    (16384, (0, -1, -1), "best_through"),
    (16384, (1, -1, -1), "best_through"),
    (3, (-30000, -30000, -5000), "prefix"),  # substitutions are never taken: the last cell is six gaps
    (3, (10900, -5, 5000), "prefix"),
    (3, (-10, 10900, 0), "best_through"),
    (2, (-16384, -16384, -12000), "prefix"),
    (2, (0, 0, -8192), "best_through"),
    (1, (0, 0, -32768), "prefix"),
]


@pytest.mark.parametrize(("length", "score", "kind"), LIMITS)
def test_check_scores_bounds_are_sharp(length, score, kind):
    check_scores(length, **scored(*score), kind=kind)
    with pytest.raises(InputError, match=f"use smaller scores or sequences of at most {length} letters"):
        check_scores(length + 1, **scored(*score), kind=kind)


@settings(deadline=None, max_examples=300)
@given(
    length=st.integers(1, 4),
    score=st.tuples(*[st.integers(-35000, 35000)] * 3),
    kind=st.sampled_from(["prefix", "best_through"]),
)
def test_check_scores_is_sound_and_as_tight_as_can_be(length, score, kind):
    same, other = [2] * length, [3] * length
    one = {"prefix": oracle.nw_matrix, "best_through": oracle.nw_through}[kind]
    reached = np.concatenate([one(same, second, *score).ravel() for second in (same, other)])
    fits = reached.min() >= -32768 and reached.max() <= 32767
    if not fits:
        with pytest.raises(InputError, match="within int16"):
            check_scores(length, **scored(*score), kind=kind)
        return
    check_scores(length, **scored(*score), kind=kind)
    codes, lengths = np.array([same, other, [2, 3, 2, 3][:length]], dtype=np.uint8), [length] * 3
    pairs = [[0, 0], [0, 1], [0, 2], [2, 1]]
    found = nw_matrices(codes, lengths, pairs, **scored(*score), kind=kind)
    np.testing.assert_array_equal(found, oracle.nw_matrices(codes, lengths, pairs, *score, kind))


def test_a_mismatch_that_is_never_taken_may_be_anything():
    expected = nw_matrix("ACGTACGT", "AGGTTACT", mismatch=-2)
    np.testing.assert_array_equal(nw_matrix("ACGTACGT", "AGGTTACT", mismatch=-(10**30)), expected)


@pytest.mark.parametrize("length", [409, 410])
def test_where_the_vector_kernel_ends(length):
    """Its cells reach 80 a letter (see nw_fill.c): 409 letters fit int16, 410 do not, and the matrix fits in both."""
    a = "".join(np.random.default_rng(8).choice(list("ACGT"), length))
    for b in (a, a[:200] + "GATTACA" + a[207:-1]):
        found = nw_matrix(a, b, **scored(40, -20, -20))
        expected = parasail_table(parasail.nw_table_scan_32, a, b, 40, -20, -20)
        np.testing.assert_array_equal(found[1:, 1:], expected)


CODES = np.full((2, 3), 2, dtype=np.uint8)
read_only = np.zeros((1, 4, 4), dtype=np.int16)
read_only.flags.writeable = False


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"codes": CODES.astype(int)},
            r"codes: expected a \(sequences, letters\) array of uint8, found \(2, 3\) int64",
        ),
        ({"codes": CODES[0]}, r"codes: expected a \(sequences, letters\) array of uint8, found \(3,\) uint8"),
        ({"codes": CODES.tolist()}, r"codes: expected .* of uint8, found list"),
        ({"lengths": [3]}, r"lengths: expected integers of shape \(2\), found \(1,\) int64"),
        ({"lengths": [3.0, 3.0]}, r"lengths: expected integers of shape \(2\), found \(2,\) float64"),
        ({"lengths": [3, 4]}, r"lengths: expected 0 to 3 \(the columns of codes\), found 3 to 4"),
        ({"lengths": [-1, 3]}, r"lengths: expected 0 to 3 \(the columns of codes\), found -1 to 3"),
        ({"pairs": [0, 1]}, r"pairs: expected integers of shape \(any, 2\), found \(2,\) int64"),
        ({"pairs": [[0, 1, 1]]}, r"pairs: expected integers of shape \(any, 2\), found \(1, 3\) int64"),
        ({"pairs": [[0.0, 1.0]]}, r"pairs: expected integers of shape \(any, 2\), found \(1, 2\) float64"),
        ({"pairs": [[0, 2]]}, r"pairs: expected rows of codes, 0 to 1, found 0 to 2"),
        ({"pairs": [[-1, 0]]}, r"pairs: expected rows of codes, 0 to 1, found -1 to 0"),
        ({"pairs": np.array([[0, 2**63]], dtype=np.uint64)}, r"pairs: expected rows of codes, 0 to 1, found -"),
        ({"gap": -0.5}, r"expected integer scores, found match=1, mismatch=-1, gap=-0.5; multiply"),
        ({"gap": -20000}, r"within int16 \(-32768 to 32767\), found -60000 to 3 possible for 3 letters .*gap=-20000"),
        ({"match": 10**30}, r"use smaller scores or sequences of at most 0 letters"),
        ({"kind": "suffix"}, r"kind: expected one of prefix, best_through, found 'suffix'"),
        ({"threads": 0}, r"threads: expected an integer of at least 1, found 0"),
        ({"threads": 1.5}, r"threads: expected an integer of at least 1, found 1.5"),
        (
            {"out": np.zeros((1, 4, 4))},
            r"out: expected a writeable C-contiguous \(1, 4, 4\) array of int16, found .*float64",
        ),
        (
            {"out": np.zeros((2, 4, 4), np.int16)},
            r"out: expected .*\(1, 4, 4\) array of int16, found \(2, 4, 4\) int16",
        ),
        ({"out": np.zeros((1, 4, 8), np.int16)[:, :, ::2]}, r"out: expected .*, found .*int16, not C-contiguous"),
        ({"out": read_only}, r"out: expected .*, found \(1, 4, 4\) int16, read-only"),
    ],
)
def test_what_cannot_be_used_is_told(change, message):
    arguments = {"codes": CODES, "lengths": [3, 3], "pairs": [[0, 1]], **change}
    with pytest.raises(InputError, match=message):
        nw_matrices(**arguments)


def test_letters_beyond_ascii_are_told():
    with pytest.raises(InputError, match="position 3: expected ASCII letters, found 'ß'; replace it"):
        nw_matrix("ACß", "AC")


ALL = np.argwhere(np.triu(np.ones((12, 12)), 1))


@pytest.mark.parametrize("kind", [str, bytes])
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("pairs", [None, ALL, ALL[::-1], ALL[:5], [[3, 3]], []])
def test_edit_distances(pairs, workers, kind):
    rng = np.random.default_rng(9)
    texts = ["".join(rng.choice(list("ACGT"), rng.integers(0, 60))) for _ in range(12)]
    expected = np.array([[Levenshtein.distance(a, b) for b in texts] for a in texts])
    found = edit_distances(texts if kind is str else [text.encode() for text in texts], pairs, workers=workers)
    if pairs is not None:
        expected = expected[tuple(np.reshape(pairs, (-1, 2)).T.astype(int))]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.int32


def test_edit_distances_of_what_cannot_be_used():
    with pytest.raises(InputError, match="pairs: expected rows of sequences, 0 to 1, found 0 to 2"):
        edit_distances(["A", "C"], [[0, 2]])
    with pytest.raises(InputError, match="workers: expected an integer of at least 1, found 0"):
        edit_distances(["A", "C"], workers=0)


def run_python(code, **environment):
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("name", _nw.instruction_sets)
def test_each_instruction_set(name):
    code = """
import numpy as np, oracle
from nwa_lightning import _nw
from nwa_lightning.alignment import nw_matrices
from test_alignment import random_batch
for seed, pairs, width, same_length in [(1, 37, 33, False), (2, 17, 31, True), (3, 5, 15, True), (4, 9, 16, False)]:
    batch = random_batch(seed, pairs, width, same_length=same_length)
    for score in [(1, -1, -1), (-1, 2, 1), (100, -100, -100)]:
        for kind in ("prefix", "best_through"):
            found = nw_matrices(*batch, match=score[0], mismatch=score[1], gap=score[2], kind=kind)
            np.testing.assert_array_equal(found, oracle.nw_matrices(*batch, *score, kind))
print(_nw.instruction_set)
"""
    result = run_python(code, NWA_LIGHTNING_ISA=name)
    assert (result.returncode, result.stdout.strip()) == (0, name), result.stderr


def test_an_unknown_instruction_set_is_told():
    result = run_python("import nwa_lightning.alignment", NWA_LIGHTNING_ISA="mmx")
    assert result.returncode == 1
    expected = f"ImportError: NWA_LIGHTNING_ISA: expected one of {', '.join(_nw.instruction_sets)} on this machine, found 'mmx'"
    assert expected in result.stderr


def test_a_missing_extension_is_told():
    code = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name == "nwa_lightning._nw":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Block())
import nwa_lightning.alignment
"""
    result = run_python(code)
    assert result.returncode == 1
    assert "ImportError: the compiled part of nwa_lightning is missing; build it with: python -m pip install -e ." in (
        result.stderr
    )


def fill_in_child(batch, queue):
    queue.put(nw_matrices(*batch, threads=2))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
def test_threads_in_a_child_forked_after_threads():
    batch = random_batch(10)
    expected = nw_matrices(*batch, threads=2)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=fill_in_child, args=(batch, queue), daemon=True)
    child.start()
    np.testing.assert_array_equal(queue.get(timeout=30), expected)
    child.join(30)
    assert child.exitcode == 0


def test_the_stub_names_what_there_is():
    stub = Path(alignment.__file__).with_name("_nw.pyi").read_text()
    named = set(re.findall(r"^(?:def )?(\w+)[:(]", stub, flags=re.MULTILINE))
    present = {name for name in vars(_nw) if not name.startswith("_")} - {"os"}
    assert named == present
