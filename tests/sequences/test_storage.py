from itertools import groupby, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_simulate import NOTHING, check, letters

from nwa_lightning.alignment import edit_distances
from nwa_lightning.errors import InputError
from nwa_lightning.sequences.alphabet import FIRST_LETTER
from nwa_lightning.sequences.catalog import load_sequences
from nwa_lightning.sequences.simulate.dna_storage import storage_strands


def max_homopolymer(strand):
    return max(len(list(run)) for _, run in groupby(strand))


@settings(deadline=None)
@given(
    st.integers(1, 8),
    st.integers(1, 4),
    st.integers(4, 12),
    st.integers(1, 4),
    st.sampled_from([(0, 1), (0.25, 0.75), (0.5, 0.6), (0, 0.5)]),
    st.integers(0, 99),
)
def test_strands_of_any_size(strands, copies, length, run, gc, seed):
    if gc == (0.5, 0.6) and length in (7, 9):  # no whole number of bases is such a share of an odd length so small
        gc = (0.4, 0.6)
    rules = {"gc_content": gc, "max_homopolymer": run, "seed": seed}
    sequences = storage_strands(strands, copies, length, **rules, substitution=0.2)
    check(sequences, strands * copies)
    assert np.array_equal(
        storage_strands(strands, copies, length, **rules, substitution=0.2).padded(), sequences.padded()
    )
    designed = storage_strands(strands, 1, length, **rules, **NOTHING)
    check(designed, strands)
    for strand in letters(designed):
        assert len(strand) == length
        assert gc[0] <= sum(base in "CG" for base in strand) / length <= gc[1]
        assert max_homopolymer(strand) <= run


@pytest.mark.parametrize("rules", [((0.45, 0.55), 3), ((0.29, 0.29), 4), ((0, 0), 1), ((0.5, 1), 2)], ids=str)
def test_long_strands_obey_the_rules(rules):
    gc, run = rules
    strands = 2 if gc == (0, 0) else 300  # of A and T in turn there are two
    for strand in letters(storage_strands(strands, 1, 100, gc_content=gc, max_homopolymer=run, **NOTHING)):
        assert gc[0] <= sum(base in "CG" for base in strand) / 100 <= gc[1]
        assert max_homopolymer(strand) <= run


def test_long_strands_do_not_overflow():
    for strand in letters(storage_strands(3, 1, 1200, max_homopolymer=1, **NOTHING)):
        assert 540 <= sum(base in "CG" for base in strand) <= 660
        assert max_homopolymer(strand) == 1


@pytest.mark.parametrize(("gc", "run"), [((0.5, 0.5), 2), ((0.2, 0.7), 1), ((0, 1), 3)], ids=str)
def test_all_strands_that_obey_are_found_and_no_more(gc, run):
    every = {
        "".join(strand)
        for strand in product("ACGT", repeat=4)
        if gc[0] <= sum(base in "CG" for base in strand) / 4 <= gc[1] and max_homopolymer(strand) <= run
    }
    found = letters(storage_strands(len(every), 1, 4, gc_content=gc, max_homopolymer=run, **NOTHING))
    assert set(found) == every
    with pytest.raises(InputError, match=f"strands: expected at most {len(every)} distinct strands of 4 bases"):
        storage_strands(len(every) + 1, 1, 4, gc_content=gc, max_homopolymer=run)


def test_strands_are_drawn_uniformly():
    """The first of 3,000 independent sets of one strand, against 1 / 12 for each of 12 possible ones."""
    firsts = [
        letters(storage_strands(1, 1, 2, gc_content=(0, 1), max_homopolymer=1, **NOTHING, seed=s))[0]
        for s in range(3000)
    ]
    _, counts = np.unique(firsts, return_counts=True)
    assert len(counts) == 12
    assert np.square(counts - 250).sum() / 250 < 31.3  # chi-square of 11 degrees of freedom, 0.1 %


