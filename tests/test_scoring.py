import re
from fractions import Fraction
from itertools import product

import numpy as np
import oracle
import parasail
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from test_alignment import run_python

from nwa_lightning import _nw
from nwa_lightning.alignment import nw_matrices
from nwa_lightning.errors import InputError
from nwa_lightning.scoring import Scoring, alignment_scores, strided_matrices
from nwa_lightning.scoring.tables import BASES_OF
from nwa_lightning.sequences.alphabet import DNA, IUPAC, PROTEIN, RNA
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.packed import Packed

LINEAR = Scoring.simple(2, -1, -2)
KINDS = ["prefix", "best_through"]


def random_batch(seed, sequences=8, width=45, pairs=12, letters=4):
    """Codes with rubbish after each sequence's length, which nothing may read."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(2, 2 + letters, (sequences, width)).astype(np.uint8)
    return codes, rng.integers(0, width + 1, sequences), rng.integers(0, sequences, (pairs, 2))


def random_scoring(seed, size=6, most=9, affine=True):
    rng = np.random.default_rng(seed)
    gaps = -np.sort(rng.integers(0, most, 2))[::-1]
    return Scoring(rng.integers(-most, most + 1, (size, size)), gaps[0], gaps[1] if affine else gaps[0])


def expected(codes, lengths, pairs, scoring, stride=1, kind="prefix"):
    gaps = scoring.gap_open, scoring.gap_extend
    return oracle.strided(codes, lengths, pairs, scoring.substitution, *gaps, stride, kind)


def corners(codes, lengths, pairs, scoring):
    cells = expected(codes, lengths, pairs, scoring)
    return cells[np.arange(len(pairs)), lengths[pairs[:, 0]], lengths[pairs[:, 1]]]


@st.composite
def scorings(draw, size):
    scores = draw(hnp.arrays(np.int64, (size, size), elements=st.integers(-12, 12)))
    extend = draw(st.integers(-6, 0))
    return Scoring(scores, extend - draw(st.sampled_from([0, 0, 1, 3, 20])), extend)


@st.composite
def batches(draw):
    size, width, sequences = draw(st.integers(1, 7)), draw(st.integers(0, 60)), draw(st.integers(1, 4))
    lengths = draw(st.lists(st.integers(0, width), min_size=sequences, max_size=sequences))
    codes = draw(hnp.arrays(np.uint8, (sequences, width), elements=st.integers(0, size - 1)))
    row = st.integers(0, sequences - 1)
    return codes, lengths, draw(st.lists(st.tuples(row, row), max_size=4)), draw(scorings(size))


def test_affine_gaps_by_hand():
    scoring = Scoring(np.where(np.eye(6), 2, -3), -4, -1)
    assert alignment_scores(["ACGT", "AT"], [[0, 1]], scoring=scoring).tolist() == [2 + 2 - 4 - 1]
    codes = np.array([[2, 3, 4, 5], [2, 5, 0, 0]], dtype=np.uint8)
    (cells,) = strided_matrices(codes, [4, 2], [[0, 1]], scoring=scoring)
    assert cells.tolist() == [
        [0, -4, -5, 0, 0],
        [-4, 2, -2, 0, 0],
        [-5, -2, -1, 0, 0],
        [-6, -3, -5, 0, 0],
        [-7, -4, -1, 0, 0],
    ]
    (cells,) = strided_matrices(codes, [4, 2], [[0, 1]], scoring=scoring, stride=2)
    assert cells.tolist() == [[0, -5, 0], [-5, -1, 0], [-7, -1, 0]]


def test_rows_are_the_first_sequence():
    scoring = Scoring([[0, 5], [-7, 0]], -9, -9)
    packed = Packed.of([b"\x00", b"\x01"])
    assert alignment_scores(packed, scoring=scoring).tolist() == [[0, 5], [-7, 0]]
    assert alignment_scores(packed, [[0, 1], [1, 0]], scoring=scoring).tolist() == [5, -7]


@settings(deadline=None, max_examples=50)
@given(batch=batches(), stride=st.integers(1, 70), threads=st.integers(1, 3), kind=st.sampled_from(KINDS))
def test_any_batch_is_what_the_recurrence_says(batch, stride, threads, kind):
    *batch, scoring = batch
    kind = kind if scoring.linear else "prefix"
    options = {"scoring": scoring, "threads": threads}
    found = strided_matrices(*batch, **options, stride=stride, kind=kind)
    np.testing.assert_array_equal(found, expected(*batch, scoring, stride, kind))
    whole = strided_matrices(*batch, **options)
    codes, lengths, pairs = batch
    packed = Packed.of(row[:length].tobytes() for row, length in zip(codes, lengths, strict=True))
    scores = alignment_scores(packed, pairs, **options)
    assert scores.tolist() == [cells[lengths[a], lengths[b]] for cells, (a, b) in zip(whole, pairs, strict=True)]


# Around the widths of a register.
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33])
@pytest.mark.parametrize("affine", [True, False])
def test_register_edges(width, affine):
    rng = np.random.default_rng(width)
    codes = rng.integers(0, 6, (6, width)).astype(np.uint8)
    lengths, scoring = np.maximum(width - np.arange(6), 0), random_scoring(width, affine=affine)
    batch = codes, lengths, rng.integers(0, 6, (10, 2))
    for kind in KINDS[: 1 if affine and not scoring.linear else 2]:
        found = strided_matrices(*batch, scoring=scoring, kind=kind)
        np.testing.assert_array_equal(found, expected(*batch, scoring, 1, kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stride", [1, 4, 16, 100])
def test_simple_scores_are_those_of_nw_matrices(kind, stride):
    batch = random_batch(1, width=90, pairs=40)
    for match, mismatch, gap in [(1, -1, -1), (0, -1, -1), (5, -4, -10), (-1, 2, 0)]:
        found = strided_matrices(*batch, scoring=Scoring.simple(match, mismatch, gap), stride=stride, kind=kind)
        whole = nw_matrices(*batch, match=match, mismatch=mismatch, gap=gap, kind=kind)
        np.testing.assert_array_equal(found, whole[:, ::stride, ::stride])
    assert found.dtype == np.int32


def proteins(seed, count, longest):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(PROTEIN.letters), rng.integers(1, longest))) for _ in range(count)]


@pytest.mark.parametrize(("gap_open", "gap_extend"), [(-11, -1), (-5, -5), (-3, 0), (0, 0)])
def test_parasail_agrees(gap_open, gap_extend):
    scoring = Scoring.named("BLOSUM62", PROTEIN, gap_open=gap_open, gap_extend=gap_extend)
    texts = proteins(2, 12, 150)
    found = alignment_scores(texts, scoring=scoring, alphabet=PROTEIN)
    gaps = -gap_open, -gap_extend, parasail.blosum62
    assert found.tolist() == [[parasail.nw_scan_32(a, b, *gaps).score for b in texts] for a in texts]
    assert found.dtype == np.int32
    reads = Sequences.from_strings(texts, PROTEIN)
    np.testing.assert_array_equal(alignment_scores(reads, scoring=scoring), found)
    cells = strided_matrices(reads.padded(), reads.lengths, [[0, 1], [2, 3]], scoring=scoring, stride=7)
    for matrix, pair in zip(cells, [(0, 1), (2, 3)], strict=True):
        result = parasail.nw_table(*(texts[row] for row in pair), *gaps)
        theirs = result.score_table[6::7, 6::7].copy()
        np.testing.assert_array_equal(matrix[1 : 1 + theirs.shape[0], 1 : 1 + theirs.shape[1]], theirs)


def test_long_sequences():
    rng = np.random.default_rng(3)
    ancestor = rng.integers(0, 4, 5000)
    texts = []
    for changed in (0.0, 0.1, 1.0):
        row = np.where(rng.random(5000) < changed, rng.integers(0, 4, 5000), ancestor)
        texts.append("".join("ACGT"[code] for code in np.delete(row, rng.integers(0, 5000, 40))))
    for gap_open in (-12, -7):
        scoring = Scoring(np.where(np.eye(6), 10, -9), gap_open, -7)
        matrix = parasail.matrix_create("ACGT", 10, -9)
        found = alignment_scores(texts, [[0, 1], [1, 2]], scoring=scoring)
        theirs = [parasail.nw_scan_32(texts[k], texts[k + 1], -gap_open, 7, matrix).score for k in (0, 1)]
        assert found.tolist() == theirs
        assert abs(found[0]) > 30000  # beyond int16


def by_rows(one, two, scoring, stride):
    """Row by row: a gap from cell k to j costs open + (j - k - 1) extend, so the best k is a running maximum."""
    gap_open, extend = scoring.gap_open, scoring.gap_extend
    columns = np.arange(len(two) + 1)
    row = np.where(columns, gap_open + (columns - 1) * extend, 0)
    up = np.full(len(row), -(1 << 40))
    rows = [row]
    for letter in one:
        up = np.maximum(up + extend, row + gap_open)
        best = np.maximum(up, np.concatenate([up[:1], row[:-1] + scoring.substitution[letter, two]]))
        runs = np.maximum.accumulate(best - columns * extend)
        row = np.maximum(best, np.concatenate([best[:1], runs[:-1] + columns[:-1] * extend + gap_open]))
        rows.append(row)
    return np.stack(rows[::stride])[:, ::stride]


ALPHABETS = [(DNA, None), (IUPAC, "NUC.4.4"), (PROTEIN, "BLOSUM62"), (PROTEIN, "PAM250")]


@settings(deadline=None, max_examples=12)
@given(st.data())
def test_lengths_to_5000(data):
    alphabet, name = data.draw(st.sampled_from(ALPHABETS))
    extend = data.draw(st.integers(-6, 0))
    gaps = {"gap_open": extend - data.draw(st.sampled_from([0, 0, 1, 10])), "gap_extend": extend}
    table = Scoring.simple(data.draw(st.integers(1, 9)), data.draw(st.integers(-9, 0)), -1, size=alphabet.size)
    scoring = Scoring(table.substitution, **gaps) if name is None else Scoring.named(name, alphabet, **gaps)
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 32)))
    one = rng.integers(2, alphabet.size, data.draw(st.integers(0, 5000))).astype(np.uint8)
    other = rng.integers(2, alphabet.size, data.draw(st.integers(0, 5000))).astype(np.uint8)
    if data.draw(st.booleans()):  # a relative
        other = np.where(rng.random(len(one)) < 0.1, rng.integers(2, alphabet.size, len(one)), one).astype(np.uint8)
        other = np.delete(other, rng.integers(0, max(len(one), 1), min(len(one), 30)))
    stride = data.draw(st.integers(1, 900))
    reads = Sequences.from_codes([one, other], ["", ""])
    pairs = [[0, 1], [1, 0]]
    found = strided_matrices(reads.padded(), reads.lengths, pairs, scoring=scoring, stride=stride)
    for cells, (first, second) in zip(found, ((one, other), (other, one)), strict=True):
        theirs = by_rows(first, second, scoring, stride)
        rows, columns = theirs.shape
        np.testing.assert_array_equal(cells[:rows, :columns], theirs)
        assert not cells[rows:].any()
        assert not cells[:, columns:].any()
    scores = alignment_scores(reads, pairs, scoring=scoring)
    assert scores.tolist() == [by_rows(a, b, scoring, 1)[-1, -1] for a, b in ((one, other), (other, one))]


def test_all_codes():
    rng = np.random.default_rng(4)
    codes, lengths = rng.integers(0, 256, (5, 50)).astype(np.uint8), np.array([50, 49, 0, 33, 1])
    scoring = random_scoring(4, size=256, most=30)
    pairs = np.argwhere(np.ones((5, 5)))
    packed = Packed(codes.reshape(-1), np.arange(5) * 50, lengths)
    assert (
        alignment_scores(packed, scoring=scoring).ravel().tolist() == corners(codes, lengths, pairs, scoring).tolist()
    )
    assert not scoring.symmetric


@pytest.mark.parametrize("threads", [2, 3, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_all_pairs_and_threads(threads, symmetric):
    for count in (0, 1, 2, 7, 10):
        codes, lengths, _ = random_batch(5, sequences=max(count, 1), width=20)
        packed = Packed(codes.reshape(-1), np.arange(len(codes)) * 20, lengths).take(np.arange(count))
        scoring = Scoring.simple(3, -2, -4) if symmetric else random_scoring(5)
        assert scoring.symmetric == symmetric
        pairs = np.argwhere(np.ones((count, count)))
        found = alignment_scores(packed, scoring=scoring, threads=threads)
        assert found.shape == (count, count)
        np.testing.assert_array_equal(found.ravel(), corners(codes, lengths, pairs, scoring))
        np.testing.assert_array_equal(found.ravel(), alignment_scores(packed, pairs, scoring=scoring, threads=threads))


def test_no_pairs_no_letters_no_sequences():
    assert alignment_scores([], scoring=LINEAR).shape == (0, 0)
    assert alignment_scores(["A"], [], scoring=LINEAR).shape == (0,)
    assert alignment_scores(["", "", "ACG"], scoring=Scoring.iupac(2, -1, -3)).tolist() == [
        [0, 0, -9],
        [0, 0, -9],
        [-9, -9, 6],
    ]
    affine = Scoring.named("NUC.4.4", DNA, gap_open=-10, gap_extend=-2)
    assert alignment_scores(["", "ACG"], [[0, 1], [1, 0], [0, 0]], scoring=affine).tolist() == [-14, -14, 0]
    assert strided_matrices(np.zeros((2, 0), np.uint8), [0, 0], [[0, 1]], scoring=affine).tolist() == [[[0]]]
    assert strided_matrices(np.zeros((3, 5), np.uint8), [1, 2, 3], [], scoring=affine, stride=2).shape == (0, 3, 3)


def test_each_instruction_set():
    code = """
