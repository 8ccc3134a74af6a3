"""What a model learns of a pair of sequences: edit distance, identity or alignment score; and in which unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.alignment import Scores, code_distances
from nwa_lightning.errors import InputError
from nwa_lightning.scoring import Scoring, alignment_scores
from nwa_lightning.sequences.alphabet import FIRST_LETTER, Alphabet
from nwa_lightning.sequences.packed import Packed
from nwa_lightning.sequences.strands import complement_table, with_other_strands

if TYPE_CHECKING:
    from torch import Tensor

TargetName = Literal["edits", "identity", "score"]

#: What the number of a pair is.
QUANTITIES: Final[dict[TargetName, str]] = {
    "edits": "edit distance",
    "identity": "1 - identity",
    "score": "dissimilarity by score",
}

#: Several of them.
PLURALS: Final[dict[TargetName, str]] = {
    "edits": "edit distances",
    "identity": "values of 1 - identity",
    "score": "dissimilarities",
}

#: Its unit.
UNITS: Final[dict[TargetName, str]] = {"edits": "edits", "identity": "fraction of the longer length", "score": "score"}


def check_target(target: str) -> None:
    """Raise an ``InputError`` unless there is such a target."""
    if target not in get_args(TargetName):
        raise InputError(
            f"target: expected one of {', '.join(get_args(TargetName))}, found {target!r}; name one of them"
        )


def pair_targets(
    codes: NDArray[np.uint8],
    lengths: NDArray[np.int64],
    pairs: NDArray[np.int64],
    target: TargetName,
    scoring: Scores | Scoring,
    strands: Alphabet | None = None,
) -> NDArray[np.int64] | NDArray[np.float32]:
    r"""The number of each pair that a model learns to predict, as a distance: 0 for equal sequences.

    - ``edits``: the edit distance (Levenshtein, 1966), in edits.
    - ``identity``: 1 minus the identity, from 0 to 1: the edit distance over the length of the longer sequence; 0 for two
      empty sequences.
    - ``score``: with S(a, b) the score of the best global alignment of a and b, in the unit of the scores,

      .. math:: \frac{S(a, a) + S(b, b)}{2} - S(a, b)

      This is the cost of the cheapest alignment if letters x and y beside each other cost (s(x, x) + s(y, y)) / 2 - s(x, y), and
      a letter x beside a gap costs s(x, x) / 2 minus the score of the gap (Smith, Waterman and Fitch, 1981, doi
      10.1007/BF01733210). With scores 0, -1, -1 it is the edit distance. It makes sense if no cost is negative, as with all
      matrices of Biopython and gaps of at most -1; ``check_score_target`` checks it. With linear gaps it is a metric if the costs
      of letters obey the triangle inequality, as those of BLOSUM62 do (Sellers, 1974, doi 10.1137/0126070).

    Args:
        codes: ``(U, n)`` uint8 codes.
        lengths: ``(U,)`` letters of each sequence.
        pairs: ``(P, 2)`` rows of ``codes``.
        target: Which number.
        scoring: The scores; only ``score`` uses them.
        strands: Alphabet of sequences whose strands are unknown: the number of a pair is the smaller of those of the first
            sequence with the second and with its reverse complement. Turning the first one instead gives the same number.

    Returns:
        ``(P,)``, int64 for edits, float32 for all others.

    Raises:
        InputError: See ``check_target``, ``check_score_target`` and ``check_strands``.
    """
    check_target(target)
    if strands is not None:
        check_strands(strands, scoring)
        both, sizes = with_other_strands(codes, lengths, strands), np.concatenate([lengths, lengths])
        turned = pairs + np.array([0, len(codes)])
        return np.minimum(*(pair_targets(both, sizes, rows, target, scoring) for rows in (pairs, turned)))
    if target != "score":
        edits = code_distances(codes, lengths, pairs).astype(np.int64)
        if target == "edits":
            return edits
        fraction: NDArray[np.float32] = (edits / lengths[pairs].max(axis=1, initial=1)).astype(np.float32)
        return fraction
    scoring = as_scoring(scoring, codes)
    starts = np.arange(len(codes), dtype=np.int64) * codes.shape[1]
    used = np.arange(codes.shape[1]) < lengths[:, None]
    scores = alignment_scores(Packed(codes.reshape(-1), starts, lengths), pairs, scoring=scoring)
    check_score_target(scoring, np.unique(codes[used]))
    own = (np.diagonal(scoring.substitution)[np.where(used, codes, 0)] * used).sum(axis=1)
    found: NDArray[np.float32] = (own[pairs].sum(axis=1) / 2 - scores).astype(np.float32)
    return found


def check_score_target(scoring: Scoring, codes: NDArray[Any]) -> None:
    """Check that a dissimilarity by these scores is at least 0, symmetric, and 0 for equal sequences.

    Then the best alignment of a sequence with itself has no gaps: its score is the sum of those of its letters.

    Args:
        scoring: The scores.
        codes: Codes of the letters that may occur.

    Raises:
        InputError: If two letters score more than the mean of their own scores, a gap more than half of a letter's, or a
            letter beside another is not the same as the other beside it.
    """
    table = scoring.substitution[np.ix_(codes, codes)].astype(np.int64)
    own = np.diagonal(table)
    if not (table == table.T).all():
        raise InputError(
            "target: expected symmetric scores for the target score, found two letters whose order matters; use another matrix"
        )
    if (2 * table > own[:, None] + own).any():
        raise InputError(
            "target: expected letters that score no more beside others than beside themselves, found some that do; raise match "
            "or use another matrix"
        )
    if len(own) and 2 * scoring.gap_extend > own.min():
        raise InputError(
            f"target: expected a gap that scores at most {own.min() / 2:g}, half of a letter beside itself, found "
            f"{scoring.gap_extend}; lower gap and gap_extend"
        )


def check_strands(alphabet: Alphabet, scoring: Scores | Scoring) -> None:
    """Raise an ``InputError`` if letters have no complements, or if two of them score less or more than their complements."""
    complement = np.frombuffer(complement_table(alphabet), dtype=np.uint8)
    if isinstance(scoring, Scoring):
        letters = np.arange(FIRST_LETTER, alphabet.size)
        others, table = complement[letters], scoring.substitution
        if (table[np.ix_(letters, letters)] != table[np.ix_(others, others)]).any():
            raise InputError(
                "both_strands: expected letters that score as their complements do, found two that do not; use another matrix"
            )


def as_scoring(scoring: Scores | Scoring, codes: NDArray[Any]) -> Scoring:
    """The same scores for any codes up to the largest of some."""
    return scoring if isinstance(scoring, Scoring) else Scoring.simple(*scoring, size=int(codes.max(initial=0)) + 1)


def full_scale(target: TargetName, target_scale: float | None, max_length: int) -> float:
    """What a vector distance of 1 stands for.

    Args:
        target: The target.
        target_scale: In its unit; None for ``max_length`` edits, or an identity of 0.
        max_length: Letters of the longest sequence.

    Raises:
        InputError: If there is no such target, the number is not above 0, or the target score has none.
    """
    check_target(target)
    if target_scale is not None:
        if not 0 < target_scale < np.inf:
            raise InputError(
                f"target_scale: expected more than 0, found {target_scale}; give a positive, finite number"
            )
        return target_scale
    if target == "score":
        raise InputError(
            "target_scale: expected a number for the target score, found none; give data.target_scale of the NWADataModule: the "
            "longest length times the mean score of a letter beside itself"
        )
    return max_length if target == "edits" else 1


def whole_scale(target: TargetName, longest: Tensor, letter: float | None = None) -> Tensor | float:
    """The distance that counts as 100 % in the error of a pair.

    Args:
        target: The target.
        longest: ``(P,)`` letters of the longer sequence of each pair.
        letter: For the target score, the mean score of a letter beside itself.

    Returns:
        The length in edits; an identity of 1; or the score of the longer sequence with itself, as far as its length tells.

    Raises:
        InputError: If the target score has no such number.
    """
    if target == "edits":
        return longest
    if target == "identity":
        return 1.0
    if letter is None:
        raise InputError(
            "scale: expected the mean score of a letter beside itself for the target score, found none; give "
            "data.target_scale / data.max_length"
        )
    return longest * letter


def check_same_target(model: TargetName, data: TargetName) -> None:
    """Raise an ``InputError`` if the data have another target than the model."""
    if model != data:
        raise InputError(
            f"data.target: expected {model}, which the model learns, found {data}; give both the same target"
        )


def check_predicts_edits(model: object) -> None:
    """Raise an ``InputError`` for a model that predicts something other than edits."""
    target = getattr(model, "target", "edits")
    if target in ("identity", "score"):
        raise InputError(
            f"model: expected one that predicts edit distances, found one of the target {target}; this needs edits: use a model "
            f"of the target edits, or no model and exact distances"
        )
