"""The compiled divergence against loops in float64, against torch in float64, and at its edges."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import row_jsd as slow_row_jsd

from nwa_lightning import _nw, functional
from nwa_lightning.functional import row_jsd


def example(seed, pairs=3, rows=9, columns=11, spread=5.0, masks=True):
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(pairs, rows, columns, generator=generator)
    scores = torch.randint(-40, 20, (pairs, rows, columns), generator=generator).to(torch.int16)
    if not masks:
        return logits, scores, None, None
    row_mask = torch.arange(rows) < torch.randint(1, rows + 1, (pairs, 1), generator=generator)
    column_mask = torch.arange(columns) < torch.randint(1, columns + 1, (pairs, 1), generator=generator)
    return logits, scores, row_mask, column_mask


def check(logits, scores, row_mask, column_mask, temperature):
    """Divergence against loops, gradient against torch, both in float64."""
    every = torch.ones(logits.shape[:2], dtype=torch.bool), torch.ones(logits.shape[::2], dtype=torch.bool)
    masks = [mask if given is None else given for mask, given in zip(every, (row_mask, column_mask), strict=True)]
    with np.errstate(all="raise", under="ignore"):
        expected = slow_row_jsd(logits.numpy(), scores.numpy(), *(mask.numpy() for mask in masks), temperature)
    logits = logits.clone().requires_grad_()
    found = row_jsd(logits, scores, row_mask, column_mask, temperature=temperature)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-6, atol=1e-7)
    assert (found >= 0).all()
    weights = torch.linspace(1, 2, len(logits))
    (found * weights).sum().backward()
    exact = logits.detach().double().requires_grad_()
    (row_jsd(exact, scores, *masks, temperature=temperature) * weights).sum().backward()
    # Where all probability is in one place, gradients are tiny differences of numbers near log 2: half a unit of those.
    np.testing.assert_allclose(logits.grad, exact.grad, rtol=0, atol=1e-6 * exact.grad.abs().max().item() + 3e-8)
    inside = masks[0][:, :, None] & masks[1][:, None, :]
    assert (logits.grad[~inside] == 0).all()


@settings(deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([0.1, 2.0, 20.0, 200.0]),
    st.sampled_from([0.3, 1.0, 7.0]),
    st.booleans(),
)
def test_against_float64(seed, rows, columns, spread, temperature, masks):
    check(*example(seed, 3, rows, columns, spread, masks), temperature)


@pytest.mark.parametrize("name", _nw.instruction_sets)
def test_every_instruction_set(name):
    code = (
        "from nwa_lightning import _nw\n"
        "from test_row_jsd import check, example\n"
        "for seed in range(12):\n"
        "    check(*example(seed, 3, 5 + seed, 3 * seed + 1, [0.1, 3.0, 30.0][seed % 3], seed % 2 == 0), 0.8)\n"
        "print(_nw.instruction_set)\n"
    )
    environment = {**os.environ, "NWA_LIGHTNING_ISA": name, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.split() == [name], done.stderr


def test_near_the_target_nothing_cancels():
    scores = torch.randint(-4, 4, (1, 1, 50)).to(torch.int16)
    logits = scores.double() + 1e-3 * torch.linspace(-1, 1, 50, dtype=torch.float64)
    exact = row_jsd(logits, scores).item()
    assert 0 < exact < 1e-6
    assert row_jsd(logits.float(), scores).item() == pytest.approx(exact, rel=1e-3)
    assert row_jsd(scores.float(), scores).item() == 0


def test_threads_change_nothing(monkeypatch):
    logits, scores, row_mask, column_mask = example(0, pairs=37)
    results = []
    for cells in (10**9, 100):
        monkeypatch.setattr(functional, "_CELLS_PER_THREAD", cells)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
        leaf = logits.clone().requires_grad_()
        value = row_jsd(leaf, scores, row_mask, column_mask)
        value.sum().backward()
        results.append((value.detach(), leaf.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_a_batch_is_its_pairs():
    logits, scores, row_mask, column_mask = example(1, pairs=6)
    whole = row_jsd(logits, scores, row_mask, column_mask)
    alone = [
        row_jsd(logits[k : k + 1], scores[k : k + 1], row_mask[k : k + 1], column_mask[k : k + 1]) for k in range(6)
    ]
    assert torch.equal(whole, torch.cat(alone))


def test_nan_stays_where_it_is():
    logits, scores, _, _ = example(2)
    logits[1, 4, 3] = torch.nan
    logits.requires_grad_()
    found = row_jsd(logits, scores)
    assert found.isnan().tolist() == [False, True, False]
    found[1].backward()
    assert logits.grad[1, 4].isnan().any()
    assert logits.grad[[0, 2]].isfinite().all()
    column_mask = torch.ones(3, 11, dtype=torch.bool)
    column_mask[1, 3] = False
    leaf = logits.detach().requires_grad_()
    row_jsd(leaf, scores, None, column_mask).sum().backward()
    assert leaf.grad.isfinite().all(), "a masked NaN is no matter"


def test_minus_infinity_is_probability_0():
    logits, scores, _, _ = example(3, masks=False)
    low = logits.clone()
    logits[:, :, 4], low[:, :, 4] = -torch.inf, -1e4
    for values in (logits, low):
        values.requires_grad_()
    torch.testing.assert_close(row_jsd(logits, scores), row_jsd(low, scores))
    row_jsd(logits, scores).sum().backward()
    row_jsd(low, scores).sum().backward()
    torch.testing.assert_close(logits.grad, low.grad)
    assert (logits.grad[:, :, 4] == 0).all()


def test_nothing_in_common_is_log_2():
    logits = torch.tensor([[[200.0, 0.0, 0.0]]])
    scores = torch.tensor([[[-200, -200, 0]]], dtype=torch.int16)
    assert row_jsd(logits, scores).item() == pytest.approx(np.log(2), rel=1e-6)


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (2, 3, 0)])
def test_empty(shape):
    logits = torch.zeros(shape, requires_grad=True)
    found = row_jsd(logits, torch.zeros(shape, dtype=torch.int16))
    assert torch.equal(found, torch.zeros(shape[0]))
    found.sum().backward()
    assert logits.grad.shape == shape


def test_no_column_counts():
    logits, scores, row_mask, column_mask = example(4)
    column_mask[1] = False
    logits.requires_grad_()
    found = row_jsd(logits, scores, row_mask, column_mask)
    assert found[1] == 0
    found.sum().backward()
    assert (logits.grad[1] == 0).all()
    assert logits.grad.isfinite().all()


def test_any_strides():
    logits, scores, row_mask, column_mask = example(5)
    turned = [tensor.mT.contiguous().mT for tensor in (logits, scores)]
    spread = [torch.stack([mask, ~mask], dim=-1)[..., 0] for mask in (row_mask, column_mask)]
    assert not any(tensor.is_contiguous() for tensor in (*turned, *spread))
    assert torch.equal(row_jsd(*turned, *spread), row_jsd(logits, scores, row_mask, column_mask))
    one_mask = row_jsd(logits, scores, row_mask[:1], column_mask[0])
    same = row_jsd(logits, scores, row_mask[:1].expand(3, -1), column_mask[:1].expand(3, -1))
    assert torch.equal(one_mask, same)


def test_without_gradient():
    logits, scores, _, _ = example(6)
    with torch.no_grad():
        quiet = row_jsd(logits.requires_grad_(), scores)
    assert not quiet.requires_grad
    assert torch.equal(quiet, row_jsd(logits, scores).detach())
    assert not row_jsd(logits.detach(), scores).requires_grad


def test_backward_twice_is_the_same():
    logits, scores, _, _ = example(7)
    found = row_jsd(logits.requires_grad_(), scores).sum()
    (first,) = torch.autograd.grad(found, logits, retain_graph=True)
    (second,) = torch.autograd.grad(found, logits)
    assert torch.equal(first, second)


def test_second_derivative_is_refused_with_a_remedy():
    logits, scores, _, _ = example(8)
    with pytest.raises(RuntimeError, match=r"no second derivative; give float64 logits"):
        torch.autograd.grad(row_jsd(logits.requires_grad_(), scores).sum(), logits, create_graph=True)
    exact = logits.detach().double().requires_grad_()
    (gradient,) = torch.autograd.grad(row_jsd(exact, scores).sum(), exact, create_graph=True)
    gradient.square().sum().backward()
    assert exact.grad.isfinite().all()


def test_under_autocast_float32_goes_to_the_kernel():
    logits, scores, _, _ = example(9)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(row_jsd(logits, scores), row_jsd(logits, scores))
        found = row_jsd(logits, scores)
    assert torch.equal(found, row_jsd(logits, scores))


@pytest.mark.slow
def test_inside_a_compiled_function():
    logits, scores, _, _ = example(10)
    compiled = torch.compile(lambda values: row_jsd(2 * values, scores).sum())
    leaf, other = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    compiled(leaf).backward()
    row_jsd(2 * other, scores).sum().backward()
    torch.testing.assert_close(leaf.grad, other.grad)
