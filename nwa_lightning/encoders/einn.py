"""An encoder with the layer of Koide, Kawano & Kutsuna, "Neural edit operations for biological sequences", NeurIPS 2018."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from nwa_lightning.encoders.base import Encoder
from nwa_lightning.encoders.checks import above_zero, at_least_one
from nwa_lightning.encoders.soft_alignment import read_codes, soft_nw_scores
from nwa_lightning.sequences.alphabet import DNA, FIRST_LETTER


class EINN(Encoder):
    """Soft Needleman-Wunsch scores of the whole read against learnt references; one linear layer.

    The paper's edit-invariant neural network (EINN) predicts the structure of proteins. From the paper: a unit is the score
    of a global alignment of its input with learnt numbers, a soft maximum replaces the maximum, and the gap cost is learnt
    too. Our choices: references are weights of letters at positions and are aligned with the whole read, not with windows of
    it; each has its own gap cost; scores are divided by the root of ``max_length``; all sizes, gamma, and the linear layer.

    Args:
        max_length: The most bases a sequence may have.
        embedding_dim: m, the dimension of the embeddings.
        vocabulary: Number of token values, padding and ``<sos>`` included.
        references: Number of reference sequences.
        reference_length: Positions of a reference; null means ``max_length``.
        gamma: Temperature of the soft maximum; near 0 only the best alignment counts.

    Raises:
        InputError: If a number is too small.
    """

    any_length = True

    def __init__(
        self,
        max_length: int,
        embedding_dim: int = 128,
        vocabulary: int = DNA.size,
        references: int = 32,
        reference_length: int | None = None,
        gamma: float = 0.1,
    ) -> None:
        super().__init__(max_length, embedding_dim, vocabulary)
        at_least_one(references=references, reference_length=reference_length)
        above_zero(gamma=gamma)
        self.gamma = gamma
        shape = references, vocabulary - FIRST_LETTER, reference_length or max_length
        self.references = nn.Parameter(torch.rand(shape) - 0.5)
        self.gaps = nn.Parameter(torch.ones(references))
        self.readout = nn.Linear(references, embedding_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(U, m)`` embeddings of ``(U, L)`` tokens; see ``Encoder``."""
        codes, lengths = read_codes(tokens)
        scores = soft_nw_scores(codes, lengths, self.references, self.gaps, gamma=self.gamma)
        embeddings: Tensor = self.readout(scores.to(self.gaps.dtype) / math.sqrt(self.max_length))
        return embeddings
