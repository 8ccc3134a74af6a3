"""Checks of the user's numbers, for encoders, heads and models."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

from nwa_lightning.errors import InputError


def at_least(least: int, /, **numbers: int | None) -> None:
    """Check whole numbers; None is skipped.

    Args:
        least: The smallest allowed number.
        **numbers: The numbers, by the names of their arguments.

    Raises:
        InputError: If one is smaller, or not a whole number.
    """
    for name, value in numbers.items():
        if value is None:
            continue
        if not _is_whole(value):
            raise InputError(f"{name}: expected a whole number, found {value!r}; give one of at least {least}")
        if value < least:
            raise InputError(f"{name}: expected at least {least}, found {value}; give a larger number")


def at_least_one(**numbers: int | None) -> None:
    """Check arguments that count something; None is skipped.

    Raises:
        InputError: If one is below 1, or not a whole number.
    """
    at_least(1, **numbers)


def odd(**numbers: int) -> None:
    """Check kernel sizes: the middle of an even kernel would lie between two positions.

    Raises:
        InputError: If one is below 1, even, or not a whole number.
    """
    at_least_one(**numbers)
    for name, value in numbers.items():
        if value % 2 == 0:
            raise InputError(f"{name}: expected an odd number, found {value}; give {value - 1} or {value + 1}")


def above_zero(**numbers: float) -> None:
    """Check learning rates, temperatures and the like.

    Raises:
        InputError: If one is not above 0, or not finite.
    """
    for name, value in numbers.items():
        if not 0 < value < math.inf:
            raise InputError(f"{name}: expected more than 0, found {value}; give a positive, finite number")


def multiple_of_heads(heads: int, hidden_dim: int) -> None:
    """Check a hidden dimension that the heads of an attention share.

    Raises:
        InputError: If it is not a positive multiple of them.
    """
    if not _is_whole(hidden_dim) or hidden_dim < 1 or hidden_dim % heads:
        raise InputError(
            f"hidden_dim: expected a positive multiple of the {heads} heads, found {hidden_dim}; change one of them"
        )


def halved(positions: int, times: int, name: str = "layers") -> int:
    """Positions that are left after some halvings, each rounded down.

    Args:
        positions: Number of positions before the first halving.
        times: Number of halvings.
        name: Name of the argument that sets the number of halvings.

    Raises:
        InputError: If there are none left.
    """
    if positions >> times == 0:
        raise InputError(f"{name}: expected few enough to halve {positions} positions, found {times}; use fewer")
    return positions >> times


def _is_whole(value: Any) -> bool:
    """Whether it is an int, of Python or of NumPy."""
    return isinstance(value, Integral)
