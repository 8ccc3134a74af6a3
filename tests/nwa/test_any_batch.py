"""NWA with other people's loaders, batches, steps and outputs, by the mixin and by the callback."""

from collections import OrderedDict
from itertools import pairwise

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss, one_hot, triplet_margin_loss
from torch.utils.data import DataLoader

from nwa_lightning import NWACallback, NWACollate, NWADataModule, NWALoss, NWAMixin, load_sequences, pair_batch

SIZES = {"embedding_dim": 16, "max_length": 32}
MIXIN_SIZES = {f"nwa_{name}": value for name, value in SIZES.items()}
#: A step is called without a trainer to log to.
no_trainer = pytest.mark.filterwarnings("ignore:You are trying to `self.log")


def letters(reads):
    return one_hot(torch.tensor([list(read.ljust(32).encode()) for read in reads]) % 5, 5).float().flatten(1)


class Base(LightningModule):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(5 * 32, 16)
        self.classify = nn.Linear(16, 4)

    def embed(self, reads):
        return self.encoder(letters(reads))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class Siamese(Base):
    """Batches of an ordinary loader: (a, b, distance)."""

    def training_step(self, batch, batch_idx):
        one, two, distance = batch
        return mse_loss((self.embed(one) - self.embed(two)).norm(dim=1), distance.float())


class Joined(Siamese):
    def training_step(self, batch, batch_idx):
        one, two = self.embed([*batch[0], *batch[1]]).chunk(2)
        return mse_loss((one - two).norm(dim=1), batch[2].float())


class Triplet(Base):
    def training_step(self, batch):
        return triplet_margin_loss(*(self.embed(batch[side]) for side in ("anchor", "positive", "negative")))


class Classifier(Base):
    def training_step(self, batch, batch_idx):
        return {"loss": cross_entropy(self.classify(self.embed(batch["reads"])), batch["label"])}


class Momentum(Classifier):
    """Also encodes without gradients, which does not count."""

    def training_step(self, batch, batch_idx):
        with torch.no_grad():
            target = self.embed(batch["reads"][::-1])
        return cross_entropy(self.classify(self.embed(batch["reads"])), batch["label"]) + target.mean()


def pairs_of(samples):
    return [(one, two, abs(len(one) - len(two))) for one, two in pairwise(samples)]


def triplets_of(samples):
    return [
        {"anchor": one, "positive": two, "negative": three}
        for one, two, three in zip(samples, samples[1:], samples[2:], strict=False)
    ]


def labelled(samples):
    return [{"reads": read, "label": number % 4} for number, read in enumerate(samples)]


CASES = {
    "siamese": (Siamese, pairs_of, lambda batch: [*batch[0], *batch[1]]),
    "joined": (Joined, pairs_of, lambda batch: [*batch[0], *batch[1]]),
    "triplet": (Triplet, triplets_of, lambda batch: [*batch["anchor"], *batch["positive"], *batch["negative"]]),
    "classifier": (Classifier, labelled, lambda batch: batch["reads"]),
    "momentum": (Momentum, labelled, lambda batch: batch["reads"]),
}


@pytest.fixture
def strings(reads):
    return load_sequences(reads).to_strings()


def with_mixin(theirs, named):
    class WithNWA(NWAMixin, theirs):
        def nwa_batch(self, batch):
            return pair_batch(named(batch))

    return WithNWA


class Losses(Callback):
    def __init__(self):
        self.found = []

    def on_train_batch_end(self, trainer, *_):
        self.found.append(trainer.callback_metrics["train/nwa_loss"].item())


def fit(model, loader, *callbacks, steps=40):
    options = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    trainer = Trainer(max_steps=steps, max_epochs=-1, enable_progress_bar=False, callbacks=list(callbacks), **options)
    trainer.fit(model, loader)
    return trainer


@pytest.mark.parametrize("case", CASES)
def test_both_ways_take_any_batch_and_do_the_same(case, strings):
    theirs, samples, named = CASES[case]
    curves = []
    for way in ("mixin", "callback"):
        torch.manual_seed(0)
        model = with_mixin(theirs, named)(nwa_max_length=32, nwa_every=1) if way == "mixin" else theirs()
        callbacks = [NWACallback(batch=lambda batch: pair_batch(named(batch)), max_length=32, every=1)]
        curve = Losses()
        loader = DataLoader(samples(strings), batch_size=12, shuffle=True, generator=torch.Generator().manual_seed(1))
        fit(model, loader, *(callbacks if way == "callback" else []), curve)
        curves.append(curve.found)
    assert curves[0] == curves[1]
    assert curves[0][-1] < 0.95 * curves[0][0]


