import itertools
import math
import re
from contextlib import nullcontext
from typing import get_args

import pytest
import torch
from lightning.pytorch import Trainer
from quiet import QUIET_TRAINER
from torch import nn

from nwa_lightning import (
    DSEECNN,
    AbsoluteLoss,
    ChiSquareLoss,
    CosineDistance,
    EditDistanceLoss,
    EditDistanceModel,
    EmbeddingDistance,
    EuclideanDistance,
    HyperbolicDistance,
    InputError,
    KmerEncoder,
    ManhattanDistance,
    NeuroSEEDCNN,
    NWAHead,
    NWALoss,
    PoissonLoss,
    SquaredEuclideanDistance,
    SquaredLoss,
    TripletLoss,
)
from nwa_lightning.models.edit_distance import OptimizerName
from nwa_lightning.models.losses import (
    absolute_loss,
    chi_square_loss,
    edit_distance_loss,
    poisson_loss,
    triplet_loss,
)

DISTANCES = [HyperbolicDistance, EuclideanDistance, SquaredEuclideanDistance, CosineDistance, ManhattanDistance]
LOSSES = [SquaredLoss, AbsoluteLoss, ChiSquareLoss, PoissonLoss, TripletLoss]

# Some tests call the training step by itself.
pytestmark = pytest.mark.filterwarnings("ignore:You are trying to `self.log")


def small_model(**options):
    torch.manual_seed(0)
    return EditDistanceModel(NeuroSEEDCNN(32, 16, channels=8, layers=2), **options)


@pytest.fixture
def batch(data):
    data.setup("fit")
    return next(iter(data.train_dataloader()))


def encoder_loss(model, batch):
    """What the training step computes, without the NWA term."""
    predicted = model.predicted_edits(model.encode(batch.tokens), batch.pairs)
    return {
        SquaredLoss: lambda: edit_distance_loss(predicted / 32, batch.distance, 32),
        AbsoluteLoss: lambda: absolute_loss(predicted / 32, batch.distance, 32),
        ChiSquareLoss: lambda: chi_square_loss(predicted, batch.distance),
        PoissonLoss: lambda: poisson_loss(predicted, batch.distance),
        TripletLoss: lambda: triplet_loss(predicted / 32, batch.distance, batch.pairs, 32),
    }[type(model.loss)]()


def trainer(**options):
    return Trainer(**QUIET_TRAINER, max_epochs=-1, **options)


@pytest.mark.parametrize(
    ("distance", "loss"),
    [
        (HyperbolicDistance, SquaredLoss),
        (EuclideanDistance, AbsoluteLoss),
        (SquaredEuclideanDistance, ChiSquareLoss),
        (SquaredEuclideanDistance, PoissonLoss),
        (EuclideanDistance, TripletLoss),
        (CosineDistance, SquaredLoss),
        (ManhattanDistance, PoissonLoss),
    ],
)
def test_the_loss_falls(data, batch, distance, loss):
    model = small_model(distance=distance(), loss=loss(), nwa_weight=1e-6 if loss is ChiSquareLoss else None)
    with torch.no_grad():
        before = encoder_loss(model, batch).item()
    trainer(max_steps=30, limit_val_batches=1, num_sanity_val_steps=0).fit(model, data)
    model.train()
    with torch.no_grad():
        after = encoder_loss(model, batch).item()
    assert math.isfinite(after)
    assert after < before - 0.1 * abs(before)


