import hashlib
from itertools import groupby, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nwa_lightning import NWADataModule
from nwa_lightning.alignment import edit_distances
from nwa_lightning.alphabet import DNA, FIRST_LETTER
from nwa_lightning.cli import main
from nwa_lightning.errors import InputError
from nwa_lightning.sequences import load_sequences
from nwa_lightning.simulate import evolve_tree, storage_strands

NOTHING = {"substitution": 0, "insertion": 0, "deletion": 0}


def letters(sequences):
    return [DNA.decode(row) for row in sequences.codes]


def longest_run(strand):
    return max(len(list(run)) for _, run in groupby(strand))


def check(sequences, count):
    """What holds for every simulated set."""
    codes, lengths = sequences.codes, sequences.lengths
    assert len(sequences) == len(set(sequences.names.tolist())) == len(set(letters(sequences))) == count
    assert codes.dtype == np.uint8
    assert codes.shape == (count, lengths.max())
    assert lengths.min() >= 1
    inside = np.arange(codes.shape[1]) < lengths[:, None]
    assert not codes[~inside].any()
    assert (codes[inside] >= FIRST_LETTER).all()
    assert (codes[inside] < DNA.size).all()


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(3, 12), st.integers(0, 99), st.lists(st.floats(0.01, 1), min_size=3, max_size=3))
def test_a_tree_of_any_size(count, length, seed, rates):
    rates = dict(zip(NOTHING, rates, strict=True))
    sequences = evolve_tree(count, length, **rates, seed=seed)
    check(sequences, count)
    again = evolve_tree(count, length, **rates, seed=seed)
    assert np.array_equal(again.codes, sequences.codes)


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
    rules = {"gc": gc, "longest_run": run, "seed": seed}
    sequences = storage_strands(strands, copies, length, **rules, substitution=0.2)
    check(sequences, strands * copies)
    assert np.array_equal(storage_strands(strands, copies, length, **rules, substitution=0.2).codes, sequences.codes)
    designed = storage_strands(strands, 1, length, **rules, **NOTHING)
    check(designed, strands)
    for strand in letters(designed):
        assert len(strand) == length
        assert gc[0] <= sum(base in "CG" for base in strand) / length <= gc[1]
        assert longest_run(strand) <= run


@pytest.mark.parametrize("rules", [((0.45, 0.55), 3), ((0.29, 0.29), 4), ((0, 0), 1), ((0.5, 1), 2)], ids=str)
def test_long_strands_obey_the_rules(rules):
    gc, run = rules
    strands = 2 if gc == (0, 0) else 300  # of A and T in turn there are two
    for strand in letters(storage_strands(strands, 1, 100, gc=gc, longest_run=run, **NOTHING)):
        assert gc[0] <= sum(base in "CG" for base in strand) / 100 <= gc[1]
        assert longest_run(strand) <= run


def test_long_strands_do_not_overflow():
    for strand in letters(storage_strands(3, 1, 1200, longest_run=1, **NOTHING)):
        assert 540 <= sum(base in "CG" for base in strand) <= 660
        assert longest_run(strand) == 1


@pytest.mark.parametrize(("gc", "run"), [((0.5, 0.5), 2), ((0.2, 0.7), 1), ((0, 1), 3)], ids=str)
def test_all_strands_that_obey_are_found_and_no_more(gc, run):
    every = {
        "".join(strand)
        for strand in product("ACGT", repeat=4)
        if gc[0] <= sum(base in "CG" for base in strand) / 4 <= gc[1] and longest_run(strand) <= run
    }
    found = letters(storage_strands(len(every), 1, 4, gc=gc, longest_run=run, **NOTHING))
    assert set(found) == every
    with pytest.raises(InputError, match=f"strands: expected at most {len(every)} distinct strands of 4 bases"):
        storage_strands(len(every) + 1, 1, 4, gc=gc, longest_run=run)


def test_strands_are_drawn_uniformly():
    """The first of 3,000 independent sets of one strand, against 1 / 12 for each of 12 possible ones."""
    firsts = [letters(storage_strands(1, 1, 2, gc=(0, 1), longest_run=1, **NOTHING, seed=s))[0] for s in range(3000)]
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
    np.add.at(table, (designed.codes - FIRST_LETTER, read.codes - FIRST_LETTER), 1)
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


def test_the_last_base_is_never_lost():
    for seed in range(9):
        assert storage_strands(1, 1, 20, substitution=0, insertion=0, deletion=1, seed=seed).lengths.tolist() == [1]
    assert evolve_tree(4, 20, substitution=1, insertion=0, deletion=1).lengths.min() >= 1


def test_a_leaf_is_as_far_from_the_root_as_the_rates_say():
    """With substitutions alone, every leaf of a small tree against the root of the same seed."""
    distances = []
    for seed in range(40):
        root = evolve_tree(1, 500, seed=seed).codes[0]
        leaves = evolve_tree(20, 500, substitution=0.05, insertion=0, deletion=0, seed=seed)
        # The root is drawn first, so it is the single leaf of the smallest tree.
        distances.append((leaves.codes != root).mean())
    assert np.mean(distances) == pytest.approx(1 - np.exp(-0.05), rel=0.05)


