"""The sizes of the head, where nobody gave them: from the data, the encoder, the model, and a trial step."""

import copy

import pytest
import torch
from foreign import LENGTH, PairModel, fit, pair_samples
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader

from nwa_lightning import InputError, NWACallback, NWADataModule, NWALoss, NWAMixin, pair_batch


def fresh(reads):
    return NWADataModule(str(reads), batch_size=16, nwa_batch_size=6)


@pytest.fixture
def with_nwa(theirs):
    class TheirsWithNWA(NWAMixin, theirs):
        pass

    return TheirsWithNWA


def of_width(theirs, embedding_dim):
    class Wide(theirs):
        def __init__(self, **options):
            super().__init__(**options)
            self.encoder[2] = nn.Linear(8 * 33, embedding_dim)

    return Wide


@pytest.mark.parametrize("embedding_dim", [1, 10, 16, 30])
@pytest.mark.parametrize("way", ["mixin", "callback"])
def test_a_callback_or_a_mixin_without_arguments(theirs, reads, embedding_dim, way):
    foreign = of_width(theirs, embedding_dim)
    if way == "mixin":
        model = holder = type("WithNWA", (NWAMixin, foreign), {})()
        callbacks = []
    else:
        model, holder = foreign(), NWACallback()
        callbacks = [holder]
    trainer = fit(model, fresh(reads), *callbacks)
    assert holder.nwa.sizes == (embedding_dim, LENGTH)
    assert holder.nwa.head.expand.in_features == embedding_dim
    assert 0.1 < trainer.callback_metrics["train/nwa_loss"] < LENGTH + 1


def test_mixin_and_callback_are_the_same_bit_for_bit(theirs, with_nwa, reads):
    torch.manual_seed(0)
    mixed = with_nwa(nwa_every=2)
    fit(mixed, fresh(reads), steps=5)
    torch.manual_seed(0)
    plain, callback = theirs(), NWACallback(every=2)
    fit(plain, fresh(reads), callback, steps=5)
    for name, value in plain.state_dict().items():
        assert torch.equal(mixed.state_dict()[name], value), name
    for name, value in callback.nwa.state_dict().items():
        assert torch.equal(mixed.nwa.state_dict()[name], value), name
    assert mixed.nwa.state_dict().keys() == callback.nwa.state_dict().keys()


