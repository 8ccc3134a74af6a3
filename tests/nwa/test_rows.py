"""Which row of the encoder's output is which sequence, and what of its output is the embedding."""

from collections import OrderedDict
from dataclasses import dataclass, fields
from itertools import product

import pytest
import torch
from foreign import attach, fit
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import LightningModule
from torch import nn

from nwa_lightning import NWACallback, NWADataModule, NWAMixin, pair_batch
from nwa_lightning.nwa.capture import Call, by_tokens

NWA = {"nwa_embedding_dim": 16, "nwa_max_length": 32, "nwa_weight": 1.0, "nwa_every": 1}


def trimmed(tokens):
    """Without the columns that are padding in all rows."""
    return tokens[:, : int((tokens != 0).sum(1).max())]


#: How a step may encode the sequences of a batch: the inputs of its calls of the encoder.
ORDERS = {
    "left, right": lambda batch: [torch.cat([batch.left, batch.right])],
    "right, left": lambda batch: [torch.cat([batch.right, batch.left])],
    "one pair after the other": lambda batch: [batch.tokens[batch.pairs.flatten()]],
    "backwards": lambda batch: [batch.tokens.flip(0)],
    "in halves": lambda batch: [batch.tokens[8:], batch.tokens[:8]],
    "more padding": lambda batch: [nn.functional.pad(batch.tokens.flip(0), (0, 33 - batch.tokens.shape[1]))],
    "as little padding as can be": lambda batch: [trimmed(row[None]) for row in batch.tokens.flip(0)],
    "sides of their own width": lambda batch: [trimmed(batch.right), trimmed(batch.left)],
    "in 32 bits": lambda batch: [torch.cat([batch.right, batch.left]).int()],
    "those with a map alone": lambda batch: [batch.tokens[:3].flip(0)],
}


@pytest.fixture
def pairs_of_all(reads):
    """16 sequences, 8 pairs, U == 2 P, and maps of 3 of them."""
    data = NWADataModule(str(reads), batch_size=16, pairs=8, nwa_batch_size=3)
    batch = data.train_dataloader().dataset[0]
    assert len(batch.tokens) == 2 * len(batch.pairs) == 16
    assert len(batch.nw) == 3
    return batch


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("way", ["mixin", "callback"])
def test_the_maps_are_of_the_right_sequences_in_any_order(theirs, pairs_of_all, order, way):
    class Step(theirs):
        def training_step(self, batch, batch_idx):
            return torch.cat([self.encoder(tokens) for tokens in ORDERS[order](batch)]).mean()

    torch.manual_seed(0)
    if way == "mixin":
        model = type("WithNWA", (NWAMixin, Step), {})(**NWA)
        nwa = model.nwa
    else:
        callback = NWACallback("encoder", 16, 32, weight=1.0, every=1)
        model = attach(callback, Step())
        nwa = callback.nwa
    term = nwa.divergence(model.encoder(pairs_of_all.tokens), pairs_of_all)
    wrong = nwa.divergence(model.encoder(pairs_of_all.tokens.flip(0)), pairs_of_all)
    assert abs(term - wrong) > 1e-4, "this batch would not tell a wrong order"
    found = model.training_step(pairs_of_all, 0) - Step.training_step(model, pairs_of_all, 0)
    torch.testing.assert_close(found, term, rtol=1e-5, atol=1e-5)


@given(st.data())
def test_rows_are_found_as_a_plain_search_finds_them(data):
    reads = data.draw(st.lists(st.text("AC", max_size=4), min_size=2, max_size=6), label="reads")
    batch = pair_batch(reads)
    rows = data.draw(st.permutations(range(len(reads))), label="order")
    more = data.draw(st.lists(st.sampled_from(range(len(reads))), max_size=4), label="again")
    seen = batch.tokens[[*rows, *more]]
    marks = torch.arange(float(len(seen)))[:, None]
    found = by_tokens([Call([seen], marks)], [marks], batch, "encoder")[:, 0].tolist()
    strings = [row.tolist() for row in seen]
    assert found == [strings.index(row.tolist()) for row in batch.tokens]


def test_no_two_sequences_are_taken_for_one():
    """All 4,096 sequences of 6 letters; what tells them apart must not fail for one in a thousand."""
    reads = ["".join(letters) for letters in product("ACGT", repeat=6)]
    batch = pair_batch(reads)
    marks = torch.arange(float(len(reads)))[:, None]
    found = by_tokens([Call([batch.tokens.flip(0)], marks)], [marks], batch, "encoder")
    assert torch.equal(found, marks.flip(0))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (lambda batch: batch.tokens[1:], r"2 of the 6 places in the maps have a sequence that it was not called with"),
        (lambda batch: batch.tokens.roll(1, dims=1), r"6 of the 6 places in the maps"),
        (
            lambda batch: batch.tokens[:, None].float().expand(-1, 3, -1),
            r"rows of batch.tokens.* shape \[\(16, 3, \d+\)\]",
        ),
        (lambda batch: batch.tokens.float(), r"rows of batch.tokens, by which its output is recognised, .*\(16, \d+\)"),
    ],
)
def test_sequences_that_cannot_be_recognised_are_an_error(pairs_of_all, inputs, message):
    class Sums(NWAMixin, LightningModule):
        def __init__(self, **options):
            super().__init__(**options)
            self.encoder = nn.Identity()

        def training_step(self, batch, batch_idx):
            return self.encoder(inputs(batch)).sum()

        def nwa_embeddings(self, output):
            return output.float().flatten(1)[:, :16]

    with pytest.raises(RuntimeError, match=rf"{message}.*; name the sequences .* override nwa_batch\(batch\)"):
        Sums(**NWA).training_step(pairs_of_all, 0)


