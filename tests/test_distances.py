import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nwa_lightning.distances import HyperbolicDistance, hyperbolic_distance


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_points_have_distance_0_and_finite_gradients(dtype):
    first, second = points(0, dtype)[0].requires_grad_(), points(0, dtype)[0].requires_grad_()
    distance = hyperbolic_distance(first, second)
    assert (distance == 0).all()
    distance.sum().backward()
    assert torch.isfinite(first.grad).all()
    assert torch.isfinite(second.grad).all()


def test_gradients():
    first, second = points(1)
    assert torch.autograd.gradcheck(hyperbolic_distance, (first.requires_grad_(), second.requires_grad_()))


def test_exact_for_near_points():
    first = torch.tensor([0.5, 0.0])
    second = first + torch.tensor([0.0, 1e-6])
    assert hyperbolic_distance(first, second).item() == pytest.approx(2 * 1e-6 / 0.75, rel=1e-5)


def test_the_sphere_has_a_learnt_radius_and_only_directions_count():
    module = HyperbolicDistance()
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


def test_all_pairs_equals_the_pairs_one_by_one():
    torch.manual_seed(0)
    module = HyperbolicDistance()
    first, second = torch.randn(5, 16), torch.randn(7, 16)
    rows, columns = torch.cartesian_prod(torch.arange(5), torch.arange(7)).T
    expected = module(first[rows], second[columns]).view(5, 7)
    torch.testing.assert_close(module.all_pairs(first, second), expected)
    same = module.all_pairs(first, first)
    assert same.diagonal().max() < 2e-4
    same.sum().backward()
    assert torch.isfinite(module.radius_logit.grad)
