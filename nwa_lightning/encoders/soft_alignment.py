r"""Soft Needleman-Wunsch scores of reads against templates of letter weights, as pure functions of tensors.

With :math:`w` the weights of a template, :math:`g` its gap penalty and :math:`x` the letters of a read or a slice of it,

.. math::
    F_{ij} = \gamma \log \left( e^{(F_{i-1,j-1} + w_{x_j i}) / \gamma} + e^{(F_{i-1,j} - g) / \gamma}
    + e^{(F_{i,j-1} - g) / \gamma} \right), \quad F_{i0} = -i g, \quad F_{0j} = -j g

and the score is the last cell. As :math:`\gamma` goes to 0 it becomes the score of the best alignment.

Float32 on the CPU goes to a compiled kernel. Its backward pass keeps no table in memory, and it has no second derivative.
Other types and devices, and ``torch.export``, use tensor operations along anti-diagonals, which can be differentiated any
number of times.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nwa_lightning.encoders.soft_kernel import kernel_scores, kernel_slices
from nwa_lightning.sequences.alphabet import FIRST_LETTER


def read_codes(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Codes and lengths of ``(U, L)`` tokens: ``(U, L - 1)``, counted from 0, with 0 for padding, and ``(U,)``."""
    letters = tokens[:, 1:]
    return (letters - FIRST_LETTER).clamp(min=0), (letters >= FIRST_LETTER).sum(dim=1)


def best_slices(codes: Tensor, lengths: Tensor, templates: Tensor, gaps: Tensor) -> tuple[Tensor, Tensor]:
    """The slice of each read that each template aligns best with; skipping the ends of the read costs nothing.

    On ties, a match comes before a letter without a position, that comes before a position without a letter, and the
    earliest end wins. A slice may be empty.

    Args:
        codes: ``(U, L)`` letters, counted from 0; those beyond the length are ignored.
        lengths: ``(U,)`` letters of each read.
        templates: ``(K, letters, T)`` weight of a letter at a position.
        gaps: ``(K,)`` penalty of a letter without a position, or a position without a letter.

    Returns:
        ``(U, K)`` starts of the slices, and ``(U, K)`` ends, one past the last letter.

    Raises:
        ValueError: If the shapes do not fit, or numbers are out of range.

    Example:
        >>> best_slices(torch.tensor([[1, 0, 0]]), torch.tensor([3]), torch.tensor([[[2.0], [0.0]]]), torch.ones(1))
        (tensor([[1]]), tensor([[2]]))
    """
    inputs = _checked(codes, lengths, templates.detach(), gaps.detach())
    if _kernel_fits(*inputs):
        slices: tuple[Tensor, Tensor] = kernel_slices(*inputs)
        return slices
    return _slices_by_tensors(*inputs)


def soft_nw_scores(
    codes: Tensor,
    lengths: Tensor,
    templates: Tensor,
    gaps: Tensor,
    slices: tuple[Tensor, Tensor] | None = None,
    *,
    gamma: float,
) -> Tensor:
    """The soft score of each read, or of a slice of it, against each template, in float32 at least.

    Args:
        codes: ``(U, L)`` letters, counted from 0; those beyond the length are ignored.
        lengths: ``(U,)`` letters of each read.
        templates: ``(K, letters, T)`` weight of a letter at a position.
        gaps: ``(K,)`` penalty of a letter without a position, or a position without a letter.
        slices: ``(U, K)`` starts and ends as ``best_slices`` returns them; None takes whole reads.
        gamma: Temperature of the soft maximum; above 0.

    Returns:
        ``(U, K)`` scores.

    Raises:
        ValueError: If the shapes do not fit, or numbers are out of range.
        RuntimeError: In a backward pass with ``create_graph=True`` through the kernel.

    Example:
        >>> letter, length = torch.tensor([[0]]), torch.tensor([1])
        >>> soft_nw_scores(letter, length, torch.tensor([[[2.0], [0.0]]]), torch.ones(1), gamma=0.01)
        tensor([[2.]])
    """
    if not gamma > 0:
        raise ValueError(f"Expected gamma to be above 0 but got {gamma}.")
    inputs = _checked(codes, lengths, templates, gaps)
    shape = (codes.shape[0], templates.shape[0])
    if slices is not None and any(side.shape != shape for side in slices):
        raise ValueError(f"Expected slices of shape {shape} but got {[tuple(side.shape) for side in slices]}.")
    if _kernel_fits(*inputs):
        scores: Tensor = kernel_scores(*inputs, slices, gamma)
        return scores
    return _scores_by_tensors(*inputs, slices, gamma)


