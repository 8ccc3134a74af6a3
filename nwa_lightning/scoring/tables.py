"""Substitution matrices: score tables by letter, from files, packages or rules, and their form by code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.errors import InputError
from nwa_lightning.sequences.alphabet import FIRST_LETTER, IUPAC, Alphabet

#: The bases that each letter of IUPAC may be (Cornish-Bowden, 1985, doi 10.1093/nar/13.9.3021).
BASES_OF: Final = {
    **{base: base for base in "ACGT"},
    **{"R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC"},
    **{"B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT"},
}


class Table(NamedTuple):
    """Scores by letter.

    Attributes:
        source: File or name, for messages.
        letters: L letters.
        scores: ``(L, L)`` scores, integers or not: a letter of the first sequence beside one of the second.
    """

    source: str
    letters: Sequence[str]
    scores: NDArray[Any]


def by_code(table: Table, alphabet: Alphabet) -> NDArray[np.int64]:
    """``(K, K)`` scores by the codes of an alphabet, K its size; 0 for codes that are no letter.

    Raises:
        InputError: If the table has no score of a letter of the alphabet, or one that is no integer within int32.
    """
    places = {letter: place for place, letter in enumerate(table.letters)}
    missing = [letter for letter in alphabet.letters if letter not in places]
    if missing:
        raise InputError(
            f"{table.source}: expected scores of all letters of {alphabet.name}, found none of {''.join(missing)}; "
            f"add them or use another alphabet"
        )
    rows = [places[letter] for letter in alphabet.letters]
    scores = table.scores[np.ix_(rows, rows)].astype(np.float64)
    unfit = scores[(scores != np.round(scores)) | (abs(scores) > np.iinfo(np.int32).max)]
    if len(unfit):
        raise InputError(
            f"{table.source}: expected integers within int32, found {unfit[0]:g}; multiply or divide all scores by one number"
        )
    found = np.zeros((alphabet.size, alphabet.size), dtype=np.int64)
    found[FIRST_LETTER:, FIRST_LETTER:] = scores
    return found


def named_table(name: str) -> Table:
    """A published matrix, such as BLOSUM62 or PAM250, as Biopython has it (Cock et al., 2009, doi 10.1093/bioinformatics/btp163).

    Raises:
        InputError: If there is none of this name; the message lists the names.
    """
    # Here because it takes a tenth of a second.
    substitution_matrices: Any = import_module("Bio.Align.substitution_matrices")
    names = substitution_matrices.load()
    if name.upper() not in names:
        raise InputError(
            f"{name}: expected one of {', '.join(names)}, found another name; use one or read it from a file"
        )
    matrix = substitution_matrices.load(name.upper())
    return Table(name, list(matrix.alphabet), np.array(matrix))


def table_of(scores: Mapping[tuple[str, str], int]) -> Table:
    """Scores of pairs of letters; a pair that is not there scores as its mirror.

    Raises:
        InputError: If two letters have no score, or one that is not an integer.
    """
    given = {}
    for pair, score in scores.items():
        if len(pair) != 2 or not isinstance(score, (int, np.integer)):
            raise InputError(
                f"scores: expected integers by pairs of letters, found {score!r} by {pair!r}; multiply all scores by one "
                f"number to make them whole"
            )
        given[pair[0].upper(), pair[1].upper()] = score
    letters = sorted({letter for pair in given for letter in pair})
    found = np.zeros((len(letters), len(letters)), dtype=object)
    for row, first in enumerate(letters):
        for column, second in enumerate(letters):
            known = given.get((first, second), given.get((second, first)))
            if known is None:
                raise InputError(f"scores: expected one of {first} beside {second}, found none; add it")
            found[row, column] = known
    return Table("scores", letters, found)


def read_table(path: str | Path) -> Table:
    """Read a matrix in NCBI's text format: a line of letters, then a line with a letter and its scores for each of them.

    Lines that begin with # are comments. Upper and lower case are equivalent.

    Raises:
        InputError: If the file cannot be read or is no such matrix; the message names the line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "bytes that are no text"
        raise InputError(f"{path}: expected a substitution matrix, found: {reason}; check the path") from None
    words = [(number, line.upper().split()) for number, line in enumerate(lines, start=1)]
    words = [(number, line) for number, line in words if line and not line[0].startswith("#")]
    if not words:
        raise InputError(f"{path}: expected a line of letters, found none; use NCBI's text format")
    letters = _header(path, *words[0])
    rows: dict[str, list[int]] = {}
    for number, (letter, *cells) in words[1:]:
        if letter not in letters or letter in rows:
            found = "it again" if letter in rows else letter
            raise InputError(
                f"{path}: line {number}: expected one row for each letter of the first line, found {found}; mend it"
            )
        if len(cells) != len(letters):
            raise InputError(
                f"{path}: line {number}: expected {len(letters)} scores, one for each letter of the first line, "
                f"found {len(cells)}; add or remove some"
            )
        rows[letter] = [_score(path, number, cell) for cell in cells]
    absent = [letter for letter in letters if letter not in rows]
    if absent:
        raise InputError(
            f"{path}: expected a row for each letter of the first line, found none for {', '.join(absent)}; add it"
        )
    return Table(str(path), letters, np.array([rows[letter] for letter in letters], dtype=np.int64))


def expected_scores(match: int, mismatch: int) -> NDArray[np.integer[Any]]:
    """``(K, K)`` scores by IUPAC code: the expected score if both letters are bases drawn uniformly from their sets.

    Two letters with a and b bases, c of them in common, are equal with probability ``c / (a b)``. So they score ``match c / (a
    b) + mismatch (1 - c / (a b))``, rounded to the nearest integer, halves upwards.
    """

    def score(first: str, second: str) -> int:
        ways, equal = len(first) * len(second), len(set(first) & set(second))
        return (2 * (match * equal + mismatch * (ways - equal)) + ways) // (2 * ways)

    sets = [BASES_OF[letter] for letter in IUPAC.letters]
    return np.pad([[score(first, second) for second in sets] for first in sets], (FIRST_LETTER, 0))


def _header(path: str | Path, number: int, words: list[str]) -> list[str]:
    wrong = [word for word in words if len(word) != 1]
    if wrong:
        raise InputError(
            f"{path}: line {number}: expected a line of single letters, found {wrong[0]!r}; use NCBI's text format"
        )
    twice = [word for word in words if words.count(word) > 1]
    if twice:
        raise InputError(f"{path}: line {number}: expected each letter once, found {twice[0]} twice; remove one")
    return words


def _score(path: str | Path, number: int, cell: str) -> int:
    try:
        return int(cell)
    except ValueError:
        raise InputError(
            f"{path}: line {number}: expected integers, found {cell!r}; multiply all scores by one number to make them whole"
        ) from None
