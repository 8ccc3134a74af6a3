import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed
from scipy.stats import spearmanr
from torch import nn
from torch.multiprocessing import spawn

from nwa_lightning.errors import InputError
from nwa_lightning.models.baselines import ConstantBaseline, KmerBaseline
from nwa_lightning.models.metrics import Determination, LengthRMSE, distance_metrics, evaluate


def pairs(count=200):
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, 90, (count,), generator=generator).float()
    preds = target + 9 * torch.randn(count, generator=generator)
    length = torch.randint(90, 150, (count,), generator=generator)
    return preds, target, length


def expected(preds, target, length):
    preds, target, length = (values.numpy().astype(np.float64) for values in (preds, target, length))
    errors = (preds - target) / length
    near = target <= 40
    return {
        "rmse": 100 * np.sqrt(np.mean(errors**2)),
        "rmse_homologous": 100 * np.sqrt(np.mean(errors[near] ** 2)),
        "r2": 1 - np.sum((preds - target) ** 2) / np.sum((target - target.mean()) ** 2),
        "spearman": spearmanr(preds, target).statistic,
    }


def test_over_batches_of_different_sizes_the_metrics_are_those_of_all_pairs():
    values = pairs()
    metrics = distance_metrics()
    for part in ((0, 3), (3, 3), (3, 150), (150, 200)):
        metrics.update(
            **dict(zip(("preds", "target", "length"), (value[slice(*part)] for value in values), strict=True))
        )
    found = {name: value.item() for name, value in metrics.compute().items()}
    assert found == pytest.approx(expected(*values), rel=1e-4)


def test_as_many_pairs_as_a_test_set_has_with_few_different_distances():
    """As between random strands; sums of their ranks do not fit 32 bits, and the mean is 30 times the spread."""
    generator = torch.Generator().manual_seed(0)
    target = (83 + 3 * torch.randn(224_250, generator=generator)).round()
    target[:9] = 30
    preds = target + 3 * torch.randn(len(target), generator=generator)
    values = preds, target, torch.full((len(target),), 152)
    metrics = distance_metrics()
    for batch in zip(*(value.split(44_850) for value in values), strict=True):
        metrics.update(**dict(zip(("preds", "target", "length"), batch, strict=True)))
    found = {name: value.item() for name, value in metrics.compute().items()}
    assert found == pytest.approx(expected(*values), rel=1e-4, abs=2e-4)


def test_the_sums_of_thirteen_million_pairs_are_exact():
    """As between random strands: the mean is 30 times the spread, and float32 loses the difference."""
    generator = np.random.default_rng(0)
    target = generator.normal(83, 3, 100_000).round()
    preds = (target + generator.normal(0, 0.3, target.shape)).astype(np.float32)
    metric = Determination()
    for _ in range(130):
        metric.update(torch.from_numpy(preds), torch.from_numpy(target.astype(np.float32)))
    errors, spread = ((preds.astype(np.float64) - target) ** 2).sum(), ((target - target.mean()) ** 2).sum()
    assert metric.count == 13_000_000
    assert metric.compute().item() == pytest.approx(1 - errors / spread, abs=1e-7)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_a_model_in_half_precision_measures_in_whole(kind):
    values = pairs()
    holder = nn.ModuleDict({"metrics": distance_metrics()}).to(kind)  # as Lightning moves a model
    metrics = holder["metrics"].to("cpu")
    for part in ((0, 150), (150, 200)):
        metrics.update(
            **dict(zip(("preds", "target", "length"), (value[slice(*part)] for value in values), strict=True))
        )
        holder.to(kind)
    found = {name: value.item() for name, value in metrics.compute().items()}
    assert found == pytest.approx(expected(*values), rel=1e-4)
    metrics.reset()
    assert metrics["r2"].squares.dtype == metrics["rmse"].squares.dtype == torch.float64


def test_metrics_move_with_their_model():
    metrics = distance_metrics().to("meta")
    assert {metrics[name].device.type for name in metrics} == {"meta"}
    assert metrics["r2"].squares.device.type == metrics["rmse"].count.device.type == "meta"


@pytest.mark.parametrize("errors", [0, 1])
def test_equal_distances(errors):
    """With as many of them as round the square of their sum."""
    metric = Determination()
    for _ in range(20):
        metric.update(torch.full((1_000_003,), 4999.0) + errors, torch.full((1_000_003,), 4999))
    assert metric.compute().item() == 1 - errors


@pytest.mark.parametrize("count", [0, 1, 2])
def test_below_two_pairs_there_is_no_correlation(count):
    values = dict(zip(("preds", "target", "length"), (value[:count] for value in pairs()), strict=True))
    metrics = distance_metrics()
    metrics.update(**values)
    batch = SimpleNamespace(distance=values["target"].long(), longest=values["length"])
    # No pairs in a batch, or no batch at all.
    for found in (
        {name: value.item() for name, value in metrics.compute().items()},
        evaluate(lambda batch: values["preds"], [batch] if count else []),
    ):
        assert math.isnan(found["rmse"]) == (count == 0)
        assert math.isnan(found["r2"]) == math.isnan(found["spearman"]) == (count < 2)


