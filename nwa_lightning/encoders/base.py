"""What every encoder is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nwa_lightning.errors import InputError
from nwa_lightning.sequences.alphabet import FIRST_LETTER


class Encoder(nn.Module):
    """A module from tokens to embeddings; the base exists so that the command line can list and check its subclasses.

    Args:
        max_length: The most bases a sequence may have.
        embedding_dim: m, the dimension of the embeddings.
        vocabulary: Number of token values, padding and ``<sos>`` included.
    """

    def __init__(self, max_length: int, embedding_dim: int, vocabulary: int) -> None:
        super().__init__()
        self.max_length = max_length
        self.embedding_dim = embedding_dim
        self.vocabulary = vocabulary

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


def at_least_one(**numbers: int | None) -> None:
    """Check arguments that count something; None counts nothing.

    Raises:
        InputError: If one is below 1.
    """
    for name, value in numbers.items():
        if value is not None and value < 1:
            raise InputError(f"{name}: expected at least 1, found {value}; give a larger number")


def halved(positions: int, times: int, name: str = "layers") -> int:
    """Positions that are left after some halvings, each rounded down.

    Args:
        positions: To begin with.
        times: Number of halvings.
        name: Of the argument that sets it.

    Raises:
        InputError: If there are none left.
    """
    if positions >> times == 0:
        raise InputError(f"{name}: expected few enough to halve {positions} positions, found {times}; use fewer")
    return positions >> times
