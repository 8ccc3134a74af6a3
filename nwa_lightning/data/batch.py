"""PairBatch, and how to make one of sequences.

A batch holds each sequence once and lists its pairs by row numbers: 64 sequences make 2,016 pairs, for 64 passes of the
encoder. Their distances and Needleman-Wunsch matrices are computed when a batch is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from nwa_lightning.alignment import PUBLISHED_SCORES, Kind, Scores
from nwa_lightning.data.scores import pair_matrices
from nwa_lightning.data.targets import TargetName, pair_targets
from nwa_lightning.errors import InputError
from nwa_lightning.scoring import Scoring
from nwa_lightning.sequences.alphabet import DNA, PADDING, SOS, Alphabet, as_alphabet
from nwa_lightning.sequences.collection import Sequences

#: Sequences that feed the NWA term by default: more of them cost more and teach no more (``examples/study/labels.py``).
NWA_BATCH_SIZE: Final = 6


class PairBatch(NamedTuple):
    """U sequences, P pairs of them, and the matrices of the first Q pairs; L is the longest length + 1.

    All fields but the last are tensors, so Lightning moves a batch to its device by itself.

    Attributes:
        tokens: ``(U, L)`` int64: ``<sos>``, codes, then padding; or tokens of another tokenizer, as they were given.
        lengths: ``(U,)`` int64, bases per sequence, ``<sos>`` not counted.
        pairs: ``(P, 2)`` int64 rows of ``tokens``: first (rows of a map), second (columns).
        distance: ``(P,)`` distances of the pairs, in the unit of the target: int64 edit distances, in edits; or float32, see
            ``pair_batch``.
        nw: ``(Q, R, R)`` int16 Needleman-Wunsch matrices of the first Q pairs; R is L, or with a stride s ceil(L / s). Scores
            that do not fit are int32, which a stride above 1 and ``scoring`` allow.
        nw_rows: N, if those Q pairs use exactly the first N rows; None if they use other rows. It saves asking a GPU which
            rows they use.
        nw_stride: s: the matrices have every s-th row and column.
    """

    tokens: Tensor
    lengths: Tensor
    pairs: Tensor
    distance: Tensor
    nw: Tensor
    nw_rows: int | None = None
    nw_stride: int = 1

    @property
    def left(self) -> Tensor:
        """``(P, L)`` tokens of the first sequence of every pair, for models written for two inputs."""
        return self.tokens[self.pairs[:, 0]]

    @property
    def right(self) -> Tensor:
        """``(P, L)`` tokens of the second sequence of every pair."""
        return self.tokens[self.pairs[:, 1]]

    @property
    def nw_pairs(self) -> Tensor:
        """``(Q, 2)`` pairs that have a matrix."""
        return self.pairs[: self.nw.shape[0]]

    @property
    def longest(self) -> Tensor:
        """``(P,)`` length of the longer sequence of every pair, in bases."""
        return self.lengths[self.pairs].amax(dim=1)


def pair_batch(
    sequences: Sequence[str] | Sequence[bytes] | Sequence[NDArray[np.uint8]] | Sequences | Tensor,
    pairs: ArrayLike | Literal["all"] | None = None,
    *,
    lengths: ArrayLike | Tensor | None = None,
    nwa_batch_size: int = NWA_BATCH_SIZE,
    match: int = 1,
    mismatch: int = -1,
    gap: int = -1,
    kind: Kind = "prefix",
    alphabet: Alphabet | str = DNA,
    max_length: int | None = None,
    stride: int = 1,
    target: TargetName = "edits",
    scoring: Scoring | None = None,
    both_strands: bool = False,
) -> PairBatch:
    """Make a batch of sequences, with distances and Needleman-Wunsch matrices of their pairs.

    With the default pairs it takes a fraction of a millisecond, so it may be called in a training step.

    Args:
        sequences: U sequences: strings, codes (uint8 arrays without padding), ``Sequences``, or ``(U, n)`` tokens of any
            tokenizer. With tokens, ``lengths`` says how many of each row count, from its first column on. Leave out special
            tokens.
        pairs: ``(P, 2)`` rows: first (rows of a map), second (columns). None for all pairs of the first N sequences, which is
            all that the NWA term needs; "all" for all pairs of all sequences, beginning with those of the first N.
        lengths: ``(U,)`` letters of each row of tokens; None for other sequences.
        nwa_batch_size: N. The first pairs get a matrix, as long as they have no more than N different sequences.
        match: Score of equal letters in the matrix.
        mismatch: Score of different letters.
        gap: Score of a gap.
        kind: Kind of the matrix, as in ``nw_matrices``.
        alphabet: Alphabet of the sequences: dna, rna, iupac, protein, or its letters. Only strings and both_strands need it.
        max_length: Pad tokens and matrices for this many letters; None for the length of the longest sequence.
        stride: s: matrices get every s-th row and column, for long sequences; the others are never in memory.
        target: Distance of each pair: edits, the edit distance; identity, 1 minus the identity (edits over the length of the
            longer sequence); score, (S(a, a) + S(b, b)) / 2 - S(a, b) of the alignment score S. See ``pair_targets``.
        scoring: Scores of letters and affine gaps for matrices and the target score, in place of match, mismatch and gap.
        both_strands: Whether each sequence may be from either strand: the distance of a pair is the smaller of those to the
            second sequence and to its reverse complement. Matrices then make no sense: give nwa_batch_size=0.

    Returns:
        The batch, on the CPU; ``tokens`` are ``<sos>``, codes and padding, or the tokens that were given.

    Raises:
        InputError: If the sequences, pairs, lengths, target or scores cannot be used.

    Example:
        >>> pair_batch(["ACGT", "AGT", "AC"]).distance.tolist()
        [1, 2, 2]
    """
    if nwa_batch_size < 0:
        raise InputError(f"nwa_batch_size: expected at least 0, found {nwa_batch_size}")
    letters = as_alphabet(alphabet)
    codes, sizes, tokens = _codes(sequences, lengths, letters)
    if both_strands and (tokens is not None or nwa_batch_size):
        found = f"nwa_batch_size={nwa_batch_size}" if tokens is None else "tokens of another tokenizer"
        raise InputError(f"both_strands: expected strings or codes, and nwa_batch_size=0, found {found}")
    scores = Scores(match, mismatch, gap)
    if scoring is not None and (scores != PUBLISHED_SCORES or tokens is not None):
        found = "tokens of another tokenizer" if scores == PUBLISHED_SCORES else f"{match}, {mismatch}, {gap} beside it"
        raise InputError(
            f"scoring: expected strings or codes, and no match, mismatch and gap, found {found}; leave out one of the two"
        )
    count, longest = len(sizes), int(sizes.max(initial=0))
    width = longest if max_length is None else max_length
    if longest > width:
        raise InputError(
            f"max_length: expected at least the {longest} letters of the longest sequence, found {max_length}"
        )
    codes = np.ascontiguousarray(_fit(codes, width))
    if pairs is None or (isinstance(pairs, str) and pairs == "all"):
        block = min(nwa_batch_size, count)
        chosen = block_first_pairs(count if pairs is not None else block, block).copy()
        block_pairs = block * (block - 1) // 2
    else:
        chosen = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
        block_pairs = _pairs_of_first(chosen, nwa_batch_size)
    used_scores = scores if scoring is None else scoring
    distance = pair_targets(codes, sizes, chosen, target, used_scores, letters if both_strands else None)
    nw = pair_matrices(codes, sizes, chosen[:block_pairs], used_scores, kind, stride)
    used = np.unique(chosen[:block_pairs])
    if tokens is None:
        tokens = torch.from_numpy(np.pad(codes.astype(np.int64), ((0, 0), (1, 0)), constant_values=SOS))
    return PairBatch(
        tokens=tokens,
        lengths=torch.from_numpy(sizes),
        pairs=torch.from_numpy(chosen),
        distance=torch.from_numpy(distance),
        nw=torch.from_numpy(nw),
        nw_rows=len(used) if np.array_equal(used, np.arange(len(used))) else None,
        nw_stride=stride,
    )


def chosen_pairs(batch: PairBatch, numbers: Sequence[int] | Tensor) -> PairBatch:
    """Some pairs of a batch, each with its matrix, for display.

    Args:
        batch: A batch whose tokens begin with ``<sos>``.
        numbers: ``(Q,)`` numbers of its pairs.

    Returns:
        A batch of 2 Q sequences, whose rows 2 q and 2 q + 1 are those of pair q.
    """
    rows = batch.pairs[torch.as_tensor(numbers)].reshape(-1)
    places = np.arange(len(rows)).reshape(-1, 2)
    tokens, lengths = batch.tokens[rows, 1:], batch.lengths[rows]
    made = pair_batch(tokens, places, lengths=lengths, nwa_batch_size=len(rows), stride=batch.nw_stride)
    return made._replace(tokens=batch.tokens[rows], distance=batch.distance[torch.as_tensor(numbers)])


def _pairs_of_first(pairs: NDArray[np.int64], sequences: int) -> int:
    """How many of the first pairs have no more than ``sequences`` different sequences in all."""
    # There cannot be more pairs than this, unless one of them is repeated.
    flat = pairs[: sequences * sequences].reshape(-1)
    _, first = np.unique(flat, return_index=True)
    first.sort()
    return int(first[sequences]) // 2 if len(first) > sequences else len(flat) // 2


def _codes(
    sequences: object, lengths: ArrayLike | Tensor | None, alphabet: Alphabet
) -> tuple[NDArray[np.uint8], NDArray[np.int64], Tensor | None]:
    """``(U, n)`` codes, ``(U,)`` lengths and, if tokens were given, the tokens."""
    if isinstance(sequences, (Tensor, np.ndarray)):
        return _codes_of_tokens(torch.as_tensor(sequences), lengths)
    if lengths is not None:
        raise InputError("lengths: expected none with strings or codes, which have their own; leave them out")
    if not isinstance(sequences, Sequences):
        if isinstance(sequences, (str, bytes)) or not isinstance(sequences, Sequence):
            raise InputError(
                f"sequences: expected a list of strings or codes, or tokens with lengths, found {type(sequences).__name__}"
            )
        sequences = _pack(sequences, alphabet)
    return sequences.padded(), sequences.lengths, None


def _pack(sequences: Sequence[object], alphabet: Alphabet) -> Sequences:
    rows = []
    for number, sequence in enumerate(sequences):
        if isinstance(sequence, np.ndarray) and sequence.dtype == np.uint8 and sequence.ndim == 1:
            rows.append(sequence)
            continue
        if not isinstance(sequence, (str, bytes)):
            raise InputError(
                f"sequences: expected strings or uint8 codes, found {type(sequence).__name__} in row {number}; for tokens give "
                f"one tensor and lengths"
            )
        try:
            rows.append(alphabet.encode(sequence if isinstance(sequence, str) else sequence.decode("ascii", "replace")))
        except InputError as error:
            raise InputError(f"sequence {number}, {error}; choose another alphabet, such as alphabet='iupac'") from None
    return Sequences.from_codes(rows, [""] * len(rows))


def _codes_of_tokens(
    tokens: Tensor, lengths: ArrayLike | Tensor | None
) -> tuple[NDArray[np.uint8], NDArray[np.int64], Tensor]:
    """Small codes that are equal where the tokens are equal; the kernels need no more."""
    if tokens.ndim != 2 or tokens.is_floating_point():
        raise InputError(f"sequences: expected (U, n) integer tokens, found {tuple(tokens.shape)} {tokens.dtype}")
    if lengths is None:
        raise InputError("lengths: expected how many tokens of each row count, found none; pass lengths=...")
    tokens = tokens.detach().cpu().long()
    sizes = torch.as_tensor(lengths).cpu().numpy().astype(np.int64)
    if sizes.shape != (len(tokens),) or (len(sizes) and not 0 <= sizes.min() <= sizes.max() <= tokens.shape[1]):
        raise InputError(
            f"lengths: expected {len(tokens)} numbers from 0 to {tokens.shape[1]}, found shape {sizes.shape}"
            + (f", {sizes.min()} to {sizes.max()}" if sizes.size else "")
        )
    inside = np.arange(tokens.shape[1]) < sizes[:, None]
    known, numbers = np.unique(tokens.numpy()[inside], return_inverse=True)
    if len(known) > np.iinfo(np.uint8).max:
        raise InputError(
            f"sequences: expected at most {np.iinfo(np.uint8).max} different tokens in a batch, found {len(known)}; give the "
            f"sequences as strings"
        )
    codes = np.full(tokens.shape, PADDING, dtype=np.uint8)
    codes[inside] = numbers + 1
    return codes, sizes, tokens


def _fit(codes: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    missing = width - codes.shape[1]
    return np.pad(codes, ((0, 0), (0, missing)), constant_values=PADDING) if missing > 0 else codes[:, :width]


@lru_cache(maxsize=8)
def block_first_pairs(count: int, block: int) -> NDArray[np.int64]:
    """All pairs of ``count`` rows, beginning with those of the first ``block`` rows: ``(count (count - 1) / 2, 2)``."""
    pairs = np.stack(np.triu_indices(count, 1), axis=1).astype(np.int64)
    pairs = pairs[np.argsort(pairs[:, 1] >= block, kind="stable")]
    pairs.setflags(write=False)
    return pairs
