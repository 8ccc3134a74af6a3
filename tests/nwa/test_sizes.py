"""Sizes that NWA finds by itself, and runs in which it would be silently off."""

import logging

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader

from nwa_lightning import InputError, NWACallback, NWADataModule, NWAMixin, load_sequences, pair_batch


def fit(model, data, *callbacks, steps=3, **options):
    trainer = Trainer(
        max_steps=steps,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=list(callbacks),
        **options,
    )
    trainer.fit(model, data)
    return trainer


@pytest.fixture
def data(reads):
    return NWADataModule(str(reads), batch_size=16, nwa_batch_size=4)


@pytest.fixture
def with_nwa(theirs):
    class TheirsWithNWA(NWAMixin, theirs):
        pass

    return TheirsWithNWA


def test_no_argument_at_all(theirs, with_nwa, data):
    """Callback and mixin find the same sizes, begin with the same numbers and end with the same weights."""
    torch.manual_seed(0)
    plain, callback = theirs(both_sides=True), NWACallback()
    fit(plain, data, callback, steps=6)
    torch.manual_seed(0)
    mixed = with_nwa(both_sides=True)
    fit(mixed, data, steps=6)
    assert callback.nwa.sizes == mixed.nwa.sizes == (16, 32)
    for name, value in callback.nwa.state_dict().items():
        assert torch.equal(mixed.nwa.state_dict()[name], value), name
    for name, value in plain.state_dict().items():
        assert torch.equal(mixed.state_dict()[name], value), name


def test_a_trial_leaves_no_trace(theirs, data):
    class Counts(theirs):
        def __init__(self):
            super().__init__()
            self.calls = 0
            self.norm = nn.BatchNorm1d(16)

        def training_step(self, batch, batch_idx):
            self.calls += 1
            self.norm(self.encoder(batch.tokens))
            self.log("own", torch.rand(()))
            return super().training_step(batch, batch_idx)

    torch.manual_seed(0)
    given, found = Counts(), None
    fit(given, data, NWACallback(embedding_dim=16, max_length=32))
    torch.manual_seed(0)
    found = Counts()
    fit(found, data, NWACallback())
    assert found.calls == given.calls == 3
    for name, value in given.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name


def test_features_are_found_too(data):
    class Convolutions(LightningModule):
        def __init__(self):
            super().__init__()
            self.letters = nn.Embedding(6, 8)
            self.encoder = nn.Sequential(Letters(self.letters), nn.Conv1d(8, 33, 3, padding=1), Mean())

        def training_step(self, batch, batch_idx):
            return self.encoder(batch.tokens).square().mean()

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters())

    # As many positions as channels: a convolution has its channels first.
    nwa = NWACallback(features="encoder.1")
    fixed = NWADataModule(data.data, batch_size=16, nwa_batch_size=4, fixed_width=True)
    fit(Convolutions(), fixed, nwa)
    assert nwa.nwa.sizes == (33, 32)
    assert nwa.nwa.head.channels == 33


class Letters(nn.Module):
    def __init__(self, letters):
        super().__init__()
        self.letters = letters

    def forward(self, tokens):
        return self.letters(tokens).mT


class Mean(nn.Module):
    def forward(self, features):
        return features.mean(dim=2)


def test_sizes_that_cannot_be_found(theirs, reads, data):
    samples = load_sequences(reads).to_strings()
    loader = DataLoader(samples, batch_size=8, collate_fn=lambda samples: pair_batch(samples, "all"))
    model = theirs()
    del model.max_length
    with pytest.raises(InputError, match=r"max_length: .* found none .*; pass max_length=\.\.\. .* or nwa_max_length"):
        fit(model, loader, NWACallback())

    class AsksItsTrainer(theirs):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) + self.trainer.global_step

    with pytest.raises(InputError, match=r"embedding_dim: .*trial step.*RuntimeError: .*; pass embedding_dim=\.\.\. "):
        fit(AsksItsTrainer(), data, NWACallback())
    fit(AsksItsTrainer(), data, NWACallback(embedding_dim=16))
    with pytest.raises(InputError, match=r"embedding_dim: .*\(classify was not called\)"):

        class Two(theirs):
            def __init__(self):
                super().__init__()
                self.classify = nn.Linear(2, 2)

        fit(Two(), data, NWACallback(encoder="classify"))


