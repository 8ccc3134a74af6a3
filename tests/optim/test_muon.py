import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from nwa_lightning import InputError, Muon
from nwa_lightning.optim.muon import orthogonalised


def by_singular_values(matrix):
    """The same polynomial, applied to each singular value."""
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    values = values / values.norm().clamp(min=1e-7)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return (left * values) @ right


@settings(deadline=None)
@given(rows=st.integers(1, 40), columns=st.integers(1, 40), decades=st.integers(0, 3), seed=st.integers(0, 2**31))
def test_orthogonalised_applies_the_polynomial_to_every_singular_value(rows, columns, decades, seed):
    generator = torch.Generator().manual_seed(seed)
    # In double precision: of singular values that are a thousandfold apart, the Gram matrix in float32 loses the smaller one.
    matrix = (torch.randn(rows, columns, generator=generator) * torch.logspace(0, -decades, columns)).double()
    assert_close(orthogonalised(matrix), by_singular_values(matrix), atol=1e-9, rtol=0)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (40, 40)])
def test_orthogonalised_in_single_precision(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert_close(orthogonalised(matrix).double(), by_singular_values(matrix), atol=1e-4, rtol=0)


def test_directions_of_a_hundredth_of_the_gradient_are_stepped_along_as_far():
    left, _ = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0)))
    values = torch.linalg.svdvals(orthogonalised(left * torch.tensor([1, 1, 1, 1, 1, 0.1, 0.05, 0.02])))
    assert values.min() > 0.6
    assert values.max() < 1.25


def test_no_gradient_is_no_step():
    assert_close(orthogonalised(torch.zeros(3, 5)), torch.zeros(3, 5))


def steps(optimizer, parameters, count=20):
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has a Muon from 2.9 on")
@pytest.mark.parametrize("shape", [(12, 30), (30, 12), (1, 7), (7, 1)])
def test_matrices_go_where_those_of_torch_go(shape):
    ours, theirs = (nn.Parameter(torch.zeros(shape)) for _ in range(2))
    steps(Muon([ours], lr=0.1, momentum=0.9), [ours])
    steps(torch.optim.Muon([theirs], lr=0.1, momentum=0.9, weight_decay=0), [theirs])
    # They compute in bfloat16.
    assert (ours - theirs).norm() < 0.02 * theirs.norm()


@pytest.mark.parametrize("shape", [(), (9,)])
def test_vectors_go_where_adam_takes_them(shape):
    ours, theirs = (nn.Parameter(torch.ones(shape)) for _ in range(2))
    steps(Muon([ours], lr=0.1, betas=(0.8, 0.99)), [ours])
    steps(torch.optim.Adam([theirs], lr=0.1, betas=(0.8, 0.99)), [theirs])
    assert_close(ours, theirs)


def test_a_convolution_is_the_matrix_of_its_output_channels():
    convolution = nn.Parameter(torch.zeros(6, 4, 1, 3))
    matrix = nn.Parameter(torch.zeros(6, 12))
    for parameter in (convolution, matrix):
        optimizer = Muon([parameter])
        parameter.grad = torch.arange(72.0).reshape(parameter.shape).cos()
        optimizer.step()
    assert_close(convolution.flatten(1), matrix)


def test_groups_have_rates_of_their_own_and_what_has_no_gradient_stays():
    fast, slow, still = (nn.Parameter(torch.zeros(3, 3)) for _ in range(3))
    optimizer = Muon([{"params": [fast, still], "lr": 0.2}, {"params": [slow], "lr": 0.1}])
    for parameter in (fast, slow):
        parameter.grad = torch.eye(3)
    optimizer.step()
    assert_close(fast, 2 * slow)
    assert_close(still, torch.zeros(3, 3))


def test_a_resumed_run_takes_the_same_steps():
    def run(cut):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4), nn.Linear(4, 1))
        optimizer = Muon(model.parameters())
        for step in range(6):
            if step == cut:
                state = copy.deepcopy(optimizer.state_dict())
                optimizer = Muon(model.parameters(), lr=1.0)
                optimizer.load_state_dict(state)
            optimizer.zero_grad()
            model(torch.full((3, 5), float(step))).sum().backward()
            optimizer.step()
        return [parameter.detach() for parameter in model.parameters()]

    for resumed, whole in zip(run(cut=3), run(cut=None), strict=True):
        assert torch.equal(resumed, whole)


def test_a_closure_is_called_with_gradients():
    parameter = nn.Parameter(torch.ones(2, 2))

    def closure():
        loss = parameter.square().sum()
        loss.backward()
        return loss

    assert Muon([parameter], lr=0.1).step(closure) == 4
    assert (parameter < 1).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, "lr: expected at least 0, found -1.0; give a positive learning rate"),
        ({"lr": math.nan}, "lr: expected at least 0, found nan"),
        ({"lr": math.inf}, "lr: expected at least 0, found inf"),
        ({"momentum": 1.0}, "momentum, betas: expected numbers from 0 to below 1, found 1.0 and"),
        ({"betas": (0.9, math.nan)}, r"momentum, betas: .* found 0.95 and \(0.9, nan\); give some such as"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    parameter = nn.Parameter(torch.zeros(1))
    for make in (lambda: Muon([parameter], **options), lambda: Muon([{"params": [parameter], **options}])):
        with pytest.raises(InputError, match=message):
            make()