@no_trainer
@pytest.mark.parametrize("case", CASES)
def test_the_maps_are_those_of_the_named_sequences(case, strings):
    theirs, samples, named = CASES[case]
    model = with_mixin(theirs, named)(nwa_every=1, nwa_weight=1.0, **MIXIN_SIZES)
    batch = next(iter(DataLoader(samples(strings), batch_size=8)))
    sequences = named(batch)
    own = theirs.training_step(model, *(batch, 0)[: 1 + (case != "triplet")])
    own = own["loss"] if isinstance(own, dict) else own
    found = model.training_step(batch, 0)
    found = found["loss"] if isinstance(found, dict) else found
    expected = model.nwa.divergence(model.embed(sequences), pair_batch(sequences))
    torch.testing.assert_close(found - own, expected)


@no_trainer
def test_more_or_fewer_names_than_rows(strings):
    batch = next(iter(DataLoader(pairs_of(strings), batch_size=8)))
    model = with_mixin(Siamese, lambda batch: batch[0])(**MIXIN_SIZES)
    with pytest.raises(
        RuntimeError, match=r"the 8 sequences that were named to be the rows .* 2 calls \[8, 8\]; name each"
    ):
        model.training_step(batch, 0)


@no_trainer
def test_nobody_says_where_the_sequences_are(strings):
    class Silent(NWAMixin, Siamese):
        pass

    batch = next(iter(DataLoader(pairs_of(strings), batch_size=8)))
    with pytest.raises(
        TypeError, match=r"Expected a PairBatch .* but got list; .*override nwa_batch.*batch=\.\.\..*pair_batch"
    ):
        Silent(**MIXIN_SIZES).training_step(batch, 0)

    class Forgets(NWAMixin, Siamese):
        def nwa_batch(self, batch):
            return batch[:2]

    with pytest.raises(TypeError, match=r"nwa_batch .* to return a PairBatch but got list; return pair_batch"):
        Forgets(**MIXIN_SIZES).training_step(batch, 0)


def outputs(kind, embedding):
    hidden = embedding[:, None].expand(-1, 3, -1)
    return {
        "tuple": (hidden, embedding),
        "list": [embedding],
        "dict": {"states": hidden, "pooled": embedding},
        "model output": OrderedDict(last_hidden_state=hidden, pooler_output=embedding),
        "ambiguous": {"one": embedding, "two": embedding},
        "none": hidden,
    }[kind]


class Odd(Base):
    def __init__(self, kind):
        super().__init__()
        outer = self

        class Encoder(nn.Module):
            def forward(self, reads):
                return outputs(kind, outer.classify_free(letters(reads)))

        self.body = nn.Linear(5 * 32, 16)
        self.encoder = Encoder()

    def classify_free(self, given):
        return self.body(given)

    def training_step(self, batch, batch_idx):
        self.encoder(batch["reads"])
        return self.body.weight.square().mean()


@pytest.mark.parametrize("kind", ["tuple", "list", "dict", "model output"])
def test_the_embedding_is_the_only_tensor_that_fits(kind, strings):
    nwa = NWACallback(batch=lambda batch: pair_batch(batch["reads"]), max_length=32, every=1)
    curve = Losses()
    fit(Odd(kind), DataLoader(labelled(strings), batch_size=12), nwa, curve, steps=30)
    assert nwa.nwa.sizes == (16, 32)
    assert curve.found[-1] < curve.found[0]


@pytest.mark.parametrize(("kind", "found"), [("ambiguous", "dict"), ("none", "Tensor")])
def test_an_output_that_has_to_be_explained(kind, found, strings):
    def where(batch):
        return pair_batch(batch["reads"])

    loader = DataLoader(labelled(strings), batch_size=12)
    with pytest.raises(
        TypeError, match=f"one tensor of embeddings.* but got {found} .*override nwa_embeddings.*embeddings="
    ):
        fit(Odd(kind), loader, NWACallback(batch=where, **SIZES), steps=1)

    def pick(output):
        return output["two"] if kind == "ambiguous" else output.mean(dim=1)

    trainer = fit(Odd(kind), loader, NWACallback(batch=where, embeddings=pick, max_length=32), steps=1)
    assert trainer.callback_metrics["train/nwa_loss"] > 0


class FromTokens(LightningModule):
    """Encodes chosen rows of batch.tokens; every sequence has an embedding of its own."""

    def __init__(self, choose):
        super().__init__()
        self.encoder = nn.Sequential(nn.Embedding(6, 8, padding_idx=0), Spread(), nn.Linear(8 * 40, 16))
        self.choose = choose

    def training_step(self, batch, batch_idx):
        return sum((self.encoder(rows).square().mean() for rows in self.choose(batch)), torch.zeros(()))


class Spread(nn.Module):
    def forward(self, embedded):
        return nn.functional.pad(embedded, (0, 0, 0, 40 - embedded.shape[1])).flatten(1)


CHOICES = {
    "once": lambda batch: [batch.tokens],
    "joined sides": lambda batch: [torch.cat([batch.left, batch.right])],
    "two calls": lambda batch: [batch.right, batch.left],
    "backwards": lambda batch: [batch.tokens.flip(0)],
    "a permutation twice": lambda batch: [batch.tokens.flip(0), batch.tokens.roll(3, 0)],
    "padded": lambda batch: [nn.functional.pad(batch.tokens, (0, 4))],
}


