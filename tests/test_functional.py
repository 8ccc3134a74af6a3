import doctest
import importlib
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle import row_jsd as slow_row_jsd
from oracle import row_softmax
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2, entropy, poisson

from nwa_lightning.functional import (
    absolute_loss,
    chi_square_loss,
    cosine_factor,
    edit_distance_loss,
    inverse_sqrt_factor,
    nw_target,
    poisson_loss,
    row_jsd,
    triplet_loss,
)


def example(seed, pairs=3, rows=7, columns=6, spread=5.0):
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(pairs, rows, columns, dtype=torch.float64, generator=generator)
    scores = torch.randint(-40, 20, (pairs, rows, columns), generator=generator).to(torch.int16)
    row_mask = torch.arange(rows) < torch.tensor([rows, 3, 1])[:pairs, None]
    column_mask = torch.arange(columns) < torch.tensor([columns, 4, 1])[:pairs, None]
    return logits, scores, row_mask, column_mask


@given(st.integers(0, 2**31), st.sampled_from([0.3, 1.0, 4.0]), st.sampled_from([0.1, 5.0, 80.0]))
def test_row_jsd_against_loops(seed, temperature, spread):
    logits, scores, row_mask, column_mask = example(seed, spread=spread)
    expected = slow_row_jsd(logits.numpy(), scores.numpy(), row_mask.numpy(), column_mask.numpy(), temperature)
    exact = row_jsd(logits, scores.double(), row_mask, column_mask, temperature=temperature)
    assert exact.dtype == torch.float64
    np.testing.assert_allclose(exact, expected, rtol=1e-9, atol=1e-12)
    single = row_jsd(logits.float(), scores, row_mask, column_mask, temperature=temperature)
    np.testing.assert_allclose(single, expected, rtol=1e-4, atol=1e-5)


def test_row_jsd_against_scipy():
    logits, scores, _, _ = example(0)
    base = row_softmax(logits.numpy()), row_softmax(scores.numpy())
    expected = (jensenshannon(*base, axis=-1) ** 2).sum(axis=-1)
    np.testing.assert_allclose(row_jsd(logits, scores.double()), expected, rtol=1e-9)
    centre = (base[0] + base[1]) / 2
    by_entropy = (entropy(base[0], centre, axis=-1) + entropy(base[1], centre, axis=-1)).sum(axis=-1) / 2
    np.testing.assert_allclose(row_jsd(logits, scores.double()), by_entropy, rtol=1e-9)


def test_row_jsd_by_hand():
    # Rows (1/2, 1/2) against (3/4, 1/4): centre (5/8, 3/8).
    expected = 0.5 * (0.5 * math.log(0.8) + 0.5 * math.log(4 / 3) + 0.75 * math.log(1.2) + 0.25 * math.log(2 / 3))
    logits = torch.zeros(1, 1, 2, dtype=torch.float64)
    scores = torch.tensor([[[math.log(3.0), 0.0]]], dtype=torch.float64)
    assert row_jsd(logits, scores).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_row_jsd_at_the_edges(dtype):
    logits = torch.tensor([[[3.0, 1.0], [-2.0, 5.0]]], dtype=dtype)
    assert row_jsd(logits, logits) == pytest.approx(0, abs=1e-7)
    apart = torch.tensor([[[0.0, 5e4]]], dtype=dtype), torch.tensor([[[5e4, 0.0]]], dtype=dtype)
    assert row_jsd(*apart).item() == pytest.approx(math.log(2), rel=1e-6)
    assert row_jsd(logits[:0], logits[:0]).shape == (0,)


def test_row_jsd_gradients():
    logits, scores, row_mask, column_mask = example(1)
    logits.requires_grad_()
    for masks in ((None, None), (row_mask, column_mask), (row_mask, None), (None, column_mask)):
        assert torch.autograd.gradcheck(
            lambda x, masks=masks: row_jsd(x, scores.double(), *masks, temperature=0.7), logits
        )


def test_masked_cells_get_no_gradient():
    logits, scores, row_mask, column_mask = example(2)
    logits.requires_grad_()
    row_jsd(logits, scores, row_mask, column_mask).sum().backward()
    inside = row_mask[:, :, None] & column_mask[:, None, :]
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[~inside] == 0).all()
    assert (logits.grad[inside] != 0).any()


def test_padding_does_not_change_the_divergence():
    logits, scores, _, _ = example(3)
    masks = torch.ones(3, 7, dtype=torch.bool), torch.ones(3, 6, dtype=torch.bool)
    wide = (
        torch.nn.functional.pad(logits, (0, 3, 0, 2), value=9.0),
        torch.nn.functional.pad(scores, (0, 3, 0, 2), value=9),
    )
    wide_masks = torch.nn.functional.pad(masks[0], (0, 2)), torch.nn.functional.pad(masks[1], (0, 3))
    torch.testing.assert_close(row_jsd(*wide, *wide_masks), row_jsd(logits, scores, *masks))


