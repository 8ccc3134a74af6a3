import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracle import edit_distance
from rapidfuzz.distance import Levenshtein

from nwa_lightning.errors import InputError
from nwa_lightning.search import exact, recall
from nwa_lightning.search.exact import exact_hits
from nwa_lightning.search.hits import Hits, joined
from nwa_lightning.search.limits import Limit
from nwa_lightning.search.recall import EFFORTS, Effort, Recall, efforts, measure, sample_size
from nwa_lightning.sequences.alphabet import ALPHABETS
from nwa_lightning.sequences.catalog import load_sequences
from nwa_lightning.sequences.collection import Sequences

strings = st.lists(st.text("AC", max_size=6), max_size=9)
limits = st.builds(Limit, st.none() | st.integers(0, 7), st.none() | st.sampled_from([0, 0.3, 0.5, 0.75, 0.9, 1]))


def near(limit, query, target, edits):
    if limit.maxdist is not None and edits > limit.maxdist:
        return False
    return limit.identity is None or edits <= (1 - limit.identity) * max(len(query), len(target)) + 1e-9


def naive(queries, targets, most, limit, distance=edit_distance):
    """(query, target, edits) of the nearest targets of each query; of equally near ones, the first."""
    found = []
    for row, query in enumerate(queries):
        edits = [distance(query, target) for target in targets]
        order = np.argsort(edits, kind="stable").tolist()
        kept = [place for place in order if near(limit, query, targets[place], edits[place])]
        found += [(row, place, edits[place]) for place in kept[:most]]
    return found


def rows(hits):
    assert not hits.reverse.any()
    return list(zip(hits.query.tolist(), hits.target.tolist(), hits.edits.tolist(), strict=True))


@settings(max_examples=200, deadline=None)
@given(strings, strings, st.integers(1, 5), limits, st.integers(1, 3), st.integers(1, 4), st.integers(1, 3))
@example([], [], 1, Limit(), 1, 1, 1)
@example(["A"], [], 1, Limit(), 1, 1, 1)
@example([""], ["", "A", ""], 5, Limit(0), 1, 1, 1)
def test_the_nearest_targets(queries, targets, most, limit, threads, block, alike):
    """Also where the targets come in many blocks, and few queries share a cutoff."""
    given_reads = Sequences.from_strings(queries), Sequences.from_strings(targets)
    expected = naive(queries, targets, most, limit)
    assert rows(exact_hits(*given_reads, most=most, limit=limit, threads=threads)) == expected
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "_BLOCK", block)
        patch.setattr(exact, "_ALIKE", alike)
        assert rows(exact_hits(*given_reads, most=most, limit=limit, threads=threads)) == expected


@pytest.mark.parametrize("limit", [Limit(), Limit(6), Limit(None, 0.9), Limit(4, 0.8)])
@pytest.mark.parametrize("most", [1, 4])
def test_reads_of_a_tree(limit, most, monkeypatch):
    reads = load_sequences("tree:120x40")
    queries, targets = reads.take(np.arange(40)), reads.take(np.arange(40, 120))
    expected = naive(queries.to_strings(), targets.to_strings(), most, limit, Levenshtein.distance)
    monkeypatch.setattr(exact, "_BLOCK", 17)
    for threads in (1, 4):
        assert rows(exact_hits(queries, targets, most=most, limit=limit, threads=threads)) == expected
    other = Sequences.from_strings(targets.to_strings())  # in memory of its own
    assert rows(exact_hits(queries, other, most=most, limit=limit)) == expected


def test_many_letters():
    """More different ones than the kernel takes."""
    protein = ALPHABETS["protein"]
    queries, targets = ["MKV", "ACDEFGHIKLMNPQRSTVWY"], ["MKL", "MKV", "YWVTSRQPNMLKIHGFEDCA"]
    some = [Sequences.from_strings(each, protein) for each in (queries, targets)]
    assert rows(exact_hits(*some, most=3)) == naive(queries, targets, 3, Limit())


@given(limits, st.text("AC", max_size=40), st.text("AC", max_size=40))
def test_limits(limit, one, two):
    most = int(limit.most_edits(np.array([len(one)]), np.array([len(two)]))[0])
    for edits in range(max(len(one), len(two)) + 1):
        assert (edits <= most) == near(limit, one, two, edits)


