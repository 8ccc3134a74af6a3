"""Checks of arguments, with errors that say what was expected and what was found."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nwa_lightning.errors import InputError


def at_least_one(name: str, value: int) -> int:
    """A count that must be 1 or more."""
    if not isinstance(value, int) or value < 1:
        raise InputError(f"{name}: expected an integer of at least 1, found {value!r}")
    return value


def row_pairs(name: str, values: ArrayLike, of: str, count: int) -> NDArray[np.int64]:
    """``(P, 2)`` numbers of rows, each below ``count``."""
    pairs = integers(name, values, (-1, 2))
    if pairs.size and not (pairs.min() >= 0 and pairs.max() < count):
        raise InputError(f"{name}: expected rows of {of}, 0 to {count - 1}, found {pairs.min()} to {pairs.max()}")
    return pairs


def integers(name: str, values: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Contiguous, aligned int64 values of a shape in which -1 stands for any number."""
    array = np.asarray(values)
    if array.shape == (0,) and shape[0] < 1:
        return np.empty((0, *shape[1:]), dtype=np.int64)  # an empty list has neither columns nor a type
    fits = array.ndim == len(shape) and all(size in (-1, found) for size, found in zip(shape, array.shape, strict=True))
    if not fits or array.dtype.kind not in "iu":
        text = ", ".join("any" if size < 0 else str(size) for size in shape)
        raise InputError(f"{name}: expected integers of shape ({text}), found {describe(array)}")
    return np.require(array, dtype=np.int64, requirements=("C", "A"))


def describe(value: object) -> str:
    """A description of a value, for an error."""
    if not isinstance(value, np.ndarray):
        return type(value).__name__
    flags = [] if value.flags.c_contiguous else ["not C-contiguous"]
    flags += [] if value.flags.writeable else ["read-only"]
    return ", ".join([f"{value.shape} {value.dtype}", *flags])


def padded_lengths(codes: object, lengths: ArrayLike) -> NDArray[np.int64]:
    """``(U,)`` lengths of ``(U, n)`` padded codes."""
    if not (isinstance(codes, np.ndarray) and codes.dtype == np.uint8 and codes.ndim == 2):
        raise InputError(f"codes: expected a (sequences, letters) array of uint8, found {describe(codes)}")
    letters = integers("lengths", lengths, (len(codes),))
    if letters.size and not (letters.min() >= 0 and letters.max() <= codes.shape[1]):
        raise InputError(
            f"lengths: expected 0 to {codes.shape[1]} (the columns of codes), found {letters.min()} to {letters.max()}"
        )
    return letters