@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
def test_the_optimizer_steps_encoder_and_head_at_their_rates(data, optimizer):
    model = small_model(optimizer=optimizer, lr=0.02, nwa_lr=0.01, nwa_weight=0.1)
    before = {name: value.clone() for name, value in model.named_parameters()}
    fitting = trainer(max_steps=2, limit_val_batches=0)
    fitting.fit(model, data)
    (used,) = fitting.optimizers
    assert type(used).__name__.lower() == optimizer
    assert [group["initial_lr"] for group in used.param_groups] == [0.02, 0.01]
    moved = {name.split(".")[0] for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {"encoder", "distance", "nwa"}


@pytest.mark.parametrize(("distance", "loss"), list(itertools.product(DISTANCES, LOSSES)))
def test_every_distance_goes_with_every_loss(batch, distance, loss):
    model = small_model(distance=distance(), loss=loss(), nwa_weight=None)
    predicted = model.predicted_edits(model.encode(batch.tokens), batch.pairs)
    assert predicted.shape == batch.distance.shape
    found = model.training_step(batch, 0)
    torch.testing.assert_close(found, encoder_loss(model, batch))
    found.backward()
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
    assert model.distance.scale.grad != 0


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_first_predictions_are_of_the_right_order(batch, distance):
    model = small_model(distance=distance())
    predicted = model.predicted_edits(model.encode(batch.tokens), batch.pairs).mean()
    assert 0.1 < predicted / batch.distance.float().mean() < 10


@pytest.mark.parametrize("loss", LOSSES)
def test_a_batch_without_pairs(batch, loss):
    empty = batch._replace(pairs=batch.pairs[:0], distance=batch.distance[:0], nw=batch.nw[:0])
    model = small_model(distance=SquaredEuclideanDistance(), loss=loss())
    found = model.training_step(empty, 0)
    assert found == 0
    found.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_defaults_and_the_names_of_the_parameters():
    model = small_model()
    assert model.hparams["distance"] == HyperbolicDistance().spec
    assert model.hparams["loss"] == SquaredLoss().spec
    assert [name for name in model.state_dict() if name.startswith("distance.")] == [
        "distance.radius_logit",
        "distance.scale",
        "distance._extra_state",
    ]


def test_a_checkpoint_brings_back_distance_and_loss(data, tmp_path):
    model = small_model(distance=HyperbolicDistance(0.9, 1.25), loss=PoissonLoss())
    fitted = trainer(max_steps=1, limit_val_batches=0)
    fitted.fit(model, data)
    fitted.save_checkpoint(tmp_path / "model.ckpt")
    encoder = NeuroSEEDCNN(32, 16, channels=8, layers=2)
    found = EditDistanceModel.load_from_checkpoint(tmp_path / "model.ckpt", encoder=encoder, weights_only=True)
    assert type(found.loss) is PoissonLoss
    assert (found.distance.first_radius, found.distance.power) == (0.9, 1.25)
    for name, value in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], value)


class Chord(EmbeddingDistance):
    """A distance of one's own, with an option and no formula."""

    def __init__(self, factor: float = 1.0):
        super().__init__()
        self.factor = factor

    def _pairwise(self, first, second):
        return self.factor * (nn.functional.normalize(first) - nn.functional.normalize(second)).norm(dim=1)


class CubicLoss(EditDistanceLoss):
    """A loss of one's own."""

    def forward(self, predicted, batch, length):
        return (predicted - batch.distance / length).abs().pow(3).sum() / max(1, len(predicted))


def test_a_distance_and_a_loss_of_ones_own(data, batch, tmp_path):
    model = small_model(distance=Chord(factor=0.5), loss=CubicLoss())
    fitted = trainer(max_steps=2, limit_val_batches=1)
    fitted.fit(model, data)
    fitted.save_checkpoint(tmp_path / "model.ckpt")
    found = EditDistanceModel.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    assert (type(found.distance), found.distance.factor, type(found.loss)) == (Chord, 0.5, CubicLoss)
    expected = model.eval().predicted_edits(model.encode(batch.tokens), batch.pairs)
    assert torch.equal(found.eval().predicted_edits(found.encode(batch.tokens), batch.pairs), expected)


def test_a_distance_that_cannot_be_built_again_does_not_become_another(data, tmp_path):
    class Gone(HyperbolicDistance):
        pass

    fitted = trainer(max_steps=1, limit_val_batches=0)
    fitted.fit(small_model(distance=Gone()), data)
    fitted.save_checkpoint(tmp_path / "model.ckpt")
    with pytest.raises(InputError, match=r"distance: expected an object of a subclass .*, found 'Gone'; pass one"):
        EditDistanceModel.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    found = EditDistanceModel.load_from_checkpoint(tmp_path / "model.ckpt", distance=Gone(), weights_only=True)
    assert type(found.distance) is Gone


class Local(NeuroSEEDCNN):
    """Stands for a class that is gone when the checkpoint is loaded."""


def saved(model, data, path):
    fitted = trainer(max_steps=2, limit_val_batches=0)
    fitted.fit(model, data)
    fitted.save_checkpoint(path)
    return model.eval()