class Draws(LightningModule):
    """Counts its steps and draws random numbers in them."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Embedding(6, 16), nn.Dropout(0.3))
        self.norm = nn.BatchNorm1d(16)
        self.own_steps = 0

    def training_step(self, batch, batch_idx):
        self.own_steps += 1
        embeddings = self.norm(self.encoder(batch.tokens[:, :9]).mean(1))
        return embeddings.var() + torch.rand(1).sum() * embeddings.mean()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())


def test_the_trial_step_leaves_no_trace(reads):
    """A run with weight 0 that finds its sizes is the run without NWA, bit for bit."""
    states = []
    for callbacks in ([], [NWACallback("norm", weight=0, max_length=LENGTH, batch=lambda batch: batch)]):
        torch.manual_seed(0)
        model = Draws()
        if callbacks:
            # What the head draws must not shift the numbers of the steps.
            callbacks[0]._build = unshifted(callbacks[0]._build)
        fit(model, fresh(reads), *callbacks)
        assert model.own_steps == 4
        assert int(model.norm.num_batches_tracked) == 4
        states.append(copy.deepcopy(model.state_dict()))
    for name, value in states[0].items():
        assert torch.equal(states[1][name], value), name


def unshifted(build):
    def built():
        with torch.random.fork_rng(devices=[]):
            return build()

    return built


HEAD_OPTIONS = {"hidden_dim": 12, "heads": 2, "layers": 1, "feedforward_dim": 20}


@pytest.mark.parametrize("way", ["mixin", "callback", "loss"])
def test_options_reach_the_head(theirs, with_nwa, reads, way):
    if way == "loss":
        holder_nwa = NWALoss(16, LENGTH, head_options=HEAD_OPTIONS)
    elif way == "mixin":
        model = with_nwa(nwa_head_options=HEAD_OPTIONS)
        fit(model, fresh(reads))
        holder_nwa = model.nwa
    else:
        callback = NWACallback(head_options=HEAD_OPTIONS)
        fit(theirs(), fresh(reads), callback)
        holder_nwa = callback.nwa
    head = holder_nwa.head
    assert head.query.in_features == 12
    assert head.heads == len(head.merge) == head.decoder.layers[0].self_attn.num_heads == 2
    assert len(head.decoder.layers) == 1
    assert head.decoder.layers[0].linear1.out_features == 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"depth": 3},
            "head_options: expected some of hidden_dim, heads, layers, feedforward_dim, found depth; name only",
        ),
        ({"hidden_dim": 10}, "hidden_dim: expected a positive multiple of the 4 heads, found 10"),
        ({"hidden_dim": 0}, "hidden_dim: expected a positive multiple of the 4 heads, found 0"),
        ({"heads": 0}, "heads: expected at least 1, found 0"),
        ({"layers": 0}, "layers: expected at least 1, found 0"),
    ],
)
def test_options_that_cannot_be_used_are_found_when_the_parts_are_built(with_nwa, options, message):
    for make in (
        lambda: NWALoss(16, LENGTH, head_options=options),
        lambda: NWACallback(head_options=options),
        lambda: with_nwa(nwa_head_options=options),
    ):
        with pytest.raises(InputError, match=message):
            make()
    with pytest.raises(InputError, match="head_options: expected none with features"):
        NWACallback(features="encoder.0", head_options=options)


class NeedsTrainer(PairModel):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) / self.trainer.accumulate_grad_batches


class NotCalled(PairModel):
    max_length = LENGTH

    def training_step(self, batch, batch_idx):
        return self.encoder.weight.sum()


@pytest.mark.parametrize(
    ("foreign", "options", "message"),
    [
        (PairModel, {}, r"max_length: .* found none in .*; pass max_length=\.\.\. \(NWACallback\) or nwa_max_length"),
        (NotCalled, {}, r"embedding_dim: .*\(encoder was not called\); pass embedding_dim=\.\.\. .*nwa_embedding_dim"),
        (
            NeedsTrainer,
            {"max_length": LENGTH},
            r"embedding_dim: .* cannot run before training \(RuntimeError: NeedsTrainer.* is not attached to a `Trainer`",
        ),
    ],
)
def test_sizes_that_cannot_be_found(foreign, options, message):
    loader = DataLoader(pair_samples(), 8)
    where = lambda batch: pair_batch([*batch[0], *batch[1]])  # noqa: E731
    with pytest.raises(InputError, match=message):
        fit(foreign(), loader, NWACallback(batch=where, **options))
    mixed = type(foreign.__name__, (NWAMixin, foreign), {"nwa_batch": lambda self, batch: where(batch)})
    with pytest.raises(InputError, match=message):
        fit(mixed(**{f"nwa_{name}": value for name, value in options.items()}), loader)


def test_a_step_that_needs_the_trainer_trains_once_it_is_told():
    callback = NWACallback(embedding_dim=16, max_length=LENGTH, batch=lambda batch: pair_batch([*batch[0], *batch[1]]))
    trainer = fit(NeedsTrainer(), DataLoader(pair_samples(), 8), callback)
    assert trainer.callback_metrics["train/nwa_loss"] > 0.1


@pytest.mark.parametrize("holder", ["encoder", "model", "hparams"])
def test_the_longest_length_is_found_where_models_have_it(holder):
    class Knows(PairModel):
        def __init__(self, **options):
            super().__init__()
            if holder == "hparams":
                self.save_hyperparameters({"max_length": 40})
            else:
                (self.encoder if holder == "encoder" else self).max_length = 40

    callback = NWACallback(batch=lambda batch: pair_batch([*batch[0], *batch[1]]))
    fit(Knows(), DataLoader(pair_samples(), 8), callback, steps=1)
    assert callback.nwa.sizes == (16, 40)


def test_the_channels_of_features_are_found(theirs, reads):
    callback = NWACallback(features="encoder.0")
    trainer = fit(theirs(), fresh(reads), callback)
    assert callback.nwa.sizes == (8, LENGTH)
    assert trainer.callback_metrics["train/nwa_loss"] > 0.1


def test_a_mixin_without_sizes_reloads_with_its_head(with_nwa, reads, tmp_path):
    model = with_nwa()
    trainer = fit(model, fresh(reads))
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    found = with_nwa.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    assert found.nwa.sizes == (16, LENGTH)
    assert found.nwa.steps == 4
    assert found.state_dict().keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name
    batch = fresh(reads).train_dataloader().dataset[0]
    assert torch.equal(found.nwa_attention(batch), model.nwa_attention(batch))


@pytest.mark.parametrize("way", ["mixin", "callback"])
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_run_without_sizes_resumes_bit_for_bit(theirs, with_nwa, reads, tmp_path, way):
    states = []
    for start in (None, tmp_path / "step=3.ckpt"):
        torch.manual_seed(0)
        save = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
        model, callback = (with_nwa(), None) if way == "mixin" else (theirs(), NWACallback())
        parts = [save] if callback is None else [callback, save]
        fit(model, fresh(reads), *parts, steps=6, ckpt_path=start, enable_checkpointing=True)
        states.append(model.state_dict() | ({} if callback is None else callback.nwa.state_dict()))
    for name, value in states[0].items():
        assert torch.equal(states[1][name], value), name
