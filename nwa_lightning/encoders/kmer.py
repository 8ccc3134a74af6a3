"""An encoder that counts k-mers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nwa_lightning.encoders.base import Encoder
from nwa_lightning.encoders.checks import at_least, at_least_one
from nwa_lightning.errors import InputError
from nwa_lightning.sequences.alphabet import DNA, FIRST_LETTER

#: The most k-mers that a vector may have.
MOST_KMERS = 1 << 20


class KmerEncoder(Encoder):
    """Frequency of each k-mer, divided by the frequency if all were equally frequent; then one linear layer.

    So the numbers are about 1 for any k and any length. A sequence shorter than k has zeros. Counts of k-mers as
    embeddings are a baseline of NeuroSEED (Corso et al., NeurIPS 2021).

    Args:
        max_length: The most bases a sequence may have.
        embedding_dim: m, the dimension of the embeddings; null leaves out the linear layer, and m is the number of k-mers.
        vocabulary: Number of token values, padding and ``<sos>`` included.
        k: Letters per k-mer; there are ``letters ** k`` k-mers.

    Raises:
        InputError: If k is too small or too large.
    """

    any_length = True

    def __init__(
        self, max_length: int, embedding_dim: int | None = 128, vocabulary: int = DNA.size, k: int = 4
    ) -> None:
        at_least(FIRST_LETTER + 1, vocabulary=vocabulary)
        at_least_one(embedding_dim=embedding_dim, k=k)
        letters = vocabulary - FIRST_LETTER
        # The first check of k avoids a power with millions of digits.
        if k > MOST_KMERS.bit_length() or letters**k > MOST_KMERS:
            raise InputError(
                f"k: expected at most {MOST_KMERS:,} k-mers of {letters} letters, found {k}; give a smaller number"
            )
        kmers = letters**k
        super().__init__(max_length, kmers if embedding_dim is None else embedding_dim, vocabulary)
        self.k = k
        self.kmers = kmers
        self.place: Tensor
        self.register_buffer("place", letters ** torch.arange(k), persistent=False)
        self.readout = nn.Identity() if embedding_dim is None else nn.Linear(kmers, embedding_dim)

    def frequencies(self, tokens: Tensor) -> Tensor:
        """``(U, letters ** k)`` frequencies of ``(U, L)`` tokens; 1 for a k-mer of mean frequency."""
        codes = nn.functional.pad(tokens[:, 1:] - FIRST_LETTER, (0, self.k), value=-1)
        windows = codes.unfold(1, self.k, 1)
        inside = (windows >= 0).all(dim=2)
        index = (windows * self.place).sum(dim=2).masked_fill(~inside, 0)
        counted = inside.float()
        counts = counted.new_zeros(tokens.shape[0], self.kmers).scatter_add(1, index, counted)
        frequencies: Tensor = counts * self.kmers / counted.sum(dim=1, keepdim=True).clamp(min=1)
        return frequencies

    def forward(self, tokens: Tensor) -> Tensor:
        """``(U, m)`` embeddings of ``(U, L)`` tokens; see ``Encoder``."""
        embeddings: Tensor = self.readout(self.frequencies(tokens))
        return embeddings
