import copy
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping, StochasticWeightAveraging

from nwa_lightning import InputError, NWACallback, NWADataModule, NWAHead, NWAMixin, NWAWeightSchedule, pair_batch
from nwa_lightning.nwa.callback import find_nwa

HEAD = {"embedding_dim": 16, "max_length": 32}


class Curve(Callback):
    """What Lightning was given as the loss of each step, and lambda."""

    def __init__(self):
        self.losses = []
        self.weights = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))
        if not isinstance(pl_module, NWAMixin) and not any(isinstance(c, NWACallback) for c in trainer.callbacks):
            return
        nwa = find_nwa(trainer, pl_module).nwa
        self.weights.append(nwa.factor * nwa.weight)


class Seen(Callback):
    """The batches that came, by their tokens."""

    def __init__(self):
        self.first_tokens = set()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.first_tokens.add(batch.tokens.numpy().tobytes())


def fit(model, data, *callbacks, steps=8, ckpt_path=None, **options):
    defaults = {
        "max_steps": steps,
        "max_epochs": -1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "limit_val_batches": 0,
    }
    trainer = Trainer(callbacks=list(callbacks), **{**defaults, **options})
    trainer.fit(model, data, ckpt_path=ckpt_path)
    return trainer


def fresh(reads):
    return NWADataModule(str(reads), batch_size=16, nwa_batch_size=6)


@pytest.fixture
def with_nwa(theirs):
    class TheirsWithNWA(NWAMixin, theirs):
        pass

    return TheirsWithNWA


@pytest.mark.parametrize("both_sides", [False, True])
@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.parametrize("every", [1, 3])
def test_the_callback_gives_the_numbers_of_the_mixin(theirs, with_nwa, reads, both_sides, as_dict, every):
    options = {"both_sides": both_sides, "as_dict": as_dict}
    curves = Curve(), Curve()
    torch.manual_seed(0)
    mixed = with_nwa(nwa_embedding_dim=16, nwa_max_length=32, nwa_weight=0.1, nwa_every=every, **options)
    fit(mixed, fresh(reads), curves[0])
    torch.manual_seed(0)
    plain, nwa = theirs(**options), NWACallback(weight=0.1, every=every, **HEAD)
    fit(plain, fresh(reads), nwa, curves[1])
    assert curves[0].losses == curves[1].losses
    for name, value in plain.state_dict().items():
        assert torch.equal(mixed.state_dict()[name], value), name
    for name, value in nwa.nwa.state_dict().items():
        assert torch.equal(mixed.nwa.state_dict()[name], value), name


def test_the_term_is_in_the_loss(theirs, reads):
    losses = []
    for callbacks in ([], [NWACallback(weight=1.0, every=1, **HEAD)]):
        torch.manual_seed(0)
        curve = Curve()
        trainer = fit(theirs(), fresh(reads), *callbacks, curve, steps=1)
        losses += curve.losses
    divergence = trainer.callback_metrics["train/nwa_loss"].item()
    assert divergence > 0.1
    assert losses[1] == pytest.approx(losses[0] + divergence, rel=1e-6)


def test_the_model_is_left_as_it_was_found(theirs, reads):
    model, nwa = theirs(), NWACallback(**HEAD)
    names = list(model.state_dict())
    own = set(vars(model))
    fit(model, fresh(reads), nwa)
    assert list(model.state_dict()) == names
    assert [name for name, _ in model.named_children()] == ["encoder"]
    assert "training_step" not in vars(model)
    assert set(vars(model)) - own <= {"_hparams", "_trainer"}, "Lightning's own"
    assert not model._state_dict_hooks
    assert not model._load_state_dict_pre_hooks

    class Fails(theirs):
        def training_step(self, batch, batch_idx):
            raise ZeroDivisionError

    model = Fails()
    with pytest.raises(ZeroDivisionError):
        fit(model, fresh(reads), nwa)
    assert not hasattr(model, "nwa")
    assert "training_step" not in vars(model)


def test_a_second_fit_goes_on_with_the_same_head(theirs, reads):
    model, nwa = theirs(), NWACallback(weight=1.0, every=1, **HEAD)
    fit(model, fresh(reads), nwa, steps=2)
    head = nwa.nwa.head
    before = copy.deepcopy(head.state_dict())
    fit(model, fresh(reads), nwa, steps=2)
    assert nwa.nwa.head is head
    assert any(not torch.equal(value, before[name]) for name, value in head.state_dict().items())
    assert nwa.nwa.steps == 4


