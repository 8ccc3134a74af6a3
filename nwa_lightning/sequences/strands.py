"""The other strand of nucleic acids."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.errors import InputError
from nwa_lightning.sequences.alphabet import DNA, PADDING, Alphabet
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.packed import Packed

#: Complements of the letters of DNA and of the ambiguity codes (IUPAC, doi 10.1093/nar/13.9.3021).
_COMPLEMENT: Final = dict(zip("ACGTRYSWKMBDHVN", "TGCAYRSWMKVHDBN", strict=True))


@cache  # every batch of both strands asks for it
def complement_table(alphabet: Alphabet) -> bytes:
    """For ``bytes.translate``: the code of the complement of every code.

    Raises:
        InputError: If the letters have no complements.
    """
    thymine = "T" if "T" in alphabet.letters else "U"
    table = bytearray([PADDING]) * 256
    for letter in alphabet.letters:
        other = _COMPLEMENT.get("T" if letter == "U" else letter, "")
        partner = thymine if other == "T" else other
        if not partner or partner not in alphabet.letters:
            raise InputError(f"both strands: expected DNA or RNA, found {alphabet.name}, which has no second strand")
        table[alphabet.codes[ord(letter)]] = alphabet.codes[ord(partner)]
    return bytes(table)


def reverse_complement(sequences: Sequences, alphabet: Alphabet = DNA) -> Sequences:
    """The sequences as read on the other strand; same names.

    Args:
        sequences: Sequences of the alphabet.
        alphabet: Their alphabet.

    Raises:
        InputError: If the letters have no complements.
    """
    table = complement_table(alphabet)
    return Sequences(Packed.of(row.translate(table)[::-1] for row in sequences.bases), sequences.labels)


def with_other_strands(
    codes: NDArray[np.uint8], lengths: NDArray[np.int64], alphabet: Alphabet = DNA
) -> NDArray[np.uint8]:
    """``(2 U, n)`` codes: ``(U, n)`` codes, and then their reverse complements in the same order.

    Args:
        codes: uint8, one sequence per row.
        lengths: ``(U,)`` letters of each sequence; codes behind them are not turned.
        alphabet: Alphabet of the codes.

    Raises:
        InputError: If the letters have no complements.

    Example:
        >>> with_other_strands(np.array([[2, 2, 3, 0]], dtype=np.uint8), np.array([3])).tolist()  # AAC and GTT
        [[2, 2, 3, 0], [4, 5, 5, 0]]
    """
    places = np.arange(codes.shape[1])[None]
    ends = np.asarray(lengths)[:, None]
    turned = np.take_along_axis(codes, np.where(places < ends, ends - 1 - places, places), axis=1)
    table = np.frombuffer(complement_table(alphabet), dtype=np.uint8)
    return np.concatenate([codes, table[turned]])
