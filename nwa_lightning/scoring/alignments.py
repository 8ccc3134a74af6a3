"""Global alignment scores with any substitution matrix and affine gaps, for sequences of any length and alphabet.

With S the substitution scores, and o and e those of the first and of each other letter of a gap, the Needleman-Wunsch matrix of
two sequences a and b is (Gotoh, 1982, doi 10.1016/0022-2836(82)90398-9)::

    M[i, j] = max(M[i-1, j-1] + S[a[i], b[j]], E[i, j], F[i, j])
    E[i, j] = max(M[i-1, j] + o, E[i-1, j] + e)
    F[i, j] = max(M[i, j-1] + o, F[i, j-1] + e)

The compiled kernel (``src_ext/nw_scan.c``) keeps one row of it. ``nwa_lightning.alignment`` is faster for whole matrices of
short sequences whose substitutions have two scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nwa_lightning._checks import at_least_one, describe, padded_lengths, row_pairs
from nwa_lightning._kernels import compiled, parallel_slices
from nwa_lightning.alignment import Kind, check_kind
from nwa_lightning.errors import InputError
from nwa_lightning.scoring.scores import MOST_CODES, Scoring
from nwa_lightning.sequences.alphabet import DNA, Alphabet
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.packed import Packed

if TYPE_CHECKING:
    from typing_extensions import Self


def alignment_scores(
    sequences: Sequence[str] | Sequences | Packed,
    pairs: ArrayLike | None = None,
    *,
    scoring: Scoring,
    alphabet: Alphabet = DNA,
    threads: int = 1,
) -> NDArray[np.int32]:
    """Scores of the best global alignments of pairs of sequences, in memory that grows with the length only.

    Args:
        sequences: ``U`` sequences, as strings or as codes below K.
        pairs: ``(P, 2)`` rows of ``sequences``: first, second; or None for all against all.
        scoring: The scores.
        alphabet: The letters of strings; codes have their own.
        threads: Threads that share the pairs. The result does not depend on it.

    Returns:
        ``(P,)`` scores, or ``(U, U)`` if ``pairs`` is None, with a row for each first sequence.

    Raises:
        InputError: For a wrong letter, shape, type or index, or if a score could leave int32.
    """
    packed = _packed(sequences, alphabet)
    threads = at_least_one("threads", threads)
    listed = None if pairs is None else row_pairs("pairs", pairs, "sequences", len(packed))
    taken = _Taken.of(packed, scoring)
    if listed is None:
        return _all_scores(taken, len(packed), scoring.symmetric, threads)
    out = np.empty(len(listed), dtype=np.int32)
    parallel_slices(lambda part: taken.scan(listed[part], out[part]), len(listed), threads=threads)
    return out


def strided_matrices(
    codes: NDArray[np.uint8],
    lengths: ArrayLike,
    pairs: ArrayLike,
    *,
    scoring: Scoring,
    stride: int = 1,
    kind: Kind = "prefix",
    threads: int = 1,
) -> NDArray[np.int32]:
    """Every s-th row and column of the Needleman-Wunsch matrices of pairs of sequences; the rest is never in memory.

    Args:
        codes: ``(U, n)`` uint8 codes below K, one sequence per row; codes beyond a sequence's length are not read.
        lengths: ``(U,)`` letters of each sequence, at most ``n``.
        pairs: ``(P, 2)`` rows of ``codes``: first (rows of the matrix), second (columns).
        scoring: The scores.
        stride: s, letters from one cell to the next.
        kind: As in ``nw_matrices``; ``"best_through"`` needs linear gaps.
        threads: Threads that share the pairs. The result does not depend on it.

    Returns:
        ``(P, R, R)`` scores ``M[i * s, j * s]`` with ``R = n // s + 1``; 0 outside of a pair's own cells. Row 0 and column 0 are
        the borders.

    Raises:
        InputError: For a wrong shape, type, index, length or option, or if a score could leave int32.
    """
    letters = padded_lengths(codes, lengths)
    rows = row_pairs("pairs", pairs, "codes", len(codes))
    stride, threads = at_least_one("stride", stride), at_least_one("threads", threads)
    check_kind(kind)
    if kind == "best_through" and not scoring.linear:
        raise InputError(
            f"kind: expected 'prefix' for affine gaps, found {kind!r}; use it or gap_open=gap_extend={scoring.gap_extend}"
        )
    starts = np.arange(len(codes), dtype=np.int64) * codes.shape[1]
    taken = _Taken.of(Packed(np.ascontiguousarray(codes).reshape(-1), starts, letters), scoring)
    side = codes.shape[1] // stride + 1
    out = np.zeros((len(rows), side, side), dtype=np.int32)

    def fill(part: slice) -> None:
        taken.scan(rows[part], out[part].reshape(-1), stride, side, kind == "best_through")

    parallel_slices(fill, len(rows), threads=threads)
    return out


class _Taken(NamedTuple):
    """Sequences and scores in the form that the kernel takes, with codes numbered as they occur."""

    packed: Packed
    ranks: NDArray[np.uint8]
    table: NDArray[np.int32]
    longest: int
    gap_open: int
    gap_extend: int

    @classmethod
    def of(cls, packed: Packed, scoring: Scoring) -> Self:
        starts, lengths = np.ascontiguousarray(packed.starts), np.ascontiguousarray(packed.lengths)
        packed = Packed(np.ascontiguousarray(packed.flat), starts, lengths)
        longest = int(packed.lengths.max(initial=0))
        scoring.check_length(longest)
        seen = np.zeros(MOST_CODES, dtype=np.uint8)
        compiled.edit_seen(packed.flat, packed.starts, packed.lengths, seen)
        codes = np.flatnonzero(seen)
        size = len(scoring.substitution)
        if len(codes) and codes[-1] >= size:
            raise InputError(
                f"expected codes below {size}, for which there are scores, found {codes[-1]}; use the alphabet of the scores"
            )
        ranks = np.zeros(MOST_CODES, dtype=np.uint8)
        ranks[codes] = np.arange(len(codes))
        # A substitution that scores below two new gaps is never taken. So scores are clipped there, to fit int32.
        table = np.maximum(scoring.substitution[np.ix_(codes, codes)], np.int32(2 * scoring.gap_open))
        return cls(packed, ranks, np.ascontiguousarray(table), longest, scoring.gap_open, scoring.gap_extend)

    def scan(
        self, pairs: NDArray[np.int64], out: NDArray[np.int32], stride: int = 0, side: int = 0, through: bool = False
    ) -> None:
        packed, gaps = self.packed, (self.gap_open, self.gap_extend)
        sequences = packed.flat, packed.starts, packed.lengths
        compiled.scan(*sequences, pairs, self.ranks, self.table, out, self.longest, stride, side, *gaps, through)


def _packed(sequences: Sequence[str] | Sequences | Packed, alphabet: Alphabet) -> Packed:
    if isinstance(sequences, (Sequences, Packed)):
        return sequences.bases if isinstance(sequences, Sequences) else sequences
    return Packed.of(_codes(number, sequence, alphabet) for number, sequence in enumerate(sequences, start=1))


def _codes(number: int, sequence: str, alphabet: Alphabet) -> bytes:
    if not isinstance(sequence, str):
        raise InputError(
            f"sequence {number}: expected a string, found {describe(sequence)}; for codes pass Sequences or Packed"
        )
    try:
        return alphabet.encode(sequence).tobytes()
    except InputError as error:
        raise InputError(f"sequence {number}: {error}; mend it or use another alphabet") from None


def _all_scores(taken: _Taken, count: int, symmetric: bool, threads: int) -> NDArray[np.int32]:
    out = np.empty((count, count), dtype=np.int32)

    def fill(second: int) -> None:
        firsts = second + 1 if symmetric else count
        pairs = np.stack([np.arange(firsts), np.full(firsts, second)], axis=1)
        column = np.empty(firsts, dtype=np.int32)
        taken.scan(pairs, column)
        out[:firsts, second] = column
        if symmetric:
            out[second, :firsts] = column

    def work(part: slice) -> None:
        for row in range(
            *part.indices(-(-count // 2))
        ):  # a short and a long column of the triangle, so that parts are equal
            for second in {row, count - 1 - row}:
                fill(second)

    parallel_slices(work, -(-count // 2), threads=threads)
    return out
