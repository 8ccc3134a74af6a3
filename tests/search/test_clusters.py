import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import edit_distance
from rapidfuzz.distance import Levenshtein

from nwa_lightning import ReadEmbedder, load_sequences, storage_strands
from nwa_lightning.search import centroids, cluster_report, clusters, vectors
from nwa_lightning.search.centroids import Centroids
from nwa_lightning.search.cluster_report import Split, diameters, missed_centroids
from nwa_lightning.search.clusters import Clusters, canonical_order, greedy_clusters
from nwa_lightning.search.limits import Limit
from nwa_lightning.search.reads import Reads, distinct_reads
from nwa_lightning.sequences.alphabet import ALPHABETS
from nwa_lightning.sequences.collection import Sequences

limits = st.builds(Limit, st.none() | st.integers(0, 4), st.none() | st.sampled_from([0.3, 0.5, 0.75, 0.9, 1]))
some_reads = st.lists(st.text("AC", max_size=7), max_size=14)
LIMITS = [Limit(6), Limit(None, 0.85), Limit(7, 0.7), Limit(0), Limit()]


def near(limit, one, two, edits):
    if limit.maxdist is not None and edits > limit.maxdist:
        return False
    return limit.identity is None or edits <= (1 - limit.identity) * max(len(one), len(two)) + 1e-9


def naive(reads, limit, distance=Levenshtein.distance):
    """Centroid and edits of every read: the commonest, then longest reads first, each to the nearest centroid before it."""
    strings = reads.sequences.to_strings()
    hashes = reads.sequences.hashes.tolist()
    order = sorted(range(len(reads)), key=lambda row: (-reads.sizes[row], -len(strings[row]), hashes[row]))
    centroids, found = [], {}
    for row in order:
        edits = [(distance(strings[row], strings[centroid]), centroid) for centroid in centroids]
        inside = [pair for pair in edits if near(limit, strings[row], strings[pair[1]], pair[0])]
        if inside:
            found[row] = min(inside, key=lambda pair: pair[0])[::-1]  # the oldest of equally near ones
        else:
            centroids.append(row)
            found[row] = row, 0
    return centroids, [found[row] for row in range(len(reads))]


def check(found, reads, limit, distance=Levenshtein.distance):
    centroids, members = naive(reads, limit, distance)
    assert found.centroids.tolist() == centroids
    assert list(zip(found.centroids[found.cluster].tolist(), found.edits.tolist(), strict=True)) == members
    assert found.cluster[found.centroids].tolist() == list(range(len(found)))
    assert found.sizes.sum() == reads.sizes.sum()
    sums = [sum(reads.sizes[row] for row, (centroid, _) in enumerate(members) if centroid == one) for one in centroids]
    assert found.sizes.tolist() == sums


def as_sets(found):
    """The clusters by the sequences of their members, with the edits; centroids first."""
    strings = found.reads.sequences.to_strings()
    groups = {}
    for string, number, edits in zip(strings, found.cluster.tolist(), found.edits.tolist(), strict=True):
        groups.setdefault(strings[found.centroids[number]], set()).add((string, edits))
    return groups


@pytest.fixture(scope="module")
def tree():
    """Reads with copies, some of them equally common."""
    whole = load_sequences("tree:260x40")
    rows = np.concatenate([np.arange(260), np.random.default_rng(0).integers(0, 120, 150)])
    return distinct_reads(whole.take(rows)).reads


@pytest.fixture(scope="module")
def embedder(tree):
    return ReadEmbedder.from_landmarks(tree.sequences, 40, 20)


@settings(max_examples=150, deadline=None)
@given(some_reads, limits, st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
def test_clusters_by_hand(strings, limit, block, columns, threads):
    """However many reads are taken at a time, and however many centroids are compared."""
    reads = distinct_reads(Sequences.from_strings(strings)).reads
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clusters, "BLOCK", block)
        patch.setattr(centroids, "_FIRST_LOOK", columns)
        patch.setattr(centroids, "COLUMNS", columns)
        check(greedy_clusters(reads, limit, threads=threads), reads, limit, edit_distance)


@pytest.mark.parametrize("limit", LIMITS)
def test_clusters_of_a_tree(tree, limit, monkeypatch):
    check(greedy_clusters(tree, limit), tree, limit)
    monkeypatch.setattr(clusters, "BLOCK", 23)
    monkeypatch.setattr(centroids, "COLUMNS", 11)
    check(greedy_clusters(tree, limit, threads=2), tree, limit)


