import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from nwa_lightning import load_sequences, storage_strands
from nwa_lightning._kernels import compiled
from nwa_lightning.search import kmers
from nwa_lightning.search.kmers import GrowingKmerIndex, KmerIndex
from nwa_lightning.sequences.alphabet import ALPHABETS
from nwa_lightning.sequences.collection import Sequences


def naive(query, targets, k, width, most):
    """The best targets that share at least two k-mers, and the edits that all others are at least away."""
    # A k-mer in two neighbouring bins of a target counts twice.
    counts = []
    for target in targets:
        rows = {(target[place : place + k], place // width) for place in range(len(target) - k + 1)}
        counts.append(
            sum(
                (query[place : place + k], place // width + step) in rows
                for place in range(len(query) - k + 1)
                for step in (-1, 0, 1)
            )
        )
    order = sorted((-count, number) for number, count in enumerate(counts) if count >= 2)
    best = [number for _, number in order[:most]]
    left = max([1, *(-count for count, _ in order[most:])])
    return best + [-1] * (most - len(best)), min(-((left - max(0, len(query) - k + 1)) // k), width + 1)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.text("ACGT", max_size=40) | st.text("A", max_size=20), max_size=12),
    st.lists(st.text("ACGT", max_size=60), max_size=5),
    st.integers(1, 6),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_against_sets_of_kmers(targets, queries, k, most, threads):
    """Empty sequences, repeats, queries that are longer than all targets."""
    index = KmerIndex(Sequences.from_strings(targets), k=k)
    asked = [*queries, *targets[:3]]
    found, far = index.nearest(Sequences.from_strings(asked), most, threads=threads)
    width = 1 << int(np.ceil(np.log2(max(1, *map(len, targets), 1)) / 2))
    for row, query in enumerate(asked):
        best, edits = naive(query, targets, k, width, most)
        assert found[row].tolist() == best
        assert far[row] == edits
        others = [target for number, target in enumerate(targets) if number not in best]
        assert min((Levenshtein.distance(query, other) for other in others), default=far[row]) >= far[row]


def test_noisy_copies_of_strands():
    """The strand is nearly always among the first; what is said of all others is true and not trivial."""
    reads = storage_strands(200, 3, 120, substitution=0.04, insertion=0.03, deletion=0.03)
    strings = reads.to_strings()
    firsts = np.arange(0, 600, 3)
    index = KmerIndex(reads.take(firsts))
    assert not index.alike
    queries = np.arange(1, 600, 3)
    found, far = index.nearest(reads.take(queries), 4, threads=2)
    assert (found[:, 0] == np.arange(200)).mean() > 0.98
    for row, query in enumerate(queries):
        others = [strings[first] for number, first in enumerate(firsts) if number not in found[row]]
        assert min(Levenshtein.distance(strings[query], other) for other in others) >= far[row]
    assert np.median(far) >= 8


def test_near_copies_share_longer_kmers():
    reads = storage_strands(20_000, 1, 120)
    lengths = [KmerIndex(reads, edits).k for edits in (None, 70, 40, 20, 2, 0)]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


def test_the_table_of_a_few_long_reads_is_small():
    long = Sequences.from_strings(["".join(np.random.default_rng(0).choice(list("ACGT"), 100_000))])
    index = KmerIndex(long)
    assert len(index._ends) <= 1 << 20
    found, _ = index.nearest(long, 1)
    assert found.tolist() == [[0]]


def test_variants_of_one_gene_are_alike():
    assert KmerIndex(load_sequences("human16s").take(np.arange(500))).alike
    assert not KmerIndex(load_sequences("human16s").take(np.arange(0))).alike


@pytest.mark.parametrize("sizes", [[1, 1, 1, 1, 1, 1, 1], [50, 3, 40, 200, 1], [100, 10, 1]])
def test_a_growing_index_finds_what_a_whole_one_finds(sizes, monkeypatch):
    monkeypatch.setattr(kmers, "_suitable_k", lambda *_: 6)
    reads = storage_strands(100, 4, 60)
    rows = np.random.default_rng(0).permutation(len(reads))[: sum(sizes)]
    index = GrowingKmerIndex(reads)
    start = 0
    for size in sizes:
        index.add(rows[start : start + size])
        start += size
    found, far = index.nearest(reads, 3, threads=2)
    whole, whole_far = KmerIndex(reads.take(rows), k=6).nearest(reads, 3)
    assert found.shape[1] <= 3 * len(sizes)
    for row in range(len(reads)):
        assert set(whole[row].tolist()) - {-1} <= set(found[row].tolist())
    assert (far >= whole_far).all()
    assert not index.alike
    assert not GrowingKmerIndex(reads).alike


def test_more_letters_than_four_count_too_many_never_too_few():
    protein = ALPHABETS["protein"]
    generator = np.random.default_rng(0)
    strings = ["".join(generator.choice(list("ACDEFGHIKLMNPQRSTVWY"), 60)) for _ in range(50)]
    changed = [string[:20] + "W" + string[21:40] + string[41:] for string in strings]
    index = KmerIndex(Sequences.from_strings(strings, protein))
    found, far = index.nearest(Sequences.from_strings(changed, protein), 2)
    assert (found[:, 0] == np.arange(50)).all()
    for row, string in enumerate(changed):
        others = [other for number, other in enumerate(strings) if number not in found[row]]
        assert min(Levenshtein.distance(string, other) for other in others) >= far[row]


def test_a_query_of_more_kmers_than_a_counter_counts():
    generator = np.random.default_rng(0)
    long = "".join(generator.choice(list("ACGT"), compiled.kmer_most + 500))
    index = KmerIndex(Sequences.from_strings([long[:300], long, long[::-1]]))
    found, far = index.nearest(Sequences.from_strings([long, "A" * len(long)]), 1)
    assert found[0, 0] == 1
    assert far[0] == 257  # the width of a bin, and one