def test_row_jsd_is_in_float32_under_autocast():
    logits, scores, _, _ = example(4)
    half = logits.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        value = row_jsd(half, scores)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, row_jsd(half.float(), scores))


def test_nw_target_rows_sum_to_one():
    _, scores, row_mask, column_mask = example(5)
    np.testing.assert_allclose(nw_target(scores.double(), temperature=2.0), row_softmax(scores.numpy() / 2), rtol=1e-12)
    target = nw_target(scores, row_mask, column_mask)
    torch.testing.assert_close(target.sum(-1), row_mask.float())
    assert (target[~(row_mask[:, :, None] & column_mask[:, None, :])] == 0).all()


def test_bad_arguments():
    logits, scores, _, _ = example(6)
    with pytest.raises(ValueError, match=r"one shape but got \(3, 7, 6\) and \(3, 7, 5\)"):
        row_jsd(logits, scores[..., :5])
    with pytest.raises(ValueError, match=r"positive but got 0"):
        row_jsd(logits, scores, temperature=0)
    with pytest.raises(ValueError, match=r"positive but got -1"):
        nw_target(scores, temperature=-1)


def test_edit_distance_loss():
    predicted = torch.tensor([0.1, 0.5])
    assert edit_distance_loss(predicted, torch.tensor([2, 4]), 10).item() == pytest.approx((0.01 + 0.01) / 2)
    assert edit_distance_loss(predicted[:0], torch.tensor([], dtype=torch.int64), 10) == 0


def predictions(seed, sequences=6):
    """All pairs of some sequences in any order, with predicted distances and edit distances, both in edits."""
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.combinations(torch.arange(sequences))
    pairs = pairs[torch.randperm(len(pairs), generator=generator)]
    pairs = torch.where(torch.rand(len(pairs), 1, generator=generator) < 0.5, pairs, pairs.flip(1))
    predicted = 0.2 + 30 * torch.rand(len(pairs), dtype=torch.float64, generator=generator)
    return predicted, torch.randint(0, 12, (len(pairs),), generator=generator), pairs


def slow_triplet_loss(predicted, distance, pairs, length):
    """Sequence by sequence: its partners, those that it leads first, and each of them with the next."""
    predicted, distance, pairs = predicted.tolist(), distance.tolist(), pairs.tolist()
    triplets = []
    for anchor in sorted({row for pair in pairs for row in pair}):
        led = [number for number, (first, _) in enumerate(pairs) if first == anchor]
        partners = led + [number for number, (_, second) in enumerate(pairs) if second == anchor]
        for one, two in pairwise(partners):
            if distance[one] == distance[two]:
                continue
            near, far = (one, two) if distance[one] < distance[two] else (two, one)
            margin = (distance[far] - distance[near]) / length
            triplets.append(max(0.0, predicted[near] - predicted[far] + margin))
    absolute = [abs(x - y / length) for x, y in zip(predicted, distance, strict=True)]
    return (sum(triplets) / len(triplets) if triplets else 0.0) + sum(absolute) / len(absolute)


@given(st.integers(0, 2**31), st.integers(2, 7))
def test_losses_against_loops_and_scipy(seed, sequences):
    predicted, distance, pairs = predictions(seed, sequences)
    x, y = predicted.numpy(), distance.numpy()
    absolute = sum(abs(d / 10 - e / 10) for d, e in zip(x, y, strict=True)) / len(x)
    assert absolute_loss(predicted / 10, distance, 10).item() == pytest.approx(absolute)
    counted = y >= 2
    expected = -chi2.logpdf(x[counted], df=y[counted]).mean() if counted.any() else 0.0
    assert chi_square_loss(predicted, distance).item() == pytest.approx(expected)
    assert poisson_loss(predicted, distance).item() == pytest.approx(-poisson.logpmf(y, mu=x).mean())
    expected = slow_triplet_loss(predicted / 10, distance, pairs, 10)
    assert triplet_loss(predicted / 10, distance, pairs, 10).item() == pytest.approx(expected)


def test_chi_square_loss_by_its_equation():
    predicted, distance, _ = predictions(0)
    total = count = 0
    for x, y in zip(predicted.tolist(), distance.tolist(), strict=True):
        if y >= 2:
            total += y / 2 * math.log(2) + math.lgamma(y / 2) - (y / 2 - 1) * math.log(x) + x / 2
            count += 1
    assert chi_square_loss(predicted, distance).item() == pytest.approx(total / count)


def losses_of(predicted, distance, pairs):
    """Every loss, of predicted distances in edits."""
    return {
        "squared": edit_distance_loss(predicted / 10, distance, 10),
        "absolute": absolute_loss(predicted / 10, distance, 10),
        "chi_square": chi_square_loss(predicted, distance),
        "poisson": poisson_loss(predicted, distance),
        "triplet": triplet_loss(predicted / 10, distance, pairs, 10),
    }


