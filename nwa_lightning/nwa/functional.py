"""The equations of Needleman-Wunsch Attention as pure functions of tensors.

Source: Lee & No, "Needleman-Wunsch Attention", IEEE Access 2024, doi 10.1109/ACCESS.2024.3401464.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nwa_lightning._kernels import compiled, parallel_slices

#: Number of cells above which a second thread pays off.
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
    r"""The target attention map: the softmax of each row of a Needleman-Wunsch matrix.

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

    Float32 logits and int16 scores on the CPU go to a compiled kernel. It computes the gradient in the same pass and
    allocates no other tensor; it has no second derivative. Other types and devices use tensor operations in log space,
    which can be differentiated any number of times.

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
        TypeError: If a mask is not bool.
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
    parallel_slices(run, len(logits), threads=threads)
    return divergence, gradient


def _mask_bytes(mask: Tensor | None, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    return None if mask is None else mask.expand(shape).contiguous().view(torch.uint8).numpy()
