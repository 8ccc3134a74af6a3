import itertools

import parasail
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracle import edit_distance

from nwa_lightning.search.alignments import Alignment, align

TARGET = "ACGTTGCATGGACCTTAGCAAAAAAGGATCCATGACCAGTTAACGGCTA"

# vsearch 2.22.1: --usearch_global queries.fa --db targets.fa --id 0.5 --qmask none --dbmask none
#   --userout - --userfields caln+alnlen+mism+gaps+opens+qilo+qihi+tilo+tihi+id0+id1+id2+id3+id4
VSEARCH = {
    "ACGTTGCATGGACCTTAGCAAAAAAGGAACCATGACCAGTTAACGGCTA": (
        "49M 49 1 0 0 1 49 1 49 98.0 98.0 98.0 98.0 98.0"  # one substitution
    ),
    "ACGTTGCATGGACCTTAGCAAAAGGATCCATGACCAGTTAACGGCTA": (
        "19M2I28M 49 0 2 1 1 47 1 49 100.0 95.9 95.9 98.0 95.9"  # the gap may be anywhere in the A
    ),
    "ACGTTGCATGGACCTTAGCAAAAAACCCCGGATCCATGACCAGTTAACGGCTA": ("25M4D24M 53 0 4 1 1 53 1 49 100.0 92.5 92.5 98.1 92.5"),
    "GTTGCATGGACCTTAGCAAAAAAGGATCCATGACCAGTTAACGGCTATTTT": (
        "2I47M4D 47 0 0 0 1 47 3 49 95.9 88.7 100.0 96.1 88.7"  # gaps at both ends
    ),
    "ACGTTGCATGGACCTTAGCAAAAAAGGAACCATGACCAGTTAACG": "45M4I 45 1 0 0 1 45 1 45 97.8 89.8 97.8 95.9 89.8",
}

sequences = st.text("ACGT", max_size=30)


@st.composite
def relatives(draw):
    """A sequence, and the same with a few edits: gaps of several letters, too."""
    one = draw(st.text("AC", min_size=5, max_size=30))
    two = one
    for _ in range(draw(st.integers(0, 4))):
        place, length = draw(st.integers(0, len(two))), draw(st.integers(0, 4))
        two = two[:place] + draw(st.text("ACG", max_size=4)) + two[place + length :]
    return one, two


def columns(alignment):
    """The columns as pairs of letters."""
    query, target = alignment.rows
    return list(zip(query, target, strict=True))


def kind(query, target):
    return "D" if query == "-" else "I" if target == "-" else "M" if query == target else "X"


def check(query, target):
    """Compare an alignment with naive counts on its rows."""
    found = align(query, target)
    assert [row.replace("-", "") for row in found.rows] == [query, target]
    kinds = "".join(kind(*column) for column in columns(found))
    assert found.ops == tuple((len(list(run)), op) for op, run in itertools.groupby(kinds))
    assert found.edits == edit_distance(query, target) == sum(op != "M" for op in kinds)
    assert (found.matches, found.mismatches, found.columns) == (kinds.count("M"), kinds.count("X"), len(kinds))
    inner = kinds.lstrip("ID").rstrip("ID")
    assert found.alnlen == len(inner)
    assert found.gaps == inner.count("I") + inner.count("D")
    assert found.opens == sum(op in "ID" for op, _ in itertools.groupby(inner))
    left = kinds[: len(kinds) - len(kinds.lstrip("ID"))]
    right = kinds[len(left) + len(inner) :]
    assert found.query_ends == (left.count("I"), right.count("I"))
    assert found.target_ends == (left.count("D"), right.count("D"))
    assert [found.qrow, found.trow] == [row[len(left) :][: len(inner)] for row in found.rows]
    assert found.aln == kinds.translate(str.maketrans("XID", "MDI"))
    return found


@settings(max_examples=150, deadline=None)
@given(sequences, sequences)
@example("", "")
@example("", "ACGT")
@example("AC", "")
def test_it_is_optimal_and_counts_as_on_paper(query, target):
    check(query, target)


@settings(max_examples=250, deadline=None)
@given(relatives())
@example(("ACACACAC", "CACACACA"))
def test_it_is_optimal_for_relatives(pair):
    check(*pair)


