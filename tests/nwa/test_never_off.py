"""What must not switch NWA off, or change it, in silence."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from foreign import fit
from lightning.pytorch import Callback, LightningModule
from torch import nn

from nwa_lightning import InputError, NWACallback, NWADataModule, NWAMixin, NWAWeightSchedule

NWA = {"nwa_embedding_dim": 16, "nwa_max_length": 32, "nwa_weight": 0.5, "nwa_every": 1}


def fresh(reads, **options):
    return NWADataModule(
        str(reads), **{"batch_size": 16, "nwa_batch_size": 6, "val_group": 5, "val_size": 20, **options}
    )


class Mine(NWAMixin, LightningModule):
    """Both bases at once, so that there is no ``training_step`` of theirs to wrap."""

    def __init__(self, **options):
        super().__init__(**options)
        self.encoder = nn.Sequential(nn.Embedding(6, 8), nn.AdaptiveAvgPool2d((4, 8)), nn.Flatten(), nn.Linear(32, 16))

    def own_loss(self, embeddings, batch):
        one, two = embeddings[batch.pairs].unbind(1)
        return ((one - two).norm(dim=1) - batch.distance / 32).square().mean()

    def training_step(self, batch, batch_idx):
        return self.own_loss(self.encoder(batch.tokens), batch)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class Shared(Mine):
    """One step for training and validation, which calls nwa_loss in both."""

    def step(self, batch):
        embeddings = self.encode(batch.tokens)
        loss = self.own_loss(embeddings, batch)
        return loss + self.nwa_loss(embeddings, batch, loss)

    def training_step(self, batch, batch_idx):
        return self.step(batch)

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.step(batch), batch_size=5)


def test_a_step_that_never_calls_nwa_loss_gets_the_term(reads):
    torch.manual_seed(0)
    model, batch = Mine(**NWA), fresh(reads).train_dataloader().dataset[0]
    embeddings = model.encoder(batch.tokens)
    expected = model.own_loss(embeddings, batch) + 0.5 * model.nwa.divergence(embeddings, batch)
    torch.testing.assert_close(model.training_step(batch, 0), expected)


def test_a_step_that_calls_the_step_of_its_base_gets_the_term_once(reads):
    class Twice(Mine):
        def training_step(self, batch, batch_idx):
            return 2 * super().training_step(batch, batch_idx)

    torch.manual_seed(0)
    model, batch = Twice(**NWA), fresh(reads).train_dataloader().dataset[0]
    embeddings = model.encoder(batch.tokens)
    expected = 2 * model.own_loss(embeddings, batch) + 0.5 * model.nwa.divergence(embeddings, batch)
    torch.testing.assert_close(model.training_step(batch, 0), expected)
    assert model.nwa.steps == 1


@pytest.mark.parametrize("way", ["mixin", "own call", "callback"])
def test_a_first_batch_without_matrices_is_an_error(theirs, reads, way):
    models = {"mixin": lambda: Mine(**NWA), "own call": lambda: Shared(**NWA), "callback": theirs}
    callbacks = [NWACallback()] if way == "callback" else []
    with pytest.raises(
        InputError, match=r"nwa_batch_size: .* found none, .* set it to at least 2 \(NWADataModule, pair_b"
    ):
        fit(models[way](), fresh(reads, nwa_batch_size=0), *callbacks)
    with pytest.raises(InputError, match=r"nwa_batch_size: expected 0 for no NWA term or at least 2.* found 1"):
        fresh(reads, nwa_batch_size=1)


def test_own_hooks_without_super_lose_nothing(reads):
    class OwnHooks(Mine):
        def setup(self, stage):
            self.was_set_up = stage

        def on_train_start(self):
            self.has_started = True

        def on_before_optimizer_step(self, optimizer):
            self.has_stepped = True

    class Forgets(OwnHooks):
        def configure_optimizers(self):
            return torch.optim.Adam(self.encoder.parameters())

    with pytest.raises(RuntimeError, match=r"of nwa in an optimizer .*are in none, .*nwa_param_groups"):
        fit(Forgets(**NWA), fresh(reads))
    model = OwnHooks(nwa_max_length=32)
    fit(model, fresh(reads))
    assert model.nwa.sizes == (16, 32), "found in setup"
    assert model.nwa.idle, "dropped in on_before_optimizer_step of the fourth step"
    assert (model.was_set_up, model.has_started, model.has_stepped) == ("fit", True, True)


def test_own_hooks_are_called_once_each_with_super(reads):
    calls = []

    class OwnHooks(Mine):
        def setup(self, stage):
            calls.append("setup")
            super().setup(stage)

        def on_train_start(self):
            calls.append("start")
            super().on_train_start()

    class Further(OwnHooks):
        def setup(self, stage):
            super().setup(stage)
            calls.append("further")

    fit(Further(), fresh(reads))
    assert calls == ["setup", "further", "start"]


class Values(Callback):
    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append((pl_module.nwa.steps, *pl_module.nwa.auto.running.tolist()))


def test_validation_moves_neither_lambda_nor_the_count_of_steps(reads):
    found = []
    for validations in (0, 2):
        torch.manual_seed(0)
        model, values = Shared(**{**NWA, "nwa_weight": "auto", "nwa_every": 2}), Values()
        options = {"limit_val_batches": validations, "num_sanity_val_steps": 2, "val_check_interval": 2}
        trainer = fit(model, fresh(reads), values, steps=6, **options)
        assert ("val/loss" in trainer.callback_metrics) == (validations > 0)
        found.append(values.seen)
    assert [steps for steps, *_ in found[0]] == [1, 2, 3, 4, 5, 6]
    assert found[0][0][1] > 0
    assert found[0] == found[1]


@pytest.mark.parametrize("quiet", ["eval", "no_grad"])
def test_evaluation_counts_nothing_and_does_not_skip(reads, quiet):
    torch.manual_seed(0)
    model, batch = Shared(**{**NWA, "nwa_weight": "auto", "nwa_every": 3}), fresh(reads).train_dataloader().dataset[0]
    model.training_step(batch, 0)
    nwa = model.nwa
    before = nwa.steps, nwa.auto.running.tolist(), nwa.last, nwa.last_weight.item()
    assert before[0] == 1
    assert not model.nwa.due
    embeddings = model.encode(batch.tokens)
    if quiet == "eval":
        model.eval()
        value = model.nwa_loss(embeddings, batch, embeddings.sum())
    else:
        with torch.no_grad():
            value = model.nwa_loss(embeddings, batch, embeddings.sum())
    torch.testing.assert_close(value, model.nwa.auto() * model.nwa.divergence(embeddings, batch))
    assert (nwa.steps, nwa.auto.running.tolist(), nwa.last, nwa.last_weight.item()) == before


@pytest.mark.parametrize("way", ["mixin", "callback"])
@pytest.mark.parametrize("weight", [0.5, "auto"])
def test_an_interrupted_schedule_gives_the_weight_back(theirs, reads, way, weight):
    class Interrupt(Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            factors.append(nwa().factor)
            if trainer.global_step == 2:
                raise KeyboardInterrupt

    def nwa():
        return holder.nwa

    factors = []
    holder = Mine(**{**NWA, "nwa_weight": weight}) if way == "mixin" else NWACallback(weight=weight)
    model, callbacks = (holder, []) if way == "mixin" else (theirs(), [holder])
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            fit(model, fresh(reads), *callbacks, NWAWeightSchedule(warmup=4), Interrupt())
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning leaves it ignored
    assert factors == [0.25, 0.5]
    assert nwa().factor == 1.0
    assert nwa().weight == weight


def test_two_processes_leave_the_head_alone_where_there_is_no_term(reads, tmp_path):
    """Plain ddp wants a gradient for each parameter in each step; Adam must not move the head by its momentum then."""
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys
            sys.path.insert(0, {str(Path(__file__).parents[1])!r})
            import torch
            from conftest import Theirs
            from foreign import fit
            from lightning.pytorch import Callback
            from nwa_lightning import NWACallback, NWADataModule

            class Heads(Callback):
                seen = []
                def on_train_batch_end(self, trainer, *_):
                    self.seen.append(nwa.nwa.head.merge.tolist())

            torch.manual_seed(0)
            nwa = NWACallback(every=2)
            data = NWADataModule({str(reads)!r}, batch_size=16, nwa_batch_size=6)
            trainer = fit(Theirs(), data, nwa, Heads(), devices=2, strategy="ddp")
            if trainer.is_global_zero:
                torch.save(Heads.seen, {str(tmp_path / "heads.pt")!r})
            torch.distributed.destroy_process_group()
            """
        )
    )
    environment = {name: value for name, value in os.environ.items() if name != "PL_GLOBAL_SEED"}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    first, second, third, fourth = torch.load(tmp_path / "heads.pt")
    assert first == second
    assert second != third
    assert third == fourth
