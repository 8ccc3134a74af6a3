import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import soft_nw
from test_alignment import run_python

from nwa_lightning import _nw
from nwa_lightning.encoders import soft_alignment, soft_kernel
from nwa_lightning.encoders.soft_alignment import best_slices, read_codes, soft_nw_scores


def example(seed, reads=5, columns=17, templates=19, letters=4, positions=6, whole_numbers=False, gap=(0.3, 1.5)):
    """Codes, lengths from 0 to the longest, float32 templates and gap penalties; whole numbers make ties."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, letters, (reads, columns))
    lengths = rng.integers(0, columns + 1, reads)
    lengths[:2] = [columns, 0][: len(lengths)]
    weights = rng.uniform(-1, 1, (templates, letters, positions))
    gaps = rng.uniform(*gap, templates)
    if whole_numbers:
        weights, gaps = weights.round(), gaps.round()
    return tuple(
        torch.from_numpy(array) for array in (codes, lengths, weights.astype(np.float32), gaps.astype(np.float32))
    )


def values_and_gradients(codes, lengths, templates, gaps, slices, gamma, weight):
    templates, gaps = templates.detach().clone().requires_grad_(), gaps.detach().clone().requires_grad_()
    scores = soft_nw_scores(codes, lengths, templates, gaps, slices, gamma=gamma)
    leaves = templates, gaps  # without a letter, no formula has the templates in it
    gradients = torch.autograd.grad((scores * weight).sum(), leaves, allow_unused=True, materialize_grads=True)
    return scores.detach(), *gradients


def assert_right(codes, lengths, templates, gaps, gamma):
    """The kernel against plain loops, its gradient against that of the formula in float64."""
    inputs = codes, lengths, templates, gaps
    assert templates.dtype == torch.float32
    slices = best_slices(*inputs)
    for found, expected in zip(slices, soft_alignment._slices_by_tensors(*inputs), strict=True):
        assert torch.equal(found, expected)
    weight = torch.randn(len(codes), len(templates), generator=torch.Generator().manual_seed(0))
    whole = torch.zeros_like(slices[0]), lengths[:, None].expand_as(slices[0])
    a_step = max(gaps.abs().max().item(), templates.abs().max().item()) + gamma * np.log(3)
    largest = 1 + (codes.shape[1] + templates.shape[2]) * a_step
    for given_slices, bounds in ((slices, slices), (None, whole), (whole, whole)):
        scores, *gradients = values_and_gradients(*inputs, given_slices, gamma, weight)
        doubles = codes, lengths, templates.double(), gaps.double()
        exact, *exact_gradients = values_and_gradients(*doubles, given_slices, gamma, weight)
        by_tensors = soft_alignment._scores_by_tensors(*inputs, given_slices, gamma)
        assert (scores.dtype, by_tensors.dtype, exact.dtype) == (torch.float32, torch.float32, torch.float64)
        for read, template in np.ndindex(*scores.shape):
            start, end = (side[read, template].item() for side in bounds)
            expected = soft_nw(
                codes[read, start:end].tolist(), templates[template].double().numpy(), gaps[template].item(), gamma
            )
            assert exact[read, template].item() == pytest.approx(expected, rel=1e-9, abs=1e-9)
        # A cell is off by its rounding, a probability by that over gamma.
        assert ((scores - exact).abs() <= 1e-6 * largest).all()
        assert ((by_tensors - exact).abs() <= 1e-6 * largest).all()
        for found, right in zip(gradients, exact_gradients, strict=True):
            assert ((found - right).abs() <= 3e-6 * largest * (1 + 1 / gamma) * len(codes)).all()


@st.composite
def cases(draw):
    sizes = {
        "reads": draw(st.integers(1, 4)),
        "columns": draw(st.integers(0, 14)),
        "templates": draw(st.sampled_from([1, 3, 16, 17])),
        "letters": draw(st.sampled_from([1, 2, 4, 7])),
        "positions": draw(st.sampled_from([1, 2, 5, 20])),
        "whole_numbers": draw(st.booleans()),
        "gap": draw(st.sampled_from([(0.0, 0.2), (0.3, 1.5), (3.0, 4.0), (-0.4, 0.1)])),
    }
    return example(draw(st.integers(0, 2**31)), **sizes), draw(st.sampled_from([0.01, 0.1, 1.0, 10.0]))


@settings(deadline=None, max_examples=60)
@given(cases())
def test_any_batch_is_what_the_formula_says(case):
    inputs, gamma = case
    assert_right(*inputs, gamma)


@pytest.mark.parametrize("name", _nw.instruction_sets)
def test_each_instruction_set(name):
    code = """