@pytest.mark.parametrize("kind", NOTHING)
def test_the_channel_keeps_its_rates(kind):
    rate, length, strands = 0.03, 120, 400
    designed = storage_strands(strands, 1, length, **NOTHING)
    read = storage_strands(strands, 5, length, **NOTHING | {kind: rate}, seed=0)
    pairs = np.array([[number // 5, strands + number] for number in range(5 * strands)])
    both = designed.bytes_of(np.arange(strands)) + read.bytes_of(np.arange(5 * strands))
    edits = edit_distances(both, pairs)
    if kind != "substitution":  # then edits are all that changes the length
        assert np.array_equal(np.abs(read.lengths - length), edits)
        assert (np.sign(read.lengths - length) == np.sign(edits) * (1 if kind == "insertion" else -1)).all()
    error = np.sqrt(rate * (1 - rate) * length / len(edits))
    # Copies that equal another one are drawn again: at 0.97 ** 120 = 2.6 % of copies without an edit, five to a strand,
    # that moves the mean by less than 0.03 edits.
    assert abs(edits.mean() - rate * length) < 4 * error + 0.03
    if kind == "substitution":
        assert abs(edits.var() - rate * (1 - rate) * length) < 0.5


def test_substitutions_are_by_every_other_base():
    designed = storage_strands(300, 1, 100, **NOTHING)
    read = storage_strands(300, 1, 100, substitution=1, insertion=0, deletion=0)
    table = np.zeros((4, 4))
    np.add.at(table, (designed.padded() - FIRST_LETTER, read.padded() - FIRST_LETTER), 1)
    assert not np.diag(table).any()
    shares = table / table.sum(axis=1, keepdims=True)
    assert shares[~np.eye(4, dtype=bool)] == pytest.approx(1 / 3, abs=0.03)


def test_insertions_are_at_both_ends_too():
    designed = letters(storage_strands(300, 1, 50, **NOTHING))
    read = letters(storage_strands(300, 1, 50, substitution=0, insertion=1, deletion=0))
    assert all(len(strand) == 100 for strand in read)
    at_start = np.mean([one[0] != two[0] for one, two in zip(designed, read, strict=True)])
    at_end = np.mean([one[-1] != two[-1] for one, two in zip(designed, read, strict=True)])
    assert at_start == pytest.approx(
        0.375, abs=0.1
    )  # before the first base in a half of the cases, 3/4 of them another
    assert at_end == pytest.approx(0.375, abs=0.1)


def test_storage_has_clusters_far_apart():
    sequences = load_sequences("storage")
    check(sequences, 9200)
    strand = np.array([name.split("/")[0] for name in sequences.names])
    pairs = np.array([[0, other] for other in range(1, 2000)])
    edits = edit_distances(sequences.bytes_of(np.arange(2000)), pairs)
    same = strand[pairs[:, 1]] == strand[0]
    assert same.sum() == 9
    assert edits[same].max() < 35 < edits[~same].min()


def test_the_last_base_of_a_copy_is_never_lost():
    for seed in range(9):
        assert storage_strands(1, 1, 20, substitution=0, insertion=0, deletion=1, seed=seed).lengths.tolist() == [1]


def test_seeds_of_strands_differ():
    assert letters(storage_strands(5, 2, 40, seed=1)) != letters(storage_strands(5, 2, 40, seed=2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: storage_strands(0, 1, 9), "strands: expected at least 1, found 0"),
        (lambda: storage_strands(1, 0, 9), "copies: expected at least 1, found 0"),
        (lambda: storage_strands(1, 1, 0), "length: expected at least 1, found 0"),
        (lambda: storage_strands(1, 1, 9, max_homopolymer=0), "max_homopolymer: expected at least 1, found 0"),
        (lambda: storage_strands(1, 1, 9, substitution=2), "substitution: expected a rate between 0 and 1, found 2"),
        (
            lambda: storage_strands(1, 1, 9, gc_content=(0.6, 0.4)),
            "gc_content: expected a smallest and a largest fraction between 0 and 1",
        ),
        (lambda: storage_strands(1, 1, 9, gc_content=(0.4, 1.4)), "found 0.4 and 1.4"),
        (
            lambda: storage_strands(1, 1, 9),
            "gc_content: expected fractions between which a strand of 9 bases can have one",
        ),
        (
            lambda: storage_strands(1, 1, 150, gc_content=(0.501, 0.502)),
            "a strand of 150 bases can have one, found 0.501 to 0.502",
        ),
        (
            lambda: storage_strands(3, 1, 700, gc_content=(1, 1), max_homopolymer=1),
            "strands: expected at most 2 distinct strands of 700 bases with a GC content of 1 to 1 and runs of at most 1",
        ),
        (lambda: storage_strands(2, 3, 40, **NOTHING), "expected 6 distinct sequences, found only 2; ask for fewer"),
        (
            lambda: storage_strands(1, 1, 100_000),
            "length: expected strands whose table of rules fits into 2 GiB, found",
        ),
    ],
)
def test_numbers_out_of_their_domain_in_storage(make, message):
    with pytest.raises(InputError) as error:
        make()
    assert message in str(error.value)
    assert "\n" not in str(error.value)