def test_homologous_is_at_most_k():
    metric = LengthRMSE(40)
    metric.update(torch.tensor([41.0, 42.0]), torch.tensor([40.0, 41.0]), torch.tensor([100, 100]))
    assert metric.compute().item() == pytest.approx(1.0)


def test_bands_of_lengths():
    preds, target, length = pairs()
    metrics = distance_metrics(length_bands=(100, 120))
    for part in (slice(0, 70), slice(70, None)):
        metrics.update(preds=preds[part], target=target[part], length=length[part])
    found = {name: value.item() for name, value in metrics.compute().items()}
    bands = {"rmse_below_100": (0, 100), "rmse_100_to_119": (100, 120), "rmse_from_120": (120, 1000)}
    assert list(found) == [
        "r2",
        "rmse",
        "rmse_100_to_119",
        "rmse_below_100",
        "rmse_from_120",
        "rmse_homologous",
        "spearman",
    ]
    for name, (first, end) in bands.items():
        inside = (length >= first) & (length < end)
        assert found[name] == pytest.approx(expected(preds[inside], target[inside], length[inside])["rmse"], rel=1e-4)
    parts = [found[name] ** 2 * ((length >= first) & (length < end)).sum() for name, (first, end) in bands.items()]
    assert sum(parts) / len(length) == pytest.approx(found["rmse"] ** 2, rel=1e-4)
    batch = SimpleNamespace(distance=target.long(), longest=length)
    assert evaluate(lambda batch: preds, [batch], length_bands=[100, 120]) == pytest.approx(found)


def test_a_band_without_pairs_has_no_error():
    found = evaluate(lambda batch: torch.zeros(0), [], length_bands=[50])
    assert math.isnan(found["rmse_below_50"])
    assert math.isnan(found["rmse_from_50"])


@pytest.mark.parametrize("wrong", [[100, 100], [0], [200, 100], [1.5]])
def test_bands_ascend(wrong):
    with pytest.raises(
        InputError, match=r"length_bands: expected ascending lengths, found \[.*\]; give such as \[300, 600\]"
    ):
        distance_metrics(length_bands=wrong)


def test_first_batch_of_homologous_pairs_only():
    """Both errors are equal after it; they must still part ways later."""
    metrics = distance_metrics()
    for target in ([10.0, 20.0], [80.0, 90.0]):
        target = torch.tensor(target)
        metrics.update(preds=target + target / 10, target=target, length=torch.tensor([100, 100]))
    found = metrics.compute()
    assert found["rmse"] > 2 * found["rmse_homologous"]


def _process(rank, path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
    values = pairs()
    part = slice(0, 150) if rank == 0 else slice(150, None)
    metrics = distance_metrics()
    for _ in range(2 if rank else 1):  # a process with one batch more, and that one empty
        metrics.update(preds=values[0][part], target=values[1][part], length=values[2][part])
        part = slice(0, 0)
    found = {name: value.item() for name, value in metrics.compute().items()}
    assert found == pytest.approx(expected(*values), rel=1e-4)
    torch.distributed.destroy_process_group()


def test_over_two_processes(tmp_path):
    spawn(_process, args=(tmp_path / "rendezvous",), nprocs=2)


def test_constant_baseline_has_no_skill(data):
    batches = list(data.test_dataloader())
    baseline = ConstantBaseline().fit(batches)
    distance = torch.cat([batch.distance for batch in batches]).float()
    assert baseline(batches[0]).unique().item() == pytest.approx(distance.mean().item())
    assert evaluate(baseline, batches)["r2"] == pytest.approx(0, abs=1e-6)


def test_kmer_baseline(data):
    batches = list(data.test_dataloader())
    baseline = KmerBaseline(data.vocabulary, k=2).fit(batches)
    counts = baseline.counts(batches[0].tokens)
    for row, length, tokens in zip(counts, batches[0].lengths, batches[0].tokens, strict=True):
        letters = (tokens[1 : length + 1] - 2).tolist()
        slow = torch.zeros(16)
        for one, two in pairwise(letters):
            slow[one + 4 * two] += 1
        assert torch.equal(row, slow)
    sides = [(counts[pair[0]] - counts[pair[1]]).norm().item() for pair in batches[0].pairs]
    slope, intercept = np.polyfit(sides, batches[0].distance.numpy(), 1)
    one = KmerBaseline(data.vocabulary, k=2).fit(batches[:1])
    assert one(batches[0]).tolist() == pytest.approx((slope * np.array(sides) + intercept).tolist(), rel=1e-4)
    assert KmerBaseline(22).k == 2
    assert evaluate(baseline, batches)["rmse"] < evaluate(ConstantBaseline().fit(batches), batches)["rmse"]
