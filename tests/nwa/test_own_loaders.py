"""Loaders that know nothing of PairBatch: who says where the sequences are, by the mixin, the callback or NWACollate."""

import pytest
import torch
from foreign import LENGTH, Classifier, PairModel, TripletModel, attach, fit, pair_samples, random_reads, term_of
from lightning.pytorch import Callback
from torch.utils.data import DataLoader

from nwa_lightning import NWACallback, NWACollate, NWAMixin, pair_batch

SIZES = {"nwa_embedding_dim": 16, "nwa_max_length": LENGTH, "nwa_weight": 0.5, "nwa_every": 1}


def across(sides):
    """First and second reads as rows, and pairs of each first with its second."""
    count = len(sides[0])
    return [[row, count + row] for row in range(count)]


def pairs_of_sides(batch):
    return pair_batch([*batch[0], *batch[1]], across(batch), nwa_batch_size=12)


def labels():
    reads = random_reads(48)
    return [{"sequence": read, "label": row % 3} for row, read in enumerate(reads)]


def triplets():
    reads = random_reads(72)
    return list(zip(reads[::3], reads[1::3], reads[2::3], strict=True))


#: A model, its samples, where the sequences are, and the reads and pairs that are expected to have a map.
CASES = {
    "pairs": (
        PairModel,
        pair_samples,
        pairs_of_sides,
        lambda batch: ([*batch[0], *batch[1]], [[row, 8 + row] for row in range(6)]),
    ),
    "triplets": (
        TripletModel,
        triplets,
        lambda batch: pair_batch([*batch[0], *batch[1], *batch[2]], [[0, 8], [8, 16], [23, 1]]),
        lambda batch: ([*batch[0], *batch[1], *batch[2]], [[0, 8], [8, 16], [23, 1]]),
    ),
    "labels": (
        Classifier,
        labels,
        lambda batch: pair_batch(batch["sequence"], nwa_batch_size=3),
        lambda batch: (batch["sequence"], [[0, 1], [0, 2], [1, 2]]),
    ),
}


def loss_of(result):
    return result["loss"] if isinstance(result, dict) else result


def mixed(model, where):
    """A subclass with NWA that says where the sequences are."""
    own = {} if where is None else {"nwa_batch": lambda self, batch: where(batch)}
    return type("WithNWA", (NWAMixin, model), own)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("way", ["mixin", "callback"])
def test_the_term_is_of_the_sequences_that_were_named(case, way):
    model_class, samples, where, expected = CASES[case]
    torch.manual_seed(0)
    batch = next(iter(DataLoader(samples(), 8)))
    if way == "mixin":
        model = mixed(model_class, where)(**SIZES)
        nwa = model.nwa
    else:
        callback = NWACallback("encoder", 16, LENGTH, weight=0.5, every=1, batch=where)
        model = attach(callback, model_class())
        nwa = callback.nwa
    own = model_class.training_step.__get__(model)
    arguments = (batch,) if model_class is TripletModel else (batch, 0)
    reads, pairs = expected(batch)
    term = term_of(nwa, model.embed(reads), reads, pairs)
    assert term > 0.1
    torch.testing.assert_close(loss_of(model.training_step(batch, 0)), loss_of(own(*arguments)) + 0.5 * term)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("way", ["mixin", "callback"])
def test_training_by_an_ordinary_loader(case, way):
    """Only the longest length has to be given: it is nowhere to be found."""
    model_class, samples, where, _ = CASES[case]
    torch.manual_seed(0)
    loader = DataLoader(samples(), 8, shuffle=True)
    if way == "mixin":
        model, callbacks = mixed(model_class, where)(nwa_max_length=LENGTH), []
    else:
        model, callbacks = model_class(), [NWACallback(max_length=LENGTH, batch=where)]
    trainer = fit(model, loader, *callbacks)
    assert 0.1 < trainer.callback_metrics["train/nwa_loss"] < LENGTH + 1
    assert (model if way == "mixin" else callbacks[0]).nwa.sizes == (16, LENGTH)


def step_of(way, where):
    """One training step on pairs, the sequences named by ``where`` or by nobody."""
    loader = DataLoader(pair_samples(), 8)
    if way == "mixin":
        return fit(mixed(PairModel, where)(**SIZES), loader, steps=1)
    return fit(PairModel(), loader, NWACallback("encoder", 16, LENGTH, batch=where), steps=1)


@pytest.mark.parametrize("way", ["mixin", "callback"])
def test_a_wrong_number_of_sequences_is_an_error(way):
    message = r"the 8 sequences that were named .* in 2 calls \[8, 8\]; name each sequence that the step encodes, in that order"
    with pytest.raises(RuntimeError, match=message):
        step_of(way, lambda batch: pair_batch(batch[0]))


@pytest.mark.parametrize("way", ["mixin", "callback"])
def test_a_batch_without_a_word_on_its_sequences_is_an_error(way):
    message = (
        r"Expected a PairBatch .* but got list; .*override nwa_batch\(batch\) \(NWAMixin\) or pass batch=\.\.\. "
        r"\(NWACallback\), and return pair_batch\(sequences\)"
    )
    with pytest.raises(TypeError, match=message):
        step_of(way, None)


@pytest.mark.parametrize("way", ["mixin", "callback"])
def test_what_was_named_has_to_be_a_pair_batch(way):
    with pytest.raises(
        TypeError, match=r"Expected nwa_batch .* to return a PairBatch but got tuple; return pair_batch"
    ):
        step_of(way, lambda batch: batch[0])


class Losses(Callback):
    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append(outputs["loss"].item())


def both_sides(samples):
    return [sample[0] for sample in samples] + [sample[1] for sample in samples]


@pytest.mark.parametrize("way", ["mixin", "callback"])
def test_matrices_from_the_processes_of_a_loader(way):
    """Two processes make what pair_batch makes in the step, and their own step gets their own batch."""
    found = []
    for collate in (None, NWACollate(both_sides, max_length=LENGTH)):
        torch.manual_seed(0)
        loader = DataLoader(pair_samples(), 8, collate_fn=collate, num_workers=0 if collate is None else 2)
        losses = Losses()
        where = None if collate is not None else lambda batch: pair_batch([*batch[0], *batch[1]], max_length=LENGTH)
        if way == "mixin":
            model, callbacks = mixed(PairModel, where)(nwa_every=2, nwa_max_length=LENGTH), [losses]
        else:
            model, callbacks = PairModel(), [NWACallback(every=2, max_length=LENGTH, batch=where), losses]
        trainer = fit(model, loader, *callbacks, steps=6)
        found.append([*losses.seen, trainer.callback_metrics["train/nwa_loss"].item()])
    assert len(found[0]) == 7
    assert found[0] == found[1]


def test_a_collate_function_of_ones_own():
    samples = pair_samples(4)
    made = NWACollate(both_sides, len, nwa_batch_size=3, match=2)(samples)
    assert made.batch == 4
    assert made.pairs.nw.shape[0] == 3
    assert torch.equal(made.pairs.nw, pair_batch(both_sides(samples), nwa_batch_size=3, match=2).nw)
