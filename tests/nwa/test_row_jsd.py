import itertools
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import row_jsd as slow_row_jsd
from test_alignment import run_python
from torch.utils.checkpoint import checkpoint

from nwa_lightning import _nw
from nwa_lightning.nwa import functional
from nwa_lightning.nwa.functional import row_jsd

# Float32 probabilities are off by about 1e-7 of themselves, and so is a row of divergence J by 1e-7 sqrt(2 J) at most:
# within 1e-6 of J, or 5e-9 a row.
RELATIVE, ABSOLUTE_A_ROW = 1e-6, 1e-8


def example(seed, pairs=3, rows=7, columns=19, spread=5.0, temperature=1.0, near=False, masked=True, infinite=False):
    """Float32 logits, int16 scores and masks; in each row at least one column that counts has a finite logit."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(-40, 20, (pairs, rows, columns)).astype(np.int16)
    logits = rng.uniform(-spread, spread, scores.shape) + (scores / temperature if near else 0.0)
    row_mask = rng.random((pairs, rows)) < (0.7 if masked else 1.0)
    column_mask = rng.random((pairs, columns)) < (0.7 if masked else 1.0)
    if infinite:
        first = column_mask.argmax(axis=-1)[:, None, None]
        logits[(rng.random(scores.shape) < 0.3) & (np.arange(columns) != first)] = -np.inf
    masks = (torch.from_numpy(row_mask), torch.from_numpy(column_mask)) if masked else (None, None)
    return torch.from_numpy(logits.astype(np.float32)), torch.from_numpy(scores), *masks


def value_and_gradient(logits, scores, *masks, temperature=1.0, weight=1.0):
    """Of the kernel for float32 logits and int16 scores, else of the formula."""
    logits = logits.detach().clone().requires_grad_()
    value = row_jsd(logits, scores, *masks, temperature=temperature)
    (weight * value).sum().backward()
    return value.detach(), logits.grad


def assert_exact(logits, scores, row_mask=None, column_mask=None, *, temperature=1.0):
    """The kernel against plain loops, its gradient against that of the formula, both in float64."""
    value, gradient = value_and_gradient(logits, scores, row_mask, column_mask, temperature=temperature)
    assert (value.dtype, gradient.dtype) == (torch.float32, torch.float32)
    assert (value >= 0).all()
    every = [
        np.ones(size, dtype=bool) if mask is None else mask.numpy()
        for mask, size in ((row_mask, logits.shape[:2]), (column_mask, logits.shape[::2]))
    ]
    expected = slow_row_jsd(logits.double().numpy(), scores.numpy(), *every, temperature)
    np.testing.assert_allclose(value, expected, rtol=RELATIVE, atol=ABSOLUTE_A_ROW * logits.shape[1])
    again, exact = value_and_gradient(logits.double(), scores.double(), row_mask, column_mask, temperature=temperature)
    np.testing.assert_allclose(again, expected, rtol=1e-9, atol=1e-12)
    largest = exact.abs().amax(dim=(1, 2), keepdim=True)
    # Where map and target are nearly equal, what is left of a difference of logarithms is the rounding of float32, 2^-24.
    assert ((gradient - exact).abs() <= RELATIVE * largest + 2**-24).all()
    inside = torch.from_numpy(every[0][:, :, None] & every[1][:, None, :])
    assert (gradient[~inside | logits.isneginf()] == 0).all()


@st.composite
def cases(draw):
    size = st.integers(1, 40)
    temperature = draw(st.sampled_from([0.3, 1.0, 4.0, 25.0]))
    options = {
        "spread": draw(st.sampled_from([0.0, 1e-3, 0.1, 3.0, 40.0, 200.0])),
        "near": draw(st.booleans()),
        "masked": draw(st.booleans()),
        "infinite": draw(st.booleans()),
    }
    shape = draw(st.integers(0, 3)), draw(size), draw(size)
    return example(draw(st.integers(0, 2**31)), *shape, temperature=temperature, **options), temperature


@settings(deadline=None, max_examples=150)
@given(cases())
def test_any_batch_is_what_the_formula_says(case):
    inputs, temperature = case
    assert_exact(*inputs, temperature=temperature)


ISA_CASES = [
    {"columns": columns, "spread": spread, "near": near, "infinite": infinite}
    for columns, spread, near, infinite in itertools.product(
        [1, 16, 33], [0.1, 3.0, 200.0], [False, True], [False, True]
    )
]


@pytest.mark.parametrize("name", _nw.instruction_sets)
def test_each_instruction_set(name):
    code = """
