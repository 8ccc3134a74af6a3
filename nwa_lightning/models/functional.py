"""Distances between embeddings, as pure functions of tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def safe_sqrt(value: Tensor) -> Tensor:
    """Square root whose gradient at 0 is 0 instead of infinite."""
    positive = value > 0
    return torch.where(positive, value, 1.0).sqrt() * positive


def hyperbolic_distance(first: Tensor, second: Tensor) -> Tensor:
    r"""Distance in the Poincare ball, in the form that is exact near 0.

    .. math:: d(u, v) = 2\,\mathrm{asinh}\frac{|u - v|}{\sqrt{(1 - |u|^2)(1 - |v|^2)}}

    equals :math:`\mathrm{arcosh}(1 + 2 |u-v|^2 / ((1-|u|^2)(1-|v|^2)))` (eq. 7 of Lee & No, 2024) because
    :math:`\cosh d = 1 + 2 \sinh^2(d/2)`. Nothing cancels in this form, so d(u, u) is 0 with a finite gradient.

    Args:
        first: ``(..., m)`` points inside the unit ball; other points count as just inside.
        second: ``(..., m)`` points, likewise.

    Returns:
        ``(...)`` distances.

    Example:
        >>> hyperbolic_distance(torch.tensor([0.5, 0.0]), torch.tensor([0.5, 0.0]))
        tensor(0.)
    """
    squared = (first - second).square().sum(dim=-1)
    # A point on the sphere or beyond counts as just inside, so it is far from all others and not at distance 0.
    smallest = torch.finfo(squared.dtype).eps
    room = math.prod((1 - side.square().sum(dim=-1)).clamp(min=smallest) for side in (first, second))
    return 2 * torch.asinh(safe_sqrt(squared / room))


def squared_euclidean_distance(first: Tensor, second: Tensor) -> Tensor:
    r"""Squared Euclidean distance, as in DSEE (Guo et al., ICML 2022).

    .. math:: d(u, v) = \sum_i (u_i - v_i)^2

    Args:
        first: ``(..., m)``.
        second: ``(..., m)``.

    Returns:
        ``(...)`` distances.

    Example:
        >>> squared_euclidean_distance(torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0]))
        tensor(25.)
    """
    return (first - second).square().sum(dim=-1)


def euclidean_distance(first: Tensor, second: Tensor) -> Tensor:
    r"""Euclidean distance, with gradient 0 between equal points.

    .. math:: d(u, v) = \sqrt{\sum_i (u_i - v_i)^2}

    Args:
        first: ``(..., m)``.
        second: ``(..., m)``.

    Returns:
        ``(...)`` distances.

    Example:
        >>> euclidean_distance(torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0]))
        tensor(5.)
    """
    return safe_sqrt(squared_euclidean_distance(first, second))


def cosine_distance(first: Tensor, second: Tensor) -> Tensor:
    r"""One minus the cosine of the angle, in the form that is exact near 0.

    .. math:: d(u, v) = 1 - \frac{u \cdot v}{|u| |v|} = \frac12 \left| \frac{u}{|u|} - \frac{v}{|v|} \right|^2

    A zero vector has no direction. Its distance is 0 to another zero vector and 1/2 to all other vectors.

    Args:
        first: ``(..., m)``.
        second: ``(..., m)``.

    Returns:
        ``(...)`` distances, from 0 to 2.

    Example:
        >>> cosine_distance(torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0]))
        tensor(1.)
    """
    directions = [nn.functional.normalize(side, dim=-1) for side in (first, second)]
    return squared_euclidean_distance(*directions) / 2


def manhattan_distance(first: Tensor, second: Tensor) -> Tensor:
    r"""Sum of absolute differences, with gradient 0 between equal numbers.

    .. math:: d(u, v) = \sum_i |u_i - v_i|

    Args:
        first: ``(..., m)``.
        second: ``(..., m)``.

    Returns:
        ``(...)`` distances.

    Example:
        >>> manhattan_distance(torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0]))
        tensor(7.)
    """
    return (first - second).abs().sum(dim=-1)
