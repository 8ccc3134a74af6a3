import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from nwa_lightning.errors import InputError
from nwa_lightning.models.distances import (
    RADIUS,
    CosineDistance,
    EuclideanDistance,
    HyperbolicDistance,
    ManhattanDistance,
    SquaredEuclideanDistance,
    suitable_power,
)
from nwa_lightning.models.functional import (
    cosine_distance,
    euclidean_distance,
    hyperbolic_distance,
    manhattan_distance,
    squared_euclidean_distance,
)

DISTANCES = [HyperbolicDistance, EuclideanDistance, SquaredEuclideanDistance, CosineDistance, ManhattanDistance]

FUNCTIONS = {
    "euclidean": euclidean_distance,
    "sqeuclidean": squared_euclidean_distance,
    "cosine": cosine_distance,
    "cityblock": manhattan_distance,
}


def points(seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(2, 9, 5, dtype=dtype, generator=generator)
    return torch.nn.functional.normalize(raw, dim=-1) * torch.rand(2, 9, 1, dtype=dtype, generator=generator) * 0.99


@given(st.integers(0, 2**31))
def test_equals_the_published_form(seed):
    first, second = points(seed)
    room = (1 - first.square().sum(-1)) * (1 - second.square().sum(-1))
    published = torch.acosh(1 + 2 * (first - second).square().sum(-1) / room)
    torch.testing.assert_close(hyperbolic_distance(first, second), published, rtol=1e-6, atol=1e-7)


def test_from_the_centre_it_is_twice_artanh():
    point = torch.tensor([0.6, 0.0], dtype=torch.float64)
    assert hyperbolic_distance(torch.zeros(2, dtype=torch.float64), point).item() == pytest.approx(2 * math.atanh(0.6))


@given(st.integers(0, 2**31))
def test_is_a_metric(seed):
    one, two = points(seed)
    three = points(seed + 1)[0]
    between = hyperbolic_distance(one, two)
    torch.testing.assert_close(between, hyperbolic_distance(two, one))
    assert (between <= hyperbolic_distance(one, three) + hyperbolic_distance(three, two) + 1e-12).all()
    assert (between > 0).all()


@pytest.mark.parametrize("function", [hyperbolic_distance, *FUNCTIONS.values()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_points_have_distance_0_and_finite_gradients(function, dtype):
    first, second = points(0, dtype)[0].requires_grad_(), points(0, dtype)[0].requires_grad_()
    distance = function(first, second)
    assert (distance == 0).all()
    distance.sum().backward()
    assert torch.isfinite(first.grad).all()
    assert torch.isfinite(second.grad).all()


@pytest.mark.parametrize("function", [hyperbolic_distance, *FUNCTIONS.values()])
def test_gradients(function):
    first, second = points(1)
    assert torch.autograd.gradcheck(function, (first.requires_grad_(), second.requires_grad_()))


@given(st.integers(0, 2**31), st.sampled_from(sorted(FUNCTIONS)))
def test_against_scipy(seed, name):
    first, second = points(seed)
    found = FUNCTIONS[name](first[:, None], second)
    torch.testing.assert_close(found, torch.from_numpy(cdist(first, second, metric=name)), rtol=1e-10, atol=1e-12)
    assert FUNCTIONS[name](first[:0], second[:0]).shape == (0,)


def test_cosine_distance_at_the_edges():
    point = torch.tensor([0.0, 2.0])
    assert cosine_distance(point, -3 * point) == 2
    nothing = torch.zeros(2, requires_grad=True)
    assert cosine_distance(nothing, torch.zeros(2)) == 0
    distance = cosine_distance(nothing, point)
    assert distance == 0.5
    distance.backward()
    assert torch.isfinite(nothing.grad).all()


def test_exact_for_near_points():
    first = torch.tensor([0.5, 0.0])
    second = first + torch.tensor([0.0, 1e-6])
    assert hyperbolic_distance(first, second).item() == pytest.approx(2 * 1e-6 / 0.75, rel=1e-5)


def test_the_sphere_has_a_learnt_radius_and_only_directions_count():
    module = HyperbolicDistance()  # of 4 dimensions: a power of 1
    first, second = torch.randn(2, 6, 4)
    radius = 1 / (1 + math.exp(-module.radius_logit.item()))
    expected = hyperbolic_distance(
        radius * first / first.norm(dim=1, keepdim=True), radius * second / second.norm(dim=1, keepdim=True)
    )
    torch.testing.assert_close(module(first, second), expected)
    torch.testing.assert_close(module(3 * first, 0.1 * second), module(first, second))
    module(first, second).sum().backward()
    assert module.radius_logit.grad != 0
    assert module.scale.grad != 0
    for logit in (-50.0, 50.0):
        module.radius_logit.data.fill_(logit)
        assert 0 <= module.radius <= 1


@pytest.mark.parametrize("kind", DISTANCES)
def test_all_pairs_equals_the_pairs_one_by_one(kind):
    torch.manual_seed(0)
    module = kind()
    module.scale.data.fill_(0.7)
    first, second = torch.randn(5, 16), torch.randn(7, 16)
    first[1] = second[2]
    rows, columns = torch.cartesian_prod(torch.arange(5), torch.arange(7)).T
    expected = module(first[rows], second[columns]).view(5, 7)
    torch.testing.assert_close(module.all_pairs(first, second), expected, rtol=1e-5, atol=5e-4)
    same = module.all_pairs(first, first)
    assert same.diagonal().max() < 5e-4
    same.sum().backward()
    for parameter in module.parameters():
        assert torch.isfinite(parameter.grad).all()


@pytest.mark.parametrize("kind", [EuclideanDistance, SquaredEuclideanDistance])
def test_all_pairs_far_from_the_origin(kind):
    torch.manual_seed(0)
    first, second = torch.randn(5, 16), torch.randn(7, 16)
    expected = kind().all_pairs(first, second)
    torch.testing.assert_close(kind().all_pairs(first + 1000, second + 1000), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("kind", "metric", "unit"),
    [
        (EuclideanDistance, "euclidean", 4),
        (SquaredEuclideanDistance, "sqeuclidean", 16),
        (CosineDistance, "cosine", 1),
        (ManhattanDistance, "cityblock", 16),
    ],
)
def test_modules_against_scipy(kind, metric, unit):
    """16 components: their mean in place of their sum."""
    torch.manual_seed(0)
    module = kind()
    first, second = torch.randn(5, 16), torch.randn(7, 16)
    expected = torch.from_numpy(cdist(first, second, metric=metric)).float() / unit
    torch.testing.assert_close(module.all_pairs(first, second), expected)
    torch.testing.assert_close(module(first, second[:5]), expected.diagonal())
    assert [name for name, _ in module.named_parameters()] == ["scale"]
    assert module.scale == 1
    module.scale.data.fill_(-2.0)
    assert module.numbers(16) == {"scale": 2.0}
    torch.testing.assert_close(module(first, second[:5]), 2 * expected.diagonal())


@pytest.mark.parametrize("kind", DISTANCES)
def test_modules_between_equal_embeddings_and_under_autocast(kind):
    torch.manual_seed(0)
    module = kind()
    first, second = torch.randn(2, 6, 16)
    both = first.clone().requires_grad_()
    distance = module(both, both)
    assert (distance == 0).all()
    distance.sum().backward()
    assert torch.isfinite(both.grad).all()
    with torch.autocast("cpu", torch.bfloat16):
        found = module(first.bfloat16(), second.bfloat16())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, module(first.bfloat16().float(), second.bfloat16().float()))
    assert module(first[:0], second[:0]).shape == (0,)


def test_the_learnt_numbers_keep_their_names_and_order():
    """Checkpoints know them by name, optimizers by order."""
    module = HyperbolicDistance()
    assert [name for name, _ in module.named_parameters()] == ["radius_logit", "scale"]
    assert (module.radius_logit.item(), module.scale.item()) == (-2, 1)
    assert module.numbers(32) == {"radius": pytest.approx(1 / (1 + math.exp(2))), "power": 1.0, "scale": 1.0}
    assert set(HyperbolicDistance().state_dict()) == {"radius_logit", "scale", "_extra_state"}


@pytest.mark.parametrize("power", [1, 1.5, 3])
@pytest.mark.parametrize("radius", [0.01, 0.5, 0.98])
def test_opposite_points_begin_at_one_distance_at_any_radius_and_power(radius, power):
    module = HyperbolicDistance(radius, power)
    assert module.numbers(8)["radius"] == pytest.approx(radius)
    point = torch.randn(1, 8)
    expected = 2 * math.asinh(2 * RADIUS / (1 - RADIUS**2))
    for found in (module(point, -point), module.all_pairs(point, -point)[0]):
        torch.testing.assert_close(found, torch.tensor([expected]))
    one, two = torch.randn(2, 5, 8)
    torch.testing.assert_close(module(one, two), module.all_pairs(one, two).diagonal())
    numbers = module.numbers(8)
    chord = (one / one.norm(dim=1, keepdim=True) - two / two.norm(dim=1, keepdim=True)).norm(dim=1)
    formula = numbers["scale"] * (2 * torch.asinh(radius * chord / (1 - radius**2))) ** power
    torch.testing.assert_close(module(one, two), formula)


@pytest.mark.parametrize("radius", [0, 1, -0.5, float("nan")])
def test_a_radius_lies_between_0_and_1(radius):
    with pytest.raises(InputError, match="radius: expected a number between 0 and 1, found"):
        HyperbolicDistance(radius)


@pytest.mark.parametrize("power", [0.5, float("inf"), float("nan")])
def test_a_power_is_at_least_1(power):
    with pytest.raises(InputError, match="power: expected a number of at least 1, found"):
        HyperbolicDistance(power=power)


def test_the_square_on_a_small_sphere_is_the_distance_of_hamming():
    """One-hot letters: a Euclidean distance is the root of twice the letters that differ."""
    torch.manual_seed(0)
    letters = torch.randint(4, (2, 9, 30))
    first, second = torch.nn.functional.one_hot(letters, 4).float().flatten(2)
    found = HyperbolicDistance(1e-3, 2)(first, second)
    hamming = (letters[0] != letters[1]).sum(dim=1)
    torch.testing.assert_close(found / hamming, (found[0] / hamming[0]).expand(9), rtol=1e-4, atol=0)


def test_a_state_of_another_power_brings_it():
    first, second = torch.randn(2, 6, 16)
    for options in ({"power": 2}, {"radius": 0.9}, {"radius": 0.9, "power": 1.25}, {}):
        old, new = HyperbolicDistance(**options), HyperbolicDistance(0.5, 3)
        new.load_state_dict(old.state_dict())
        torch.testing.assert_close(new(first, second), old(first, second))


@pytest.mark.parametrize(("dim", "power"), [(1, 1), (32, 1), (64, 1.25), (128, 1.5), (512, 1.5)])
def test_the_power_goes_with_the_dimension(dim, power):
    module = HyperbolicDistance()
    assert module.numbers(dim)["power"] == suitable_power(dim) == power
    first, second = torch.randn(2, 6, dim)
    torch.testing.assert_close(module(first, second), HyperbolicDistance(power=power)(first, second))


def test_a_point_outside_the_ball_is_far_and_not_at_distance_0():
    inside = torch.tensor([[0.3, 0.2], [0.0, 0.0]], dtype=torch.float64)
    outside = torch.tensor([[1.5, 0.0], [1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    distance = hyperbolic_distance(outside, inside)
    border = hyperbolic_distance(torch.tensor([0.999, 0.0], dtype=torch.float64), inside[0])
    assert (distance > border).all()
    distance.sum().backward()
    assert torch.isfinite(outside.grad).all()
    # Two points outside are apart unless they are equal.
    assert hyperbolic_distance(outside[0], -outside[0]) > border
    assert hyperbolic_distance(outside[0], outside[0]) == 0
