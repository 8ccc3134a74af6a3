"""Letters and the small integers that stand for them.

One numbering serves everywhere: ``PADDING`` is 0, ``SOS`` (the ``<sos>`` token before every sequence) is 1, and the
letters of the alphabet follow from ``FIRST_LETTER`` on. So an array of codes becomes tokens by putting ``SOS`` in front.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.errors import InputError

PADDING: Final = 0
SOS: Final = 1
FIRST_LETTER: Final = 2

#: Letters that an alphabet of one's own may have.
_OWN_LETTERS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ*")

#: Codes that stand for no letter.
_NO_LETTERS: Final = bytes(range(FIRST_LETTER))


@dataclass(frozen=True)
class Alphabet:
    """An ordered set of letters, upper and lower case alike.

    Attributes:
        name: The name by which the command line knows it: its letters, if it is one's own.
        letters: Upper-case letters in the order of their codes.
    """

    name: str
    letters: str
    _code_of_byte: bytes = field(init=False, repr=False, compare=False)
    _letter_of_code: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        table = bytearray([PADDING]) * 256
        for code, letter in enumerate(self.letters, start=FIRST_LETTER):
            table[ord(letter.upper())] = table[ord(letter.lower())] = code
        object.__setattr__(self, "_code_of_byte", bytes(table))
        object.__setattr__(self, "_letter_of_code", (b"?" * FIRST_LETTER + self.letters.encode()).ljust(256, b"?"))

    @property
    def codes(self) -> bytes:
        """For ``bytes.translate``: the code of every byte, ``PADDING`` for those that are no letter."""
        return self._code_of_byte

    @property
    def letters_of_codes(self) -> bytes:
        """For ``bytes.translate``: the upper-case letter of every code."""
        return self._letter_of_code

    @property
    def size(self) -> int:
        """Number of token values, padding and ``<sos>`` included."""
        return FIRST_LETTER + len(self.letters)

    def encode(self, sequence: str) -> NDArray[np.uint8]:
        """Turn a sequence into codes.

        Args:
            sequence: Letters of this alphabet, in either case.

        Returns:
            ``(len(sequence),)`` codes, each at least ``FIRST_LETTER``.

        Raises:
            InputError: At the first letter that is not in the alphabet; the message names the letter and its position.
        """
        # Whatever is not ASCII becomes "?", which is in no alphabet; the message below shows the letter itself.
        codes = sequence.encode("ascii", "replace").translate(self._code_of_byte)
        position = codes.find(PADDING)
        if position >= 0:
            name = "" if self.name == self.letters else f" ({self.name})"
            raise InputError(
                f"position {position + 1}: expected one of {self.letters}{name}, found {sequence[position]!r}"
            )
        return np.frombuffer(codes, dtype=np.uint8)

    def decode(self, codes: NDArray[np.uint8]) -> str:
        """Turn codes into upper-case letters, leaving out padding and ``<sos>``."""
        return codes.tobytes().translate(self._letter_of_code, _NO_LETTERS).decode("ascii")


DNA: Final = Alphabet("dna", "ACGT")
RNA: Final = Alphabet("rna", "ACGU")
IUPAC: Final = Alphabet("iupac", "ACGTRYSWKMBDHVN")
PROTEIN: Final = Alphabet("protein", "ACDEFGHIKLMNPQRSTVWY")

ALPHABETS: Final[dict[str, Alphabet]] = {alphabet.name: alphabet for alphabet in (DNA, RNA, IUPAC, PROTEIN)}


def as_alphabet(given: Alphabet | str) -> Alphabet:
    """An alphabet by its name, or of your own letters.

    Args:
        given: ``dna``, ``rna``, ``iupac`` or ``protein``; or at least two different letters, in upper case and in the order of
            their codes, such as ``ACDEFGHIKLMNPQRSTVWYX``; ``*`` may be one. An alphabet is returned as it is.

    Raises:
        InputError: If it is neither.

    Example:
        >>> as_alphabet("HP").encode("hpph").tolist()
        [2, 3, 3, 2]
    """
    if isinstance(given, Alphabet):
        return given
    if given in ALPHABETS:
        return ALPHABETS[given]
    if len(given) < 2 or len(set(given)) < len(given) or not set(given) <= _OWN_LETTERS:
        raise InputError(
            f"alphabet: expected one of {', '.join(ALPHABETS)}, or two or more different letters in upper case, found {given!r}; "
            f"write the letters as in ACDEFGHIKLMNPQRSTVWYX"
        )
    return Alphabet(given, given)