def test_a_checkpoint_builds_its_encoder(data, batch, tmp_path):
    """A model that was made in Python is loaded by its class alone, as often as one likes."""
    model = saved(small_model(nwa_weight=0.1), data, tmp_path / "0.ckpt")
    assert model.hparams["encoder"] == model.encoder.spec
    for round in range(2):
        found = EditDistanceModel.load_from_checkpoint(tmp_path / f"{round}.ckpt", weights_only=True)
        torch.testing.assert_close(found.eval().encode(batch.tokens), model.encode(batch.tokens))
        assert {name: found.hparams[name] for name in model.hparams} == dict(model.hparams)
        fitted = trainer(max_steps=0)
        fitted.fit(found, data)
        fitted.save_checkpoint(tmp_path / f"{round + 1}.ckpt")


def test_a_checkpoint_whose_encoder_cannot_be_built(data, batch, tmp_path, monkeypatch):
    class InAFunction(NeuroSEEDCNN):
        pass

    for number, (kind, message) in enumerate(
        (
            (InAFunction, "encoder: expected an encoder, found none: a checkpoint cannot store"),
            (Local, f"encoder: expected a class that can be imported, found {__name__}.Local; run where its module"),
        )
    ):
        path = tmp_path / f"{number}.ckpt"
        torch.manual_seed(0)
        encoder = kind(32, 16, channels=8, layers=2)
        model = saved(EditDistanceModel(encoder), data, path)
        monkeypatch.delitem(globals(), "Local", raising=False)
        with pytest.raises(InputError, match=rf"{message}.* pass encoder=... to load_from_checkpoint$") as error:
            EditDistanceModel.load_from_checkpoint(path, weights_only=True)
        assert len(str(error.value).splitlines()) == 1
        monkeypatch.undo()
        given = kind(32, 16, channels=8, layers=2)
        found = EditDistanceModel.load_from_checkpoint(path, weights_only=True, encoder=given).eval()
        assert found.encoder is given
        torch.testing.assert_close(found.encode(batch.tokens), model.encode(batch.tokens))


def learning_rates(steps, schedule, warmup=0.1, **options):
    """Of some steps, as a part of the highest."""
    model = small_model(nwa_weight=None, schedule=schedule, warmup=warmup)
    model.trainer = trainer(**options)
    (factor,) = model.configure_optimizers()["lr_scheduler"]["scheduler"].lr_lambdas
    return [factor(step) for step in steps]


def test_schedules_of_a_run_with_an_end():
    assert learning_rates([0, 9, 100], "cosine", max_steps=100) == pytest.approx([0.1, 1, 0])
    assert learning_rates([0, 9, 39], "inverse_sqrt", max_steps=100) == pytest.approx([0.1, 1, 0.5])
    assert learning_rates([0, 51], "cosine", warmup=0, max_steps=101) == pytest.approx([1, 0.5])


def test_schedules_of_a_run_without_an_end():
    """The warm-up is a part of 10,000 steps then."""
    assert learning_rates([0, 999, 3999], "inverse_sqrt") == pytest.approx([0.001, 1, 0.5])
    assert learning_rates([99, 399], "inverse_sqrt", warmup=0.01) == pytest.approx([1, 0.5])


def test_a_cosine_wants_an_end(data):
    message = r"schedule: expected a run with an end for the cosine, found {}.* \(--trainer.max_steps\) or choose inverse_sqrt$"
    with pytest.raises(InputError, match=message.format("neither max_steps nor max_epochs; set one of them")):
        trainer().fit(small_model(), data)
    data.setup("fit")
    endless = data.train_dataloader()
    fitting = trainer()
    fitting.fit_loop.max_epochs = 2
    with pytest.raises(InputError, match=message.format("epochs of unknown length; set max_steps")):
        fitting.fit(small_model(), (batch for batch in endless), data.val_dataloader())


def test_an_encoder_without_parameters_learns_its_scale(data, batch):
    model = EditDistanceModel(KmerEncoder(32, None, k=2), distance=EuclideanDistance(), nwa_weight=None)
    before = encoder_loss(model, batch).item()
    trainer(max_steps=30, limit_val_batches=1, num_sanity_val_steps=0).fit(model, data)
    assert encoder_loss(model, batch).item() < before


def test_the_set_up_of_dsee(batch):
    model = EditDistanceModel(DSEECNN(32), distance=SquaredEuclideanDistance(), loss=ChiSquareLoss(), nwa_weight=1e-6)
    model.training_step(batch, 0).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name


