import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, poisson

from nwa_lightning.models.losses import absolute_loss, chi_square_loss, edit_distance_loss, poisson_loss, triplet_loss


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
