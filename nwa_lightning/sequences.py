"""Read sequences from files, check them, make them unique, split them; and the sets that come with the package."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal, NamedTuple

import dnaio
import numpy as np
from numpy.typing import NDArray
from xopen import xopen

from nwa_lightning.alphabet import DNA, PADDING, Alphabet
from nwa_lightning.errors import InputError

OnInvalid = Literal["error", "drop"]

#: Names of the built-in sets and their files under ``nwa_lightning/data``.
BUILT_IN: Final[dict[str, str]] = {"human16s": "human16s.txt.gz"}

#: Names of the sets that are made when asked for; a size may follow, as in ``tree:2000`` or ``tree:2000x100``.
SIMULATED: Final = ("tree", "storage")

#: Train : validation : test, in the proportions of Lee & No (2024): 7,000 / 700 / 1,500.
PUBLISHED_SPLIT: Final = (7000, 700, 1500)


@dataclass(frozen=True)
class Sequences:
    """Many sequences in one block of memory, so that data-loader workers share instead of copying it.

    Attributes:
        codes: ``(N, n)`` codes, ``PADDING`` after the end of each sequence; ``n`` is the longest length.
        lengths: ``(N,)`` bases per sequence.
        names: ``(N,)`` record names as the file gives them, or line numbers.
    """

    codes: NDArray[np.uint8]
    lengths: NDArray[np.int64]
    names: NDArray[np.str_]

    @classmethod
    def from_codes(cls, codes: list[NDArray[np.uint8]], names: list[str]) -> Sequences:
        """Pack separately encoded sequences into one block."""
        lengths = np.array([len(row) for row in codes], dtype=np.int64)
        block = np.full((len(codes), int(lengths.max(initial=0))), PADDING, dtype=np.uint8)
        block[np.arange(block.shape[1]) < lengths[:, None]] = np.concatenate(codes) if codes else 0
        return cls(block, lengths, np.array(names, dtype=np.str_))

    @classmethod
    def from_strings(cls, strings: Iterable[str], alphabet: Alphabet = DNA) -> Sequences:
        """Encode sequences held in memory; their names are their numbers, from 1."""
        codes = [alphabet.encode(string) for string in strings]
        return cls.from_codes(codes, [str(number) for number in range(1, len(codes) + 1)])

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def max_length(self) -> int:
        """The longest length, in bases."""
        return int(self.lengths.max(initial=0))

    def take(self, rows: NDArray[np.int64]) -> Sequences:
        """The chosen rows, in the order given."""
        return Sequences(self.codes[rows], self.lengths[rows], self.names[rows])

    def unique(self) -> Sequences:
        """The first occurrence of every distinct sequence, in the order of the file."""
        _, first = np.unique(self.codes, axis=0, return_index=True)
        return self.take(np.sort(first))

    def bytes_of(self, rows: NDArray[np.int64]) -> list[bytes]:
        """The codes of the chosen rows, each without its padding, as the edit-distance code wants them."""
        return [self.codes[row, : self.lengths[row]].tobytes() for row in rows.tolist()]


class Split(NamedTuple):
    """Three disjoint sets of sequences."""

    train: Sequences
    val: Sequences
    test: Sequences


def load_sequences(
    source: str | Path, alphabet: Alphabet = DNA, *, on_invalid: OnInvalid = "error", minimum: int = 1
) -> Sequences:
    """Read or make a built-in set by name, or read a file by path.

    Args:
        source: A name in ``BUILT_IN``, one in ``SIMULATED`` with a size or without, or the path of a FASTA, FASTQ or
            one-sequence-per-line file, compressed or not. The content tells the format, not the file's name. A string
            that is a name is never a path, and a ``Path`` is never a name: write ``./tree`` for the file ``tree``.
        alphabet: Letters that may occur, in upper or lower case.
        on_invalid: ``"error"`` stops at the first sequence with another letter; ``"drop"`` leaves such sequences out
            and warns once, with their number.
        minimum: How many sequences the caller needs.

    Returns:
        The sequences in the order of the file, duplicates included.

    Raises:
        InputError: If the file is missing, empty, damaged, holds a letter outside the alphabet, or too few sequences,
            or if the size of a simulated set cannot be had.
    """
    codes: list[NDArray[np.uint8]] = []
    names: list[str] = []
    dropped: list[str] = []
    path, records = _find(source)
    for name, place, sequence in records:
        if not sequence:
            raise InputError(f"{path}: {place}: the sequence is empty; remove the record")
        try:
            codes.append(alphabet.encode(sequence))
            names.append(name)
        except InputError as error:
            if on_invalid == "error":
                raise InputError(
                    f"{path}: {place}, {error}; choose another alphabet, or drop such sequences (on_invalid='drop')"
                ) from None
            dropped.append(place)
    if dropped:
        warnings.warn(
            f"{path}: dropped {len(dropped)} of {len(dropped) + len(codes)} sequences with letters outside "
            f"{alphabet.letters}, the first at {dropped[0]}",
            stacklevel=2,
        )
    if len(codes) < minimum:
        raise InputError(f"{path}: expected at least {minimum} sequences, found {len(codes)}; give a larger file")
    return Sequences.from_codes(codes, names)


def split_sequences(
    sequences: Sequences,
    *,
    seed: int = 0,
    train_size: int | None = None,
    val_size: int | None = None,
    test_size: int | None = None,
) -> Split:
    """Shuffle the distinct sequences and cut them into three disjoint sets.

    The test set is cut first and the training set last, so a smaller ``train_size`` leaves the other two as they were.

    Args:
        sequences: What to split; later duplicates are left out.
        seed: Of the shuffle.
        train_size: Sequences to train on; by default all that the other two leave.
        val_size: Sequences to validate on; by default the published share, 700 of 9,200.
        test_size: Sequences to test on; by default the published share, 1,500 of 9,200.

    Returns:
        The three sets; each has at least two sequences, so that there is a pair.

    Raises:
        InputError: If there are too few distinct sequences for these sizes.
    """
    distinct = sequences.unique()
    count = len(distinct)
    val = max(2, count * PUBLISHED_SPLIT[1] // sum(PUBLISHED_SPLIT)) if val_size is None else val_size
    test = max(2, count * PUBLISHED_SPLIT[2] // sum(PUBLISHED_SPLIT)) if test_size is None else test_size
    train = count - val - test if train_size is None else train_size
    if min(train, val, test) < 2 or train + val + test > count:
        raise InputError(
            f"expected at least 2 sequences each to train, validate and test, found {count} distinct sequences for "
            f"{max(train, 2)} + {val} + {test}; give more sequences or smaller sizes"
        )
    order = np.random.default_rng(seed).permutation(count)
    return Split(
        train=distinct.take(order[test + val : test + val + train]),
        val=distinct.take(order[test : test + val]),
        test=distinct.take(order[:test]),
    )


def _find(source: str | Path) -> tuple[str | Path, Iterator[tuple[str, str, str]]]:
    """What to call the source in messages, and its records as ``_records`` yields them."""
    kind, colon, _ = source.partition(":") if isinstance(source, str) else ("", "", "")
    if kind in BUILT_IN and colon:
        raise InputError(f"{source}: expected {kind} without a size, which is fixed; choose one by train_size")
    if kind not in BUILT_IN and kind not in SIMULATED:
        path = Path(source)
        return path, _records(path)
    if Path(source).exists():
        warnings.warn(
            f"{source}: taking the built-in set, not the file of that name; write ./{source} for the file", stacklevel=3
        )
    if kind in BUILT_IN:
        path = Path(str(files("nwa_lightning") / "data" / BUILT_IN[kind]))
        return path, _records(path)
    return source, _simulated_records(str(source))


def _simulated_records(name: str) -> Iterator[tuple[str, str, str]]:
    """Make a set and yield it like a file, so that another alphabet reads its letters like those of a file."""
    from nwa_lightning.simulate import simulated_set  # it needs Sequences from here

    made = simulated_set(name)
    for number in range(len(made)):
        yield str(made.names[number]), f"sequence {number + 1}", DNA.decode(made.codes[number])


def _records(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (name, place for messages, sequence) of every record; every failure to read becomes an InputError."""
    if not path.is_file():
        known = ", ".join([*BUILT_IN, *SIMULATED])
        raise InputError(f"{path}: expected a file or the name of a built-in set ({known}), found neither")
    count = 0
    try:
        first = _first_character(path)
        if first in (">", "@"):
            with dnaio.open(path, fileformat="fasta" if first == ">" else "fastq") as reader:
                for count, record in enumerate(reader, start=1):
                    yield record.id, f"record {count} ({record.id})", record.sequence
        else:
            with xopen(path) as lines:
                for count, line in enumerate(lines, start=1):
                    if line.strip():
                        yield str(count), f"line {count}", line.strip()
    except UnicodeDecodeError:
        raise InputError(f"{path}: expected text, found bytes that are no text; is it a sequence file?") from None
    except dnaio.FileFormatError as error:
        message = " ".join(str(error).split())
        raise InputError(f"{path}: damaged after record {count}: {message}; repair or cut the file there") from None
    except (EOFError, zlib.error, OSError) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: cannot be read past record {count}: {message}; is the file complete?") from None
    if not first:
        raise InputError(f"{path}: expected FASTA, FASTQ or one sequence per line, found an empty file")


def _first_character(path: Path) -> str:
    """The first character of the file that is not white space, or nothing."""
    with xopen(path) as lines:
        for line in lines:
            if line.strip():
                return str(line.lstrip()[0])
    return ""
