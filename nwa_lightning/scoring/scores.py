"""Scores of an alignment: a substitution matrix and gaps."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from nwa_lightning._checks import at_least_one, describe
from nwa_lightning.errors import InputError
from nwa_lightning.scoring.tables import by_code, expected_scores, named_table, read_table, table_of
from nwa_lightning.sequences.alphabet import Alphabet

if TYPE_CHECKING:
    from typing_extensions import Self

#: Codes are uint8.
MOST_CODES: Final = 256

_INT32: Final = np.iinfo(np.int32)
_LOWEST_GAP: Final = -(2**28)  # so that four of them and a score are in int32


@dataclass(frozen=True, eq=False)
class Scoring:
    """Scores of an alignment: of two letters beside each other, and of gaps.

    A gap of k letters scores ``gap_open + (k - 1) * gap_extend``. Gaps are linear if the two are equal. parasail counts in the
    same way, with the signs turned: ``open=-gap_open, extend=-gap_extend``.

    Attributes:
        substitution: ``(K, K)`` int32 scores of a code of the first sequence beside one of the second; codes are below K.
        gap_open: Score of the first letter of a gap, at most ``gap_extend``, at least -2^28.
        gap_extend: Score of each other letter of a gap, at most 0.

    Raises:
        InputError: For a wrong shape, or scores that are not integers within int32.

    Example:
        >>> scoring = Scoring.simple(match=2, mismatch=-1, gap=-2)
        >>> alignment_scores(["ACGT", "AGT"], [[0, 1]], scoring=scoring).tolist()
        [4]
    """

    substitution: NDArray[np.integer[Any]]
    gap_open: int
    gap_extend: int

    def __post_init__(self) -> None:
        scores = np.asarray(self.substitution)
        square = scores.ndim == 2 and scores.shape[0] == scores.shape[1] and 0 < len(scores) <= MOST_CODES
        if not square or scores.dtype.kind not in "iu":
            raise InputError(
                f"substitution: expected a (K, K) array of integers, K at most {MOST_CODES}, found {describe(scores)}; "
                f"give one row and one column for each code"
            )
        lowest, highest = int(scores.min()), int(scores.max())
        if not (lowest >= _INT32.min and highest <= _INT32.max):
            raise InputError(
                f"substitution: expected scores within int32, found {lowest} to {highest}; use smaller ones"
            )
        try:
            gaps = operator.index(self.gap_open), operator.index(self.gap_extend)
        except TypeError:
            gaps = None
        if gaps is None or not _LOWEST_GAP <= gaps[0] <= gaps[1] <= 0:
            raise InputError(
                f"expected integers {_LOWEST_GAP} <= gap_open <= gap_extend <= 0, found gap_open={self.gap_open!r}, "
                f"gap_extend={self.gap_extend!r}; the first letter of a gap costs at least as much as each other one"
            )
        kept = scores.astype(np.int32)
        kept.flags.writeable = False
        for name, value in zip(("substitution", "gap_open", "gap_extend"), (kept, *gaps), strict=True):
            object.__setattr__(self, name, value)

    @classmethod
    def simple(cls, match: int = 1, mismatch: int = -1, gap: int = -1, *, size: int = MOST_CODES) -> Self:
        """One score for equal and one for different codes, and linear gaps; the default is that of ``nw_matrices``.

        Args:
            match: Score of two equal codes.
            mismatch: Score of two different codes.
            gap: Score of a letter beside a gap.
            size: Codes, K; by default all.
        """
        same = np.eye(at_least_one("size", size), dtype=np.intp)
        return cls(np.array([mismatch, match])[same], gap, gap)

    @classmethod
    def named(cls, name: str, alphabet: Alphabet, *, gap_open: int = -11, gap_extend: int = -1) -> Self:
        """A published matrix by its name, from Biopython, with affine gaps.

        blastp adds both of its costs for the first letter of a gap: its 11 and 1 are -12 and -1 here.

        Args:
            name: Such as ``"BLOSUM62"``, ``"PAM250"`` or ``"NUC.4.4"``.
            alphabet: The letters of the codes.
            gap_open: Score of the first letter of a gap.
            gap_extend: Score of each other letter of a gap.

        Raises:
            InputError: If there is no such matrix, or it has no integer score of a letter.
        """
        return cls(by_code(named_table(name), alphabet), gap_open, gap_extend)

    @classmethod
    def iupac(cls, match: int = 1, mismatch: int = -1, gap: int = -1) -> Self:
        """Scores of the codes of ``IUPAC``, whose letters are sets of bases, and linear gaps.

        Two letters score the mean of all pairs of a base of the first and a base of the second: at ``match=4, mismatch=-4``, A
        beside A scores 4, A beside R (A or G) 0, A beside N -2, and N beside N -2. We chose the mean so that the score of an
        alignment is its expectation if every base is drawn from its set uniformly and independently. NCBI's NUC.4.4 scores a
        base beside a set in the same way. The mean is rounded to the nearest integer, halves upwards: large scores lose less.

        Args:
            match: Score of two equal bases.
            mismatch: Score of two different bases.
            gap: Score of a letter beside a gap.
        """
        return cls(expected_scores(match, mismatch), gap, gap)

    @classmethod
    def from_table(
        cls,
        table: str | Path | Mapping[tuple[str, str], int],
        alphabet: Alphabet,
        *,
        gap_open: int = -11,
        gap_extend: int = -1,
    ) -> Self:
        """Your own matrix.

        Args:
            table: A file in NCBI's text format, or scores by pairs of letters, where one of two mirrored pairs is enough.
            alphabet: The letters of the codes; the table may have more.
            gap_open: Score of the first letter of a gap.
            gap_extend: Score of each other letter of a gap.

        Raises:
            InputError: If the file is no such matrix, or a letter of the alphabet has no integer score.
        """
        read = table_of(table) if isinstance(table, Mapping) else read_table(table)
        return cls(by_code(read, alphabet), gap_open, gap_extend)

    @property
    def linear(self) -> bool:
        """Whether every letter of a gap scores the same."""
        return self.gap_open == self.gap_extend

    @property
    def symmetric(self) -> bool:
        """Whether two sequences score the same in either order."""
        return bool((self.substitution == self.substitution.T).all())

    def check_length(self, length: int) -> None:
        """Make sure that no number leaves int32 that the kernel meets in sequences of up to ``length`` letters.

        Raises:
            InputError: If one could.
        """
        top = max(0, int(self.substitution.max()))
        # The kernel's numbers are scores less those of the gaps of both prefixes: see nw_scan.c.
        each, opening = top - 2 * self.gap_extend, 4 * (self.gap_extend - self.gap_open)
        if length * each + opening > _INT32.max:
            raise InputError(
                f"expected scores within int32, found up to {length * each + opening} possible for {length} letters at a largest "
                f"score of {top}, gap_open={self.gap_open}, gap_extend={self.gap_extend}; use smaller scores or sequences of at "
                f"most {(_INT32.max - opening) // each} letters"
            )