@pytest.mark.parametrize(
    ("identity", "length", "most"), [(0.97, 100, 3), (0.9, 10, 1), (0.7, 10, 3), (0.99, 99, 0), (1, 50, 0)]
)
def test_limits_by_hand(identity, length, most):
    """Floating point must not take a hit away: (1 - 0.7) * 10 is less than 3 for a computer."""
    assert Limit(None, identity).most_edits(np.array([length]), 0).tolist() == [most]


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (Limit(-1), "maxdist: expected at least 0, found -1"),
        (Limit(None, 97), "id: expected 0 to 1, found 97; write 97 % as 0.97"),
        (Limit(None, -0.1), "id: expected 0 to 1"),
        (Limit(None, float("nan")), "id: expected 0 to 1, found nan"),
    ],
)
def test_limits_out_of_range(limit, message):
    with pytest.raises(InputError, match=message):
        limit.check()


hit = st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.booleans())


@given(st.lists(hit, max_size=12), st.lists(hit, max_size=12), st.integers(1, 3))
def test_the_best_hits(one, two, most):
    """By query, then by edits, then by target; of a target on both strands the nearer one, plus before minus."""

    def hits(some):
        query, target, edits, reverse = (np.array([row[place] for row in some], dtype=np.int64) for place in range(4))
        return Hits(query, target, edits, reverse.astype(bool))

    found = joined(hits(one), hits(two)).best(most)
    expected = []
    for query in range(4):
        seen = []
        for row in sorted((row for row in [*one, *two] if row[0] == query), key=lambda row: (row[2], row[1], row[3])):
            if row[1] not in [other[1] for other in seen]:
                seen.append(row)
        expected += seen[:most]
    columns = (found.query, found.target, found.edits, found.reverse)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected
    assert len(found) == len(expected)


def test_hits_of_a_table():
    found = Hits.of_table(np.array([[4, -1], [-1, -1], [2, 3]]), np.array([[1, 9], [9, 9], [0, 5]]))
    assert rows(found) == [(0, 4, 1), (2, 2, 0), (2, 3, 5)]


def test_efforts():
    ladder = efforts(100, 4, 3)
    assert ladder == [Effort(3, 1), Effort(3, 2), Effort(4, 4), *(Effort(number, 4) for number in (8, 16, 32, 64, 100))]
    assert efforts(5000, 1, 1) == [Effort(number, 1) for number in EFFORTS]
    assert efforts(2, 1, 10) == [Effort(2, 1)]


@pytest.mark.parametrize(
    ("queries", "targets", "expected"),
    [(0, 10, 0), (7, 10, 7), (1000, 0, 500), (1000, 10, 500), (1000, 250_000, 200), (1000, 10**9, 100)],
)
def test_the_size_of_the_sample(queries, targets, expected):
    assert sample_size(queries, targets) == expected
    assert queries * targets <= recall._PAIRS or expected <= recall._MOST


def hits_of(pairs):
    query, edits = (np.array([pair[place] for pair in pairs], dtype=np.int64) for place in (0, 1))
    return Hits(query, np.arange(len(pairs)), edits, np.zeros(len(pairs), dtype=bool))


def test_the_recall_of_a_constructed_case():
    """Query 3 has no target within the limits; more candidates find the nearest target of one more query."""
    truth = hits_of([(0, 1), (0, 4), (1, 2), (2, 0), (4, 3)])
    found = {
        1: hits_of([(0, 1), (1, 5), (2, 2)]),
        2: hits_of([(0, 1), (0, 3), (1, 5), (1, 6), (2, 0), (2, 2)]),
        4: hits_of([(0, 1), (1, 2), (1, 5), (2, 0), (4, 7)]),
        8: hits_of([(0, 1), (1, 2), (2, 0), (4, 3)]),
    }
    asked = []

    def search(sample, effort):
        asked.append(effort)
        assert sample.tolist() == [10, 11, 12, 13, 14]
        return found[effort.candidates]

    ladder = [Effort(number, 1) for number in found]
    for wanted, effort, right in ((0.2, 1, 1), (0.5, 2, 2), (0.51, 4, 3), (0.75, 4, 3), (0.99, 8, 4), (1, 8, 4)):
        asked.clear()
        got = measure(np.arange(10, 15), truth, search, ladder, wanted)
        assert got == Recall(Effort(effort, 1), right, 4)
        assert got.fraction == right / 4
        assert asked == ladder[: ladder.index(Effort(effort, 1)) + 1]
    assert measure(np.arange(10, 15), truth, search, ladder[:2], 0.99) == Recall(Effort(2, 1), 2, 4)


def test_the_recall_of_nothing():
    nothing = hits_of([])
    got = measure(np.arange(3), nothing, lambda *_: nothing, [Effort(1, 1), Effort(2, 1)], 0.99)
    assert got == Recall(Effort(1, 1), 0, 0)
    assert got.fraction == 1
