"""AsMac (Chen et al., "Alignment-free comparison of metagenomics sequences via approximate string matching", 2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nwa_lightning.encoders.base import Encoder
from nwa_lightning.encoders.checks import above_zero, at_least_one
from nwa_lightning.encoders.soft_alignment import best_slices, read_codes, soft_nw_scores
from nwa_lightning.sequences.alphabet import DNA, FIRST_LETTER


class AsMac(Encoder):
    """Scores of learnt templates, each aligned with gaps to its best place in the read; bias and ReLU; embeddings of norm 1.

    A template has a weight for every letter at every position, and a gap penalty. Its best alignment with any part of the
    read selects the slice of the read that it matches. The soft Needleman-Wunsch score of template and slice, plus a bias,
    is one component of the embedding. The backward pass treats the slice as constant.

    From the paper (PMC9645238) and its code (https://github.com/puar-playground/AsMac): these steps, 300 templates of 20
    positions, gamma 0.01 and the initial weights. Use it with the cosine distance. It differs from the code in two points: if
    no score is above 0, we still take the best slice, not an empty one; evaluation uses soft scores, as training does.

    Args:
        max_length: The most bases a sequence may have.
        embedding_dim: m, the number of templates.
        vocabulary: Number of token values, padding and ``<sos>`` included.
        template_length: Positions of a template.
        gamma: Temperature of the soft maximum; near 0 only the best alignment of a slice counts.

    Raises:
        InputError: If a number is too small.
    """

    any_length = True

    def __init__(
        self,
        max_length: int,
        embedding_dim: int = 300,
        vocabulary: int = DNA.size,
        template_length: int = 20,
        gamma: float = 0.01,
    ) -> None:
        super().__init__(max_length, embedding_dim, vocabulary)
        at_least_one(template_length=template_length)
        above_zero(gamma=gamma)
        self.gamma = gamma
        letters = vocabulary - FIRST_LETTER
        self.templates = nn.Parameter(torch.rand(embedding_dim, letters, template_length) - 0.5)
        self.gaps = nn.Parameter(torch.ones(embedding_dim))
        self.bias = nn.Parameter(torch.rand(embedding_dim) - 0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(U, m)`` embeddings of ``(U, L)`` tokens; see ``Encoder``."""
        codes, lengths = read_codes(tokens)
        slices = best_slices(codes, lengths, self.templates, self.gaps)
        scores = soft_nw_scores(codes, lengths, self.templates, self.gaps, slices, gamma=self.gamma)
        return nn.functional.normalize(nn.functional.relu(scores.to(self.bias.dtype) + self.bias), dim=1)
