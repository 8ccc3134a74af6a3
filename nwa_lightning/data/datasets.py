"""Data sets of pair batches: drawn anew for every training step, the same every time, or without pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from nwa_lightning.alignment import PUBLISHED_SCORES, Kind, Scores
from nwa_lightning.data.augment import Augment
from nwa_lightning.data.batch import PairBatch, block_first_pairs, pair_batch
from nwa_lightning.data.lengths import LengthWindows
from nwa_lightning.data.near import Groups, NearPairs
from nwa_lightning.data.scores import label_options
from nwa_lightning.data.targets import TargetName
from nwa_lightning.errors import InputError
from nwa_lightning.scoring import Scoring
from nwa_lightning.sequences.alphabet import DNA, Alphabet
from nwa_lightning.sequences.collection import Sequences


class DrawnPairs(Dataset[PairBatch]):
    """An endless set of batches: batch k draws its sequences and pairs with a generator seeded by (seed, k).

    So a batch depends only on its number, not on the process that computes it: the batches are the same for any number of
    workers.

    Args:
        sequences: The training set.
        batch_size: U, sequences drawn without replacement for each batch.
        pairs: P, the most pairs of them, or None for all U (U - 1) / 2.
        nwa_batch_size: N, how many of the U feed the regulariser, with all their pairs.
        scores: Scores of the Needleman-Wunsch matrices and of the target score.
        seed: Seed of the draws.
        kind: Kind of the matrices, as in ``nw_matrices``.
        augment: Replaces a fraction of the sequences drawn by variants; None for unchanged sequences.
        near: Makes a fraction of the batch near partners of the sequences drawn; None for no such partners.
        groups: Groups of the training set for near partners; None for copies.
        alphabet: Alphabet of the sequences, for the letters of the variants.
        max_length: Letters that tokens and matrices are padded for; None for the longest sequence of the batch.
        max_padding: How much of a batch may be padding; None for sequences of any length.
        stride: The matrices get every stride-th row and column.
        target: Distance of each pair, as in ``pair_batch``.
        both_strands: As in ``pair_batch``.
    """

    def __init__(
        self,
        sequences: Sequences,
        *,
        batch_size: int,
        pairs: int | None,
        nwa_batch_size: int,
        scores: Scores | Scoring,
        seed: int,
        kind: Kind = "prefix",
        augment: Augment | None = None,
        near: NearPairs | None = None,
        groups: Groups | None = None,
        alphabet: Alphabet = DNA,
        max_length: int | None = None,
        max_padding: float | None = None,
        stride: int = 1,
        target: TargetName = "edits",
        both_strands: bool = False,
    ) -> None:
        self.max_length = max_length
        self.labels = label_options(target, scores, alphabet, both_strands)
        self.stride = stride
        self.windows = None if max_padding is None else LengthWindows(sequences.lengths, max_padding)
        self.sequences = sequences
        self.batch_size = min(batch_size, len(sequences))
        self.block = min(nwa_batch_size, self.batch_size)
        self.pairs = pairs
        self.kind = kind
        self.seed = seed
        self.augment = augment
        self.near = near if near is not None and near.fraction else None
        self.groups = groups
        self.alphabet = alphabet
        #: ``(U,)`` the row itself, or the row of which it is a near partner.
        self.originals = np.arange(self.batch_size) if self.near is None else self.near.originals(self.batch_size)

    def __getitem__(self, number: int) -> PairBatch:
        generator = np.random.default_rng((self.seed, number))
        count = int((self.originals == np.arange(self.batch_size)).sum())
        if self.windows is None:
            rows = generator.choice(len(self.sequences), count, replace=False)
        else:
            rows = self.windows.draw(count, generator)
        pairs = self._pairs(generator)
        if self.augment is not None:
            sequences = self.augment.vary(self.sequences, rows, self.alphabet, generator)
            rows[self.augment.rows(count)] = -1
        else:
            sequences = self.sequences.take(rows)
        if self.near is not None:
            training = self.sequences, self.groups, self.alphabet
            sequences = self.near.join(sequences, rows, self.originals, *training, generator)
        options = {**self.labels, "kind": self.kind, "max_length": self.max_length}
        return pair_batch(sequences, pairs, nwa_batch_size=self.block, stride=self.stride, **options)

    def _pairs(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """``(P, 2)``: those of the NWA term first, then those with a near partner and random others in their order."""
        pairs: NDArray[np.int64] = block_first_pairs(self.batch_size, self.block)
        if self.pairs is None or self.pairs >= len(pairs):
            return pairs.copy()
        kept: NDArray[np.bool_] = self.originals[pairs[:, 1]] == pairs[:, 0]
        kept[: self.block * (self.block - 1) // 2] = True
        others = np.flatnonzero(~kept)
        kept[others[generator.choice(len(others), self.pairs - int(kept.sum()), replace=False)]] = True
        return pairs[kept]


def check_sizes(
    batch_size: int, pairs: int | None, nwa_batch_size: int, near: NearPairs | None, num_workers: int, **groups: int
) -> None:
    """Check the sizes of batches; the arguments are those of ``NWADataModule``.

    Args:
        batch_size: As there.
        pairs: As there.
        nwa_batch_size: As there.
        near: As there.
        num_workers: As there.
        **groups: Sequences of other groups, by the names of their arguments.

    Raises:
        InputError: If there are too few sequences, pairs or workers.
    """
    if num_workers < 0:
        raise InputError(f"num_workers: expected 0 for none or a number of processes, found {num_workers}")
    for name, value in {"batch_size": batch_size, **groups}.items():
        if value < 2:
            raise InputError(f"{name}: expected at least 2 sequences, so that there is a pair, found {value}")
    if nwa_batch_size == 1:
        raise InputError("nwa_batch_size: expected 0 for no NWA term or at least 2, so that there is a pair, found 1")
    block = min(nwa_batch_size, batch_size)
    mapped = block * (block - 1) // 2
    if nwa_batch_size < 0 or (pairs is not None and pairs < max(1, mapped)):
        raise InputError(
            f"pairs: expected at least the {mapped} pairs of the {block} sequences that feed the NWA term (nwa_batch_size), "
            f"found {pairs}; ask for more pairs or fewer nwa_batch_size"
        )
    if near is None or pairs is None:
        return
    # An original stands before its partner: if the partner feeds the NWA term, so does the original.
    partners = int((near.originals(batch_size) < np.arange(batch_size))[block:].sum())
    if pairs < mapped + partners:
        raise InputError(
            f"pairs: expected at least {mapped + partners}, for the NWA term {mapped} and for near partners {partners}, found "
            f"{pairs}; ask for more pairs or a smaller near.fraction"
        )


class FixedPairs(Dataset[PairBatch]):
    """The same batches every time: all pairs within consecutive groups, or all pairs of all sequences.

    Every process of a distributed run takes the same number of steps. If the batches cannot be divided evenly, the pairs of
    one batch are split among several, so that no pair counts twice and no batch is without pairs. Only if there are fewer
    pairs than processes, a number past the end returns a batch without pairs.

    Args:
        sequences: The validation or test set.
        group: Sequences per group.
        all_pairs: Also the pairs across groups, each in one batch with both groups.
        max_length: As in ``DrawnPairs``.
        processes: Number of processes that share the batches.
        target: As in ``DrawnPairs``.
        scores: Scores of the target score.
        alphabet: As in ``DrawnPairs``.
        both_strands: As in ``pair_batch``.
    """

    #: Batches to keep in memory once they are made: enough for a usual validation set, little for a large one.
    KEPT = 16

    def __init__(
        self,
        sequences: Sequences,
        *,
        group: int,
        all_pairs: bool,
        max_length: int | None = None,
        processes: int = 1,
        target: TargetName = "edits",
        scores: Scores | Scoring = PUBLISHED_SCORES,
        alphabet: Alphabet = DNA,
        both_strands: bool = False,
    ) -> None:
        self.labels = label_options(target, scores, alphabet, both_strands)
        self.sequences = sequences
        self.max_length = max_length
        self.kept: dict[int, PairBatch] = {}
        starts = range(0, len(sequences), group)
        groups = [np.arange(start, min(start + group, len(sequences))) for start in starts]
        blocks = [(one, one) for one in groups if len(one) > 1]  # one sequence makes no pair
        if all_pairs:
            blocks += [(one, two) for k, one in enumerate(groups) for two in groups[k + 1 :]]
        parts = 1 + -len(blocks) % processes
        # Number of the block, number of the part, and into how many parts the block is split.
        self.batches = [(number, 0, 1) for number in range(len(blocks))]
        if parts > 1 and len(_pairs_of(*blocks[0])) >= parts:
            self.batches[:1] = [(0, part, parts) for part in range(parts)]
        self.blocks = blocks

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> PairBatch:
        if number >= len(self.batches):
            return self._batch(np.arange(2), np.empty((0, 2), dtype=np.int64))
        if number in self.kept:
            return self.kept[number]
        block, part, parts = self.batches[number]
        one, two = self.blocks[block]
        pairs = np.array_split(_pairs_of(one, two), parts)[part]
        batch = self._batch(one if one is two else np.concatenate([one, two]), pairs)
        if number < self.KEPT:
            self.kept[number] = batch
        return batch

    def _batch(self, rows: NDArray[np.int64], pairs: NDArray[np.int64]) -> PairBatch:
        sequences = self.sequences.take(rows)
        return pair_batch(sequences, pairs, nwa_batch_size=0, max_length=self.max_length, **self.labels)


def _pairs_of(one: NDArray[np.int64], two: NDArray[np.int64]) -> NDArray[np.int64]:
    """``(P, 2)`` pairs within a group, or of one group with another, whose rows follow."""
    if one is two:
        return block_first_pairs(len(one), 0).copy()
    first, second = np.meshgrid(np.arange(len(one)), len(one) + np.arange(len(two)), indexing="ij")
    return np.stack([first.ravel(), second.ravel()], axis=1)


class SingleSequences(Dataset[PairBatch]):
    """Every sequence once, in order and without pairs, for prediction."""

    def __init__(self, sequences: Sequences, batch_size: int, max_length: int | None = None) -> None:
        self.sequences = sequences
        self.batch_size = batch_size
        self.max_length = max_length

    def __len__(self) -> int:
        return -(-len(self.sequences) // self.batch_size)

    def __getitem__(self, number: int) -> PairBatch:
        start = number * self.batch_size
        rows = np.arange(min(start, len(self.sequences)), min(start + self.batch_size, len(self.sequences)))
        return pair_batch(self.sequences.take(rows), np.empty((0, 2), dtype=np.int64), max_length=self.max_length)
