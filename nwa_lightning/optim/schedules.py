"""Learning-rate factors, by step."""

from __future__ import annotations

import math


def inverse_sqrt_factor(step: int, *, warmup: int) -> float:
    """Learning-rate factor of Lee & No (2024): linear warm-up to 1, then 1/sqrt.

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
