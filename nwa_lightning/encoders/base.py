"""The base class of all encoders."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nwa_lightning.encoders.checks import at_least, at_least_one
from nwa_lightning.parts import Part
from nwa_lightning.sequences.alphabet import FIRST_LETTER


class Encoder(Part):
    """A module that maps tokens to embeddings; the command line lists and checks the subclasses of this class.

    It records how it was built, so that a checkpoint can rebuild it: see ``Part.spec``.

    Args:
        max_length: The most bases a sequence may have.
        embedding_dim: m, the dimension of the embeddings.
        vocabulary: Number of token values, padding and ``<sos>`` included.

    Attributes:
        any_length: Whether a trained encoder embeds reads of more than ``max_length`` bases too.

    Raises:
        InputError: If a number is too small.
    """

    any_length: bool = False

    def __init__(self, max_length: int, embedding_dim: int, vocabulary: int) -> None:
        super().__init__()
        at_least_one(max_length=max_length, embedding_dim=embedding_dim)
        at_least(FIRST_LETTER + 1, vocabulary=vocabulary)
        self.max_length = max_length
        self.embedding_dim = embedding_dim
        self.vocabulary = vocabulary

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed sequences.

        Args:
            tokens: ``(U, L)`` with L at most ``max_length + 1``, unless ``any_length``: ``<sos>``, codes, then padding.

        Returns:
            ``(U, m)`` embeddings; an embedding must not depend on the amount of padding after the sequence.
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