def test_many_letters():
    protein = ALPHABETS["protein"]
    strings = ["ACDEFGHIKLMNPQRSTVWY", "ACDEFGHIKLMNPQRSTVW", "YWVTSRQPNMLKIHGFEDCA", "MKV", "MKL"]
    reads = distinct_reads(Sequences.from_strings(strings, protein)).reads
    found = greedy_clusters(reads, Limit(1))
    assert found.cluster[0] == found.cluster[1]
    assert found.cluster[3] == found.cluster[4]
    assert len(found) == 3


def test_the_order_of_the_file_does_not_matter(tree, embedder, monkeypatch):
    """Nor the number of threads, with and without vectors."""
    monkeypatch.setattr(clusters, "BLOCK", 50)
    shuffled = tree.take(np.random.default_rng(1).permutation(len(tree)))
    order = [tree.sequences.to_strings()[row] for row in canonical_order(tree)]
    assert order == [shuffled.sequences.to_strings()[row] for row in canonical_order(shuffled)]
    for most, make in ((centroids.MOST_COMPARED, None), (10, lambda _: embedder)):
        monkeypatch.setattr(centroids, "MOST_COMPARED", most)
        for limit in LIMITS[:3]:
            expected = greedy_clusters(tree, limit, make, threads=1)
            for reads, threads in ((tree, 3), (shuffled, 1), (shuffled, 3)):
                found = greedy_clusters(reads, limit, make, threads=threads)
                assert as_sets(found) == as_sets(expected)
                names = [some.reads.sequences.take(some.centroids).to_strings() for some in (found, expected)]
                assert names[0] == names[1]


def test_vectors_choose_the_centroids(tree, embedder, monkeypatch):
    """With as many candidates as centroids, the result is that of all pairs."""
    monkeypatch.setattr(clusters, "BLOCK", 31)
    monkeypatch.setattr(centroids, "MOST_COMPARED", 5)
    asked = []

    def make(reads):
        asked.append(len(reads))
        return embedder

    monkeypatch.setattr(centroids, "_FIRST_LOOK", 1000)
    monkeypatch.setattr(centroids, "_CELLS", 1000)
    for kind in ("flat", "ivf"):
        monkeypatch.setattr(vectors, "suitable_kind", lambda _, kind=kind: kind)
        for limit in LIMITS[:3]:
            asked.clear()
            check(greedy_clusters(tree, limit, make, threads=2), tree, limit)
            assert asked == [len(tree)]


def test_few_candidates_miss_little(tree, embedder, monkeypatch):
    """Whatever is missed, a member is within the limit of its centroid, at its true distance."""
    monkeypatch.setattr(clusters, "BLOCK", 31)
    monkeypatch.setattr(centroids, "MOST_COMPARED", 5)
    limit = Limit(None, 0.85)
    expected = len(greedy_clusters(tree, limit))
    strings = tree.sequences.to_strings()
    monkeypatch.setattr(vectors, "suitable_kind", lambda _: "ivf")
    for look, most in ((1, 1.3), (8, 1.05)):
        for name in ("_FIRST_LOOK", "_CELLS", "_SECOND_LOOK"):
            monkeypatch.setattr(centroids, name, look)
        found = greedy_clusters(tree, limit, lambda _: embedder)
        assert expected <= len(found) <= most * expected
        for row, (number, edits) in enumerate(zip(found.cluster.tolist(), found.edits.tolist(), strict=True)):
            centroid = strings[found.centroids[number]]
            assert edits == Levenshtein.distance(strings[row], centroid)
            assert near(limit, strings[row], centroid, edits)


@pytest.fixture(scope="module")
def strands():
    """Noisy copies of random strands, which share few k-mers with others."""
    return distinct_reads(storage_strands(60, 6, 80, substitution=0.03, insertion=0.02, deletion=0.02)).reads


@pytest.mark.parametrize("limit", [Limit(20), Limit(None, 0.75), Limit(3)])
def test_clusters_of_strands(strands, limit, monkeypatch):
    """Reads whose nearest centroid is proven by k-mers, and reads that are compared with all."""
    monkeypatch.setattr(clusters, "_FIRST_BLOCK", 40)
    monkeypatch.setattr(clusters, "BLOCK", 100)
    compared = []
    with_all = Centroids._with_all

    def count(self, rows, first, counts):
        compared.append(len(rows))
        with_all(self, rows, first, counts)

    monkeypatch.setattr(Centroids, "_with_all", count)
    check(greedy_clusters(strands, limit, threads=2), strands, limit)
    assert sum(compared) < 2 * len(strands)


