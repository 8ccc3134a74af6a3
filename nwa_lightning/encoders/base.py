"""What every encoder is."""

from __future__ import annotations

import copy
import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from nwa_lightning.encoders.checks import at_least, at_least_one
from nwa_lightning.sequences.alphabet import FIRST_LETTER

if TYPE_CHECKING:
    from typing_extensions import Self


class Encoder(nn.Module):
    """A module from tokens to embeddings; the base exists so that the command line can list and check its subclasses.

    It records how it was built, so that a checkpoint can say how to build it again: see ``spec``.

    Args:
        max_length: The most bases a sequence may have.
        embedding_dim: m, the dimension of the embeddings.
        vocabulary: Number of token values, padding and ``<sos>`` included.

    Raises:
        InputError: If a number is too small.
    """

    _spec: dict[str, Any] | None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Record the arguments; a copy comes without any, and brings the record of the original."""
        encoder = super().__new__(cls)
        encoder._spec = _call_as_spec(cls, args, kwargs)
        return encoder

    def __init__(self, max_length: int, embedding_dim: int, vocabulary: int) -> None:
        super().__init__()
        at_least_one(max_length=max_length, embedding_dim=embedding_dim)
        at_least(FIRST_LETTER + 1, vocabulary=vocabulary)
        self.max_length = max_length
        self.embedding_dim = embedding_dim
        self.vocabulary = vocabulary

    @property
    def spec(self) -> dict[str, Any] | None:
        """How to build this encoder again: ``class_path`` and ``init_args``, of plain values alone.

        An argument that is an ``Encoder`` stands there as its own spec. None where that does not suffice: where an argument
        is neither, or where the class cannot be imported, because it is defined inside a function or another class.
        """
        return copy.deepcopy(self._spec)

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed sequences.

        Args:
            tokens: ``(U, L)`` with L at most ``max_length + 1``: ``<sos>``, codes, then padding.

        Returns:
            ``(U, m)`` embeddings; an embedding must not depend on how much padding follows the sequence.
        """
        raise NotImplementedError

    def pad(self, tokens: Tensor) -> Tensor:
        """Fill up with padding to ``(U, max_length + 1)``, for encoders with one weight per position.

        Raises:
            ValueError: If the tokens are longer.
        """
        missing = self.max_length + 1 - tokens.shape[1]
        if missing < 0:
            raise ValueError(
                f"Expected at most {self.max_length} bases (max_length) but got {tokens.shape[1] - 1}; build the encoder "
                f"with a larger max_length."
            )
        return nn.functional.pad(tokens, (0, missing)) if missing else tokens


class OneHot(nn.Module):
    """One number per letter: 1 for the letter that a position holds, 0 for the others; ``<sos>`` and padding are all 0.

    Args:
        vocabulary: Number of token values, padding and ``<sos>`` included.
    """

    table: Tensor

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        # A buffer, so that an exported encoder can be moved to another device.
        self.register_buffer("table", torch.eye(vocabulary)[:, FIRST_LETTER:].clone(), persistent=False)

    @property
    def letters(self) -> int:
        """Number of letters."""
        return self.table.shape[1]

    def forward(self, tokens: Tensor) -> Tensor:
        """``(..., letters)`` of ``(...)`` tokens."""
        return nn.functional.embedding(tokens, self.table)


def _call_as_spec(cls: type[Encoder], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """The call ``cls(*args, **kwargs)``, defaults included, as ``Encoder.spec`` has it."""
    signature = inspect.signature(cls.__init__)
    try:
        given = signature.bind(None, *args, **kwargs).arguments
    except TypeError:  # __init__ will say so
        return None
    if "." in cls.__qualname__:
        return None
    init_args: dict[str, Any] = {}
    for name, parameter in list(signature.parameters.items())[1:]:
        value = given.get(name, parameter.default)
        if value is parameter.empty:  # no further arguments, positional or by name
            continue
        try:
            plain = _plain(value)
        except TypeError:
            if name in given:
                return None
            continue  # the class has this default again
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            return None
        init_args |= plain if parameter.kind is parameter.VAR_KEYWORD else {name: plain}
    return {"class_path": f"{cls.__module__}.{cls.__qualname__}", "init_args": init_args}


def _plain(value: Any) -> Any:
    """The value with encoders as their specs; a TypeError where it holds anything else that is not plain."""
    if isinstance(value, Encoder) and value.spec is not None:
        return value.spec
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) in (list, tuple):
        return type(value)(_plain(part) for part in value)
    if type(value) is dict and all(type(name) is str for name in value) and "class_path" not in value:
        return {name: _plain(part) for name, part in value.items()}
    raise TypeError(f"Expected plain values but got {type(value).__name__}.")