@pytest.mark.parametrize("name", ["squared", "absolute", "chi_square", "poisson", "triplet"])
@pytest.mark.parametrize("seed", range(3))
def test_gradients_of_the_losses(name, seed):
    predicted, distance, pairs = predictions(seed)
    assert torch.autograd.gradcheck(lambda x: losses_of(x, distance, pairs)[name], predicted.requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_losses_stay_finite_down_to_0_and_push_away_from_it(dtype):
    distance = torch.tensor([0, 1, 2, 3, 40])
    pairs = torch.tensor([[0, 1], [0, 2], [3, 0], [1, 2], [1, 3]])
    for value in (0.0, -0.5, 1e-30, 0.1):
        predicted = torch.full((5,), value, dtype=dtype, requires_grad=True)
        for name, loss in losses_of(predicted, distance, pairs).items():
            assert torch.isfinite(loss)
            assert loss.dtype == dtype
            (gradient,) = torch.autograd.grad(loss, predicted)
            assert torch.isfinite(gradient).all()
            assert gradient[-1] < 0, name


@pytest.mark.parametrize(("name", "below"), [("squared", 0), ("absolute", 0), ("chi_square", 2), ("poisson", 0)])
@pytest.mark.parametrize("edits", [3, 10, 77])
def test_minimisers(name, below, edits):
    for offset, sign in ((-0.01, -1), (0.01, 1)):
        predicted = torch.tensor([edits - below + offset], dtype=torch.float64, requires_grad=True)
        loss = losses_of(predicted, torch.tensor([edits]), torch.tensor([[0, 1]]))[name]
        loss.backward()
        assert predicted.grad.sign().item() == sign


def test_the_triplet_loss_is_0_for_the_edit_distances_alone():
    _, distance, pairs = predictions(1)
    exact = distance.double() / 10
    assert triplet_loss(exact, distance, pairs, 10) == 0
    # A shift of all distances keeps their order and their differences: only the approximation suffers.
    assert triplet_loss(exact + 0.25, distance, pairs, 10).item() == pytest.approx(0.25)
    assert triplet_loss(exact * 0.5, distance, pairs, 10) > absolute_loss(exact * 0.5, distance, 10)


def test_pairs_of_less_than_2_edits_have_no_part_in_the_chi_square_loss():
    predicted = torch.tensor([5.0, 6.0, 7.0], requires_grad=True)
    loss = chi_square_loss(predicted, torch.tensor([0, 1, 4]))
    assert loss.item() == pytest.approx(-chi2.logpdf(7, df=4), rel=1e-5)
    loss.backward()
    assert predicted.grad[:2].tolist() == [0, 0]
    assert predicted.grad[2] > 0
    assert chi_square_loss(predicted[:2], torch.tensor([0, 1])) == 0


def test_losses_of_no_pairs_are_0_with_a_graph():
    predicted = torch.zeros(0, requires_grad=True)
    nothing = torch.zeros(0, dtype=torch.int64)
    for loss in losses_of(predicted, nothing, nothing.view(0, 2)).values():
        assert loss == 0
        loss.backward()
    assert predicted.grad.shape == (0,)


def test_bad_arguments_of_the_losses():
    predicted, distance, pairs = predictions(0)
    for loss in (chi_square_loss, poisson_loss, lambda x, y: absolute_loss(x, y, 10)):
        with pytest.raises(ValueError, match=r"\(P,\) predicted and edit distances but got shapes \(15,\) and \(14,\)"):
            loss(predicted, distance[1:])
        with pytest.raises(TypeError, match=r"floating-point type but got torch\.int64"):
            loss(distance, distance)
    with pytest.raises(ValueError, match="length to be positive but got 0"):
        absolute_loss(predicted, distance, 0)
    with pytest.raises(ValueError, match=r"pairs of shape \(15, 2\), one for each prediction, but got \(14, 2\)"):
        triplet_loss(predicted, distance, pairs[1:], 10)


def test_schedules_waste_no_step_and_end_where_they_should():
    inverse = [inverse_sqrt_factor(step, warmup=4) for step in range(16)]
    assert inverse[:4] == [0.25, 0.5, 0.75, 1.0]
    assert inverse[15] == pytest.approx(0.5)
    cosine = [cosine_factor(step, warmup=4, total=104) for step in range(110)]
    assert cosine[:4] == [0.25, 0.5, 0.75, 1.0]
    assert cosine[54] == pytest.approx(0.5)
    assert cosine[103] < 1e-3
    assert cosine[104:] == [0.0] * 6
    for factors in (inverse, cosine):
        assert all(later <= earlier for earlier, later in pairwise(factors[4:]))


@pytest.mark.parametrize("module", ["functional", "distances"])
def test_docstring_examples(module):
    found = importlib.import_module(f"nwa_lightning.{module}")
    outcome = doctest.testmod(found, extraglobs={"torch": torch})
    assert outcome.attempted > 0
    assert outcome.failed == 0
