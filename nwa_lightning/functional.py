"""The equations of Needleman-Wunsch Attention as pure functions of tensors.

Source: Lee & No, "Needleman-Wunsch Attention", IEEE Access 2024, doi 10.1109/ACCESS.2024.3401464.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import mse_loss

from nwa_lightning.kernels import compiled, share

#: Names by which the command line knows the encoder losses.
LossName = Literal["squared", "absolute", "chi_square", "poisson", "triplet"]

#: Predicted distance, in edits, below which a logarithm goes on as its tangent.
_SMALLEST = 0.1

#: Cells from which it pays to wake a second thread.
_CELLS_PER_THREAD = 1_000_000


def _check_temperature(temperature: float) -> None:
    if temperature <= 0:
        raise ValueError(f"Expected temperature to be positive but got {temperature}.")


def _log_target(scores: Tensor, row_mask: Tensor | None, column_mask: Tensor | None, temperature: float) -> Tensor:
    """Row-wise log-softmax of the scores, in float32 at least."""
    values = scores if scores.is_floating_point() else scores.float()
    return _masked_log_softmax(values / temperature, row_mask, column_mask)


def _masked_log_softmax(values: Tensor, row_mask: Tensor | None, column_mask: Tensor | None) -> Tensor:
    """Log-softmax over the last dimension, in float32 at least; masked columns get the lowest finite value.

    A finite filler keeps every later sum free of ``inf - inf``; a whole masked row is filled with 0 first, so that its
    gradient, multiplied by 0 later, is finite. A logarithm of ``-inf``, that of probability 0, is raised to the same
    filler; NaN stays.
    """
    values = values if values.dtype == torch.float64 else values.float()
    if row_mask is not None:
        values = values.masked_fill(~row_mask[..., :, None], 0.0)
    if column_mask is not None:
        values = values.masked_fill(~column_mask[..., None, :], -1e30)
    return torch.log_softmax(values, dim=-1).clamp(min=-1e30)


def nw_target(
    scores: Tensor, row_mask: Tensor | None = None, column_mask: Tensor | None = None, *, temperature: float = 1.0
) -> Tensor:
    r"""The attention map to aim at: the softmax of each row of a Needleman-Wunsch matrix.

    .. math:: T_{ij} = \frac{\exp(M_{ij} / \tau)}{\sum_k \exp(M_{ik} / \tau)}

    Args:
        scores: ``(P, L1, L2)`` Needleman-Wunsch matrices, integers or floats.
        row_mask: ``(P, L1)`` true where a row belongs to the first sequence.
        column_mask: ``(P, L2)`` true where a column belongs to the second sequence.
        temperature: Divides the scores; higher is flatter.

    Returns:
        ``(P, L1, L2)`` rows that sum to 1; masked rows and columns are 0.

    Raises:
        ValueError: If ``temperature`` is not positive.

    Example:
        >>> nw_target(torch.tensor([[[1, 1, -200], [0, -200, -200]]]))
        tensor([[[0.5000, 0.5000, 0.0000],
                 [1.0000, 0.0000, 0.0000]]])
    """
    _check_temperature(temperature)
    target = _log_target(scores, row_mask, column_mask, temperature).exp()
    return target if row_mask is None else target * row_mask[..., :, None]


def row_jsd(
    logits: Tensor,
    scores: Tensor,
    row_mask: Tensor | None = None,
    column_mask: Tensor | None = None,
    *,
    temperature: float = 1.0,
) -> Tensor:
    r"""Jensen-Shannon divergence between an attention map and its target, summed over rows (eq. 5 of the paper).

    .. math:: \sum_i \tfrac12 \mathrm{KL}(A_i \| C_i) + \tfrac12 \mathrm{KL}(T_i \| C_i), \quad C = \tfrac12 (A + T)

    with :math:`A` the row softmax of the logits and :math:`T` that of the scores, in float32 even under autocast.

    Float32 logits and int16 scores on the CPU go to a compiled kernel, which finds the gradient in the same pass and
    makes no tensor but that; it has no second derivative. Every other type or device goes by tensor operations in log
    space, as often differentiable as one likes.

    Args:
        logits: ``(P, L1, L2)`` map logits: rows of the first sequence, columns of the second.
        scores: ``(P, L1, L2)`` Needleman-Wunsch matrices, integers or floats.
        row_mask: ``(P, L1)`` true where a row belongs to the first sequence; other rows add nothing.
        column_mask: ``(P, L2)`` true where a column belongs to the second sequence; others have probability 0.
        temperature: Divides the scores; higher is flatter.

    Returns:
        ``(P,)`` sums over rows, in nats; each row adds between 0 and ln 2.

    Raises:
        ValueError: If ``logits`` and ``scores`` differ in shape, or ``temperature`` is not positive.
        TypeError: If a mask is not of bool.
        RuntimeError: In a backward pass with ``create_graph=True`` through the kernel.

    Example:
        >>> row_jsd(torch.tensor([[[0.0, 99.0]]]), torch.tensor([[[99, 0]]]))  # nothing in common: ln 2
        tensor([0.6931])
    """
    if logits.shape != scores.shape:
        raise ValueError(
            f"Expected logits and scores of one shape but got {tuple(logits.shape)} and {tuple(scores.shape)}."
        )
    _check_temperature(temperature)
    for name, mask in (("row_mask", row_mask), ("column_mask", column_mask)):
        if mask is not None and mask.dtype != torch.bool:
            raise TypeError(f"Expected {name} to be bool but got {mask.dtype}.")
    fits = logits.ndim == 3 and logits.device.type == "cpu" and scores.device.type == "cpu"
    if fits and logits.dtype == torch.float32 and scores.dtype == torch.int16:
        divergence: Tensor = _fused_row_jsd(logits, scores, row_mask, column_mask, temperature)
        return divergence
    return _row_jsd_by_tensors(logits, scores, row_mask, column_mask, temperature)


def _row_jsd_by_tensors(
    logits: Tensor, scores: Tensor, row_mask: Tensor | None, column_mask: Tensor | None, temperature: float
) -> Tensor:
    with torch.autocast(logits.device.type, enabled=False):
        log_map = _masked_log_softmax(logits, row_mask, column_mask)
        log_target = _log_target(scores, row_mask, column_mask, temperature)
        log_centre = torch.logaddexp(log_map, log_target) - math.log(2)
        rows = log_map.exp() * (log_map - log_centre) + log_target.exp() * (log_target - log_centre)
        divergence = 0.5 * rows.sum(dim=-1)
        if row_mask is not None:
            divergence = divergence * row_mask
        return divergence.sum(dim=-1)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _fused_row_jsd(
    logits: Tensor, scores: Tensor, row_mask: Tensor | None, column_mask: Tensor | None, temperature: float
) -> Tensor:
    inputs = (logits, scores, row_mask, column_mask, temperature)
    if torch.is_grad_enabled() and logits.requires_grad:
        divergence: Tensor = _FusedRowJSD.apply(*inputs)  # type: ignore[no-untyped-call]
        return divergence
    return _run_kernel(*inputs, with_gradient=False)[0]


class _FusedRowJSD(torch.autograd.Function):
    """The kernel, whose forward pass also computes the gradient."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        divergence, gradient = _run_kernel(*inputs, with_gradient=True)
        ctx.save_for_backward(gradient)
        return divergence

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, None, None]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "Expected a backward pass without create_graph=True: the kernel of row_jsd has no second derivative; "
                "give float64 logits for one."
            )
        (gradient,) = ctx.saved_tensors
        return gradient * grad_outputs[0][:, None, None], None, None, None, None