import itertools
from nwa_lightning import _nw
from test_soft_alignment import assert_right, example
sizes = itertools.product([1, 15, 18], [2, 5], [3, 21], [False, True])
for seed, (templates, letters, positions, whole_numbers) in enumerate(sizes):
    inputs = example(seed, 4, 13, templates, letters, positions, whole_numbers)
    assert_right(*inputs, [0.01, 0.3, 1.0][seed % 3])
print(_nw.instruction_set)
"""
    result = run_python(
        f"import sys; sys.path.append({str(__file__).rpartition('/')[0]!r})\n{code}", NWA_LIGHTNING_ISA=name
    )
    assert (result.returncode, result.stdout.strip()) == (0, name), result.stderr


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_slice_has_the_best_score_of_all(dtype):
    codes, lengths, templates, gaps = example(1, columns=9, templates=5, positions=4)
    starts, ends = best_slices(codes, lengths, templates.to(dtype), gaps.to(dtype))
    assert starts.dtype == ends.dtype == torch.int64
    for read, template in np.ndindex(*starts.shape):
        letters, weights = codes[read, : lengths[read]].tolist(), templates[template].double().numpy()
        scores = {
            ends: soft_nw(letters[slice(*ends)], weights, gaps[template].item(), 0)
            for ends in itertools.combinations_with_replacement(range(len(letters) + 1), 2)
        }
        found = starts[read, template].item(), ends[read, template].item()
        assert scores[found] == pytest.approx(max(scores.values()), abs=1e-5)


def spelt(word, letters=4):
    """A template that gives 1 to the letters of a word and -1 to others."""
    return 2 * torch.eye(letters)[word].T[None] - 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("word", "read", "bounds"),
    [
        ([0, 1, 2], [3, 3, 0, 1, 2, 3], (2, 5)),
        ([0, 1, 2], [0, 1, 2, 0, 1, 2], (0, 3)),  # of equals the earliest
        ([0, 0], [3, 0, 0, 0, 0], (1, 3)),
        ([0, 1, 2, 3], [0, 1, 3, 3], (0, 3)),  # a position without a letter
        ([0, 1, 2, 3], [0, 1, 3, 2, 3, 0], (0, 5)),  # a letter without a position
        ([0], [], (0, 0)),
        ([0], [0], (0, 1)),
        ([0], [1], (0, 0)),  # nothing is as good as a mismatch, and ends earlier
        ([2, 0, 1, 3, 2, 1], [0, 1], (0, 2)),  # a template longer than the read
    ],
)
def test_slices_by_hand(word, read, bounds, dtype):
    codes, lengths = torch.tensor([read], dtype=torch.int64), torch.tensor([len(read)])
    slices = best_slices(codes, lengths, spelt(word).to(dtype), torch.ones(1, dtype=dtype))
    assert tuple(side.item() for side in slices) == bounds


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_by_hand(dtype):
    templates, gaps = spelt([0, 1, 2]).to(dtype), torch.tensor([0.75], dtype=dtype)
    reads = [[0, 1, 2], [0, 2], [0, 1, 3, 2], [3, 3, 3], []]
    codes, lengths = torch.zeros(5, 4, dtype=torch.int64), torch.tensor([len(read) for read in reads])
    for row, read in zip(codes, reads, strict=True):
        row[: len(read)] = torch.tensor(read)
    found = soft_nw_scores(codes, lengths, templates, gaps, gamma=1e-4)[:, 0]
    expected = [3, 2 - 0.75, 3 - 0.75, -3, -3 * 0.75]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=dtype), atol=1e-3, rtol=0)
    # One position and one letter: over the diagonal, or by two gaps in two orders.
    found = soft_nw_scores(torch.tensor([[1]]), torch.tensor([1]), spelt([1]).to(dtype), gaps, gamma=2.0)
    expected = 2 * np.log(np.exp(1 / 2) + 2 * np.exp(-1.5 / 2))
    assert found.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("with_slices", [False, True])
def test_the_formula_has_the_gradient_it_should(with_slices):
    codes, lengths, templates, gaps = example(2, reads=3, columns=6, templates=2, letters=3, positions=4)
    slices = best_slices(codes, lengths, templates, gaps) if with_slices else None

    def scores(templates, gaps):
        return soft_nw_scores(codes, lengths, templates, gaps, slices, gamma=0.5)

    doubles = templates.double().requires_grad_(), gaps.double().requires_grad_()
    assert torch.autograd.gradcheck(scores, doubles)
    assert torch.autograd.gradgradcheck(scores, doubles)


def test_letters_beyond_the_length_do_not_count():
    codes, lengths, templates, gaps = example(3)
    other = torch.where(torch.arange(codes.shape[1]) < lengths[:, None], codes, 3 - codes)
    assert not torch.equal(codes, other)
    for dtype in (torch.float32, torch.float64):
        numbers = templates.to(dtype), gaps.to(dtype)
        slices = best_slices(codes, lengths, *numbers)
        for one, two in zip(slices, best_slices(other, lengths, *numbers), strict=True):
            assert torch.equal(one, two)
        for bounds in (None, slices):
            weight = torch.ones(())
            one = values_and_gradients(codes, lengths, *numbers, bounds, 0.1, weight)
            two = values_and_gradients(other, lengths, *numbers, bounds, 0.1, weight)
            assert all(torch.equal(*pair) for pair in zip(one, two, strict=True))


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_nothing(threads, monkeypatch):
    inputs = example(4, templates=40)

    def everything():
        slices = best_slices(*inputs)
        return *slices, *values_and_gradients(*inputs, slices, 0.1, torch.ones(()))

    serial = everything()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    monkeypatch.setattr(soft_kernel, "_CELLS_PER_THREAD", 1)
    try:
        together = everything()
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(*pair) for pair in zip(serial, together, strict=True))


def test_scores_without_gradient_have_none():
    """As behind a ReLU; whole registers of them are left out."""
    codes, lengths, templates, gaps = example(5, templates=40)
    weight = torch.zeros(5, 40)
    weight[2, 33] = 2.0
    _, by_templates, by_gaps = values_and_gradients(codes, lengths, templates, gaps, None, 0.1, weight)
    assert by_templates.any(dim=2).any(dim=1).nonzero().tolist() == [[33]]
    assert by_gaps.nonzero().tolist() == [[33]]


def test_any_layout():
    codes, lengths, templates, gaps = example(6)
    expected = soft_nw_scores(codes, lengths, templates, gaps, gamma=0.1)
    turned = templates.permute(2, 0, 1).contiguous().permute(1, 2, 0).requires_grad_()
    assert not turned.is_contiguous()
    found = soft_nw_scores(codes.T.contiguous().T.int(), lengths.int(), turned, gaps.repeat(2)[: len(gaps)], gamma=0.1)
    assert torch.equal(found, expected)
    found.sum().backward()
    gradient = values_and_gradients(codes, lengths, templates, gaps, None, 0.1, torch.ones(()))[1]
    assert torch.equal(turned.grad, gradient)


def test_nan_is_seen_in_its_own_template_only():
    codes, lengths, templates, gaps = example(7, columns=40)
    lengths[:] = 40
    templates[3] = torch.nan
    slices = best_slices(codes, lengths, templates, gaps)
    assert ((slices[0] >= 0) & (slices[0] <= slices[1]) & (slices[1] <= 40)).all()
    for bounds in (None, slices):
        scores = soft_nw_scores(codes, lengths, templates, gaps, bounds, gamma=0.1)
        assert scores.isnan().all(dim=0).nonzero().tolist() == [[3]]
        assert scores.isnan().any(dim=0).nonzero().tolist() == [[3]]


def test_half_precision_is_computed_in_single():
    codes, lengths, templates, gaps = example(8)
    halves = templates.bfloat16(), gaps.bfloat16()
    found = soft_nw_scores(codes, lengths, *halves, gamma=0.1)
    assert found.dtype == torch.float32
    assert torch.equal(found, soft_nw_scores(codes, lengths, halves[0].float(), halves[1].float(), gamma=0.1))


def test_more_letters_than_a_byte_has():
    codes, lengths, templates, gaps = example(13, letters=300)
    assert codes.max() > 255
    slices = best_slices(codes, lengths, templates, gaps)
    found = soft_nw_scores(codes, lengths, templates, gaps, slices, gamma=0.1)
    exact = soft_nw_scores(codes, lengths, templates.double(), gaps.double(), slices, gamma=0.1)
    torch.testing.assert_close(found.double(), exact, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_nothing_in_some_direction(shape, dtype):
    codes, lengths = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape[0], dtype=torch.int64)
    templates, gaps = torch.ones(2, 4, 3, dtype=dtype), torch.tensor([1.0, 2.0], dtype=dtype)
    slices = best_slices(codes, lengths, templates, gaps)
    assert [side.tolist() for side in slices] == [[[0, 0]] * shape[0]] * 2
    for bounds in (None, slices):
        scores, by_templates, by_gaps = values_and_gradients(
            codes, lengths, templates, gaps, bounds, 0.1, torch.ones(())
        )
        assert scores.tolist() == [[-3.0, -6.0]] * shape[0]
        assert not by_templates.any()
        assert by_gaps.tolist() == [-3.0 * shape[0]] * 2


def test_codes_of_tokens():
    codes, lengths = read_codes(torch.tensor([[1, 2, 5, 0], [1, 0, 0, 0]]))
    assert codes.tolist() == [[0, 3, 0], [0, 0, 0]]
    assert lengths.tolist() == [2, 0]


def test_what_does_not_fit_is_told():
    codes, lengths, templates, gaps = example(9)
    slices = best_slices(codes, lengths, templates, gaps)
    for gamma in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=f"Expected gamma to be above 0 but got {gamma}"):
            soft_nw_scores(codes, lengths, templates, gaps, gamma=gamma)
    with pytest.raises(ValueError, match=r"Expected codes \(U, L\), lengths .* but got \[\(5, 17\), \(4,\)"):
        best_slices(codes, lengths[1:], templates, gaps)
    with pytest.raises(ValueError, match=r"Expected slices of shape \(5, 19\) but got \[\(5, 18\)"):
        soft_nw_scores(codes, lengths, templates, gaps, (slices[0][:, 1:], slices[1]), gamma=0.1)
    with pytest.raises(ValueError, match="Expected starts of slices from 0 to 17 but got -1"):
        soft_nw_scores(codes, lengths, templates, gaps, (slices[0] - 1, slices[1]), gamma=0.1)
    with pytest.raises(ValueError, match="Expected ends of slices from 0 to 3 but got 4 to 4"):
        soft_nw_scores(
            codes[:, :3], lengths.clamp(max=3), templates, gaps, (slices[0] * 0, slices[1] * 0 + 4), gamma=0.1
        )
    with pytest.raises(ValueError, match="Expected lengths of slices from 0 to 17 but got -1 to -1"):
        soft_nw_scores(codes, lengths, templates, gaps, (slices[0] * 0 + 2, slices[1] * 0 + 1), gamma=0.1)
    with pytest.raises(ValueError, match="Expected codes from 0 to 3 but got 0 to 4"):
        best_slices(codes + (codes == 3), lengths, templates, gaps)
    with pytest.raises(ValueError, match="Expected lengths from 0 to 17 but got"):
        best_slices(codes, lengths + 1, templates, gaps)


def test_a_second_derivative_is_refused():
    codes, lengths, templates, gaps = example(10)
    scores = soft_nw_scores(codes, lengths, templates.requires_grad_(), gaps, gamma=0.1)
    with pytest.raises(RuntimeError, match=r"without create_graph=True: the kernel of soft_nw_scores has no second"):
        torch.autograd.grad(scores.sum(), templates, create_graph=True)


def test_no_gradient_no_graph():
    codes, lengths, templates, gaps = example(11)
    expected = soft_nw_scores(codes, lengths, templates, gaps, gamma=0.1)
    assert not expected.requires_grad
    for guard in (torch.no_grad(), torch.inference_mode()):
        with guard:
            scores = soft_nw_scores(codes, lengths, templates.clone().requires_grad_(), gaps, gamma=0.1)
        assert not scores.requires_grad
        assert torch.equal(scores, expected)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # torch's own look
def test_in_a_compiled_graph():
    codes, lengths, templates, gaps = example(12)
    slices = best_slices(codes, lengths, templates, gaps)
    expected = values_and_gradients(codes, lengths, templates, gaps, slices, 0.1, torch.ones(()))[1]

    @torch.compile(backend="aot_eager")
    def loss(leaf):
        bounds = best_slices(codes, lengths, leaf * 1.0, gaps)
        return 3 * soft_nw_scores(codes, lengths, leaf * 1.0, gaps, bounds, gamma=0.1).sum()

    leaf = templates.clone().requires_grad_()
    loss(leaf).backward()
    torch.testing.assert_close(leaf.grad, 3 * expected)
