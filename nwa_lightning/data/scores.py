"""Scores of a run: chosen by the user, checked before it starts, and the Needleman-Wunsch matrices of a batch by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.alignment import Kind, Scores, check_kind, check_scores, nw_matrices
from nwa_lightning.data.targets import TargetName, as_scoring, check_score_target, check_strands, check_target
from nwa_lightning.errors import InputError
from nwa_lightning.scoring import Scoring, strided_matrices
from nwa_lightning.sequences.alphabet import FIRST_LETTER, Alphabet
from nwa_lightning.sequences.collection import Sequences

#: Sequences from which the mean score of a letter is taken.
_SAMPLE: Final = 1000


def chosen_scoring(
    scores: Scores, substitution: str | None, gap_extend: int | None, alphabet: Alphabet
) -> Scoring | None:
    """Scores beyond those of two kinds of columns and linear gaps; None if none were asked for.

    Args:
        scores: Those of equal letters, different letters and the first letter of a gap.
        substitution: Name of a published matrix, or a file in NCBI's text format; None for the scores of letters above.
        gap_extend: Score of each other letter of a gap; None for that of the first.
        alphabet: The letters.

    Raises:
        InputError: If there is no such matrix, the gaps cannot be used, or letters have two scores.
    """
    if substitution is None and gap_extend is None:
        return None
    if substitution is not None and scores[:2] != Scores()[:2]:
        raise InputError(
            f"match, mismatch: expected none beside substitution, which scores all letters, found {scores.match}, "
            f"{scores.mismatch}; leave them out"
        )
    gaps = {"gap_open": scores.gap, "gap_extend": scores.gap if gap_extend is None else gap_extend}
    if substitution is None:
        return Scoring(Scoring.simple(*scores[:2], size=alphabet.size).substitution, **gaps)
    try:
        if Path(substitution).is_file():
            return Scoring.from_table(substitution, alphabet, **gaps)
        return Scoring.named(substitution, alphabet, **gaps)
    except InputError as error:
        raise InputError(f"substitution: {error}") from None


def check_run(
    target: TargetName,
    scoring: Scores | Scoring,
    alphabet: Alphabet,
    max_length: int,
    kind: Kind,
    stride: int,
    both_strands: bool,
) -> None:
    """Check the target, the scores and the matrices of a run before it starts.

    Args:
        target: The target.
        scoring: The scores.
        alphabet: The letters.
        max_length: Letters of the longest sequence.
        kind: Kind of the matrices.
        stride: Stride of the matrices.
        both_strands: Whether the sequences may be from either strand.

    Raises:
        InputError: If they do not go together, or a score could leave its type.
    """
    check_target(target)
    check_kind(kind)
    if both_strands:
        check_strands(alphabet, scoring)
    if isinstance(scoring, Scoring):
        scoring.check_length(max_length)
        if kind == "best_through" and not scoring.linear:
            raise InputError(
                f"nwa_kind: expected prefix for affine gaps, found {kind}; use it, or the same score for gap and gap_extend"
            )
    elif stride == 1:  # otherwise, larger scores are int32
        check_scores(max_length, **scoring._asdict(), kind=kind)
    if target == "score":
        letters = np.arange(FIRST_LETTER, alphabet.size)
        check_score_target(as_scoring(scoring, letters), letters)


def letter_score(scoring: Scores | Scoring, sequences: Sequences) -> float:
    """Mean score of a letter beside itself, over the letters of up to 1,000 sequences, which are spread over all.

    Raises:
        InputError: If it is not above 0.
    """
    if isinstance(scoring, Scores):
        scoring = Scoring.simple(*scoring)
    some = np.linspace(0, len(sequences) - 1, min(len(sequences), _SAMPLE)).astype(np.int64)
    counts = np.zeros(len(scoring.substitution), dtype=np.int64)
    for row in sequences.take(some).bases:
        counts += np.bincount(np.frombuffer(row, dtype=np.uint8), minlength=len(counts))
    found = float(counts @ np.diagonal(scoring.substitution) / max(counts.sum(), 1))
    if found <= 0:
        raise InputError(
            f"target: expected letters that score more than 0 beside themselves for the target score, found a mean of {found:g}; "
            f"raise match or use another matrix"
        )
    return found


def label_options(
    target: TargetName, scores: Scores | Scoring, alphabet: Alphabet, both_strands: bool
) -> dict[str, Any]:
    """How pairs are labelled, as arguments of ``pair_batch``."""
    options = scores._asdict() if isinstance(scores, Scores) else {"scoring": scores}
    return {"target": target, "alphabet": alphabet, "both_strands": both_strands, **options}


def pair_matrices(
    codes: NDArray[np.uint8],
    lengths: NDArray[np.int64],
    pairs: NDArray[np.int64],
    scoring: Scores | Scoring,
    kind: Kind,
    stride: int,
) -> NDArray[np.int16] | NDArray[np.int32]:
    """Needleman-Wunsch matrices of pairs, by the fastest kernel that can make them.

    Args:
        codes: ``(U, n)`` uint8 codes.
        lengths: ``(U,)`` letters of each sequence.
        pairs: ``(Q, 2)`` rows of ``codes``.
        scoring: The scores.
        kind: As in ``nw_matrices``.
        stride: As in ``strided_matrices``.

    Returns:
        ``(Q, R, R)``, int16 if all scores fit.
    """
    if isinstance(scoring, Scores) and stride == 1:
        return nw_matrices(codes, lengths, pairs, **scoring._asdict(), kind=kind)
    cells = strided_matrices(codes, lengths, pairs, scoring=as_scoring(scoring, codes), stride=stride, kind=kind)
    # The loss has a compiled kernel for int16.
    narrow = cells.astype(np.int16)
    return narrow if np.array_equal(narrow, cells) else cells