from nwa_lightning import _nw
from test_row_jsd import ISA_CASES, assert_exact, example
for seed, options in enumerate(ISA_CASES):
    assert_exact(*example(seed, masked=seed % 3 > 0, **options))
print(_nw.instruction_set)
"""
    result = run_python(code, NWA_LIGHTNING_ISA=name)
    assert (result.returncode, result.stdout.strip()) == (0, name), result.stderr


def test_the_kernel_takes_float32_and_int16_and_nothing_else(monkeypatch):
    logits, scores, _, _ = example(0)
    gradients = []
    spy = SimpleNamespace(row_jsd=lambda *inputs: (gradients.append(inputs[-1] is not None), _nw.row_jsd(*inputs)))
    monkeypatch.setattr(functional, "compiled", spy)
    row_jsd(logits, scores)
    with torch.no_grad():
        row_jsd(logits.requires_grad_(), scores)
    assert gradients == [False, False]
    row_jsd(logits, scores)
    with torch.autocast("cpu", torch.bfloat16):
        assert row_jsd(logits, scores).requires_grad
    assert gradients == [False, False, True, True]
    for other in (
        (logits.double(), scores),
        (logits.bfloat16(), scores),
        (logits, scores.int()),
        (logits, scores.float()),
    ):
        assert row_jsd(*other).shape == (3,)
    assert len(gradients) == 4


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_threads_change_nothing(threads, monkeypatch):
    used = []

    def parallel_slices(work, count, *, threads):
        used.append(threads)
        shared(work, count, threads=threads)

    shared = functional.parallel_slices
    monkeypatch.setattr(functional, "parallel_slices", parallel_slices)
    inputs = example(1, pairs=11)
    serial = value_and_gradient(*inputs)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        monkeypatch.setattr(functional, "_CELLS_PER_THREAD", 1)
        together = value_and_gradient(*inputs)
    finally:
        torch.set_num_threads(before)
    assert used == [1, threads]
    for one, other in zip(serial, together, strict=True):
        assert torch.equal(one, other)


def test_threads_in_a_backward_pass(monkeypatch):
    """A recomputed forward pass runs inside the backward pass."""
    monkeypatch.setattr(functional, "_CELLS_PER_THREAD", 1)
    logits, *rest = example(2)
    expected = value_and_gradient(logits, *rest)[1]
    for reentrant in (False, True):
        leaf = logits.clone().requires_grad_()
        checkpoint(row_jsd, leaf, *rest, use_reentrant=reentrant).sum().backward()
        assert torch.equal(leaf.grad, expected)


def test_any_layout():
    logits, scores, row_mask, column_mask = example(3)
    value, gradient = value_and_gradient(logits, scores, row_mask, column_mask)
    turned = [tensor.transpose(0, -1).contiguous().transpose(0, -1) for tensor in (scores, row_mask, column_mask)]
    spread = torch.zeros(3, 14, 38)
    spread[:, ::2, 1::2] = logits
    spread.requires_grad_()
    found = row_jsd(spread[:, ::2, 1::2], *turned)
    found.sum().backward()
    assert torch.equal(found.detach(), value)
    assert torch.equal(spread.grad[:, ::2, 1::2], gradient)
    assert spread.grad.count_nonzero() == gradient.count_nonzero()
    assert logits[..., ::2].stride(-1) == 2
    assert_exact(logits[..., ::2], scores[..., ::2], row_mask, column_mask[..., ::2])


def test_a_mask_once_for_all_pairs():
    logits, scores, row_mask, column_mask = example(4)
    once = row_jsd(logits, scores, row_mask[:1], column_mask[1])
    assert torch.equal(once, row_jsd(logits, scores, row_mask[:1].repeat(3, 1), column_mask[1:2].repeat(3, 1)))


def test_masked_cells_are_not_looked_at():
    inputs = logits, scores, row_mask, column_mask = example(5)
    outside = ~(row_mask[:, :, None] & column_mask[:, None, :])
    for rubbish in (torch.nan, torch.inf, -torch.inf, 3e38):
        other = logits.masked_fill(outside, rubbish), scores.masked_fill(outside, 32767), row_mask, column_mask
        for one, two in zip(value_and_gradient(*inputs), value_and_gradient(*other), strict=True):
            assert torch.equal(one, two)
    nothing = torch.zeros_like(column_mask)
    value, gradient = value_and_gradient(logits, scores, row_mask, nothing)
    assert (value == 0).all()
    assert (gradient == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("fault", [torch.nan, torch.inf])
def test_a_fault_is_seen_in_its_own_row_and_pair_only(dtype, fault):
    logits, scores, row_mask, column_mask = example(6)
    row_mask[1, 2] = column_mask[1, 4] = True
    logits = logits.to(dtype)
    clean = value_and_gradient(logits, scores, row_mask, column_mask)
    logits[1, 2, 4] = fault
    value, gradient = value_and_gradient(logits, scores, row_mask, column_mask)
    assert value.isnan().tolist() == [False, True, False]
    assert torch.equal(value[::2], clean[0][::2])
    hit = gradient.isnan()
    assert hit[1, 2].tolist() == column_mask[1].tolist()
    hit[1, 2] = False
    assert not hit.any()
    assert torch.equal(gradient[~gradient.isnan()], clean[1][~gradient.isnan()])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_infinitely_low_logits_are_probability_0(dtype):
    logits = torch.tensor(
        [[[0.0, 0.0, -torch.inf], [-torch.inf, 0.0, -torch.inf]], [[-torch.inf] * 3] * 2], dtype=dtype
    )
    scores = torch.zeros(2, 2, 3, dtype=torch.int16)
    low = logits.clamp(min=-1e4)
    for found, expected in zip(value_and_gradient(logits, scores), value_and_gradient(low, scores), strict=True):
        torch.testing.assert_close(found[0], expected[0])
        assert found[1].isnan().all()  # no column is left: there is no softmax


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_floating_scores_of_minus_infinity_are_probability_0(dtype):
    logits, scores = torch.zeros(1, 1, 3, dtype=dtype), torch.tensor([[[0.0, 2.0, -torch.inf]]], dtype=dtype)
    found, expected = value_and_gradient(logits, scores), value_and_gradient(logits, scores.clamp(min=-1e4))
    torch.testing.assert_close(found, expected)


def test_an_infinite_temperature_is_an_even_target():
    logits, scores, row_mask, column_mask = example(17)
    found = row_jsd(logits, scores, row_mask, column_mask, temperature=torch.inf)
    torch.testing.assert_close(found, row_jsd(logits, torch.zeros_like(scores), row_mask, column_mask), rtol=0, atol=0)


def test_probabilities_at_the_edge_of_float32():
    steps = torch.linspace(-90, -80, 33)
    scores = torch.arange(-33, 0, dtype=torch.int16).repeat(33, 1) - 60
    scores[:, 0] = 0
    logits = torch.stack([steps.roll(shift) for shift in range(33)])
    logits[:, 1] = 0.0
    assert_exact(logits[None], scores[None])
    assert_exact(scores.float()[None], scores[None])
    far = torch.tensor([[[-32768, 32767, 0]]], dtype=torch.int16)
    assert_exact(torch.tensor([[[3e38, -3e38, 0.0]]]), far)
    assert row_jsd(torch.tensor([[[3e38, -3e38, 0.0]]]), far).item() == pytest.approx(np.log(2), rel=1e-7)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])  # at 3, rounding makes the two differ
def test_equal_maps_have_no_divergence(temperature):
    _, scores, row_mask, column_mask = example(7, pairs=200, rows=1)
    value, gradient = value_and_gradient(scores / temperature, scores, row_mask, column_mask, temperature=temperature)
    assert (value >= 0).all()
    assert (value < 1e-11).all()
    assert (gradient.abs() < 1e-7).all()


def test_the_gradient_is_weighted_pair_by_pair():
    inputs = example(8)
    gradient = value_and_gradient(*inputs)[1]
    weight = torch.tensor([1e-5, 0.0, -3.0])
    torch.testing.assert_close(value_and_gradient(*inputs, weight=weight)[1], gradient * weight[:, None, None])
    leaf = inputs[0].clone().requires_grad_()
    (1e-5 * row_jsd(leaf, *inputs[1:]).mean()).backward()
    torch.testing.assert_close(leaf.grad, gradient * (1e-5 / 3), rtol=1e-6, atol=0)


def test_a_graph_kept_gives_the_same_gradient_again():
    logits, *rest = example(9)
    logits.requires_grad_()
    value = row_jsd(logits, *rest).sum()
    (first,) = torch.autograd.grad(2 * value, logits, retain_graph=True)
    kept = first.clone()
    first.zero_()
    (second,) = torch.autograd.grad(2 * value, logits, retain_graph=True)
    assert torch.equal(second, kept)
    value.backward()
    assert torch.equal(logits.grad * 2, kept)
    with pytest.raises(RuntimeError, match="second time"):
        value.backward()


def test_many_gradients_at_once():
    logits, *rest = example(10)
    gradient = value_and_gradient(logits, *rest)[1]
    whole = torch.autograd.functional.jacobian(lambda leaf: row_jsd(leaf, *rest), logits, vectorize=True)
    assert torch.equal(whole[range(3), range(3)], gradient)
    assert whole.count_nonzero() == gradient.count_nonzero()


def test_a_second_derivative_is_refused():
    logits, *rest = example(11)
    value = row_jsd(logits.requires_grad_(), *rest).sum()
    with pytest.raises(
        RuntimeError, match=r"without create_graph=True: the kernel of row_jsd has no second derivative"
    ):
        torch.autograd.grad(value, logits, create_graph=True)


def test_no_gradient_no_graph():
    logits, *rest = example(12)
    expected = value_and_gradient(logits, *rest)[0]
    assert not row_jsd(logits, *rest).requires_grad
    for guard in (torch.no_grad(), torch.inference_mode()):
        with guard:
            value = row_jsd(logits.clone().requires_grad_(), *rest)
        assert not value.requires_grad
        assert torch.equal(value, expected)


def test_float32_under_autocast():
    logits, *rest = example(13)
    expected = value_and_gradient(logits, *rest)
    with torch.autocast("cpu", torch.bfloat16):
        for found, exact in zip(value_and_gradient(logits, *rest), expected, strict=True):
            assert torch.equal(found, exact)


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (2, 3, 0)])
def test_nothing_in_some_direction(shape):
    value, gradient = value_and_gradient(torch.zeros(shape), torch.zeros(shape, dtype=torch.int16))
    assert value.tolist() == [0.0] * shape[0]
    assert gradient.shape == shape


def test_other_defaults_of_torch_change_nothing():
    inputs = example(14)
    expected = value_and_gradient(*inputs)
    torch.set_default_dtype(torch.float64)
    try:
        found = value_and_gradient(*inputs)
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        elsewhere = row_jsd(*inputs)
    assert torch.equal(elsewhere, expected[0])
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("of_mask", [torch.uint8, torch.int64, torch.float32])
def test_masks_that_are_not_bool_are_told(dtype, of_mask):
    logits, scores, row_mask, column_mask = example(15)
    with pytest.raises(TypeError, match=f"row_mask to be bool but got {of_mask}"):
        row_jsd(logits.to(dtype), scores, row_mask.to(of_mask), column_mask)
    with pytest.raises(TypeError, match=f"column_mask to be bool but got {of_mask}"):
        row_jsd(logits.to(dtype), scores, None, column_mask.to(of_mask))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # torch's own look
@pytest.mark.skipif(sys.platform == "win32", reason="torch.compile wants a compiler")
def test_in_a_compiled_graph():
    logits, *rest = example(16)
    expected = value_and_gradient(logits, *rest)[1]

    @torch.compile(backend="aot_eager")
    def loss(leaf):
        return 3 * row_jsd(leaf * 1.0, *rest).sum()

    leaf = logits.clone().requires_grad_()
    loss(leaf).backward()
    torch.testing.assert_close(leaf.grad, 3 * expected)


def test_near_the_target_nothing_cancels():
    scores = torch.randint(-4, 4, (1, 1, 50), generator=torch.Generator().manual_seed(0)).to(torch.int16)
    logits = scores.double() + 1e-3 * torch.linspace(-1, 1, 50, dtype=torch.float64)
    exact = row_jsd(logits, scores).item()
    assert 0 < exact < 1e-6
    assert row_jsd(logits.float(), scores).item() == pytest.approx(exact, rel=1e-3)
