"""Matrices of which only every s-th row and column is there."""

from __future__ import annotations

from typing import Any


def token_count(batch: Any, stride: int) -> int:
    """L, how many tokens the matrices of a batch stand for, up to the last one that has a row.

    Args:
        batch: A batch with ``nw``, ``(Q, R, R)``; in a ``PairBatch``, ``nw_stride`` says which rows they are.
        stride: s, tokens per row and column of the maps.

    Raises:
        ValueError: If the matrices lack rows that the maps have.
    """
    found = getattr(batch, "nw_stride", 1)
    if found not in (1, stride):
        raise ValueError(
            f"Expected matrices with stride 1, or {stride} as the maps have, but got {found}; make the stride of the batches "
            f"(--data.nwa_stride) and that of the maps (--model.nwa_stride) equal."
        )
    count: int = (batch.nw.shape[-1] - 1) * found + 1
    return count