BAD_ARGUMENTS = [
    (
        {"distance": "chord"},
        "distance: expected an object of a subclass of nwa_lightning.EmbeddingDistance, found 'chord'; pass one",
    ),
    (
        {"loss": nn.MSELoss()},
        "loss: expected an object of a subclass of nwa_lightning.EditDistanceLoss, found MSELoss;",
    ),
    (
        {"loss": {"class_path": "torch.nn.MSELoss"}},
        "loss: expected a subclass of nwa_lightning.EditDistanceLoss, found",
    ),
    ({"optimizer": "sgd"}, "optimizer: expected one of muon, radam, found 'sgd'; name one of them"),
    ({"schedule": "linear"}, "schedule: expected one of cosine, inverse_sqrt, found 'linear'; name one of them"),
    *(
        ({name: value}, f"{name}: expected more than 0, found {value}; give a positive, finite number")
        for name in ("lr", "nwa_lr", "nwa_temperature")
        for value in (0, -1, math.nan, math.inf)
    ),
    *(({"warmup": value}, f"warmup: expected a fraction from 0 to 1, found {value}") for value in (-0.1, 2, math.nan)),
    ({"homologous": -1}, "homologous: expected at least 0, found -1; give a larger number"),
    ({"homologous": 2.5}, "homologous: expected a whole number, found 2.5; give one of at least 0"),
    ({"nwa_every": 0}, "nwa_every: expected at least 1, found 0"),
    ({"nwa_every": 1.5}, "nwa_every: expected a whole number, found 1.5"),
    ({"nwa_channels": 0}, "nwa_channels: expected at least 1, found 0"),
]


@pytest.mark.parametrize(("options", "message"), BAD_ARGUMENTS, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("nwa_weight", [1e-5, None])
def test_bad_arguments_end_in_one_line(options, message, nwa_weight):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        small_model(nwa_weight=nwa_weight, **options)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NWAHead(0, 32), "embedding_dim: expected at least 1, found 0"),
        (lambda: NWAHead(16.0, 32), "embedding_dim: expected a whole number, found 16.0"),
        (lambda: NWAHead(16, 32, hidden_dim=8.0), "hidden_dim: expected a positive multiple of the 4 heads, found 8.0"),
        (lambda: NWALoss(0), "embedding_dim: expected at least 1, found 0"),
        (lambda: NWALoss(16, 0), "max_length: expected at least 1, found 0"),
        (lambda: NWALoss(16, 32, every=1.5), "every: expected at least 1 step, found 1.5; give a whole number"),
        (lambda: NWALoss(16, 32, every=math.inf), "every: expected at least 1 step, found inf"),
        (lambda: NWALoss(16, 32, temperature=math.inf), "temperature: expected a number above 0, found inf"),
        (
            lambda: NWALoss(16, 32, head="none"),
            "head: expected one of decoder, positions, features, found 'none'; name one",
        ),
        (lambda: small_model(nwa_head_options={"heads": 0}), "heads: expected at least 1, found 0"),
        (lambda: small_model(nwa_head_options={"feedforward_dim": 0}), "feedforward_dim: expected at least 1, found 0"),
        (lambda: small_model(nwa_weight=math.nan), "weight: expected a number of at least 0"),
        (lambda: EditDistanceModel(None), "encoder: expected an encoder, found none"),
        (lambda: EditDistanceModel(nn.Linear(2, 2)), "encoder: expected an nwa_lightning.Encoder, found Linear"),
    ],
)
def test_bad_arguments_of_the_parts(make, message):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        make()
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("embedding_dim", [1, 3, 100, 101])
def test_any_dimension_will_do(batch, embedding_dim):
    model = EditDistanceModel(NeuroSEEDCNN(32, embedding_dim, channels=8, layers=2))
    assert model.training_step(batch, 0).isfinite()


@pytest.mark.parametrize(
    ("edits", "radius", "warned"), [((80, 82), 0.12, True), ((80, 82), 0.98, False), ((30, 60), 0.12, False)]
)
def test_sequences_that_have_nothing_in_common_want_a_large_sphere(batch, edits, radius, warned):
    torch.manual_seed(0)
    batch = batch._replace(distance=torch.randint(*edits, (len(batch.pairs),)))
    model = small_model(distance=HyperbolicDistance(radius))
    model.on_train_batch_start(batch._replace(pairs=batch.pairs[:0], distance=batch.distance[:0]), 0)
    model.on_train_batch_start(batch, 1)
    with pytest.warns(UserWarning, match=r"distances are 8\d to 8\d, .* 0.98") if warned else nullcontext():
        model.on_train_batch_start(batch, 0)
    batch.distance[0] = 9  # a near copy: then a large sphere has a larger error
    model.on_train_batch_start(batch, 0)