@pytest.mark.parametrize("threads", [1, 3])
def test_kmers_choose_the_centroids_of_strands(strands, threads, monkeypatch):
    """Without a model, since the strands are not alike; every read comes to its strand."""
    monkeypatch.setattr(centroids, "MOST_COMPARED", 5)
    monkeypatch.setattr(clusters, "_FIRST_BLOCK", 40)
    monkeypatch.setattr(clusters, "BLOCK", 100)
    limit = Limit(None, 0.7)
    reads = strands.take(np.random.default_rng(0).permutation(len(strands)))
    found = greedy_clusters(reads, limit, lambda _: pytest.fail("strands need no model"), threads=threads)
    check(found, reads, limit)
    assert len(found) == 60


def test_the_model_is_made_when_it_is_needed(tree):
    greedy_clusters(tree, Limit(0), lambda _: pytest.fail("few centroids need no model"))


@pytest.mark.parametrize("strings", [[], ["ACGT"], [""], ["", "A"]])
def test_few_reads(strings):
    reads = distinct_reads(Sequences.from_strings(strings)).reads
    for limit in LIMITS:
        check(greedy_clusters(reads, limit, lambda _: pytest.fail("not needed")), reads, limit)


def test_diameters(tree, monkeypatch):
    found = greedy_clusters(tree, Limit(None, 0.7))
    strings = np.array(tree.sequences.to_strings())
    expected = []
    for number in range(len(found)):
        members = strings[found.cluster == number]
        expected.append(max(Levenshtein.distance(one, two) for one in members for two in members))
    for threads in (1, 3):
        assert diameters(found, threads=threads).tolist() == expected
    assert max(expected) > 12
    sizes = np.bincount(found.cluster)
    monkeypatch.setattr(cluster_report, "_SMALL", 4)
    assert diameters(found, threads=2).tolist() == expected
    assert (sizes <= 4).any()
    monkeypatch.setattr(cluster_report, "MOST_COMPARED", 9)
    assert diameters(found).tolist() == [-1 if size > 9 else wide for size, wide in zip(sizes, expected, strict=True)]
    assert sizes.max() > 9


def test_diameters_of_a_large_cluster():
    """Its pairs are compared in several blocks; the two farthest reads are in the last."""
    reads = [f"{'A' * (number // 40)}{'C' * (number % 40)}" for number in range(1100)]
    reads = [*dict.fromkeys(reads), "G" * 60, "T" * 70]
    distinct = distinct_reads(Sequences.from_strings(reads)).reads
    count = len(distinct)
    one = Clusters(distinct, np.array([0]), np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64))
    assert count > 1024
    assert diameters(one).tolist() == [70]


def test_centroids_that_were_missed(tree, monkeypatch):
    limit = Limit(8)
    exact = greedy_clusters(tree, limit)
    assert missed_centroids(exact, limit) == Split(0, len(exact))
    everyone = np.arange(len(tree))
    alone = Clusters(tree, canonical_order(tree), everyone, everyone * 0)
    strings = np.array(tree.sequences.to_strings())[alone.centroids]
    wrong = [any(Levenshtein.distance(one, two) <= 8 for two in strings[:row]) for row, one in enumerate(strings)]
    assert missed_centroids(alone, limit, threads=2) == Split(sum(wrong), len(tree))
    monkeypatch.setattr(cluster_report, "_BLOCK", 17)
    assert missed_centroids(alone, limit) == Split(sum(wrong), len(tree))
    monkeypatch.setattr(cluster_report, "_SAMPLE", 50)
    assert 0 < missed_centroids(alone, limit).missed <= missed_centroids(alone, limit).sample == 50


def test_a_nearer_later_centroid_hides_no_earlier_one():
    reads = distinct_reads(Sequences.from_strings(["AAAAAAAA", "AAAAAACC", "AAAAAACG"])).reads
    every = np.arange(3)
    assert missed_centroids(Clusters(reads, every, every, every * 0), Limit(2)) == Split(2, 3)


def test_sizes_decide_first():
    reads = Reads(Sequences.from_strings(["AAAA", "AAAC", "AAACCC"]), np.array([1, 5, 1]))
    found = greedy_clusters(reads, Limit(2))
    assert found.centroids.tolist() == [1]
    assert (found.edits.tolist(), found.sizes.tolist()) == ([1, 0, 2], [7])