@settings(max_examples=150, deadline=None)
@given(relatives())
def test_it_has_at_most_one_gap_where_one_is_enough(pair):
    query, target = pair
    shift, count = len(query) - len(target), min(map(len, pair))
    longer, shorter = sorted(pair, key=len, reverse=True)
    costs = []
    for place in range(count + 1):
        without = longer[:place] + longer[place + abs(shift) :]
        costs.append(abs(shift) + sum(one != two for one, two in zip(without, shorter, strict=True)))
    found = align(query, target)
    gaps = [op for op in found.ops if op[1] in "ID"]
    if min(costs) == edit_distance(query, target):
        assert len(gaps) == (shift != 0)
    if len(gaps) == 1:
        start = found.rows[shift > 0].index("-")
        assert costs[start] == min(costs)
        ends = {0, count} & {place for place, cost in enumerate(costs) if cost == min(costs)}
        assert start in ends or (not ends and start == costs.index(min(costs)))


@pytest.mark.parametrize("query", VSEARCH)
def test_it_counts_as_vsearch(query):
    caln, *counts = VSEARCH[query].split()
    found = align(query, TARGET)
    assert found.caln == caln
    ends, starts = found.query_ends, found.target_ends
    assert counts[:8] == [
        str(number)
        for number in (
            *(found.alnlen, found.mismatches, found.gaps, found.opens),
            *(ends.left + 1, len(query) - ends.right, starts.left + 1, len(TARGET) - starts.right),
        )
    ]
    assert counts[8:] == [f"{identity:.1f}" for identity in found.identities]


@pytest.mark.parametrize(
    ("query", "target", "cigar"),
    [
        ("ACGT", "ACGT", "4="),
        ("ACGT", "AGGT", "1=1X2="),
        ("ACGTACGT", "ACGTTACGT", "3=1D5="),
        ("AAAA", "AA", "2I2="),
        ("CAAAAG", "CAAG", "1=2I3="),
        ("GAC", "GACC", "3=1D"),
        ("", "AC", "2D"),
        ("", "", ""),
        # rapidfuzz has 1I and 1D instead of two mismatches, and 1D1=1D4= at the start
        ("ACCTGA", "ATCAGA", "1=1X1=1X2="),
        ("GCATTGACCA", "TAGGCATTGACCA", "3D10="),
        ("GATTACAGGC", "CCGATTACA", "2D7=3I"),
        # letters beyond nucleotides; N is a letter like the others
        ("MKVÄ", "MKLÄ", "2=1X1="),
        ("ACNT", "ACGT", "2=1X1="),
    ],
)
def test_hand_written_cases(query, target, cigar):
    assert align(query, target).cigar == cigar
    check(query, target)


@pytest.mark.parametrize("shift", [0, 3, 9])
def test_reads_that_start_and_end_elsewhere_have_gaps_at_the_ends_only(shift):
    core = "TACGGAGGATCCGAGCGTTATCCGGATTTATTGGGTTTAAAGGGAGCGTAGGTGGATTGTTAAG"
    found = align(core[shift:], core[: len(core) - shift] if shift else core)
    assert found.ops == ((64, "M"),) if not shift else ((shift, "D"), (64 - 2 * shift, "M"), (shift, "I"))
    assert found.identities[2] == 100.0


def test_its_edits_are_the_score_of_parasail():
    query, target = "GATTACAGATTTACACCATA", "GATACAGGATTACACTATTA"
    matrix = parasail.matrix_create("ACGT", 0, -1)
    assert align(query, target).edits == -parasail.nw(query, target, 1, 1, matrix).score


def test_an_alignment_given_by_hand():
    # ACG--TA-
    # -CCGGTAT
    found = Alignment(((1, "I"), (1, "M"), (1, "X"), (2, "D"), (2, "M"), (1, "D")), "ACGTA", "CCGGTAT")
    assert found.rows == ("ACG--TA-", "-CCGGTAT")
    assert (found.qrow, found.trow) == ("CG--TA", "CCGGTA")
    assert (found.matches, found.mismatches, found.columns, found.edits) == (3, 1, 8, 5)
    assert (found.alnlen, found.gaps, found.opens) == (6, 2, 1)
    assert (found.query_ends, found.target_ends) == ((1, 0), (0, 1))
    assert (found.cigar, found.caln, found.aln) == ("1I1=1X2D2=1D", "D2M2I2MI", "DMMIIMMI")
    of_longest = 100 * (1 - (1 + 3) / 7)  # three runs of gaps
    assert found.identities == pytest.approx((60.0, 37.5, 50.0, of_longest, 37.5))
