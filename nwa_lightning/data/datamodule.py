"""NWADataModule: batches of sequence pairs with exact labels, computed on the fly."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningDataModule
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader

from nwa_lightning._checks import at_least_one
from nwa_lightning.alignment import Kind, Scores
from nwa_lightning.data.augment import Augment
from nwa_lightning.data.batch import NWA_BATCH_SIZE, PairBatch
from nwa_lightning.data.datasets import DrawnPairs, FixedPairs, SingleSequences, check_sizes
from nwa_lightning.data.lengths import check_max_padding
from nwa_lightning.data.loaders import batch_loader
from nwa_lightning.data.near import NearPairs, find_groups
from nwa_lightning.data.reads import OnLong, ReadSets
from nwa_lightning.data.rng_state import random_state, set_random_state
from nwa_lightning.data.scores import check_run, chosen_scoring, letter_score
from nwa_lightning.data.targets import TargetName
from nwa_lightning.data.trained_on import absolute_table, batch_arguments, check_batches, package_versions
from nwa_lightning.landmarks.features import draw_landmarks
from nwa_lightning.sequences.catalog import OnInvalid
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.split import Split


class NWADataModule(LightningDataModule):
    """Sequences from a file or a built-in set, as batches of pairs with their distances and Needleman-Wunsch matrices.

    Duplicates are left out, and no sequence is in two splits. A training batch draws its sequences from the whole
    training set; validation and test use all pairs within fixed groups. Nothing is computed in advance or written to disk.

    A checkpoint records its training data and their split. A run with this checkpoint refuses another file, another seed or
    longer reads. Copies, another order and added reads do not count as another file, and move no read between the sets.

    Args:
        data: The name of a built-in set (human16s; tree or storage, with a size or without: tree:2000, tree:2000x100), or
            the path of a FASTA, FASTQ, CSV, TSV or one-sequence-per-line file, compressed or not.
        test_data: Another such file or set, which is the whole test set; its sequences are left out of training and
            validation. null takes the test set from data.
        alphabet: The letters that may occur, in upper or lower case: dna, rna, iupac, protein, or your own, such as ACDEFX.
        on_invalid: What to do with a sequence that has another letter: stop with an error, or drop it with a warning.
        max_length: The most bases per sequence that a model is built for; null takes the longest sequence of data, or the
            value in the checkpoint.
        on_long: What to do with a longer sequence: stop with an error, or cut it with a warning.
        train_size: Sequences to train on; by default all that are in neither validation nor test.
        val_size: Sequences to validate on, as a number or a fraction; by default the published fraction, 700 of 9,200, but at
            most 3,500.
        test_size: Sequences to test on, as a number or a fraction; by default the published fraction, 1,500 of 9,200.
        split_by: Which sequences stay together in one set: content, only copies; clusters, sequences that are connected by
            steps of split_identity; or a column of the file (name=value in a FASTA header), those of equal value. A column
            that says train, val or test for each sequence is the split itself.
        split_identity: Identity for clusters: 1 minus the edit distance over the longer length.
        batch_size: U, sequences per training batch and process; each is encoded once.
        pairs: P, the most pairs of them per training batch; null takes all U (U - 1) / 2.
        nwa_batch_size: N, how many sequences of a batch feed the NWA term, with all their pairs; 0 for a model without NWA.
        augment: Variants that replace a fraction of each training batch; null for the unchanged training sequences.
        near: Copies or cluster members that make near pairs in each training batch; null for sequences drawn at random.
        target: Distance that a model learns: edits, the edit distance; identity, 1 minus the identity; score, the
            dissimilarity by alignment score, (S(a, a) + S(b, b)) / 2 - S(a, b).
        both_strands: Whether the reads come from either strand: the distance of two reads is then the smaller of those to the
            second and to its reverse complement. For the encoder StrandInvariant, without NWA: there are no matrices.
        match: Score of equal letters, in the Needleman-Wunsch matrix and the target score.
        mismatch: Score of different letters.
        gap: Score of a gap, or of its first letter; -11 goes with BLOSUM62.
        substitution: Name of a published matrix, such as BLOSUM62 or NUC.4.4, or a file in NCBI's text format; null for match and
            mismatch.
        gap_extend: Score of each further letter of a gap, -1 with BLOSUM62; null for that of the first.
        nwa_kind: Meaning of each cell of a matrix. prefix, as published: score of the best alignment of the parts before the
            cell. best_through: score of the best alignment of the whole sequences that goes through the cell.
        nwa_stride: s: matrices have every s-th row and column, for long sequences; the model needs the same --model.nwa_stride.
        fixed_width: Whether each batch is padded to the longest sequence of the file, for models with a weight for every
            position; otherwise each batch is padded to its own longest sequence.
        max_padding: Most padding in a training batch, such as 0.1: its sequences have similar lengths. null for any lengths.
        val_group: Sequences per validation group.
        test_group: Sequences per test group.
        all_pairs: Validate and test also on the pairs across groups.
        num_workers: Processes that prepare training batches; the batches are the same for any number.
        seed: Seed of the split and of the training batches.

    Raises:
        InputError: If the file or one of the numbers cannot be used.
    """

    def __init__(
        self,
        data: str = "human16s",
        test_data: str | None = None,
        alphabet: str = "dna",
        on_invalid: OnInvalid = "error",
        max_length: int | None = None,
        on_long: OnLong = "error",
        train_size: int | None = None,
        val_size: int | float | None = None,
        test_size: int | float | None = None,
        split_by: str = "content",
        split_identity: float = 0.97,
        batch_size: int = 64,
        pairs: int | None = 1024,
        nwa_batch_size: int = NWA_BATCH_SIZE,
        augment: Augment | None = None,
        near: NearPairs | None = None,
        target: TargetName = "edits",
        both_strands: bool = False,
        match: int = 1,
        mismatch: int = -1,
        gap: int = -1,
        substitution: str | None = None,
        gap_extend: int | None = None,
        nwa_kind: Kind = "prefix",
        nwa_stride: int = 1,
        fixed_width: bool = False,
        max_padding: float | None = None,
        val_group: int = 350,
        test_group: int = 300,
        all_pairs: bool = False,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.data = data
        self.batch_size = batch_size
        self.pairs = pairs
        self.nwa_batch_size = 0 if both_strands else nwa_batch_size
        self.augment = augment
        self.near = near
        self.target = target
        self.both_strands = both_strands
        self.scores = Scores(match, mismatch, gap)
        self.substitution = absolute_table(substitution)
        self.gap_extend = gap_extend
        self.nwa_kind = nwa_kind
        self.nwa_stride = nwa_stride
        self.fixed_width = fixed_width
        self.max_padding = max_padding
        self.val_group = val_group
        self.test_group = test_group
        self.all_pairs = all_pairs
        self.num_workers = num_workers
        self.seed = seed
        check_sizes(batch_size, pairs, nwa_batch_size, near, num_workers, val_group=val_group, test_group=test_group)
        check_max_padding(max_padding)
        at_least_one("nwa_stride", nwa_stride)
        # Made here and not in setup(): the model is built with the longest length before setup() runs.
        self.reads = ReadSets(
            data=data,
            test_data=test_data,
            alphabet=alphabet,
            on_invalid=on_invalid,
            max_length=max_length,
            on_long=on_long,
            seed=seed,
            train_size=train_size,
            val_size=val_size,
            test_size=test_size,
            split_by=split_by,
            split_identity=split_identity,
        )
        self.alphabet = self.reads.letters
        self.vocabulary = self.alphabet.size
        #: ``scores``, or those of letters and affine gaps in their place.
        self.scoring = chosen_scoring(self.scores, substitution, gap_extend, self.alphabet) or self.scores
        #: How data sets label their pairs.
        self.labels: dict[str, Any] = {"target": target, "scores": self.scoring, "both_strands": both_strands}
        self.labels["alphabet"] = self.alphabet
        check_run(target, self.scoring, self.alphabet, self.max_length, nwa_kind, nwa_stride, both_strands)
        self._random_state: dict[str, Any] | None = None

    def setup(self, stage: str) -> None:
        """Before training, draw the landmarks of the model, if it has landmarks that are not drawn yet."""
        if stage == "fit" and self.trainer is not None:
            draw_landmarks(self.trainer.lightning_module, self.split.train, self.seed)

    @property
    def max_length(self) -> int:
        """Bases of the longest sequence that models are built for."""
        return self.reads.longest

    @property
    def target_scale(self) -> float | None:
        """For the target score: ``max_length`` times the mean score of a letter beside itself. None for others."""
        if self.target != "score":
            return None
        return self.max_length * letter_score(self.scoring, self.sequences)

    @property
    def sequences(self) -> Sequences:
        """Every sequence of the file, in its order, duplicates included."""
        return self.reads.sequences

    @property
    def split(self) -> Split:
        """The three disjoint sets, split on first use."""
        return self.reads.split

    @property
    def steps_per_epoch(self) -> int:
        """Training batches per process and epoch; an epoch sees each training sequence about once."""
        train = len(self.split.train)
        return max(1, train // (min(self.batch_size, train) * self._world_size))

    def train_dataloader(self) -> DataLoader[PairBatch]:
        """An endless series of fresh batches; an epoch sees each training sequence about once."""
        group = None if self.near is None else self.near.group
        dataset = DrawnPairs(
            self.split.train,
            batch_size=self.batch_size,
            pairs=self.pairs,
            nwa_batch_size=self.nwa_batch_size,
            kind=self.nwa_kind,
            seed=self.seed,
            augment=self.augment,
            near=self.near,
            groups=None if group is None else find_groups(self.reads, group),
            max_length=self._width,
            max_padding=self.max_padding,
            stride=self.nwa_stride,
            **self.labels,
        )
        first, workers = self._next_step, self.num_workers
        return batch_loader(dataset, self.steps_per_epoch, self.trainer, first=first, num_workers=workers)

    def _next_step(self, after_epochs: int) -> int:
        """Number of the next training step; a resumed run restores its random numbers here, just before the step."""
        if self._random_state is not None:
            set_random_state(self._random_state)
            self._random_state = None
        if self.trainer is None:
            return after_epochs
        done: int = self.trainer.fit_loop.epoch_loop.batch_progress.total.processed  # type: ignore[attr-defined]
        return done

    def state_dict(self) -> dict[str, Any]:
        """The states of the random number generators, and the training data; plain values and tensors."""
        model = type(self.trainer.lightning_module) if self.trainer is not None else None
        return {
            "random": random_state(),
            "trained_on": {
                **self.reads.description,
                "batches": batch_arguments(vars(self)),
                "model": None if model is None else f"{model.__module__}.{model.__qualname__}",
                "versions": package_versions(),
            },
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume with the data of a checkpoint.

        The states of the random number generators are kept until training resumes. With several processes they are not
        restored: the first process wrote the checkpoint, and the others had other states.

        Raises:
            InputError: If the data differ; the message names both sides.
        """
        self._random_state = state_dict["random"] if self._world_size == 1 else None
        known = state_dict.get("trained_on")
        if known is None:
            rank_zero_warn("The checkpoint does not say what data it was trained on, so they cannot be compared.")
            return
        stage = TrainerFn.FITTING if self.trainer is None else self.trainer.state.fn or TrainerFn.FITTING
        if stage != TrainerFn.PREDICTING:
            check_batches(known["batches"], batch_arguments(vars(self)), training=stage == TrainerFn.FITTING)
        self.reads = self.reads.adopt(known, stage.value)

    def val_dataloader(self) -> DataLoader[PairBatch]:
        """All pairs within groups of ``val_group``."""
        return self._fixed(self.split.val, self.val_group)

    def test_dataloader(self) -> DataLoader[PairBatch]:
        """All pairs within groups of ``test_group``."""
        return self._fixed(self.reads.test, self.test_group)

    def predict_dataloader(self) -> DataLoader[PairBatch]:
        """Every sequence of the file, duplicates included, in its order and without pairs."""
        dataset = SingleSequences(self.sequences, self.test_group, self._width)
        return batch_loader(dataset, -(-len(dataset) // self._world_size), self.trainer)

    def _fixed(self, sequences: Sequences, group: int) -> DataLoader[PairBatch]:
        dataset = FixedPairs(
            sequences,
            group=group,
            all_pairs=self.all_pairs,
            max_length=self._width,
            processes=self._world_size,
            **self.labels,
        )
        return batch_loader(dataset, -(-len(dataset) // self._world_size), self.trainer)

    @property
    def _width(self) -> int | None:
        return self.max_length if self.fixed_width else None

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer is not None else 1