import numpy as np, oracle
from nwa_lightning import _nw
from nwa_lightning.scoring import Scoring, strided_matrices
for width in (1, 5, 16, 17, 33, 50):
    rng = np.random.default_rng(width)
    codes, lengths = rng.integers(0, 6, (8, width)).astype(np.uint8), rng.integers(0, width + 1, 8)
    batch, table = (codes, lengths, rng.integers(0, 8, (8, 2))), rng.integers(-9, 9, (6, 6))
    for gaps, kind in (((-7, -2), "prefix"), ((-5, -5), "prefix"), ((-5, -5), "best_through")):
        for stride in (1, 3):
            found = strided_matrices(*batch, scoring=Scoring(table, *gaps), stride=stride, kind=kind)
            np.testing.assert_array_equal(found, oracle.strided(*batch, table, *gaps, stride, kind))
print(_nw.instruction_set)
"""
    for name in _nw.instruction_sets:
        result = run_python(code, NWA_LIGHTNING_ISA=name)
        assert (result.returncode, result.stdout.strip()) == (0, name), result.stderr


@pytest.mark.parametrize("name", ["BLOSUM62", "blosum45", "PAM250"])
def test_published_matrices_are_those_of_parasail(name):
    theirs = getattr(parasail, name.lower())
    places = ["ARNDCQEGHILKMFPSTWYVBZX*".index(letter) for letter in PROTEIN.letters]
    scoring = Scoring.named(name, PROTEIN)
    np.testing.assert_array_equal(scoring.substitution[2:, 2:], theirs.matrix[np.ix_(places, places)])
    assert not scoring.substitution[:2].any()
    assert (scoring.gap_open, scoring.gap_extend) == (-11, -1)


def test_iupac_scores_are_expectations():
    for match, mismatch in [(1, -1), (4, -4), (5, -4), (-3, 7), (60, 1)]:
        scoring = Scoring.iupac(match, mismatch, -8)
        assert scoring.symmetric
        for (row, a), (column, b) in product(enumerate(IUPAC.letters, start=2), repeat=2):
            cells = [match if x == y else mismatch for x, y in product(BASES_OF[a], BASES_OF[b])]
            mean = Fraction(sum(cells), len(cells))
            rounded = int(scoring.substitution[row, column])
            assert mean - Fraction(1, 2) < rounded <= mean + Fraction(1, 2)
    nuc = Scoring.named("NUC.4.4", IUPAC).substitution  # NCBI rounds sets beside sets in its own way
    np.testing.assert_array_equal(Scoring.iupac(5, -4).substitution[:6], nuc[:6])
    scores = Scoring.iupac(4, -4, -8).substitution[2:, 2:]
    letters = {letter: place for place, letter in enumerate(IUPAC.letters)}
    found = [scores[letters[a], letters[b]] for a, b in ("AA", "AC", "AR", "AY", "AN", "NN", "RR", "RY")]
    assert found == [4, -4, 0, -4, -2, -2, 0, -4]
    assert alignment_scores(["ACN", "ACG"], [[0, 1]], scoring=Scoring.iupac(4, -4, -8), alphabet=IUPAC).tolist() == [6]
    assert sorted(BASES_OF) == sorted(IUPAC.letters)


TEXT = """# mine
   A  c  G  T  N
