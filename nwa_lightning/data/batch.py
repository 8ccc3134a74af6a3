"""PairBatch, and the data sets and the sampler that make one.

A batch holds each sequence once and says by row numbers which of them are paired: 64 sequences make 2,016 pairs, for
64 passes of the encoder. Edit distances and Needleman-Wunsch matrices are computed when a batch is asked for.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nwa_lightning.alignment import PUBLISHED_SCORES, Kind, Scores, edit_distances, nw_matrices
from nwa_lightning.sequences.alphabet import SOS
from nwa_lightning.sequences.collection import Sequences


class PairBatch(NamedTuple):
    """U sequences, P pairs of them, and the matrices of the first Q pairs; L is the longest length + 1.

    All fields are tensors, so Lightning moves a batch to its device by itself.

    Attributes:
        tokens: ``(U, L)`` int64: ``<sos>``, codes, then padding.
        lengths: ``(U,)`` int64, bases per sequence, ``<sos>`` not counted.
        pairs: ``(P, 2)`` int64 rows of ``tokens``: first (rows of a map), second (columns).
        distance: ``(P,)`` int64 edit distances, in edits.
        nw: ``(Q, L, L)`` int16 Needleman-Wunsch matrices of the first Q pairs. Those pairs use only the first N rows.
    """

    tokens: Tensor
    lengths: Tensor
    pairs: Tensor
    distance: Tensor
    nw: Tensor

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
        """``(Q, 2)``: the pairs that have a matrix."""
        return self.pairs[: self.nw.shape[0]]

    @property
    def longest(self) -> Tensor:
        """``(P,)`` length of the longer sequence of every pair, in bases."""
        return self.lengths[self.pairs].amax(dim=1)


def make_batch(
    sequences: Sequences,
    rows: NDArray[np.int64],
    pairs: NDArray[np.int64],
    nw_pairs: int = 0,
    scores: Scores = PUBLISHED_SCORES,
    kind: Kind = "prefix",
) -> PairBatch:
    """Build a batch from chosen sequences and pairs.

    Args:
        sequences: Where the sequences come from.
        rows: ``(U,)`` rows of ``sequences``.
        pairs: ``(P, 2)`` rows of the batch, from 0 to U - 1.
        nw_pairs: Q, how many of the first pairs get a Needleman-Wunsch matrix.
        scores: Of the Needleman-Wunsch matrix.
        kind: Of the matrix, as in ``nw_matrices``.

    Returns:
        The batch, cut to its own longest sequence.
    """
    lengths = sequences.lengths[rows]
    codes = np.ascontiguousarray(sequences.codes[rows, : int(lengths.max(initial=0))])
    tokens = np.pad(codes.astype(np.int64), ((0, 0), (1, 0)), constant_values=SOS)
    return PairBatch(
        tokens=torch.from_numpy(tokens),
        lengths=torch.from_numpy(lengths),
        pairs=torch.from_numpy(pairs),
        distance=torch.from_numpy(edit_distances(sequences.bytes_of(rows), pairs).astype(np.int64)),
        nw=torch.from_numpy(nw_matrices(codes, lengths, pairs[:nw_pairs], **scores._asdict(), kind=kind)),
    )


@lru_cache(maxsize=8)
def block_first_pairs(count: int, block: int) -> NDArray[np.int64]:
    """All pairs of ``count`` rows, those within the first ``block`` rows leading: ``(count (count - 1) / 2, 2)``."""
    pairs = np.stack(np.triu_indices(count, 1), axis=1).astype(np.int64)
    pairs = pairs[np.argsort(pairs[:, 1] >= block, kind="stable")]
    pairs.setflags(write=False)
    return pairs
