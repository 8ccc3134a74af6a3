"""The other strand of nucleic acids."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nwa_lightning._checks import padded_lengths, row_pairs
from nwa_lightning.errors import InputError
from nwa_lightning.levenshtein import take_flat
from nwa_lightning.sequences.alphabet import DNA, PADDING, Alphabet
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.packed import Packed

#: Complements of the letters of DNA and of the ambiguity codes (IUPAC, doi 10.1093/nar/13.9.3021).
_COMPLEMENT: Final = dict(zip("ACGTRYSWKMBDHVN", "TGCAYRSWMKVHDBN", strict=True))


def complement_table(alphabet: Alphabet) -> bytes:
    """For ``bytes.translate``: the code of the complement of every code.

    Raises:
        InputError: If the letters have no complements.
    """
    thymine = "T" if "T" in alphabet.letters else "U"
    table = bytearray([PADDING]) * 256
    for letter in alphabet.letters:
        other = _COMPLEMENT.get("T" if letter == "U" else letter)
        if other is None or not set(alphabet.letters) <= set("ACGTURYSWKMBDHVN"):
            raise InputError(f"both strands: expected DNA or RNA, found {alphabet.name}, which has no second strand")
        code = alphabet.codes[ord(letter)]
        table[code] = alphabet.codes[ord(thymine if other == "T" else other)]
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


def strand_distances(
    codes: NDArray[np.uint8], lengths: ArrayLike, pairs: ArrayLike, alphabet: Alphabet = DNA, *, threads: int = 1
) -> NDArray[np.int32]:
    """Edit distances of pairs whose strands are unknown: the smaller of those to the second sequence and to its other strand.

    It does not matter which sequence of a pair is turned: turning both changes no edit distance.

    Args:
        codes: ``(U, n)`` uint8, one sequence per row; codes beyond a sequence's length are not read.
        lengths: ``(U,)`` letters of each sequence, at most ``n``.
        pairs: ``(P, 2)`` rows of ``codes``.
        alphabet: Alphabet of the codes.
        threads: Threads that share the pairs.

    Returns:
        ``(P,)`` edits.

    Raises:
        InputError: For a wrong shape, type, index or length, or if the letters have no complements.

    Example:
        >>> codes = np.array([[2, 2, 3], [4, 5, 5], [4, 4, 0]], dtype=np.uint8)  # AAC, GTT, GG
        >>> strand_distances(codes, [3, 3, 2], [[0, 1], [0, 2]]).tolist()
        [0, 2]
    """
    sizes = padded_lengths(codes, lengths)
    rows = row_pairs("pairs", pairs, "codes", len(codes))
    table = np.frombuffer(complement_table(alphabet), dtype=np.uint8)
    # Each whole row is turned, so its bases come last in it.
    flat = np.concatenate([codes.reshape(-1), table[codes[:, ::-1]].reshape(-1)])
    starts = codes.shape[1] * np.arange(2 * len(codes))
    starts[len(codes) :] += codes.shape[1] - sizes
    letters = take_flat(flat, starts, np.concatenate([sizes, sizes]), threads=threads)
    turned = rows + np.array([0, len(codes)])
    return np.minimum(letters.pairs(rows, threads=threads), letters.pairs(turned, threads=threads))