def test_a_loader_with_a_generator_gives_the_same_batches(theirs, reads):
    samples = load_sequences(reads).to_strings()
    firsts = []

    class Look(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            firsts[-1].append(batch.tokens[0].tolist())

    for sizes in ({"embedding_dim": 16, "max_length": 32}, {}):
        firsts.append([])
        generator = torch.Generator().manual_seed(3)
        collate = lambda samples: pair_batch(samples, "all", max_length=32)  # noqa: E731
        loader = DataLoader(samples, batch_size=8, shuffle=True, generator=generator, collate_fn=collate)
        fit(theirs(), loader, NWACallback(**sizes), Look())
    assert firsts[0] == firsts[1]


def test_a_model_without_sizes_is_loaded_with_its_head(with_nwa, data, tmp_path):
    model = with_nwa()
    fit(model, data).save_checkpoint(tmp_path / "model.ckpt")
    loaded = with_nwa.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    assert loaded.nwa.sizes == (16, 32)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    held = {id(parameter) for parameter in loaded.nwa.parameters()}
    fit(loaded, data)
    assert {id(parameter) for parameter in loaded.nwa.parameters()} == held


class Own(NWAMixin, LightningModule):
    """Written with the mixin; its own hooks leave out super(), and its step never calls nwa_loss."""

    def __init__(self, forgets=False, **options):
        super().__init__(**options)
        self.encoder = nn.EmbeddingBag(6, 16)
        self.forgets = forgets
        self.heard = []

    def setup(self, stage):
        self.heard.append("setup")

    def on_train_start(self):
        self.heard.append("on_train_start")

    def training_step(self, batch, batch_idx):
        return self.encoder(batch.tokens).square().mean()

    def configure_optimizers(self):
        return torch.optim.Adam(self.encoder.parameters() if self.forgets else self.parameters())


def test_a_step_that_never_calls_the_loss_gets_the_term(data):
    model = Own()
    trainer = fit(model, data)
    assert model.heard == ["setup", "on_train_start"]
    assert trainer.callback_metrics["train/nwa_loss"] > 0
    assert model.nwa.steps == 3


def test_hooks_without_super_lose_no_check(data):
    with pytest.raises(RuntimeError, match=r"parameter of nwa in an optimizer but .* are in none.*nwa_param_groups"):
        fit(Own(forgets=True), data)
    model = Own(forgets=True, nwa_weight=None)
    fit(model, data)
    assert model.heard == ["setup", "on_train_start"]


@pytest.mark.parametrize("way", ["mixin", "callback"])
def test_batches_without_matrices_are_refused(theirs, with_nwa, reads, way):
    data = NWADataModule(str(reads), batch_size=16, nwa_batch_size=0)
    model, callbacks = (with_nwa(), []) if way == "mixin" else (theirs(), [NWACallback()])
    with pytest.raises(
        InputError, match=r"nwa_batch_size: .* found none, so NWA would do nothing; set it to at least 2"
    ):
        fit(model, data, *callbacks)
    with pytest.raises(InputError, match="nwa_batch_size: expected 0 for no NWA term or at least 2"):
        NWADataModule(str(reads), nwa_batch_size=1)


@pytest.mark.parametrize("way", ["mixin", "callback"])
def test_it_says_what_it_does(theirs, with_nwa, data, way, caplog):
    model, callbacks = (with_nwa(), []) if way == "mixin" else (theirs(), [NWACallback()])
    with caplog.at_level(logging.INFO, logger="lightning.pytorch.utilities.rank_zero"):
        fit(model, data, *callbacks, steps=102)
    said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("NWA")]
    assert (
        said[0]
        == "NWA: attention maps of 6 pairs from encoder (m = 16, up to 32 letters), lambda 0.03, every 4th step."
    )
    assert len(said) == 2
    percent = int(said[1].removeprefix("NWA: ").removesuffix(" % of the time of the first 100 steps."))
    assert 0 < percent < 100


def test_the_trial_reads_the_loader_of_a_data_module(theirs, reads):
    class Module(LightningDataModule):
        def train_dataloader(self):
            samples = load_sequences(reads).to_strings()
            return DataLoader(samples, batch_size=8, collate_fn=lambda samples: pair_batch(samples, "all"))

    nwa = NWACallback()
    fit(theirs(), Module(), nwa)
    assert nwa.nwa.sizes == (16, 32)  # the length is that of the model