def _run_kernel(
    logits: Tensor,
    scores: Tensor,
    row_mask: Tensor | None,
    column_mask: Tensor | None,
    temperature: float,
    *,
    with_gradient: bool,
) -> tuple[Tensor, Tensor | None]:
    """``(P,)`` divergences and, if wanted, ``(P, L1, L2)`` gradients by the logits."""
    divergence = logits.new_empty(len(logits))
    gradient = logits.new_empty(logits.shape) if with_gradient else None
    # A mask may be given once for all pairs.
    row_bytes = _mask_bytes(row_mask, logits.shape[:2])
    column_bytes = _mask_bytes(column_mask, logits.shape[::2])
    logit_array, score_array = (tensor.detach().contiguous().numpy() for tensor in (logits, scores))
    divergence_array, gradient_array = divergence.numpy(), None if gradient is None else gradient.numpy()

    def run(part: slice) -> None:
        compiled.row_jsd(
            logit_array[part],
            score_array[part],
            None if row_bytes is None else row_bytes[part],
            None if column_bytes is None else column_bytes[part],
            temperature,
            divergence_array[part],
            None if gradient_array is None else gradient_array[part],
        )

    threads = min(torch.get_num_threads(), 1 + logits.numel() // _CELLS_PER_THREAD)
    share(run, len(logits), threads=threads)
    return divergence, gradient


def _mask_bytes(mask: Tensor | None, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    return None if mask is None else mask.expand(shape).contiguous().view(torch.uint8).numpy()


def edit_distance_loss(predicted: Tensor, distance: Tensor, length: int) -> Tensor:
    """Mean over pairs of the squared error, as a fraction of the length (eq. 2 of the paper, on ED/n).

    Args:
        predicted: ``(P,)`` vector distances, in units of ``length`` edits.
        distance: ``(P,)`` edit distances, in edits.
        length: n, bases of the longest sequence.

    Returns:
        A scalar; 0 for no pairs.
    """
    if distance.numel() == 0:
        return predicted.sum()
    return mse_loss(predicted, distance.to(predicted.dtype) / length)


def absolute_loss(predicted: Tensor, distance: Tensor, length: int) -> Tensor:
    """Mean over pairs of the absolute error, as a fraction of the length.

    Args:
        predicted: ``(P,)`` vector distances, in units of ``length`` edits.
        distance: ``(P,)`` edit distances, in edits.
        length: n, bases of the longest sequence.

    Returns:
        A scalar; 0 for no pairs.

    Raises:
        ValueError: If the shapes differ, or ``length`` is not positive.
        TypeError: If ``predicted`` is not of floating point.

    Example:
        >>> absolute_loss(torch.tensor([0.1, 0.5]), torch.tensor([2, 2]), 10)
        tensor(0.2000)
    """
    _check_pairs(predicted, distance)
    _check_length(length)
    return _mean((predicted - distance.to(predicted.dtype) / length).abs())


def chi_square_loss(predicted: Tensor, distance: Tensor) -> Tensor:
    r"""Chi-square regression: the edit distance as the degrees of freedom of the vector distance.

    .. math:: \tfrac{y}{2} \ln 2 + \ln\Gamma(\tfrac{y}{2}) - (\tfrac{y}{2} - 1) \ln x + \tfrac{x}{2}

    is the negative log-likelihood of x under a chi-square distribution with y degrees of freedom; its minimiser is
    x = y - 2. With y < 2 it has no lower bound, so such pairs are left out. Below a tenth of an edit the logarithm goes
    on as its tangent: value and gradient stay finite down to 0, where they push the embeddings apart.

    Guo et al., "Deep Squared Euclidean Approximation to the Levenshtein Distance for DNA Storage", ICML 2022.

    Args:
        predicted: ``(P,)`` x, vector distances, in edits.
        distance: ``(P,)`` y, edit distances, in edits.

    Returns:
        A scalar, the mean over pairs with y >= 2; 0 if there are none.

    Raises:
        ValueError: If the shapes differ.
        TypeError: If ``predicted`` is not of floating point.

    Example:
        >>> chi_square_loss(torch.tensor([2.0]), torch.tensor([4]))  # ln 2 + 1
        tensor(1.6931)
    """
    _check_pairs(predicted, distance)
    counted = distance >= 2
    half = torch.where(counted, distance, 2).to(predicted.dtype) / 2
    likelihood = half * math.log(2) + torch.lgamma(half) - (half - 1) * _finite_log(predicted) + predicted / 2
    return _mean(likelihood, counted)


def poisson_loss(predicted: Tensor, distance: Tensor) -> Tensor:
    r"""Poisson regression: the vector distance as the mean of the edit distance.

    .. math:: x - y \ln x + \ln\Gamma(y + 1)

    is the negative log-likelihood of y under a Poisson distribution with mean x; its minimiser is x = y. Below a tenth
    of an edit the logarithm goes on as its tangent: value and gradient stay finite down to 0.

    Wei et al., "Levenshtein Distance Embedding with Poisson Regression for DNA Storage", AAAI 2024 (preprint 2023).

    Args:
        predicted: ``(P,)`` x, vector distances, in edits.
        distance: ``(P,)`` y, edit distances, in edits.

    Returns:
        A scalar, the mean over pairs; 0 for no pairs.

    Raises:
        ValueError: If the shapes differ.
        TypeError: If ``predicted`` is not of floating point.

    Example:
        >>> poisson_loss(torch.tensor([1.0, 1.0]), torch.tensor([0, 2]))  # (1 + 1 + ln 2) / 2
        tensor(1.3466)
    """
    _check_pairs(predicted, distance)
    edits = distance.to(predicted.dtype)
    return _mean(predicted - edits * _finite_log(predicted) + torch.lgamma(edits + 1))


def triplet_loss(predicted: Tensor, distance: Tensor, pairs: Tensor, length: int) -> Tensor:
    r"""Order of the partners of a sequence, plus the absolute error of every pair.

    .. math:: \mathrm{mean}_{(a, p, q)} \max\left(0,\; d(a, p) - d(a, q) + \frac{y(a, q) - y(a, p)}{n}\right)
              + \mathrm{mean}_{(a, p)} \left| d(a, p) - \frac{y(a, p)}{n} \right|

    where p is nearer to the anchor a than q, by the edit distances y. Every sequence is an anchor: its partners are taken
    in the order of ``pairs``, first those of the pairs that it leads, and each makes a triplet with the next one,
    unless both are equally far. So k partners make up to k - 1 triplets, and P pairs of U sequences up to 2P - U.

    Dai et al., "Convolutional Embedding for Edit Distance" (CNN-ED), SIGIR 2020; there an anchor and its two partners are
    drawn, and the two parts are weighted by a table over epochs.

    Args:
        predicted: ``(P,)`` d, vector distances, in units of ``length`` edits.
        distance: ``(P,)`` y, edit distances, in edits.
        pairs: ``(P, 2)`` rows of the sequences.
        length: n, bases of the longest sequence.

    Returns:
        A scalar; 0 for no pairs.

    Raises:
        ValueError: If the shapes differ, or ``length`` is not positive.
        TypeError: If ``predicted`` is not of floating point.

    Example:
        >>> pairs = torch.tensor([[0, 1], [0, 2]])
        >>> triplet_loss(torch.tensor([0.3, 0.3]), torch.tensor([2, 4]), pairs, 10)  # 0.2 + (0.1 + 0.1) / 2
        tensor(0.3000)
    """
    if pairs.shape != (*predicted.shape, 2):
        raise ValueError(
            f"Expected pairs of shape {(*predicted.shape, 2)}, one for each prediction, but got {tuple(pairs.shape)}."
        )
    approximation = absolute_loss(predicted, distance, length)
    # Each pair stands in the list of both of its sequences; a stable sort brings the lists together.
    ends = pairs.T.reshape(-1)
    order = ends.argsort(stable=True)
    pair = order % max(1, len(pairs))
    anchor, edits, error = ends[order], distance[pair], (predicted - distance.to(predicted.dtype) / length)[pair]
    counted = (anchor[1:] == anchor[:-1]) & (edits[1:] != edits[:-1])
    # d(a, p) - d(a, q) + (y(a, q) - y(a, p)) / n is the error of the nearer less that of the farther.
    nearer_first = torch.where(edits[:-1] < edits[1:], 1, -1)
    return _mean(torch.relu(nearer_first * (error[:-1] - error[1:])), counted) + approximation


def _check_pairs(predicted: Tensor, distance: Tensor) -> None:
    if predicted.ndim != 1 or predicted.shape != distance.shape:
        raise ValueError(
            f"Expected (P,) predicted and edit distances but got shapes {tuple(predicted.shape)} and "
            f"{tuple(distance.shape)}."
        )
    if not predicted.is_floating_point():
        raise TypeError(f"Expected predicted distances of a floating-point type but got {predicted.dtype}.")


def _check_length(length: int) -> None:
    if length <= 0:
        raise ValueError(f"Expected length to be positive but got {length}.")


def _finite_log(value: Tensor) -> Tensor:
    """Logarithm, which below ``_SMALLEST`` goes on as its tangent."""
    inside = value.clamp(min=_SMALLEST)
    return inside.log() + (value - inside) / _SMALLEST


def _mean(values: Tensor, counted: Tensor | None = None) -> Tensor:
    """Mean of the values that count; 0, with a gradient of 0, if there are none."""
    if counted is None:
        return values.sum() / max(1, values.numel())
    return (values * counted).sum() / counted.sum().clamp(min=1)


def inverse_sqrt_factor(step: int, *, warmup: int) -> float:
    """Learning-rate factor of the paper: linear warm-up to 1, then 1/sqrt.

    Args:
        step: From 0.
        warmup: Steps of the warm-up, at least 1; the first step has factor 1/warmup, so that none is wasted.

    Returns:
        A factor in (0, 1].
    """
    return min((step + 1) / warmup, math.sqrt(warmup / (step + 1)))


def cosine_factor(step: int, *, warmup: int, total: int) -> float:
    """Learning-rate factor that warms up linearly to 1, then falls to 0 along half a cosine.

    Args:
        step: From 0.
        warmup: Steps of the warm-up, at least 1; the first step has factor 1/warmup.
        total: Steps of the whole run; from there on the factor is 0.

    Returns:
        A factor in [0, 1].
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return 0.5 * (1.0 + math.cos(math.pi * progress))