def _checked(codes: Tensor, lengths: Tensor, templates: Tensor, gaps: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The inputs, with numbers in float32 at least."""
    if codes.ndim != 2 or templates.ndim != 3 or lengths.shape != codes.shape[:1] or gaps.shape != templates.shape[:1]:
        raise ValueError(
            f"Expected codes (U, L), lengths (U,), templates (K, letters, T) and gaps (K,) but got "
            f"{[tuple(tensor.shape) for tensor in (codes, lengths, templates, gaps)]}."
        )
    wide = torch.float64 if templates.dtype == torch.float64 else torch.float32
    return codes, lengths, templates.to(wide), gaps.to(wide)


def _kernel_fits(*inputs: Tensor) -> bool:
    templates = inputs[2]
    if torch.compiler.is_exporting() or templates.dtype != torch.float32 or templates.shape[1] > 256:  # codes are bytes
        return False
    return all(tensor.device.type == "cpu" for tensor in inputs)


def _slices_by_tensors(codes: Tensor, lengths: Tensor, templates: Tensor, gaps: Tensor) -> tuple[Tensor, Tensor]:
    reads, columns = codes.shape
    positions = templates.shape[2]
    table, letters = _prepared(codes.T[:, :, None], templates)
    before = last = zeros = templates.new_zeros(1, reads, templates.shape[0])
    start_before = start_last = none = zeros.long()
    top, start, end = zeros[0], none[0], none[0]
    for number in range(1, positions + columns + 1):
        inner = min(number - 1, positions)
        rows, row_starts = [zeros], [none + number]
        if inner:
            best, best_start = before[:inner] + _step_weights(table, letters, number, inner), start_before[:inner]
            for neighbours in (slice(1, inner + 1), slice(inner)):
                other = last[neighbours] - gaps
                better = other > best
                best = torch.where(better, other, best)
                best_start = torch.where(better, start_last[neighbours], best_start)
            rows.append(best)
            row_starts.append(best_start)
        if number <= positions:
            rows.append(last[-1:] - gaps)
            row_starts.append(none)
        before, last = last, torch.cat(rows)
        start_before, start_last = start_last, torch.cat(row_starts)
        if number == positions:
            top = last[positions]
        elif number > positions:
            better = (last[positions] > top) & (lengths[:, None] >= number - positions)
            top = torch.where(better, last[positions], top)
            start = torch.where(better, start_last[positions], start)
            end = torch.where(better, number - positions, end)
    return start, end


def _scores_by_tensors(
    codes: Tensor,
    lengths: Tensor,
    templates: Tensor,
    gaps: Tensor,
    slices: tuple[Tensor, Tensor] | None,
    gamma: float,
) -> Tensor:
    (reads, columns), (count, _, positions) = codes.shape, templates.shape
    starts, ends = (lengths[:, None] * 0, lengths[:, None]) if slices is None else slices
    sizes = (ends - starts).long()
    # The shapes in an exported program must not depend on its input.
    longest = columns if torch.compiler.is_exporting() else int(sizes.max()) if sizes.numel() else 0
    places = starts.long() + torch.arange(longest, device=codes.device)[:, None, None]
    own_letters = codes.expand(longest, reads, columns).gather(2, places.clamp(max=max(columns - 1, 0)))
    table, letters = _prepared(own_letters, templates)
    before = last = templates.new_zeros(1, reads, count)
    last_row = []
    for number in range(1, positions + longest + 1):
        inner = min(number - 1, positions)
        rows = [last[:1] - gaps]
        if inner:
            corner = before[:inner] + _step_weights(table, letters, number, inner)
            ways = torch.stack([corner, last[:inner] - gaps, last[1 : inner + 1] - gaps])
            rows.append(gamma * torch.logsumexp(ways / gamma, dim=0))
        if number <= positions:
            rows.append(last[-1:] - gaps)
        before, last = last, torch.cat(rows)
        if number >= positions:
            last_row.append(last[positions])
    return torch.stack(last_row).gather(0, sizes.expand(reads, count)[None])[0]


def _prepared(letters: Tensor, templates: Tensor) -> tuple[Tensor, Tensor]:
    """Weights ``(T, letters, K)``, and letters ``(columns + T, U, K)``; no score depends on the last T letters."""
    more = letters.new_zeros(templates.shape[2], *letters.shape[1:])
    return templates.permute(2, 1, 0), torch.cat([letters, more]).long().expand(-1, -1, templates.shape[0])


def _step_weights(table: Tensor, letters: Tensor, number: int, inner: int) -> Tensor:
    """``(inner, U, K)`` weights of the cells (1, number - 1), (2, number - 2) and so on."""
    return table[:inner].gather(1, letters[number - 1 - inner : number - 1].flip(0))