C -1  5 -2 -3  0

A  4 -1  0  1  0
G  0 -2  6  1  0
T  1 -3  2  7  0
N  0  0  0  0  0
"""


def test_own_matrices(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text(TEXT)
    scoring = Scoring.from_table(path, DNA, gap_open=-6, gap_extend=-2)
    assert scoring.substitution[2:, 2:].tolist() == [[4, -1, 0, 1], [-1, 5, -2, -3], [0, -2, 6, 1], [1, -3, 2, 7]]
    assert (scoring.gap_open, scoring.gap_extend, scoring.linear, scoring.symmetric) == (-6, -2, False, False)
    table = {("A", "a"): 4, ("A", "C"): -1, ("C", "C"): 5, ("G", "A"): 0, ("G", "C"): -2, ("G", "G"): 6}
    table |= {("T", "A"): 1, ("T", "C"): -3, ("T", "G"): 2, ("G", "T"): 1, ("T", "T"): 7}
    np.testing.assert_array_equal(Scoring.from_table(table, DNA).substitution, scoring.substitution)
    assert alignment_scores(["T", "G"], scoring=scoring).tolist() == [[7, 2], [1, 6]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "mine.txt: expected a line of letters, found none; use NCBI's text format"),
        ("# nothing\n\n", "mine.txt: expected a line of letters, found none"),
        ("A C\nA 1 2\nC 2", "mine.txt: line 3: expected 2 scores, one for each letter of the first line, found 1; add"),
        ("A C\nA 1 2 3\nC 2", "mine.txt: line 2: expected 2 scores, .* found 3; add or remove some"),
        ("A C\n\nA 1 2\nA 2 1", "mine.txt: line 4: expected one row for each letter .*, found it again; mend it"),
        ("A C\nA 1 2\nG 2 1", "mine.txt: line 3: expected one row for each letter .*, found G; mend it"),
        ("A C\nA 1 2", "mine.txt: expected a row for each letter of the first line, found none for C; add it"),
        ("A A\nA 1 2", "mine.txt: line 1: expected each letter once, found A twice; remove one"),
        ("Ala C\n", "mine.txt: line 1: expected a line of single letters, found 'ALA'; use NCBI's text format"),
        ("#\nA 1\n", "mine.txt: expected a row for each letter of the first line, found none for A, 1; add it"),
        ("A C\nA 1 2.5\nC 2 1", "mine.txt: line 2: expected integers, found '2.5'; multiply all scores by one number"),
        ("A C\nA 1 x\nC 2 1", "mine.txt: line 2: expected integers, found 'X'"),
        ("A C\nA 1 2\nC 2 1", "mine.txt: expected scores of all letters of dna, found none of GT; add them or use"),
        (TEXT.replace("7", "7" * 12), r"mine.txt: expected integers within int32, found 7.77778e\+11; multiply or"),
        (b"\xff\xfe", "mine.txt: expected a substitution matrix, found: bytes that are no text; check the path"),
        (None, "mine.txt: expected a substitution matrix, found: No such file or directory; check the path"),
    ],
)
def test_files_that_cannot_be_used_are_told(text, message, tmp_path):
    path = tmp_path / "mine.txt"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message) as caught:
        Scoring.from_table(path, DNA)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Scoring.from_table({("A", "C"): 1}, DNA), "scores: expected one of A beside A, found none; add it"),
        (lambda: Scoring.from_table({("A", "A"): 0.5}, DNA), r"expected integers by pairs .* 0.5 by \('A', 'A'\); mul"),
        (lambda: Scoring.from_table({("A",): 1}, DNA), r"expected integers by pairs of letters, found 1 by \('A',\)"),
        (lambda: Scoring.from_table({}, DNA), "scores: expected scores of all letters of dna, found none of ACGT"),
        (lambda: Scoring.named("BLOSSOM", PROTEIN), "BLOSSOM: expected one of .*BLOSUM62.*, found another name; use"),
        (lambda: Scoring.named("BLOSUM62", RNA), "BLOSUM62: expected scores of all letters of rna, found none of U"),
        (
            lambda: Scoring.named("GONNET1992", PROTEIN),
            "GONNET1992: expected integers within int32, found 2.4; multiply",
        ),
        (lambda: Scoring.simple(1.5), r"substitution: expected a \(K, K\) array of integers, .* found \(256, 256\) fl"),
        (lambda: Scoring.simple(2**31), "substitution: expected scores within int32, found -1 to 2147483648; use sma"),
        (lambda: Scoring.simple(10**30), "substitution: expected a .* array of integers"),
        (lambda: Scoring.simple(size=0), "size: expected an integer of at least 1, found 0"),
        (lambda: Scoring.simple(size=257), r"K at most 256, found \(257, 257\) int64; give one row and one column"),
        (lambda: Scoring.iupac(0.5), r"substitution: expected a \(K, K\) array of integers, .* found \(17, 17\) float"),
        (lambda: Scoring([[1, 2]], -1, -1), r"substitution: expected a \(K, K\) array of integers, .* found \(1, 2\)"),
        (lambda: Scoring([[1]], -1, -2), r"<= gap_open <= gap_extend <= 0, found gap_open=-1, gap_extend=-2; the f"),
        (
            lambda: Scoring([[1]], 1, 1),
            r"expected integers -268435456 <= gap_open <= gap_extend <= 0, found gap_open=1",
        ),
        (
            lambda: Scoring([[1]], -(2**28) - 1, 0),
            r"expected integers -268435456 <= gap_open <= .*=-268435457, gap_extend=0",
        ),
        (
            lambda: Scoring([[1]], -1.5, -1),
            r"expected integers -268435456 <= gap_open <= gap_extend <= 0, found gap_open=-1.5",
        ),
    ],
)
def test_scores_that_cannot_be_used_are_told(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_scores_do_not_change():
    given = np.eye(6, dtype=np.int32)
    scoring = Scoring(given, -1, -1)
    given[0, 0] = 7
    assert scoring.substitution[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        scoring.substitution[0, 0] = 7


AFFINE = Scoring(np.eye(6, dtype=int), -4, -2)
CODES = np.full((2, 3), 2, dtype=np.uint8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codes": CODES[0]}, r"codes: expected a \(sequences, letters\) array of uint8, found \(3,\) uint8"),
        ({"codes": CODES + 4}, "expected codes below 6, for which there are scores, found 6; use the alphabet of the"),
        ({"lengths": [3, 4]}, r"lengths: expected 0 to 3 \(the columns of codes\), found 3 to 4"),
        ({"pairs": [[0, 2]]}, "pairs: expected rows of codes, 0 to 1, found 0 to 2"),
        ({"stride": 0}, "stride: expected an integer of at least 1, found 0"),
        ({"stride": 1.5}, "stride: expected an integer of at least 1, found 1.5"),
        ({"threads": 0}, "threads: expected an integer of at least 1, found 0"),
        ({"kind": "suffix"}, "kind: expected one of prefix, best_through, found 'suffix'"),
        (
            {"kind": "best_through"},
            "expected 'prefix' for affine gaps, found 'best_through'; use it or gap_open=gap_ext",
        ),
        (
            {"scoring": Scoring.simple(2**30)},
            "expected scores within int32, found up to 32.* possible for 3 letters at a",
        ),
    ],
)
def test_what_cannot_be_used_is_told(change, message):
    arguments = {"codes": CODES, "lengths": [3, 3], "pairs": [[0, 1]], "scoring": AFFINE, **change}
    with pytest.raises(InputError, match=re.sub("32\\.", "322122547.", message)):
        strided_matrices(**arguments)


def test_letters_and_rows_that_cannot_be_used_are_told():
    with pytest.raises(
        InputError, match=r"sequence 2: position 3: expected one of ACGT \(dna\), found 'N'; mend it or use"
    ):
        alignment_scores(["ACG", "ACN"], scoring=AFFINE)
    with pytest.raises(InputError, match="sequence 1: expected a string, found bytes; for codes pass Sequences or Pa"):
        alignment_scores([b"ACG"], scoring=AFFINE)
    with pytest.raises(InputError, match="pairs: expected rows of sequences, 0 to 1, found 0 to 2"):
        alignment_scores(["ACG", "ACG"], [[0, 2]], scoring=AFFINE)
    with pytest.raises(InputError, match="threads: expected an integer of at least 1, found 0"):
        alignment_scores(["ACG", "ACG"], scoring=AFFINE, threads=0)
    with pytest.raises(InputError, match="expected codes below 6, for which there are scores, found 16; use the alph"):
        alignment_scores(["ACN"], scoring=AFFINE, alphabet=IUPAC)


@pytest.mark.parametrize("scores", [(1, -1, -1, -1), (0, -1, -3, -1), (1000, -1000, -900, 0), (0, 0, -9, -9)])
def test_the_length_that_fits_is_named(scores):
    match, mismatch, *gaps = scores
    scoring = Scoring(np.where(np.eye(2), match, mismatch), *gaps)
    with pytest.raises(InputError, match=r"or sequences of at most (\d+) letters") as caught:
        scoring.check_length(2**31)
    longest = int(re.search(r"at most (\d+)", str(caught.value))[1])
    scoring.check_length(longest)
    with pytest.raises(InputError, match="within int32"):
        scoring.check_length(longest + 1)


@settings(deadline=None, max_examples=150)
@given(
    length=st.integers(1, 5),
    scores=hnp.arrays(np.int64, (2, 2), elements=st.integers(-(2**31), 2**31 - 1)),
    gaps=st.tuples(st.integers(-(2**28), 0), st.integers(-(2**28), 0)),
    divisor=st.sampled_from([1, 2, 4, 8]),
)
def test_whatever_passes_the_check_is_right(length, scores, gaps, divisor):
    scoring = Scoring(scores // divisor, *sorted(-(-gap // divisor) for gap in gaps))
    try:
        scoring.check_length(length)
    except InputError:
        return
    codes = np.array([[0] * length, [1] * length, [0, 1, 1, 0, 1][:length]], dtype=np.uint8)
    batch = codes, [length] * 3, np.argwhere(np.ones((3, 3)))
    for kind in KINDS[: 2 if scoring.linear else 1]:
        np.testing.assert_array_equal(
            strided_matrices(*batch, scoring=scoring, kind=kind), expected(*batch, scoring, 1, kind)
        )


def test_a_substitution_that_is_never_taken_may_be_anything():
    texts = ["ACGTACGTTGCA", "AGGTTACTACCA"]
    for gaps in ((-3, -3), (-4, -1)):
        lowest, clipped = (Scoring(np.where(np.eye(6), 2, low), *gaps) for low in (-(2**31), 2 * gaps[0]))
        assert alignment_scores(texts, scoring=lowest).tolist() == alignment_scores(texts, scoring=clipped).tolist()


def test_few_rows_of_a_long_matrix():
    rng = np.random.default_rng(6)
    codes = rng.integers(2, 6, (2, 3000)).astype(np.uint8)
    found = strided_matrices(codes, [3000, 2500], [[0, 1]], scoring=AFFINE, stride=1000)
    assert found.shape == (1, 4, 4)
    for i, j in product(range(1, 4), range(1, 3)):
        packed = Packed.of([codes[0, : 1000 * i].tobytes(), codes[1, : 1000 * j].tobytes()])
        assert alignment_scores(packed, [[0, 1]], scoring=AFFINE)[0] == found[0, i, j]
