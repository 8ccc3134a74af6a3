import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist
from scipy.cluster.hierarchy import average, fcluster
from scipy.spatial.distance import squareform

from nwa_lightning import InputError, ReadEmbedder, load_sequences
from nwa_lightning.search import linkage
from nwa_lightning.search.clusters import canonical_order
from nwa_lightning.search.limits import Limit
from nwa_lightning.search.linkage import average_clusters, component_clusters, near_pairs
from nwa_lightning.search.reads import distinct_reads
from nwa_lightning.sequences.collection import Sequences

limits = st.builds(Limit, st.none() | st.integers(0, 4), st.none() | st.sampled_from([0.3, 0.5, 0.75, 0.9, 1]))
some_reads = st.lists(st.text("AC", max_size=7), max_size=14)
LIMITS = [Limit(4), Limit(None, 0.9), Limit(5, 0.8), Limit(0)]


def near(limit, one, two):
    edits = Levenshtein.distance(one, two)
    if limit.maxdist is not None and edits > limit.maxdist:
        return False
    return limit.identity is None or edits <= (1 - limit.identity) * max(len(one), len(two)) + 1e-9


def naive_pairs(strings, limit):
    pairs = itertools.combinations(range(len(strings)), 2)
    return {(one, two) for one, two in pairs if near(limit, strings[one], strings[two])}


def found_pairs(sequences, limit, embedder=None, threads=1):
    found = []
    for pairs in near_pairs(sequences, limit, embedder, threads=threads):
        assert (pairs.first < pairs.second).all()
        found += zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)
    return found


def components(count, pairs):
    """Union and find."""
    parent = list(range(count))

    def root(row):
        while parent[row] != row:
            row = parent[row]
        return row

    for one, two in pairs:
        parent[root(one)] = root(two)
    groups = {}
    for row in range(count):
        groups.setdefault(root(row), set()).add(row)
    return {frozenset(group) for group in groups.values()}


def groups_of(labels):
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(np.asarray(labels).tolist())}


def check_numbers(found):
    """Clusters are numbered by their first reads in the canonical order, which are the centroids."""
    order = canonical_order(found.reads).tolist()
    firsts = [min(np.flatnonzero(found.cluster == number), key=order.index) for number in range(len(found))]
    assert found.centroids.tolist() == firsts == sorted(firsts, key=order.index)
    strings = found.reads.sequences.to_strings()
    for row, (number, edits) in enumerate(zip(found.cluster.tolist(), found.edits.tolist(), strict=True)):
        assert edits == Levenshtein.distance(strings[row], strings[firsts[number]])


@pytest.fixture(scope="module")
def tree():
    return distinct_reads(load_sequences("tree:300x40")).reads


@pytest.fixture(scope="module")
def embedder(tree):
    return ReadEmbedder.from_landmarks(tree.sequences, 60, 30)


@settings(max_examples=150, deadline=None)
@given(some_reads, limits, st.integers(1, 4), st.integers(1, 3))
def test_all_pairs_by_hand(strings, limit, block, threads):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linkage, "_BLOCK", block)
        found = found_pairs(Sequences.from_strings(strings), limit, threads=threads)
    assert len(found) == len(set(found))
    assert set(found) == naive_pairs(strings, limit)


@settings(max_examples=100, deadline=None)
@given(some_reads, limits, st.integers(1, 4))
def test_components_by_hand(strings, limit, block):
    reads = distinct_reads(Sequences.from_strings(strings)).reads
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linkage, "_BLOCK", block)
        found = component_clusters(reads, limit)
    distinct = reads.sequences.to_strings()
    assert groups_of(found.cluster) == components(len(distinct), naive_pairs(distinct, limit))
    check_numbers(found)


@pytest.mark.parametrize("limit", LIMITS)
def test_components_of_a_tree(tree, embedder, limit, monkeypatch):
    """Also where vectors choose the pairs: near reads have near vectors here."""
    monkeypatch.setattr(linkage, "_BLOCK", 64)
    strings = tree.sequences.to_strings()
    expected = components(len(strings), naive_pairs(strings, limit))
    for model, threads in ((None, 1), (None, 3), (embedder, 1), (embedder, 3)):
        found = component_clusters(tree, limit, model, threads=threads)
        assert groups_of(found.cluster) == expected
        check_numbers(found)


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("candidates", [2, 16, 1000])
def test_pairs_by_vectors(tree, embedder, limit, candidates, monkeypatch):
    """Near reads without a gap between near and far: with enough candidates, no pair is missed."""
    monkeypatch.setattr(linkage, "_BLOCK", 64)
    monkeypatch.setattr(linkage, "_CANDIDATES", candidates)
    found = set(found_pairs(tree.sequences, limit, embedder))
    expected = naive_pairs(tree.sequences.to_strings(), limit)
    assert found <= expected
    assert len(found) >= {2: 0.98, 16: 1, 1000: 1}[candidates] * len(expected)


@pytest.mark.parametrize("candidates", [2, 5, 16])
def test_pairs_of_noisy_copies(candidates, monkeypatch):
    """Ten reads of each strand: as long as the farthest candidate is near, there are more, and nothing is missed."""
    reads = load_sequences("storage:300x40")
    limit = Limit(None, 0.7)
    expected = naive_pairs(reads.to_strings(), limit)
    assert len(expected) > 30 * 40
    monkeypatch.setattr(linkage, "_CANDIDATES", candidates)
    assert set(found_pairs(reads, limit, ReadEmbedder.from_landmarks(reads, 100, 60))) == expected


