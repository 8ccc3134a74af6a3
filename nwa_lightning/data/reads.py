"""ReadSets: the reads of a run, split into training, validation and test set, and compared with those of a checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from nwa_lightning.data.trained_on import DATA_ARGUMENTS, absolute, check_arguments, check_sequences
from nwa_lightning.errors import InputError
from nwa_lightning.sequences.alphabet import Alphabet, as_alphabet
from nwa_lightning.sequences.catalog import OnInvalid, load_sequences
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.content import fingerprint, seeded
from nwa_lightning.sequences.neighbours import nearest_edits
from nwa_lightning.sequences.split import Borders, Size, Split, split_sequences

#: The most pairs to compare for the summary, about a second of work; and the fewest reads that make it meaningful.
MOST_COMPARED: Final = 1_000_000
SMALLEST_SAMPLE: Final = 10

#: What to do with a read that is longer than the model was built for.
OnLong = Literal["error", "cut"]


@dataclass
class ReadSets:
    """The reads of a run; the arguments are those of ``NWADataModule``."""

    data: str
    test_data: str | None
    alphabet: str
    on_invalid: OnInvalid
    max_length: int | None
    on_long: OnLong
    seed: int
    train_size: int | None
    val_size: Size
    test_size: Size
    split_by: str
    split_identity: float

    def __post_init__(self) -> None:
        self._borders: Borders | None = None
        for name, number, least in (
            ("seed", self.seed, 0),
            ("max_length", self.max_length, 1),
            ("train_size", self.train_size, 2),
        ):
            if number is not None and number < least:
                raise InputError(f"{name}: expected at least {least}, found {number}; give a larger number")
        if self.on_long not in ("error", "cut"):
            raise InputError(f"on_long: expected error or cut, found {self.on_long!r}; name one of them")
        if self.test_data is not None and self.test_size is not None:
            raise InputError(
                f"test_size: expected none beside test_data, all of which is the test set, found {self.test_size}; leave it out"
            )
        if self.max_length is None:  # the model is built with it before the reads are needed
            _ = self.sequences

    @property
    def letters(self) -> Alphabet:
        """The alphabet itself."""
        return as_alphabet(self.alphabet)

    @property
    def longest(self) -> int:
        """The most bases per sequence that a model is built for."""
        return self.sequences.max_length if self.max_length is None else self.max_length

    @cached_property
    def sequences(self) -> Sequences:
        """Every sequence of ``data``, in the order of the file, duplicates included."""
        return self._load(self.data, None if self.split_by in ("content", "clusters") else self.split_by)

    @cached_property
    def split(self) -> Split:
        """The three disjoint sets."""
        if self.test_data is None:
            return self._cut(self.sequences, self.test_size)
        unseen = np.flatnonzero(~np.isin(self.sequences.hashes, self.test.hashes))
        try:
            split = self._cut(self.sequences.take(unseen), 0)
        except InputError as error:
            raise InputError(f"{self.data}, without the sequences of {self.test_data}: {error}") from None
        return replace(split, test=self.test)

    def _cut(self, sequences: Sequences, test_size: Size) -> Split:
        return split_sequences(
            sequences,
            seed=self.seed,
            train_size=self.train_size,
            val_size=self.val_size,
            test_size=test_size,
            by=self.split_by,
            identity=self.split_identity,
            borders=self._borders,
        )

    @cached_property
    def test(self) -> Sequences:
        """The test set; with ``test_data`` the training file need not exist."""
        if self.test_data is None:
            return self.split.test
        distinct = self._load(self.test_data, None).unique()
        if len(distinct) < 2:
            raise InputError(
                f"{self.test_data}: expected at least 2 distinct sequences to test on, found {len(distinct)}; give more"
            )
        # Ordered as in a split: the groups whose pairs are compared must not depend on the order of the file.
        return distinct.take(np.argsort(seeded(distinct.hashes, self.seed), kind="stable"))

    @cached_property
    def description(self) -> dict[str, Any]:
        """The record for a checkpoint, as plain values."""
        named = {name: value for name, value in asdict(self).items() if name in DATA_ARGUMENTS}
        borders = self.split.borders
        return {
            "arguments": {
                **named,
                "data": absolute(self.data),
                "test_data": None if self.test_data is None else absolute(self.test_data),
                "max_length": self.longest,
            },
            "reads": {"source": absolute(self.data), **fingerprint(self.sequences.hashes)},
            "split": {
                "borders": None if borders is None else [f"{border:x}" for border in borders],
                **{name: len(part) for name, part in zip(("train", "val", "test"), self.split, strict=True)},
            },
        }

    def adopt(self, known: dict[str, Any], stage: Literal["fit", "validate", "test", "predict"]) -> ReadSets:
        """The reads that a checkpoint was trained on, with its longest length and its split.

        Args:
            known: The ``description`` in the checkpoint.
            stage: The task ahead: prediction may read any file, and a test any ``test_data``.

        Returns:
            The reads, if the arguments agree with the checkpoint.

        Raises:
            InputError: If they do not agree; the message names both sides.
        """
        arguments = known["arguments"]
        found = {**asdict(self), "max_length": self.max_length or arguments["max_length"]}
        if stage == "predict":
            check_arguments(arguments, found, ("alphabet", "max_length"))
        elif stage == "test" and self.test_data is not None:
            check_arguments(arguments, found, ("alphabet", "max_length", "seed"))
        else:
            splitting = [name for name in DATA_ARGUMENTS if name not in ("data", "test_data")]
            check_arguments(arguments, found, tuple(splitting))
            if stage == "fit":
                found["test_data"] = None if self.test_data is None else absolute(self.test_data)
                check_arguments(arguments, found, ("test_data",))
            by_content = self.split_by == "content"
            remark = check_sequences(known["reads"], self.sequences, self.data, exactly=not by_content)
            if remark is not None:
                rank_zero_info(remark)
        made = replace(self, max_length=arguments["max_length"])
        borders = known["split"]["borders"]
        made._borders = None if borders is None else Borders(*(int(border, 16) for border in borders))
        if "sequences" in self.__dict__:  # read once
            made.__dict__["sequences"] = made._fit(self.sequences, self.data)
        if stage == "test":
            rank_zero_info(made._tested(arguments))
        return made

    def _tested(self, arguments: dict[str, Any]) -> str:
        """One line about the test set; with another file it also says how many of its reads were in the training set."""
        if self.test_data is None:
            return f"test: {len(self.test):,} reads, the test set of {self.data}"
        line = f"test: {len(self.test):,} reads, all of {self.test_data}"
        trained = replace(self, **arguments)
        trained._borders = self._borders
        try:
            seen = int(np.isin(self.test.hashes, trained.split.train.hashes).sum())
        except InputError:
            return f"{line}; which of them were trained on is not known, as {trained.data} cannot be read"
        if seen:
            rank_zero_warn(
                f"{self.test_data}: {seen:,} of {len(self.test):,} reads were trained on; the error on others may be larger"
            )
        return f"{line}; {seen:,} of them were trained on"

    def summary(self) -> str:
        """One line with the sizes of the sets, and how near the test set is to the training set."""
        train, val, test = self.split
        way = f"by {self.split_by}, seed {self.seed}" if self.split.borders is not None else f"by {self.split_by}"
        line = f"reads: {len(train):,} to train, {len(val):,} to validate, {len(test):,} to test ({way})"
        sample = min(len(test), MOST_COMPARED // len(train))
        if sample < SMALLEST_SAMPLE:
            return line
        edits = nearest_edits(test.take(np.arange(sample)), train)
        near = (edits <= 0.03 * test.lengths[:sample]).mean()
        return (
            f"{line}; of {sample:,} test reads the nearest training read is {np.median(edits):.0f} edits away in the median, and "
            f"no more than 3 % of the length for {near:.0%}"
        )

    def _load(self, source: str, group: str | None) -> Sequences:
        return self._fit(load_sequences(source, self.letters, on_invalid=self.on_invalid, group=group), source)

    def _fit(self, sequences: Sequences, source: str) -> Sequences:
        """The sequences, if none is longer than the model was built for; or all of them, cut."""
        longest = self.max_length
        if longest is None or sequences.max_length <= longest:
            return sequences
        longer = np.flatnonzero(sequences.lengths > longest)
        name, length = sequences.labels[int(longer[0])].decode(), int(sequences.lengths[longer[0]])
        if self.on_long == "error":
            raise InputError(
                f"{source}: expected at most {longest} bases (max_length), found {len(longer)} longer sequences, the first "
                f"{name} of {length}; cut them (on_long='cut') or train on longer ones"
            )
        rank_zero_warn(
            f"{source}: cut {len(longer)} of {len(sequences)} sequences to {longest} bases, the first {name}"
        )
        return sequences.cut(longest)
