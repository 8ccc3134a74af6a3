import hashlib
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nwa_lightning import NWADataModule
from nwa_lightning.alignment import edit_distances
from nwa_lightning.cli.main import main
from nwa_lightning.errors import InputError
from nwa_lightning.sequences.alphabet import DNA, FIRST_LETTER
from nwa_lightning.sequences.catalog import load_sequences
from nwa_lightning.sequences.simulate.tree import evolve_tree

NOTHING = {"substitution": 0, "insertion": 0, "deletion": 0}


def letters(sequences):
    return [DNA.decode(row) for row in sequences.padded()]


def check(sequences, count):
    """What holds for every simulated set."""
    codes, lengths = sequences.padded(), sequences.lengths
    assert len(sequences) == len(set(sequences.names)) == len(set(letters(sequences))) == count
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
    try:
        sequences = evolve_tree(count, length, **rates, seed=seed)
    except InputError:
        # Where nearly all bases are lost, too few different sequences are left.
        assert length * (1 - rates["deletion"]) < 3
        return
    check(sequences, count)
    again = evolve_tree(count, length, **rates, seed=seed)
    assert np.array_equal(again.padded(), sequences.padded())


def test_the_last_base_of_a_leaf_is_never_lost():
    assert evolve_tree(4, 20, substitution=1, insertion=0, deletion=1).lengths.min() >= 1


def test_a_leaf_is_as_far_from_the_root_as_the_rates_say():
    """With substitutions alone, every leaf of a small tree against the root of the same seed."""
    distances = []
    for seed in range(40):
        root = evolve_tree(1, 500, seed=seed).padded()[0]
        leaves = evolve_tree(20, 500, substitution=0.05, insertion=0, deletion=0, seed=seed)
        # The root is drawn first, so it is the single leaf of the smallest tree.
        distances.append((leaves.padded() != root).mean())
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


@pytest.mark.parametrize(
    ("name", "digest"), [("tree:200x40", "0b680e869882a4cb"), ("storage:200x40", "cfc27cf56cebf8c2")]
)
def test_the_sets_are_the_same_everywhere(name, digest):
    text = "\n".join(letters(load_sequences(name)))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == digest


def test_seeds_differ():
    assert letters(evolve_tree(20, 40, seed=1)) != letters(evolve_tree(20, 40, seed=2))


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
