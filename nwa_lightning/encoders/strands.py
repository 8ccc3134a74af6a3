"""Embeddings that do not depend on the strand from which a read was sequenced."""

from __future__ import annotations

import torch
from torch import Tensor

from nwa_lightning.encoders.base import Encoder
from nwa_lightning.encoders.build import as_encoder
from nwa_lightning.errors import InputError
from nwa_lightning.sequences.alphabet import ALPHABETS, DNA, PADDING, SOS
from nwa_lightning.sequences.strands import complement_table


class StrandInvariant(Encoder):
    """The mean of any encoder's embeddings of a read and of its reverse complement, so both have the same embedding.

    One pass embeds both, which takes twice the time. For predictions, this is a "conjoined" model (Zhou, Shrikumar and Kundaje,
    "Towards a better understanding of reverse-complement equivariance for deep learning models in genomics", MLCB 2021).

    The two embeddings are equal up to the rounding of their last bits: an encoder may round a row differently in another place of
    the batch.

    Args:
        encoder: The encoder; its ``vocabulary`` tells the alphabet: DNA and RNA have the same codes, IUPAC has more. It may be a
            ``LandmarkEncoder``. Around this class, the distances to landmarks would tell the strands apart.

    Raises:
        InputError: If it is no encoder, or its sequences have no second strand.

    Example:
        >>> encoder = StrandInvariant(KmerEncoder(max_length=8))
        >>> first, second = encoder(pair_batch(["AACCG", "CGGTT"]).tokens)
        >>> torch.allclose(first, second)
        True
    """

    complement: Tensor

    def __init__(self, encoder: Encoder) -> None:
        encoder = as_encoder(encoder)
        vocabulary = getattr(encoder, "vocabulary", DNA.size)
        super().__init__(encoder.max_length, encoder.embedding_dim, vocabulary)
        self.encoder = encoder
        self.any_length = getattr(encoder, "any_length", False)
        self.register_buffer("complement", _complement(vocabulary), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(U, m)`` embeddings of ``(U, L)`` tokens; see ``Encoder``."""
        both = self.encoder(torch.cat([tokens, self.other_strand(tokens)]))
        rows = tokens.shape[0]  # len() would fix the number of rows of an exported program
        mean: Tensor = (both[:rows] + both[rows:]) / 2
        return mean

    def other_strand(self, tokens: Tensor) -> Tensor:
        """``(U, L)`` tokens of the reverse complements of ``(U, L)`` tokens; the padding stays at the end."""
        bases = (tokens != PADDING).sum(dim=1, keepdim=True) - 1
        places = torch.arange(tokens.shape[1], device=tokens.device)[None]
        turned = torch.where((places >= 1) & (places <= bases), bases + 1 - places, places)
        return self.complement[tokens.gather(1, turned)]


def _complement(vocabulary: int) -> Tensor:
    """``(vocabulary,)`` tokens of the complements of all tokens."""
    alphabet = next((alphabet for alphabet in ALPHABETS.values() if alphabet.size == vocabulary), None)
    if alphabet is None:
        sizes = f"{DNA.size} (DNA or RNA) or {ALPHABETS['iupac'].size} (IUPAC)"
        raise InputError(
            f"vocabulary: expected {sizes}, found {vocabulary}; build the encoder with the size of its alphabet"
        )
    table = torch.tensor(list(complement_table(alphabet)[:vocabulary]))
    table[SOS] = SOS
    return table
