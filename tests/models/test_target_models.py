"""Models of other targets than edits: errors in their units, what they refuse, and what an export says of them."""

import json
import re

import pytest
import torch
from lightning.pytorch import Trainer
from quiet import QUIET_TRAINER

from nwa_lightning import (
    ChiSquareLoss,
    EditDistanceModel,
    EuclideanDistance,
    InputError,
    NeuroSEEDCNN,
    NWADataModule,
    PoissonLoss,
    load_encoder,
    pair_batch,
)
from nwa_lightning.models.export import export_checkpoint
from nwa_lightning.models.metrics import evaluate

# A validation step is called by itself.
pytestmark = pytest.mark.filterwarnings("ignore:You are trying to `self.log")

SCORES = {"match": 2, "mismatch": -1, "gap": -3}


def small_model(target, **options):
    torch.manual_seed(0)
    return EditDistanceModel(NeuroSEEDCNN(32, 16, channels=8, layers=2), target=target, **options)


def test_identity_is_measured_in_percentage_points():
    batch = pair_batch(["ACGTACGTAC", "ACGTACGT", "TTTT"], target="identity")
    torch.testing.assert_close(batch.distance, torch.tensor([2 / 10, 8 / 10, 6 / 8]))
    found = evaluate(lambda _: torch.tensor([0.25, 0.7, 0.75]), [batch], length_bands=[9], target="identity")
    assert set(found) == {"rmse", "r2", "spearman", "rmse_below_9", "rmse_from_9"}
    assert found["rmse"] == pytest.approx(((5**2 + 10**2) / 3) ** 0.5, rel=1e-5)
    assert found["rmse_from_9"] == pytest.approx(((5**2 + 10**2) / 2) ** 0.5, rel=1e-5)
    assert found["rmse_below_9"] == pytest.approx(0, abs=1e-4)
    mean = (0.2 + 0.8 + 0.75) / 3
    spread = sum((value - mean) ** 2 for value in (0.2, 0.8, 0.75))
    assert found["r2"] == pytest.approx(1 - (0.05**2 + 0.1**2) / spread, rel=1e-5)
    assert found["spearman"] == pytest.approx(0.5)  # ranks 1, 3, 2 and 1, 2, 3


def scored():
    """Three sequences, of which 0 and 1 have 4 letters; the second and third number are (8 + 12) / 2 - 2."""
    batch = pair_batch(["ACGT", "ACGA", "ACGTAC"], target="score", **SCORES)
    # 8 - (3 * 2 - 1); 10 - (4 * 2 - 2 * 3); ACG-A- beside ACGTAC
    assert batch.distance.tolist() == [3, 8, 8]
    return batch


def test_score_is_measured_in_percent_of_a_perfect_score_and_in_its_unit():
    found = evaluate(lambda _: torch.tensor([5.0, 2, 8]), [scored()], length_bands=[5], target="score", scale=2)
    assert set(found) == {"rmse", "rmse_score", "r2", "spearman", "rmse_below_5", "rmse_from_5"}
    assert found["rmse_score"] == pytest.approx(((2**2 + 6**2) / 3) ** 0.5, rel=1e-5)
    # Of 4 and 6 letters that score 2 beside themselves: 2 of 8, and 6 of 12.
    assert found["rmse"] == pytest.approx(((25**2 + 50**2) / 3) ** 0.5, rel=1e-5)
    assert found["rmse_below_5"] == pytest.approx(25, rel=1e-5)
    assert found["rmse_from_5"] == pytest.approx((50**2 / 2) ** 0.5, rel=1e-5)


def test_score_needs_a_scale_to_be_measured():
    with pytest.raises(InputError, match="scale: expected the mean score of a letter"):
        evaluate(lambda _: torch.zeros(3), [scored()], target="score")


def test_no_pairs_of_another_target():
    found = evaluate(lambda _: torch.empty(0), [pair_batch(["ACGT"], target="score")], target="score", scale=1)
    assert all(value != value for value in found.values())