def test_the_default_tree_is_spread_like_real_reads():
    """5, 50 and 95 % of the edit distances between random reads of human16s are about 28, 44 and 58."""
    quantiles = []
    for name in ("tree", "human16s"):
        sequences = load_sequences(name)
        assert len(sequences) == 9200
        pairs = np.random.default_rng(1).integers(0, 9200, (20_000, 2))
        edits = edit_distances(sequences.bytes_of(np.arange(9200)), pairs)
        quantiles.append(np.quantile(edits, [0.05, 0.5, 0.95]))
    assert np.abs(quantiles[0] - quantiles[1]).max() <= 3
    check(load_sequences("tree"), 9200)


def test_storage_has_clusters_far_apart():
    sequences = load_sequences("storage")
    check(sequences, 9200)
    strand = np.array([name.split("/")[0] for name in sequences.names])
    pairs = np.array([[0, other] for other in range(1, 2000)])
    edits = edit_distances(sequences.bytes_of(np.arange(2000)), pairs)
    same = strand[pairs[:, 1]] == strand[0]
    assert same.sum() == 9
    assert edits[same].max() < 35 < edits[~same].min()


@pytest.mark.parametrize(
    ("name", "digest"), [("tree:200x40", "0b680e869882a4cb"), ("storage:200x40", "cfc27cf56cebf8c2")]
)
def test_the_sets_are_the_same_everywhere(name, digest):
    text = "\n".join(letters(load_sequences(name)))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == digest


def test_seeds_differ():
    assert letters(evolve_tree(20, 40, seed=1)) != letters(evolve_tree(20, 40, seed=2))
    assert letters(storage_strands(5, 2, 40, seed=1)) != letters(storage_strands(5, 2, 40, seed=2))


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_every_sequence_there_is(length):
    found = letters(evolve_tree(4**length, length, substitution=0.3, insertion=0, deletion=0))
    assert set(found) == {"".join(bases) for bases in product("ACGT", repeat=length)}


def test_hardly_any_evolution_still_gives_distinct_leaves():
    check(evolve_tree(200, 40, substitution=1e-6, insertion=0, deletion=0), 200)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: evolve_tree(0, 9), "count: expected at least 1, found 0"),
        (lambda: evolve_tree(9, 0), "length: expected at least 1, found 0"),
        (lambda: evolve_tree(9, 9, seed=-1), "seed: expected at least 0, found -1"),
        (lambda: evolve_tree(9, 9, substitution=1.5), "substitution: expected a rate between 0 and 1, found 1.5"),
        (lambda: evolve_tree(9, 9, insertion=-0.1), "insertion: expected a rate between 0 and 1, found -0.1"),
        (lambda: evolve_tree(9, 9, deletion=float("nan")), "deletion: expected a rate between 0 and 1, found nan"),
        (lambda: evolve_tree(17, 2), "count: expected at most 16 distinct sequences of 2 bases, found 17; ask for"),
        (lambda: evolve_tree(9, 9, **NOTHING), "expected 9 distinct sequences, found only 1; ask for fewer"),
        (
            lambda: evolve_tree(9, 2, substitution=0, insertion=0, deletion=0.5),
            "expected 9 distinct sequences, found only",
        ),
        (lambda: storage_strands(0, 1, 9), "strands: expected at least 1, found 0"),
        (lambda: storage_strands(1, 0, 9), "copies: expected at least 1, found 0"),
        (lambda: storage_strands(1, 1, 0), "length: expected at least 1, found 0"),
        (lambda: storage_strands(1, 1, 9, longest_run=0), "longest_run: expected at least 1, found 0"),
        (lambda: storage_strands(1, 1, 9, substitution=2), "substitution: expected a rate between 0 and 1, found 2"),
        (
            lambda: storage_strands(1, 1, 9, gc=(0.6, 0.4)),
            "gc: expected a smallest and a largest share between 0 and 1",
        ),
        (lambda: storage_strands(1, 1, 9, gc=(0.4, 1.4)), "found 0.4 and 1.4"),
        (lambda: storage_strands(1, 1, 9), "gc: expected shares between which a strand of 9 bases can have one"),
        (
            lambda: storage_strands(1, 1, 150, gc=(0.501, 0.502)),
            "a strand of 150 bases can have one, found 0.501 to 0.502",
        ),
        (
            lambda: storage_strands(3, 1, 700, gc=(1, 1), longest_run=1),
            "strands: expected at most 2 distinct strands of 700 bases with a GC share of 1 to 1 and runs of at most 1",
        ),
        (lambda: storage_strands(2, 3, 40, **NOTHING), "expected 6 distinct sequences, found only 2; ask for fewer"),
        (
            lambda: storage_strands(1, 1, 100_000),
            "length: expected strands whose table of rules fits into 2 GiB, found",
        ),
    ],
)
def test_numbers_out_of_their_domain(make, message):
    with pytest.raises(InputError) as error:
        make()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["tree:200x40", "storage:200x40"])
def test_fit_on_a_simulated_set(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    options = ["--model.encoder.layers=2", "--model.encoder.channels=8", "--trainer.enable_progress_bar=false"]
    main(["fit", f"--data.data={name}", *options, "--trainer.fast_dev_run=true"])
    assert sum(len(part) for part in NWADataModule(name).split) == 200


def test_an_impossible_set_ends_in_one_line(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--data.data=tree:20x2", "--trainer.fast_dev_run=true"])
    assert stop.value.code == 2
    assert "nwa: error: tree:20x2: count: expected at most 16 distinct sequences of 2 bases" in capsys.readouterr().err
