import numpy as np
import pytest
import torch
from scipy.spatial import distance as scipy_distance

from nwa_lightning import NWADataModule
from nwa_lightning.data.batch import pair_batch
from nwa_lightning.errors import InputError
from nwa_lightning.models.baselines import ConstantBaseline, KmerBaseline
from nwa_lightning.models.metrics import evaluate
from nwa_lightning.sequences.alphabet import DNA
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.simulate.tree import evolve_tree

DISTANCES = {
    "euclidean": scipy_distance.euclidean,
    "cosine": scipy_distance.cosine,
    "jensen-shannon": lambda one, two: scipy_distance.jensenshannon(one, two) ** 2,
}


def batch_of(sequences):
    return pair_batch(sequences, "all", nwa_batch_size=0)


def slow_counts(text, k):
    """(4 ** k,) counts by a plain loop; the first letter of a k-mer counts ones, the next fours, and so on."""
    counts = np.zeros(4**k)
    for start in range(len(text) - k + 1):
        counts[sum("ACGT".index(letter) * 4**place for place, letter in enumerate(text[start : start + k]))] += 1
    return counts


@pytest.fixture(scope="module")
def unequal():
    """Related sequences of 24 to 36 bases or so, some pairs the longer first."""
    return evolve_tree(60, 30, substitution=0.3, insertion=0.2, deletion=0.2)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_counts_are_those_of_a_plain_loop(unequal, k):
    batch = batch_of(unequal)
    assert len(set(unequal.lengths.tolist())) > 5
    found = KmerBaseline(DNA.size, k).counts(batch.tokens).numpy()
    assert np.array_equal(found, [slow_counts(DNA.decode(row), k) for row in unequal.padded()])


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("kind", DISTANCES)
def test_distances_are_those_of_scipy(unequal, kind, k):
    batch = batch_of(unequal)
    counts = [slow_counts(DNA.decode(row), k) for row in unequal.padded()]
    expected = [DISTANCES[kind](counts[one], counts[two]) for one, two in batch.pairs.tolist()]
    found = KmerBaseline(DNA.size, k, kind).distances(batch)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", DISTANCES)
def test_the_line_is_that_of_numpy(unequal, kind):
    batch = batch_of(unequal)
    baseline = KmerBaseline(DNA.size, 3, kind).fit([batch])
    sides = baseline.distances(batch).double().numpy()
    slope, intercept = np.polyfit(sides, batch.distance.numpy(), 1)
    assert baseline.slope.item() == pytest.approx(slope, rel=1e-4)
    assert baseline.intercept.item() == pytest.approx(intercept, rel=1e-4, abs=1e-3)
    np.testing.assert_allclose(baseline(batch).numpy(), slope * sides + intercept, rtol=1e-4)


@pytest.mark.parametrize("kind", DISTANCES)
def test_the_line_is_fitted_to_all_batches(data, kind):
    batches = list(data.test_dataloader())
    baseline = KmerBaseline(data.vocabulary, 2, kind).fit(iter(batches))
    sides = np.concatenate([baseline.distances(batch).double().numpy() for batch in batches])
    edits = np.concatenate([batch.distance.numpy() for batch in batches])
    assert baseline.slope.item() == pytest.approx(np.polyfit(sides, edits, 1)[0], rel=1e-4)


@pytest.mark.parametrize("kind", DISTANCES)
def test_all_beat_the_constant_on_a_tree(kind):
    data = NWADataModule("tree:600x80", nwa_batch_size=0)
    fitting = [data.train_dataloader().dataset[number] for number in range(5)]
    test = list(data.test_dataloader())
    found = evaluate(KmerBaseline(data.vocabulary, distance=kind).fit(fitting), test)
    assert found["rmse"] < 0.75 * evaluate(ConstantBaseline().fit(fitting), test)["rmse"]
    assert found["spearman"] > 0.6


@pytest.mark.parametrize(
    ("kind", "pairs"),
    [
        ("euclidean", {("A", "C"): 0, ("A", "ACGTA"): 3**0.5, ("ACGTA", "ACGTA"): 0}),
        ("cosine", {("A", "C"): 0, ("A", "ACGTA"): 1, ("ACGTA", "A"): 1, ("ACGTA", "ACGTA"): 0}),
        ("jensen-shannon", {("A", "C"): 0, ("A", "ACGTA"): np.log(2), ("ACGTA", "AAAC"): np.log(2)}),
    ],
)
def test_sequences_shorter_than_k(kind, pairs):
    for (one, two), expected in pairs.items():
        batch = batch_of(Sequences.from_strings([one, two]))
        found = KmerBaseline(DNA.size, 3, kind).distances(batch).item()
        assert found == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("kind", DISTANCES)
def test_a_batch_without_pairs(kind):
    batch = batch_of(Sequences.from_strings(["ACGT"]))
    assert KmerBaseline(DNA.size, 2, kind)(batch).shape == (0,)
    with pytest.raises(InputError, match="fit: expected batches with at least one pair, found none"):
        KmerBaseline(DNA.size, 2, kind).fit([batch])
    with pytest.raises(InputError, match="fit: expected batches with at least one pair, found none"):
        ConstantBaseline().fit([])


@pytest.mark.parametrize("kind", DISTANCES)
def test_equal_distances_predict_the_mean(kind):
    """Random bases of length 1 have no 2-mers: the line is flat."""
    batch = batch_of(Sequences.from_strings(["A", "C", "A"]))
    baseline = KmerBaseline(DNA.size, 2, kind).fit([batch])
    assert baseline(batch).tolist() == pytest.approx([2 / 3] * 3)


def test_arguments_out_of_their_domain():
    with pytest.raises(InputError, match="k: expected at least 1 letter, found 0"):
        KmerBaseline(6, 0)
    with pytest.raises(InputError, match="expected one of euclidean, cosine, jensen-shannon, found 'hamming'"):
        KmerBaseline(6, distance="hamming")