@pytest.mark.parametrize(("target", "scale", "whole"), [("identity", None, 1), ("score", 64.0, 2)])
def test_a_model_predicts_and_measures_its_target(target, scale, whole):
    model = small_model(target, target_scale=scale, distance=EuclideanDistance()).eval()
    batch = pair_batch(["ACGT", "ACGA", "ACGTAC"], target=target, **SCORES)
    with torch.no_grad():
        one, two, three = model(batch.tokens)
        found = model.predicted_distances(model(batch.tokens), batch.pairs)
        model.validation_step(batch, 0)
    full = scale or 1
    expected = [full * (a - b).square().mean().sqrt().item() for a, b in ((one, two), (one, three), (two, three))]
    assert found.tolist() == pytest.approx(expected, rel=1e-4)
    percent = [100 / whole / (length if target == "score" else 1) for length in (4, 6, 6)]
    errors = [(guess - true) * by for guess, true, by in zip(expected, batch.distance.tolist(), percent, strict=True)]
    rmse = (sum(error**2 for error in errors) / 3) ** 0.5
    assert model.val_metrics.compute()["val/rmse"].item() == pytest.approx(rmse, rel=1e-4)


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("length", {}, "target: expected one of edits, identity, score, found 'length'"),
        ("score", {}, "target_scale: expected a number for the target score, found none"),
        ("identity", {"target_scale": 0.0}, "target_scale: expected more than 0, found 0.0"),
        ("score", {"target_scale": float("nan")}, "target_scale: expected more than 0, found nan"),
        ("identity", {"loss": ChiSquareLoss()}, "loss: expected SquaredLoss, AbsoluteLoss or TripletLoss"),
        ("score", {"loss": PoissonLoss(), "target_scale": 9.0}, "found PoissonLoss, which needs edits"),
    ],
)
def test_a_model_refuses_what_does_not_fit_its_target(target, options, message):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        small_model(target, **options)
    assert len(str(error.value).splitlines()) == 1


def test_a_model_of_another_target_predicts_no_edits():
    with pytest.raises(InputError, match="expected one that predicts edit distances, found one of the target identity"):
        small_model("identity").predicted_edits(torch.zeros(2, 16), torch.tensor([[0, 1]]))


def quiet(**options):
    return Trainer(**QUIET_TRAINER, **options)


def test_the_data_must_have_the_target_of_the_model(reads):
    with pytest.raises(InputError, match=r"data\.target: expected identity, which the model learns, found edits"):
        quiet(max_steps=1).fit(small_model("identity"), NWADataModule(str(reads), batch_size=8))


def test_a_checkpoint_and_an_export_say_the_target(reads, tmp_path):
    data = NWADataModule(str(reads), batch_size=8, nwa_batch_size=0, val_group=5, target="score", **SCORES)
    options = {"nwa_weight": None, "distance": EuclideanDistance()}
    model = small_model("score", target_scale=data.target_scale, **options)
    trainer = quiet(max_steps=2)
    trainer.fit(model, data)
    trainer.save_checkpoint(tmp_path / "model.ckpt")

    loaded = EditDistanceModel.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True).eval()
    assert (loaded.target, loaded.target_scale) == ("score", 2 * 32)
    batch = pair_batch(["ACGT", "ACGATT"], target="score", **SCORES)
    with torch.no_grad():
        expected = loaded.predicted_distances(loaded(batch.tokens), batch.pairs).item()

    export_checkpoint(tmp_path / "model.ckpt", tmp_path / "encoder", version="0")
    config = json.loads((tmp_path / "encoder" / "config.json").read_text())
    assert config["target"] == {"name": "score", "unit": "score"}
    assert config["distance"]["predicted_score"] == EuclideanDistance.formula
    assert "predicted_edits" not in config["distance"]
    assert config["trained_on"]["batches"]["target"] == "score"
    with torch.no_grad():
        one, two = load_encoder(tmp_path / "encoder")(batch.tokens)
    # length * scale * sqrt(mean((u - v)^2))
    size = config["distance"]["length"] * config["distance"]["scale"]
    assert size * (one - two).square().mean().sqrt().item() == pytest.approx(expected, rel=1e-4)