class Flat(LightningModule):
    """A weight for every position, and nothing that fills up short sequences."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Embedding(6, 8), nn.Flatten(), nn.Linear(8 * 33, 16))

    def training_step(self, batch, batch_idx):
        one, two = self.encoder(batch.tokens)[batch.pairs].unbind(1)
        return ((one - two).norm(dim=1) - batch.distance / 32).square().mean()

    def validation_step(self, batch, batch_idx):
        self.log("val/mean", self.encoder(batch.tokens).mean(), batch_size=5)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())


def test_a_model_of_one_width(reads):
    options = {"batch_size": 16, "nwa_batch_size": 6, "val_group": 5, "test_group": 5}
    data = NWADataModule(str(reads), fixed_width=True, **options)
    assert len(set(data.sequences.lengths.tolist())) > 1
    for name in ("train", "val", "test", "predict"):
        for batch in getattr(data, f"{name}_dataloader")():
            assert batch.tokens.shape[1] == 33
            assert batch.nw.shape[1:] == (33, 33)
    trainer = fit(Flat(), data, NWACallback(), limit_val_batches=2, val_check_interval=2)
    assert trainer.callback_metrics["train/nwa_loss"] > 0.1
    assert "val/mean" in trainer.callback_metrics
    narrow = NWADataModule(str(reads), **options)
    widths = {batch.tokens.shape[1] for batch in narrow.predict_dataloader()}
    assert widths != {33}, "without fixed_width a batch is as wide as its own longest sequence"


@dataclass
class ModelOutput(OrderedDict):
    """As that of Hugging Face: a dataclass that is a mapping of those of its fields that are not None."""

    last_hidden_state: torch.Tensor
    pooler_output: torch.Tensor
    attentions: tuple | None = None

    def __post_init__(self):
        for field in fields(self):
            if getattr(self, field.name) is not None:
                self[field.name] = getattr(self, field.name)


def of_dict(embeddings, hidden):
    return {"hidden": hidden, "mask": hidden[:, :, 0] > 0, "embeddings": embeddings}


OUTPUTS = {
    "tuple": lambda embeddings, hidden: (hidden, embeddings, None),
    "list": lambda embeddings, hidden: [embeddings],
    "dict": of_dict,
    "ModelOutput": lambda embeddings, hidden: ModelOutput(hidden, embeddings),
}
AMBIGUOUS = {
    "two": lambda embeddings, hidden: (embeddings + 1, embeddings),
    "none": lambda embeddings, hidden: (hidden,),
    "another type": lambda embeddings, hidden: {"set": {1}},
}


class Wraps(LightningModule):
    """An encoder that returns more than embeddings."""

    def __init__(self, wrap):
        super().__init__()
        self.encoder = Wrapped(wrap)

    def training_step(self, batch, batch_idx):
        self.encoder(batch.tokens)
        return self.encoder.embeddings.square().mean()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())


class Wrapped(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.letters, self.project, self.wrap = nn.Embedding(6, 8), nn.Linear(8, 16), wrap

    def forward(self, tokens):
        hidden = self.letters(tokens)
        self.embeddings = self.project(hidden.mean(1))
        return self.wrap(self.embeddings, hidden)


@pytest.mark.parametrize("wrap", [*OUTPUTS, *AMBIGUOUS])
@pytest.mark.parametrize("way", ["mixin", "callback"])
def test_outputs_that_are_more_than_embeddings(pairs_of_all, wrap, way):
    torch.manual_seed(0)
    make = (OUTPUTS | AMBIGUOUS)[wrap]
    callback = NWACallback("encoder", 16, 32, weight=1.0, every=1)
    mixed = type("WithNWA", (NWAMixin, Wraps), {})(make, **NWA)
    model = mixed if way == "mixin" else attach(callback, Wraps(make))
    if wrap in AMBIGUOUS:
        message = (
            r"Expected encoder to return one tensor of embeddings, \(rows, m\), but got .*; .* override nwa_embeddings"
        )
        with pytest.raises(TypeError, match=message):
            model.training_step(pairs_of_all, 0)
        return
    found = model.training_step(pairs_of_all, 0)
    embeddings = model.encoder.embeddings
    nwa = (mixed if way == "mixin" else callback).nwa
    torch.testing.assert_close(found, embeddings.square().mean() + nwa.divergence(embeddings, pairs_of_all))
    maps = mixed.nwa_attention(pairs_of_all) if way == "mixin" else callback.attention(pairs_of_all, model)
    torch.testing.assert_close(maps, nwa.attention(embeddings, pairs_of_all))


@pytest.mark.parametrize("way", ["mixin", "callback"])
def test_which_part_is_the_embedding_can_be_said(reads, pairs_of_all, way):
    data = NWADataModule(str(reads), batch_size=16, nwa_batch_size=3)
    torch.manual_seed(0)
    if way == "mixin":
        model = type("WithNWA", (NWAMixin, Wraps), {"nwa_embeddings": lambda self, output: output[1]})(AMBIGUOUS["two"])
        trainer = fit(model, data)
        maps, nwa = model.nwa_attention(pairs_of_all), model.nwa
    else:
        model, callback = Wraps(AMBIGUOUS["two"]), NWACallback(embeddings=lambda output: output[1])
        trainer = fit(model, data, callback)
        maps, nwa = callback.attention(pairs_of_all, model), callback.nwa
    assert trainer.callback_metrics["train/nwa_loss"] > 0.1
    assert nwa.sizes == (16, 32), "the trial step takes what was said, too"
    torch.testing.assert_close(maps, nwa.attention(model.encoder.embeddings, pairs_of_all))
