"""The compiled kernel of soft alignment, wired into autograd; ``soft_alignment`` says when it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nwa_lightning._kernels import compiled, parallel_slices

#: Number of cells above which a second thread pays off, and number of templates that fill registers of any width.
_CELLS_PER_THREAD, _TEMPLATES = 300_000, 16


@torch.compiler.disable  # type: ignore[untyped-decorator]
def kernel_slices(codes: Tensor, lengths: Tensor, templates: Tensor, gaps: Tensor) -> tuple[Tensor, Tensor]:
    """``soft_alignment.best_slices`` for float32 on the CPU.

    Raises:
        ValueError: If a number is out of range.
    """
    codes, lengths = _checked_reads(codes, lengths, templates.shape[1])
    starts, ends = (codes.new_empty(len(gaps), len(codes), dtype=torch.int32) for _ in range(2))
    _run(compiled.soft_slices, (codes, lengths), (templates, gaps, starts, ends))
    return starts.T.long(), ends.T.long()


@torch.compiler.disable  # type: ignore[untyped-decorator]
def kernel_scores(
    codes: Tensor, lengths: Tensor, templates: Tensor, gaps: Tensor, slices: tuple[Tensor, Tensor] | None, gamma: float
) -> Tensor:
    """``soft_alignment.soft_nw_scores`` for float32 on the CPU.

    Raises:
        ValueError: If a number is out of range.
        RuntimeError: In a backward pass with ``create_graph=True``.
    """
    codes, lengths = _checked_reads(codes, lengths, templates.shape[1])
    starts, ends = (None, None) if slices is None else _checked_slices(*slices, codes.shape[1])
    scores: Tensor = _SoftNW.apply(codes, lengths, templates, gaps, starts, ends, gamma)  # type: ignore[no-untyped-call]
    return scores


class _SoftNW(torch.autograd.Function):
    """The scores and their gradients by templates and gap penalties."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        codes, lengths, templates, gaps, starts, ends, gamma = inputs
        ctx.save_for_backward(codes, lengths, templates, gaps, starts, ends)
        ctx.gamma = gamma
        scores: Tensor = templates.new_empty(len(templates), len(codes))
        _run(compiled.soft_scores, (codes, lengths), (templates, gaps, starts, ends, gamma, scores))
        return scores.T

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "Expected a backward pass without create_graph=True: the kernel of soft_nw_scores has no second derivative; "
                "give float64 templates for one."
            )
        codes, lengths, templates, gaps, starts, ends = ctx.saved_tensors
        gradients = torch.empty_like(templates, memory_format=torch.contiguous_format), torch.empty_like(gaps)
        score_gradient = grad_outputs[0].T.contiguous()
        given = (templates, gaps, starts, ends, ctx.gamma, score_gradient, *gradients)
        _run(compiled.soft_gradients, (codes, lengths), given)
        return None, None, *gradients, None, None, None


def _run(kernel: Callable[..., None], reads: tuple[Tensor, Tensor], given: tuple[Any, ...]) -> None:
    """Call the kernel for all templates, in threads; templates are the first dimension of all tensors in ``given``."""
    codes, lengths = (tensor.numpy() for tensor in reads)
    arrays = [each.detach().contiguous().numpy() if isinstance(each, Tensor) else each for each in given]
    templates = given[0]
    positions = templates.shape[2]
    columns = codes.shape[1] if given[2] is None or kernel is compiled.soft_slices else positions
    cells = len(codes) * columns * positions * len(templates)

    def run(part: slice) -> None:
        kernel(codes, lengths, *(each[part] if hasattr(each, "shape") else each for each in arrays))

    threads = min(torch.get_num_threads(), 1 + cells // _CELLS_PER_THREAD)
    parallel_slices(run, len(templates), threads=threads, group=_TEMPLATES)


def _checked_reads(codes: Tensor, lengths: Tensor, letters: int) -> tuple[Tensor, Tensor]:
    """Codes as bytes, and lengths, both checked, because the kernel does no checks."""
    _check_range("codes", codes, letters - 1)
    _check_range("lengths", lengths, codes.shape[1])
    return codes.to(torch.uint8).contiguous(), lengths.to(torch.int32).contiguous()


def _checked_slices(starts: Tensor, ends: Tensor, columns: int) -> tuple[Tensor, Tensor]:
    """Slices with templates first."""
    _check_range("starts of slices", starts, columns)
    _check_range("ends of slices", ends, columns)
    _check_range("lengths of slices", ends - starts, columns)
    return starts.T.to(torch.int32).contiguous(), ends.T.to(torch.int32).contiguous()


def _check_range(name: str, numbers: Tensor, most: int) -> None:
    if numbers.numel():
        low, high = (int(end) for end in numbers.aminmax())
        if low < 0 or high > most:
            raise ValueError(f"Expected {name} from 0 to {most} but got {low} to {high}.")