@no_trainer
@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("pairs", [8, None])
def test_rows_are_recognised_by_the_input(choice, pairs, reads):
    """Also where there are as many sequences as sides of pairs: U == 2 P."""
    torch.manual_seed(0)
    data = NWADataModule(str(reads), batch_size=16, pairs=pairs, nwa_batch_size=4)
    batch = data.train_dataloader().dataset[0]
    if pairs:
        # Eight pairs of sixteen sequences, each in one of them, in an order of their own.
        every = torch.randperm(16).reshape(8, 2)
        batch = pair_batch(batch.tokens[:, 1:], every, lengths=batch.lengths, nwa_batch_size=8)._replace(
            tokens=batch.tokens
        )
        assert len(batch.tokens) == 2 * len(batch.pairs)

    class WithNWA(NWAMixin, FromTokens):
        pass

    model = WithNWA(CHOICES[choice], nwa_weight=1.0, nwa_every=1, **MIXIN_SIZES)
    own = FromTokens.training_step(model, batch, 0)
    expected = model.nwa.divergence(model.encoder(batch.tokens), batch)
    torch.testing.assert_close(model.training_step(batch, 0) - own, expected)


@no_trainer
def test_what_is_not_recognised_is_said(reads):
    data = NWADataModule(str(reads), batch_size=16, nwa_batch_size=4)
    batch = data.train_dataloader().dataset[0]

    class WithNWA(NWAMixin, FromTokens):
        pass

    def model(choose):
        return WithNWA(choose, **MIXIN_SIZES)

    with pytest.raises(
        RuntimeError, match=r"encoder to be called in the training step but it was not; name the sequences"
    ):
        model(lambda batch: []).training_step(batch, 0)
    with pytest.raises(
        RuntimeError, match=r"of the 12 places in the maps have one that it was not called with; name the"
    ):
        model(lambda batch: [batch.tokens[2:]]).training_step(batch, 0)
    floats = model(lambda batch: [])
    floats.choose = lambda batch: [batch.tokens]
    floats.nwa_encoder = "encoder.2"
    with pytest.raises(
        RuntimeError, match=r"rows of batch.tokens.* but got tensors of shape \[\(16, 320\)\]; name the"
    ):
        floats.training_step(batch, 0)


@pytest.mark.parametrize("way", ["mixin", "callback"])
@pytest.mark.parametrize("workers", [0, 2])
def test_matrices_by_the_loader(way, workers, strings):
    collate = NWACollate(reads_of)
    loader = DataLoader(labelled(strings), batch_size=12, collate_fn=collate, num_workers=workers)

    class WithNWA(NWAMixin, Classifier):
        pass

    torch.manual_seed(0)
    model = WithNWA(nwa_max_length=32, nwa_every=1) if way == "mixin" else Classifier()
    callbacks = [] if way == "mixin" else [NWACallback(max_length=32, every=1)]
    curve = Losses()
    fit(model, loader, *callbacks, curve, steps=20)
    torch.manual_seed(0)
    plain, expected = Classifier(), Losses()
    named = NWACallback(batch=lambda batch: pair_batch(batch["reads"]), max_length=32, every=1)
    fit(plain, DataLoader(labelled(strings), batch_size=12), named, expected, steps=20)
    assert curve.found == expected.found


def reads_of(samples):
    return [sample["reads"] for sample in samples]


def test_a_flattening_model_on_reads_of_mixed_length(reads):
    class Flat(LightningModule):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Sequential(nn.Embedding(6, 4), nn.Flatten(), nn.Linear(4 * 33, 16))

        def training_step(self, batch, batch_idx):
            one, two = self.encoder(batch.left), self.encoder(batch.right)
            return mse_loss((one - two).norm(dim=1), batch.distance / 32)

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters())

    narrow = NWADataModule(str(reads), batch_size=8, nwa_batch_size=4)
    assert {narrow.train_dataloader().dataset[number].tokens.shape[1] for number in range(20)} != {33}
    data = NWADataModule(str(reads), batch_size=8, nwa_batch_size=4, fixed_width=True)
    assert {batch.tokens.shape[1] for batch in data.val_dataloader()} == {33}
    options = {"limit_val_batches": 0, "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(max_steps=8, max_epochs=-1, callbacks=[NWACallback()], enable_model_summary=False, **options)
    trainer.fit(Flat(), data)
    assert trainer.global_step == 8


def test_a_plain_loop(strings):
    torch.manual_seed(0)
    encoder, nwa = nn.Linear(5 * 32, 16), NWALoss(16, 32, every=2)
    optimizer = torch.optim.Adam([*encoder.parameters(), *nwa.parameters()], lr=1e-2)
    found = []
    for step in range(40):
        embeddings = encoder(letters(strings[:20]))
        loss = embeddings.square().mean() + nwa(embeddings, pair_batch(strings[:20]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(nwa.last.item())
        assert nwa.steps == step + 1
    assert found[-1] < 0.9 * found[0]
