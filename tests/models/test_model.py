import itertools
import math
from contextlib import nullcontext
from typing import get_args

import pytest
import torch
from lightning.pytorch import Trainer

from nwa_lightning import DSEECNN, EditDistanceModel, InputError, KmerEncoder, NeuroSEEDCNN
from nwa_lightning.models.distances import DISTANCES, DistanceName
from nwa_lightning.models.edit_distance import OptimizerName
from nwa_lightning.models.losses import (
    LossName,
    absolute_loss,
    chi_square_loss,
    edit_distance_loss,
    poisson_loss,
    triplet_loss,
)

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
        "squared": lambda: edit_distance_loss(predicted / 32, batch.distance, 32),
        "absolute": lambda: absolute_loss(predicted / 32, batch.distance, 32),
        "chi_square": lambda: chi_square_loss(predicted, batch.distance),
        "poisson": lambda: poisson_loss(predicted, batch.distance),
        "triplet": lambda: triplet_loss(predicted / 32, batch.distance, batch.pairs, 32),
    }[model.loss]()


def trainer(**options):
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_epochs=-1,
        **options,
    )


@pytest.mark.parametrize(
    ("distance", "loss"),
    [
        ("hyperbolic", "squared"),
        ("euclidean", "absolute"),
        ("squared", "chi_square"),
        ("squared", "poisson"),
        ("euclidean", "triplet"),
        ("cosine", "squared"),
        ("manhattan", "poisson"),
    ],
)
def test_the_loss_falls(data, batch, distance, loss):
    model = small_model(distance=distance, loss=loss, nwa_weight=1e-6 if loss == "chi_square" else None)
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


@pytest.mark.parametrize(("distance", "loss"), list(itertools.product(get_args(DistanceName), get_args(LossName))))
def test_every_distance_goes_with_every_loss(batch, distance, loss):
    model = small_model(distance=distance, loss=loss, nwa_weight=None)
    predicted = model.predicted_edits(model.encode(batch.tokens), batch.pairs)
    assert predicted.shape == batch.distance.shape
    found = model.training_step(batch, 0)
    torch.testing.assert_close(found, encoder_loss(model, batch))
    found.backward()
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
    assert model.distance.scale.grad != 0


@pytest.mark.parametrize("distance", get_args(DistanceName))
def test_the_first_predictions_are_of_the_right_order(batch, distance):
    model = small_model(distance=distance)
    predicted = model.predicted_edits(model.encode(batch.tokens), batch.pairs).mean()
    assert 0.1 < predicted / batch.distance.float().mean() < 10


@pytest.mark.parametrize("loss", get_args(LossName))
def test_a_batch_without_pairs(batch, loss):
    empty = batch._replace(pairs=batch.pairs[:0], distance=batch.distance[:0], nw=batch.nw[:0])
    model = small_model(distance="squared", loss=loss)
    found = model.training_step(empty, 0)
    assert found == 0
    found.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_defaults_and_the_names_of_the_parameters():
    model = small_model()
    assert (model.hparams["distance"], model.hparams["loss"]) == ("hyperbolic", "squared")
    assert [name for name in model.state_dict() if name.startswith("distance.")] == [
        "distance.radius_logit",
        "distance.scale",
        "distance.power",
        "distance.unit",
    ]
    assert small_model(radius=0.9).distance.radius.item() == pytest.approx(0.9)
    assert [small_model(**given).distance.power for given in ({}, {"power": 2})] == [1, 2]
    assert EditDistanceModel(NeuroSEEDCNN(32, 128, channels=8, layers=2)).distance.power == 1.5
    for distance in get_args(DistanceName):
        assert type(small_model(distance=distance).distance) is DISTANCES[distance]


def test_the_distances_have_one_set_of_names():
    assert tuple(DISTANCES) == get_args(DistanceName)


def test_a_checkpoint_brings_back_distance_and_loss(data, tmp_path):
    model = small_model(distance="manhattan", loss="poisson")
    fitted = trainer(max_steps=1, limit_val_batches=0)
    fitted.fit(model, data)
    fitted.save_checkpoint(tmp_path / "model.ckpt")
    encoder = NeuroSEEDCNN(32, 16, channels=8, layers=2)
    found = EditDistanceModel.load_from_checkpoint(tmp_path / "model.ckpt", encoder=encoder, weights_only=True)
    assert found.loss == "poisson"
    assert type(found.distance) is DISTANCES["manhattan"]
    for name, value in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], value)


def test_an_encoder_without_parameters_learns_its_scale(data, batch):
    model = EditDistanceModel(KmerEncoder(32, None, k=2), distance="euclidean", nwa_weight=None)
    before = encoder_loss(model, batch).item()
    trainer(max_steps=30, limit_val_batches=1, num_sanity_val_steps=0).fit(model, data)
    assert encoder_loss(model, batch).item() < before


def test_the_set_up_of_dsee(batch):
    model = EditDistanceModel(DSEECNN(32), distance="squared", loss="chi_square", nwa_weight=1e-6)
    model.training_step(batch, 0).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"distance": "chord"},
            "distance: expected one of hyperbolic, euclidean, squared, cosine, manhattan, found 'chord'; name one of",
        ),
        (
            {"loss": "mse"},
            "loss: expected one of squared, absolute, chi_square, poisson, triplet, found 'mse'; name one of them",
        ),
        ({"optimizer": "sgd"}, "optimizer: expected one of muon, radam, found 'sgd'; name one of them"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(InputError, match=message):
        small_model(**options)


@pytest.mark.parametrize(
    ("edits", "radius", "warned"), [((80, 82), 0.12, True), ((80, 82), 0.98, False), ((30, 60), 0.12, False)]
)
def test_sequences_that_have_nothing_in_common_want_a_large_sphere(batch, edits, radius, warned):
    torch.manual_seed(0)
    batch = batch._replace(distance=torch.randint(*edits, (len(batch.pairs),)))
    model = small_model(radius=radius)
    model.on_train_batch_start(batch._replace(pairs=batch.pairs[:0], distance=batch.distance[:0]), 0)
    model.on_train_batch_start(batch, 1)
    with pytest.warns(UserWarning, match=r"distances are 8\d to 8\d, .* 0.98") if warned else nullcontext():
        model.on_train_batch_start(batch, 0)