def test_all_reads_are_near(tree, embedder, monkeypatch):
    monkeypatch.setattr(linkage, "_CANDIDATES", 2)
    few = tree.take(np.arange(30))
    assert set(found_pairs(few.sequences, Limit(1000), embedder)) == set(itertools.combinations(range(30), 2))


@pytest.mark.parametrize("limit", [Limit(None, 0.85), Limit(None, 0.7), Limit(9), Limit(14), Limit(0)])
def test_average_linkage_of_a_connected_set(tree, limit):
    """With a large enough limit for single linkage, all reads are one component; SciPy takes the matrix of all pairs."""
    reads = tree.take(np.argsort(tree.sequences.hashes))  # ties are broken by the order
    strings = reads.sequences.to_strings()
    table = cdist(strings, strings, scorer=Levenshtein.distance).astype(np.float64)
    height = float(limit.maxdist or 0)
    if limit.identity is not None:
        table /= np.maximum.outer(reads.sequences.lengths, reads.sequences.lengths)
        height = 1 - limit.identity
    expected = groups_of(fcluster(average(squareform(table, checks=False)), height + 1e-9, criterion="distance"))
    found = average_clusters(reads, limit)
    check_numbers(found)
    if len(component_clusters(reads, limit)) == 1:
        assert groups_of(found.cluster) == expected
    else:
        assert abs(len(found) - len(expected)) <= 0.05 * len(expected)


def test_the_tree_is_one_component(tree):
    """So the test above compares the same thing twice."""
    assert len(component_clusters(tree, Limit(14))) == len(component_clusters(tree, Limit(None, 0.7))) == 1


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("ACG", min_size=2, max_size=8), max_size=9), st.integers(0, 4))
def test_average_linkage_by_hand(strings, most):
    """A cluster's mean distances are within the limit when it merges, and no two clusters are left that could merge."""
    reads = distinct_reads(Sequences.from_strings(strings)).reads
    found = average_clusters(reads, Limit(most))
    check_numbers(found)
    distinct = reads.sequences.to_strings()
    groups = [np.flatnonzero(found.cluster == number) for number in range(len(found))]
    table = np.array([[Levenshtein.distance(one, two) for two in distinct] for one in distinct])
    for one, two in itertools.combinations(groups, 2):
        assert table[np.ix_(one, two)].mean() > most
    for group in groups:
        assert len(component_clusters(reads.take(group), Limit(most))) == 1
        tops = [
            table[np.ix_(part, rest)].mean()
            for size in range(1, len(group))
            for part in map(list, itertools.combinations(group.tolist(), size))
            if (rest := [row for row in group.tolist() if row not in part])
        ]
        assert len(group) == 1 or min(tops) <= most


def test_average_linkage_splits_a_chain():
    """A chain of near reads is one component, but not one cluster."""
    chain = Sequences.from_strings(["A" * number + "C" * (12 - number) for number in range(0, 13, 2)])
    reads = distinct_reads(chain).reads
    assert len(component_clusters(reads, Limit(2))) == 1
    assert len(average_clusters(reads, Limit(2))) > 3
    assert len(average_clusters(reads, Limit(12))) == 1


def test_the_order_of_the_file_does_not_matter(tree, embedder):
    shuffled = tree.take(np.random.default_rng(1).permutation(len(tree)))
    names = [np.array(reads.sequences.to_strings()) for reads in (tree, shuffled)]
    for function in (component_clusters, average_clusters):
        for limit in LIMITS[:2]:
            for model in (None, embedder):
                one, two = (function(reads, limit, model, threads=2) for reads in (tree, shuffled))
                assert names[0][one.centroids].tolist() == names[1][two.centroids].tolist()
                as_sets = [
                    {frozenset(names[which][found.cluster == number].tolist()) for number in range(len(found))}
                    for which, found in enumerate((one, two))
                ]
                assert as_sets[0] == as_sets[1]


@pytest.mark.parametrize("strings", [[], ["ACGT"], [""], ["", "A"]])
@pytest.mark.parametrize("function", [component_clusters, average_clusters])
def test_few_reads(strings, function):
    reads = distinct_reads(Sequences.from_strings(strings)).reads
    for limit in (Limit(1), Limit(None, 0.9), Limit(0)):
        found = function(reads, limit)
        check_numbers(found)
        assert groups_of(found.cluster) == components(len(strings), naive_pairs(strings, limit))


def test_what_average_linkage_cannot_do(tree, monkeypatch):
    with pytest.raises(
        InputError, match="average linkage: expected one limit, found --id and --maxdist; leave one of them"
    ):
        average_clusters(tree, Limit(3, 0.9))
    monkeypatch.setattr(linkage, "MOST_LINKED", 299)
    with pytest.raises(
        InputError, match=r"at most 299 distinct reads that are connected, found 300; use a smaller limit"
    ):
        average_clusters(tree, Limit(30))
    assert len(average_clusters(tree, Limit(0))) == 300