def test_a_checkpoint_is_that_of_the_plain_model(theirs, reads, tmp_path):
    model, nwa = theirs(), NWACallback(weight=1.0, **HEAD)

    class Save(Callback):
        def on_train_batch_end(self, trainer, *_):
            trainer.save_checkpoint(tmp_path / "during.ckpt")

    trainer = fit(model, fresh(reads), nwa, Save())
    trainer.save_checkpoint(tmp_path / "after.ckpt")
    for name in ("during.ckpt", "after.ckpt"):
        saved = torch.load(tmp_path / name, weights_only=True)
        assert list(saved["state_dict"]) == list(model.state_dict())
        theirs().load_state_dict(saved["state_dict"], strict=True)
        (state,) = (value for key, value in saved["callbacks"].items() if key.startswith("NWACallback"))
        for key, value in nwa.nwa.state_dict().items():
            assert torch.equal(state["nwa"][key], value)


def test_the_checkpoint_loads_where_this_package_cannot_be_imported(theirs, reads, tmp_path):
    model = theirs()
    fit(model, fresh(reads), NWACallback(**HEAD)).save_checkpoint(tmp_path / "plain.ckpt")
    script = tmp_path / "load.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys
            sys.modules["nwa_lightning"] = None  # any import of it raises now
            import torch
            from lightning.pytorch import LightningModule

            class Plain(LightningModule):
                def __init__(self):
                    super().__init__()
                    self.encoder = torch.nn.Sequential(
                        torch.nn.Embedding(6, 8), torch.nn.Identity(), torch.nn.Linear(8 * 33, 16))

            model = Plain.load_from_checkpoint(sys.argv[1], strict=True, weights_only=True)
            try:
                import nwa_lightning
            except ImportError:
                print(model.encoder[2].weight.sum().item())
            """
        )
    )
    done = subprocess.run([sys.executable, script, tmp_path / "plain.ckpt"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == model.encoder[2].weight.sum().item()


@pytest.mark.parametrize(
    ("way", "strategy"), [("callback", "ddp"), ("mixin", "ddp"), ("callback", "ddp_find_unused_parameters_true")]
)
def test_two_processes_give_the_gradients_of_one(reads, tmp_path, way, strategy):
    """Two CPU processes against one process on the joined batches; plain DDP needs no other flag."""
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys
            sys.path.insert(0, {str(Path(__file__).parents[1])!r})
            import torch
            from conftest import Theirs
            from lightning.pytorch import Trainer
            from nwa_lightning import NWACallback, NWADataModule, NWAMixin

            class SGD(Theirs):
                def configure_optimizers(self):
                    return torch.optim.SGD(self.parameters(), lr=0.1)

            class WithNWA(NWAMixin, SGD):
                pass

            torch.manual_seed(0)
            callbacks = []
            if {way!r} == "mixin":
                model = nwa = WithNWA(nwa_embedding_dim=16, nwa_max_length=32, nwa_weight=0.01, nwa_every=1)
            else:
                model, nwa = SGD(), NWACallback(embedding_dim=16, max_length=32, weight=0.01, every=1)
                callbacks = [nwa]
            processes = int(sys.argv[1])
            trainer = Trainer(
                accelerator="cpu", devices=processes, strategy={strategy!r} if processes > 1 else "auto", max_steps=1,
                accumulate_grad_batches=2 if processes == 1 else 1, logger=False, enable_checkpointing=False,
                enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
                callbacks=callbacks,
            )
            trainer.fit(model, NWADataModule({str(reads)!r}, batch_size=16, nwa_batch_size=6))
            if trainer.is_global_zero:
                torch.save([model.encoder.state_dict(), nwa.nwa.head.state_dict()], sys.argv[2])
            if processes > 1:
                torch.distributed.destroy_process_group()
            """
        )
    )
    # The seed of an earlier test would be set anew where two processes start, after the model is built.
    environment = {name: value for name, value in os.environ.items() if name != "PL_GLOBAL_SEED"}
    found = []
    for processes in ("1", "2"):
        path = tmp_path / f"{processes}.pt"
        done = subprocess.run(
            [sys.executable, script, processes, path], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        found.append(torch.load(path))
    for one, two in zip(*found, strict=True):
        for name, value in one.items():
            torch.testing.assert_close(two[name], value, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # of the tracing itself
@pytest.mark.parametrize("way", ["mixin", "callback"])
@pytest.mark.parametrize("every", [1, 2])
def test_a_compiled_model_trains(theirs, with_nwa, reads, way, every):
    torch.manual_seed(0)
    nwa = NWACallback(weight=0.1, every=every, **HEAD)
    options = {"nwa_embedding_dim": 16, "nwa_max_length": 32, "nwa_weight": 0.1, "nwa_every": every}
    mixed = way == "mixin"
    model = with_nwa(**options) if mixed else theirs()
    curve = Curve()
    fit(torch.compile(model, backend="eager"), fresh(reads), *([] if mixed else [nwa]), curve, steps=3)
    torch.manual_seed(0)
    plain, expected = with_nwa(**options), Curve()
    fit(plain, fresh(reads), expected, steps=3)
    assert curve.losses == pytest.approx(expected.losses, rel=1e-5)


FLAGS = {
    "accumulate": {"accumulate_grad_batches": 2},
    "clip": {"gradient_clip_val": 0.1},
    "bf16": {"precision": "bf16-mixed"},
    "double": {"precision": "64-true"},
    "overfit": {"overfit_batches": 2},
    "fast": {"fast_dev_run": True, "max_steps": -1},
    "limit": {"limit_train_batches": 2, "max_steps": 5},
    "stop": {"callbacks": EarlyStopping("train/nwa_loss", check_on_train_epoch_end=True)},
}


@pytest.mark.parametrize("way", ["mixin", "callback"])
@pytest.mark.parametrize("flag", FLAGS)
def test_flags_of_the_trainer(theirs, with_nwa, reads, way, flag):
    torch.manual_seed(0)
    options = dict(FLAGS[flag])
    callbacks = [copy.deepcopy(options.pop("callbacks"))] if "callbacks" in options else []
    if way == "mixin":
        model = nwa = with_nwa(nwa_embedding_dim=16, nwa_max_length=32, nwa_weight=0.1)
    else:
        model, nwa = theirs(), NWACallback(weight=0.1, **HEAD)
        callbacks.append(nwa)
    torch.manual_seed(0)
    start = NWAHead(16, 32).merge
    seen = Seen()
    trainer = fit(model, fresh(reads), *callbacks, seen, **options)
    merge = nwa.nwa.head.merge
    assert not torch.equal(merge, start.to(merge.dtype))
    assert torch.isfinite(trainer.callback_metrics["train/nwa_loss"])
    if flag == "overfit":
        assert len(seen.first_tokens) == 2, "the same batches in every epoch"
    elif flag == "accumulate":
        assert len(seen.first_tokens) > 1.5 * trainer.global_step


def test_weight_averaging_copies_the_model_beside_the_callback(theirs, reads):
    nwa = NWACallback(weight=1.0, **HEAD)
    average = StochasticWeightAveraging(swa_lrs=1e-3, swa_epoch_start=1, annealing_epochs=1)
    model = theirs()
    fit(model, fresh(reads), nwa, average, steps=-1, max_epochs=3)
    assert [name for name, _ in model.named_children()] == ["encoder"]


@pytest.mark.parametrize("way", ["mixin", "callback"])
def test_the_weight_climbs_stays_and_falls(theirs, with_nwa, reads, way):
    schedule, curve = NWAWeightSchedule(warmup=2, hold=3, decay=2), Curve()
    if way == "mixin":
        model = with_nwa(nwa_embedding_dim=16, nwa_max_length=32, nwa_weight=0.6)
        callbacks = [schedule, curve]
    else:
        model = theirs()
        callbacks = [NWACallback(weight=0.6, **HEAD), schedule, curve]
    trainer = fit(model, fresh(reads), *callbacks, steps=9)
    assert curve.weights == pytest.approx([0.3, 0.6, 0.6, 0.6, 0.6, 0.4, 0.2, 0, 0])
    nwa = find_nwa(trainer, model).nwa
    assert (nwa.weight, nwa.factor) == (0.6, 1.0)
    assert "train/nwa_weight" in trainer.callback_metrics


@pytest.mark.parametrize("way", ["mixin", "callback"])
def test_a_weight_that_finds_itself(theirs, with_nwa, reads, way):
    """Lambda times L_nw is a tenth of the model's own loss, on the running average."""
    torch.manual_seed(0)
    if way == "mixin":
        model = nwa = with_nwa(nwa_embedding_dim=16, nwa_max_length=32, nwa_weight="auto", nwa_every=1)
        callbacks = []
    else:
        model, nwa = theirs(), NWACallback(weight="auto", every=1, **HEAD)
        callbacks = [nwa]
    seen = []

    class Look(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            values = trainer.callback_metrics
            term = (values["train/nwa_weight"] * values["train/nwa_loss"]).item()
            seen.append(
                (outputs["loss"].item() - term, values["train/nwa_loss"].item(), values["train/nwa_weight"].item())
            )

    fit(model, fresh(reads), *callbacks, Look(), steps=30)
    own, divergence = 0.0, 0.0
    for loss, found, weight in seen:
        own, divergence = 0.99 * own + 0.01 * loss, 0.99 * divergence + 0.01 * found
        assert weight == pytest.approx(0.1 * own / divergence, rel=1e-3)
    assert nwa.nwa.auto.running.tolist() == pytest.approx([own, divergence], rel=1e-3)
    assert "auto.running" in nwa.nwa.state_dict()


def test_a_weight_that_finds_itself_needs_the_loss(with_nwa, reads):
    model = with_nwa(nwa_embedding_dim=16, nwa_max_length=32, nwa_weight="auto")
    batch = fresh(reads).train_dataloader().dataset[0]
    with pytest.raises(ValueError, match=r"the weight is 'auto'; pass it as encoder_loss, the third argument"):
        model.nwa_loss(model.encode(batch.tokens), batch)
    with pytest.raises(InputError, match="weight: expected a number of at least 0, 'auto' or None, found 'automatic'"):
        with_nwa(nwa_embedding_dim=16, nwa_max_length=32, nwa_weight="automatic")


def test_without_hold_the_weight_stays():
    assert [NWAWeightSchedule(warmup=4).factor(step) for step in (0, 3, 4, 10**6)] == [0.25, 1, 1, 1]
    assert [NWAWeightSchedule().factor(step) for step in (0, 1)] == [1, 1]


def test_what_cannot_work_is_said(theirs, with_nwa, reads):
    data = fresh(reads)
    with pytest.raises(InputError, match="expected no negative steps"):
        NWAWeightSchedule(warmup=-1)
    with pytest.raises(InputError, match="hold=None; pass hold=0 or more"):
        NWAWeightSchedule(decay=3)
    with pytest.raises(RuntimeError, match="Expected a model with NWA but Theirs is no NWAMixin"):
        fit(theirs(), data, NWAWeightSchedule())
    with pytest.raises(RuntimeError, match="built with nwa_weight=None; set a weight or leave out NWAWeightSchedule"):
        fit(with_nwa(nwa_embedding_dim=16, nwa_max_length=32, nwa_weight=None), data, NWAWeightSchedule())
    with pytest.raises(RuntimeError, match="has it already; leave out one of NWAMixin and NWACallback"):
        fit(with_nwa(nwa_embedding_dim=16, nwa_max_length=32), data, NWACallback(**HEAD))
    with pytest.raises(AttributeError, match=r"submodule named 'body' .* found encoder, encoder.0, .*encoder=\.\.\."):
        fit(theirs(), data, NWACallback(encoder="body", **HEAD))

    class Forgets(theirs):
        def configure_optimizers(self):
            return torch.optim.Adam(self.encoder.parameters())

    with pytest.raises(
        RuntimeError, match=r"of nwa in an optimizer .*are in none, such as nwa\.head\..*use self\.parameters\(\)"
    ):
        fit(Forgets(), data, NWACallback(**HEAD))
    with pytest.raises(RuntimeError, match="there is none before the first fit"):
        NWACallback(**HEAD).attention(pair_batch(["AC", "GT"]), theirs())


def test_attention_maps_of_a_plain_model(theirs, reads):
    data, model, nwa = fresh(reads), theirs(), NWACallback(**HEAD)
    fit(model, data, nwa)
    batch = data.train_dataloader().dataset[0]
    maps = nwa.attention(batch, model)
    assert maps.shape == batch.nw.shape
    torch.testing.assert_close(maps.sum(-1), torch.ones(maps.shape[:2]))
