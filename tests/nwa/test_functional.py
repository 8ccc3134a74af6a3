import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle import row_jsd as slow_row_jsd
from oracle import row_softmax
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from nwa_lightning.nwa.functional import nw_target, row_jsd


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
