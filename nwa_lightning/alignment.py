"""Needleman-Wunsch (NW) matrices and edit distances of many pairs of sequences.

The NW matrix of two sequences of ``n1`` and ``n2`` letters has ``(n1 + 1, n2 + 1)`` scores, ``M[0, 0] = 0`` and::

    M[i, j] = max(M[i-1, j-1] + sub(i, j), M[i-1, j] + gap, M[i, j-1] + gap)

(Lee & No, IEEE Access 2024, doi 10.1109/ACCESS.2024.3401464, eq. 1). Rows belong to the first sequence of a pair, columns
to the second. The compiled kernels do no checks, so everything is checked here.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nwa_lightning._checks import at_least_one, describe, padded_lengths, row_pairs
from nwa_lightning._kernels import compiled, parallel_slices
from nwa_lightning.errors import InputError
from nwa_lightning.levenshtein import Letters, Strings, take_flat, take_strings

Kind = Literal["prefix", "best_through"]

_KINDS: Final = ("prefix", "best_through")
_INT16: Final = np.iinfo(np.int16)
_GROUP: Final = 16  # pairs that the widest kernel handles at once; slices of another size would leave lanes empty


class Scores(NamedTuple):
    """Scores of the Needleman-Wunsch matrix; the default is that of Lee & No (2024)."""

    match: int = 1
    mismatch: int = -1
    gap: int = -1


PUBLISHED_SCORES = Scores()


def nw_matrix(
    a: str, b: str, *, match: int = 1, mismatch: int = -1, gap: int = -1, kind: Kind = "prefix"
) -> NDArray[np.int16]:
    """The NW matrix of two sequences; upper and lower case are equivalent.

    Args:
        a: The sequence of the rows, in ASCII letters.
        b: The sequence of the columns, in ASCII letters.
        match: Score of two equal letters.
        mismatch: Score of two different letters.
        gap: Score of a letter beside a gap.
        kind: As in ``nw_matrices``.

    Returns:
        ``(len(a) + 1, len(b) + 1)`` scores.

    Raises:
        InputError: For a character beyond ASCII, or if a score could leave int16.

    Example:
        >>> nw_matrix("AC", "A").tolist()
        [[0, -1], [-1, 1], [-2, 0]]
    """
    letters = [_ascii(a), _ascii(b)]
    lengths = np.array([len(sequence) for sequence in letters])
    codes = np.zeros((2, int(lengths.max())), dtype=np.uint8)
    for row, sequence in zip(codes, letters, strict=True):
        row[: len(sequence)] = np.frombuffer(sequence, dtype=np.uint8)
    whole = nw_matrices(codes, lengths, [[0, 1]], match=match, mismatch=mismatch, gap=gap, kind=kind)[0]
    return np.ascontiguousarray(whole[: lengths[0] + 1, : lengths[1] + 1])


def nw_matrices(
    codes: NDArray[np.uint8],
    lengths: ArrayLike,
    pairs: ArrayLike,
    *,
    match: int = 1,
    mismatch: int = -1,
    gap: int = -1,
    kind: Kind = "prefix",
    out: NDArray[np.int16] | None = None,
    threads: int = 1,
) -> NDArray[np.int16]:
    """The NW matrices of pairs of sequences, one matrix after another.

    Args:
        codes: ``(U, n)`` uint8, one sequence per row; codes beyond a sequence's length are not read.
        lengths: ``(U,)`` letters of each sequence, at most ``n``.
        pairs: ``(P, 2)`` rows of ``codes``: first (rows of the matrix), second (columns).
        match: Score of two equal codes.
        mismatch: Score of two different codes.
        gap: Score of a letter beside a gap. With ``match=0, mismatch=-1, gap=-1`` the last cell is minus the edit
            distance.
        kind: ``"prefix"`` for the matrix itself; ``"best_through"`` for the score of the best alignment of the two whole
            sequences that goes through the cell: the matrix plus that of the suffixes. Its maximum is the optimal score.
        out: ``(P, n + 1, n + 1)`` int16 array to write to and return, which saves the time of allocating memory.
        threads: Threads that share the pairs. The result does not depend on it.

    Returns:
        ``(P, n + 1, n + 1)`` scores; 0 outside of a pair's own ``(n1 + 1, n2 + 1)`` cells.

    Raises:
        InputError: For a wrong shape, type, index, length or option, or if a score could leave int16.
    """
    letters = padded_lengths(codes, lengths)
    rows = row_pairs("pairs", pairs, "codes", len(codes))
    longest = int(letters.max(initial=0))
    match, mismatch, gap = _scores(match, mismatch, gap)
    check_scores(longest, match=match, mismatch=mismatch, gap=gap, kind=kind)
    threads = at_least_one("threads", threads)
    shape = (len(rows), codes.shape[1] + 1, codes.shape[1] + 1)
    if out is None:
        out = np.empty(shape, dtype=np.int16)
    elif not (isinstance(out, np.ndarray) and out.dtype == np.int16 and out.shape == shape and out.flags.carray):
        raise InputError(f"out: expected a writeable C-contiguous {shape} array of int16, found {describe(out)}")

    if longest == 0:
        match = mismatch = gap = 0  # any score passes the check; none is used
    # A substitution that scores below two gaps is never taken. So scores are clipped there, to fit the kernel's integers.
    scores = max(match, 2 * gap), max(mismatch, 2 * gap), gap
    inputs, result = np.ascontiguousarray(codes), out

    def fill(part: slice) -> None:
        compiled.fill(inputs, letters, rows[part], result[part], *scores, kind == "best_through")

    parallel_slices(fill, len(rows), threads=threads, group=_GROUP)
    return out


def check_scores(length: int, *, match: int, mismatch: int, gap: int, kind: Kind = "prefix") -> None:
    """Make sure that no score of sequences of up to ``length`` letters leaves int16.

    The bounds are exact: some pair of sequences of this length reaches them. The highest score is that of an empty
    alignment, of all gaps, or of all substitutions at the better score. The lowest score of ``"prefix"`` is that of an empty
    alignment, of a border's last cell, or of the last cell if every substitution has the worse score. The lowest score of
    ``"best_through"`` is that of an empty alignment or of all gaps.

    Args:
        length: Letters of the longest sequence.
        match: Score of two equal letters.
        mismatch: Score of two different letters.
        gap: Score of a letter beside a gap.
        kind: As in ``nw_matrices``.

    Raises:
        InputError: If a score could leave int16, or is not an integer.
    """
    check_kind(kind)
    match, mismatch, gap = _scores(match, mismatch, gap)
    highest = max(0, 2 * gap, match, mismatch)
    lowest = min(0, 2 * gap) if kind == "best_through" else min(0, gap, max(2 * gap, min(match, mismatch)))
    if not (_INT16.min <= length * lowest and length * highest <= _INT16.max):
        limits = [_INT16.max // highest] if highest else []
        limits += [_INT16.min // lowest] if lowest else []
        raise InputError(
            f"expected scores within int16 ({_INT16.min} to {_INT16.max}), found {length * lowest} to {length * highest}"
            f" possible for {length} letters at match={match}, mismatch={mismatch}, gap={gap}, kind={kind!r};"
            f" use smaller scores or sequences of at most {min(limits)} letters"
        )


def check_kind(kind: Kind) -> None:
    """Raise an ``InputError`` unless there are matrices of this kind."""
    if kind not in _KINDS:
        raise InputError(f"kind: expected one of {', '.join(_KINDS)}, found {kind!r}")


def optimal_path(
    first: str, second: str, matrix: NDArray[np.int16], *, match: int = 1, mismatch: int = -1, gap: int = -1
) -> NDArray[np.int64]:
    """The cells that an optimal alignment goes through, traced back from the last one.

    If several alignments are optimal, each step back takes the diagonal if possible, then the row above. Upper and lower
    case are equivalent.

    Args:
        first: The sequence of the rows, n1 letters.
        second: The sequence of the columns, n2 letters.
        matrix: ``(n1 + 1, n2 + 1)`` Needleman-Wunsch matrix of the two.
        match: Score of two equal letters in the matrix.
        mismatch: Score of two different letters.
        gap: Score of a letter beside a gap.

    Returns:
        ``(K, 2)`` rows and columns, from (0, 0) to (n1, n2); each is one down, one right or both from the previous one.

    Raises:
        ValueError: If the matrix is not that of the sequences and scores.

    Example:
        >>> optimal_path("AC", "C", nw_matrix("AC", "C")).tolist()
        [[0, 0], [1, 0], [2, 1]]
    """
    first, second = first.upper(), second.upper()
    row, column = len(first), len(second)
    if matrix.shape != (row + 1, column + 1):
        raise ValueError(f"Expected a matrix of shape {(row + 1, column + 1)} but got {matrix.shape}.")
    table: list[list[int]] = matrix.tolist()  # Python's integers do not overflow
    cells = [(row, column)]
    while row or column:
        score = table[row][column]
        same = row > 0 and column > 0 and first[row - 1] == second[column - 1]
        if row and column and table[row - 1][column - 1] + (match if same else mismatch) == score:
            row, column = row - 1, column - 1
        elif row and table[row - 1][column] + gap == score:
            row -= 1
        elif column and table[row][column - 1] + gap == score:
            column -= 1
        else:
            raise ValueError(
                f"Expected the matrix of these sequences at match={match}, mismatch={mismatch}, gap={gap} but no step leads "
                f"to the score {score} of cell ({row}, {column}); pass the scores that nw_matrix was given."
            )
        cells.append((row, column))
    return np.array(cells[::-1], dtype=np.int64)


def edit_distances(
    sequences: Sequence[str] | Sequence[bytes], pairs: ArrayLike | None = None, *, workers: int = 1
) -> NDArray[np.int32]:
    """Edit distances (insertions, deletions and substitutions, each one edit) of pairs of sequences.

    Sequences of at most 32 different letters use the compiled kernel, all others use rapidfuzz.

    Args:
        sequences: ``U`` sequences; upper and lower case differ.
        pairs: ``(P, 2)`` rows of ``sequences``, or None for all against all.
        workers: Threads that share the pairs.

    Returns:
        ``(P,)`` edits, or a symmetric ``(U, U)`` matrix if ``pairs`` is None.

    Raises:
        InputError: For a wrong shape, type, index or number of workers.
    """
    workers = at_least_one("workers", workers)
    every = list(sequences)
    listed = None if pairs is None else row_pairs("pairs", pairs, "sequences", len(every))
    if listed is not None and 2 * len(listed) < len(every):
        used, places = np.unique(listed, return_inverse=True)
        every, listed = [every[row] for row in used.tolist()], places.reshape(-1, 2)
    return _distances(take_strings(every, threads=workers), len(every), listed, workers)


def code_distances(
    codes: NDArray[np.uint8], lengths: ArrayLike, pairs: ArrayLike | None = None, *, workers: int = 1
) -> NDArray[np.int32]:
    """``edit_distances`` of padded codes, as ``nw_matrices`` takes them.

    Args:
        codes: ``(U, n)`` uint8, one sequence per row; codes beyond a sequence's length are not read.
        lengths: ``(U,)`` letters of each sequence, at most ``n``.
        pairs: As in ``edit_distances``.
        workers: As in ``edit_distances``.

    Returns:
        As ``edit_distances``.

    Raises:
        InputError: For a wrong shape, type, index, length or number of workers.
    """
    workers = at_least_one("workers", workers)
    letters = padded_lengths(codes, lengths)
    listed = None if pairs is None else row_pairs("pairs", pairs, "sequences", len(codes))
    starts = np.arange(len(codes)) * codes.shape[1]
    taken = take_flat(np.ascontiguousarray(codes).reshape(-1), starts, letters, threads=workers)
    return _distances(taken, len(codes), listed, workers)


def _distances(
    taken: Letters | Strings, count: int, pairs: NDArray[np.int64] | None, workers: int
) -> NDArray[np.int32]:
    if pairs is None or len(pairs) >= max(1, count * (count - 1) // 2):
        table = taken.all_pairs(threads=workers)  # cheaper per pair than a list of pairs
        return table if pairs is None else table[pairs[:, 0], pairs[:, 1]]
    return taken.pairs(pairs, threads=workers)


def _ascii(sequence: str) -> bytes:
    try:
        return sequence.encode("ascii").upper()
    except UnicodeEncodeError as error:
        position, letter = error.start, sequence[error.start]
        raise InputError(f"position {position + 1}: expected ASCII letters, found {letter!r}; replace it") from None


def _scores(match: int, mismatch: int, gap: int) -> tuple[int, int, int]:
    try:
        return operator.index(match), operator.index(mismatch), operator.index(gap)
    except TypeError:
        raise InputError(
            f"expected integer scores, found match={match!r}, mismatch={mismatch!r}, gap={gap!r};"
            " multiply all three by one number to make them whole"
        ) from None
