"""PairBatch, and the data sets and the sampler that make one.

A batch holds each sequence once and says by row numbers which of them are paired: 64 sequences make 2,016 pairs, for
64 passes of the encoder. Edit distances and Needleman-Wunsch matrices are computed when a batch is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from nwa_lightning.alignment import Kind, edit_distances, nw_matrices
from nwa_lightning.alphabet import DNA, SOS, Alphabet
from nwa_lightning.augment import Augment
from nwa_lightning.sequences import Sequences


class Scores(NamedTuple):
    """Scores of the Needleman-Wunsch matrix; the default is that of Lee & No (2024)."""

    match: int = 1
    mismatch: int = -1
    gap: int = -1


PUBLISHED_SCORES = Scores()


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


class DrawnPairs(Dataset[PairBatch]):
    """An endless set of batches: number k draws its sequences and pairs by a generator seeded with (seed, k).

    So a batch depends on its number alone, never on who computes it: any number of workers gives the same batches.

    Args:
        sequences: The training set.
        batch_size: U, sequences drawn without replacement for each batch.
        pairs: P, the most pairs of them, or None for all U (U - 1) / 2.
        nwa_sequences: N, how many of the U feed the regulariser, with all their pairs.
        scores: Of the Needleman-Wunsch matrices.
        seed: Of the draws.
        kind: Of the matrices, as in ``nw_matrices``.
        augment: Replaces a share of the sequences drawn by variants; None for sequences as they are.
        alphabet: Of the sequences, for the letters of the variants.
    """

    def __init__(
        self,
        sequences: Sequences,
        *,
        batch_size: int,
        pairs: int | None,
        nwa_sequences: int,
        scores: Scores,
        seed: int,
        kind: Kind = "prefix",
        augment: Augment | None = None,
        alphabet: Alphabet = DNA,
    ) -> None:
        self.sequences = sequences
        self.batch_size = min(batch_size, len(sequences))
        self.block = min(nwa_sequences, self.batch_size)
        self.pairs = pairs
        self.scores = scores
        self.kind = kind
        self.seed = seed
        self.augment = augment
        self.alphabet = alphabet

    def __getitem__(self, number: int) -> PairBatch:
        generator = np.random.default_rng((self.seed, number))
        rows = generator.choice(len(self.sequences), self.batch_size, replace=False)
        pairs = block_first_pairs(self.batch_size, self.block)
        nw_pairs = self.block * (self.block - 1) // 2
        if self.pairs is not None and self.pairs < len(pairs):
            others = generator.choice(len(pairs) - nw_pairs, self.pairs - nw_pairs, replace=False)
            pairs = np.concatenate([pairs[:nw_pairs], pairs[nw_pairs + np.sort(others)]])
        sequences = self.sequences
        if self.augment is not None:
            sequences = self.augment.vary(sequences, rows, self.alphabet, generator)
            rows = np.arange(len(rows))
        return make_batch(sequences, rows, pairs.copy(), nw_pairs, self.scores, self.kind)


class FixedPairs(Dataset[PairBatch]):
    """The same batches every time: all pairs within consecutive groups, or all pairs of all sequences.

    A number past the end gives a batch without pairs, so that every process of a distributed run takes equally many
    steps and no pair counts twice.

    Args:
        sequences: The validation or test set.
        group: Sequences per group.
        all_pairs: Also the pairs across groups, each in one batch with both groups.
    """

    #: Batches to hold in memory after they were first made: enough for a validation set, little for a large one.
    KEPT = 16

    def __init__(self, sequences: Sequences, *, group: int, all_pairs: bool) -> None:
        self.sequences = sequences
        self.kept: dict[int, PairBatch] = {}
        starts = range(0, len(sequences), group)
        groups = [np.arange(start, min(start + group, len(sequences))) for start in starts]
        self.blocks = [(one, one) for one in groups]
        if all_pairs:
            self.blocks += [(one, two) for k, one in enumerate(groups) for two in groups[k + 1 :]]

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, number: int) -> PairBatch:
        if number >= len(self.blocks):
            return make_batch(self.sequences, np.arange(2), np.empty((0, 2), dtype=np.int64))
        if number in self.kept:
            return self.kept[number]
        one, two = self.blocks[number]
        if one is two:
            batch = make_batch(self.sequences, one, block_first_pairs(len(one), 0).copy())
        else:
            first, second = np.meshgrid(np.arange(len(one)), len(one) + np.arange(len(two)), indexing="ij")
            pairs = np.stack([first.ravel(), second.ravel()], axis=1)
            batch = make_batch(self.sequences, np.concatenate([one, two]), pairs)
        if number < self.KEPT:
            self.kept[number] = batch
        return batch


class SingleSequences(Dataset[PairBatch]):
    """Every sequence once, in order and without pairs: what prediction reads."""

    def __init__(self, sequences: Sequences, batch_size: int) -> None:
        self.sequences = sequences
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.sequences) // self.batch_size)

    def __getitem__(self, number: int) -> PairBatch:
        rows = np.arange(len(self.sequences))[number * self.batch_size : (number + 1) * self.batch_size]
        return make_batch(self.sequences, rows, np.empty((0, 2), dtype=np.int64))


class StepSampler(DistributedSampler[PairBatch]):
    """Hands batch numbers to one process of a distributed run: its rank, its rank + world size, and so on.

    It is a ``DistributedSampler`` because Lightning wraps any other sampler in one of its own, which would hide
    ``set_epoch`` and shorten the epoch.

    Args:
        steps: Steps of an epoch, the same on every rank.
        world_size: Number of processes.
        rank: Of this process.
        first: Gives the number of the first step when the first batch is asked for, from that after the epochs so far.
            By default every epoch has the same batches.
    """

    def __init__(
        self, steps: int, *, world_size: int = 1, rank: int = 0, first: Callable[[int], int] | None = None
    ) -> None:
        super().__init__(range(steps * world_size), num_replicas=world_size, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self.first = first

    def __iter__(self) -> Iterator[int]:  # type: ignore[override]
        first = self.first(self.epoch * len(self)) if self.first is not None else 0
        for step in range(first, first + len(self)):
            yield step * self.num_replicas + self.rank


class BatchLoader(DataLoader[PairBatch]):
    """A loader that tells Lightning that a run may go on in the middle of an epoch.

    Which batch comes next is known to whoever gave the sampler its ``first``, so there is no state to keep.
    """

    def state_dict(self) -> dict[str, int]:
        """Nothing."""
        return {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Nothing."""
