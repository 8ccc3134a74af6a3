"""Three disjoint sets of sequences, chosen by content: a new order, added sequences and copies don't change the split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.errors import InputError
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.content import content_hashes, seeded
from nwa_lightning.sequences.neighbours import identity_clusters

#: Train : validation : test, in the proportions of Lee & No (2024): 7,000 / 700 / 1,500.
PUBLISHED_SPLIT: Final = (7000, 700, 1500)

#: The most sequences to validate on by default; more take longer and tell no more (ten groups of the data module).
MOST_VALIDATED: Final = 3500

#: Values of a column that name a set, and not a group to keep together.
SET_NAMES: Final = {"train": 0, "val": 1, "validation": 1, "test": 2}

#: An int is a number of sequences, a float a fraction of them.
Size = int | float | None

#: One more than the largest hash: the end of the line.
_END: Final = 1 << 64


class Borders(NamedTuple):
    """Where the sets end on the line of all 64-bit hashes: test below the first, validation below the second."""

    test: int
    val: int


@dataclass(frozen=True)
class Split:
    """Three disjoint sets of sequences.

    Attributes:
        train: The training set.
        val: The validation set.
        test: The test set.
        borders: The borders between the sets; None if the file itself names the sets.
    """

    train: Sequences
    val: Sequences
    test: Sequences
    borders: Borders | None = None

    def __iter__(self) -> Iterator[Sequences]:
        return iter((self.train, self.val, self.test))


def split_sequences(
    sequences: Sequences,
    *,
    seed: int = 0,
    train_size: int | None = None,
    val_size: Size = None,
    test_size: Size = None,
    by: str = "content",
    identity: float = 0.97,
    borders: Borders | None = None,
) -> Split:
    """Split the distinct sequences into three disjoint sets.

    Every sequence has a place on a line, computed from a hash of its bases and the seed. The test set is the start of the
    line, validation comes next, and training is the rest. So no sequence changes its set when others are added, removed,
    copied or reordered. If a size is a number and not a fraction, the border is set to fit it, and moves a little with the
    number of sequences.

    Args:
        sequences: Sequences to split; later duplicates are left out.
        seed: Seed of the places.
        train_size: Number of sequences to train on, the first of their part of the line; by default all of that part.
        val_size: Sequences to validate on, as a number or a fraction; by default the published fraction, 700 of 9,200, of
            which only the first ``MOST_VALIDATED`` on the line are used.
        test_size: Sequences to test on, as a number or a fraction; by default the published fraction, 1,500 of 9,200.
        by: Which sequences share a place: ``"content"``, only copies; ``"clusters"``, all sequences that are connected by
            steps of at least ``identity``, so that no test sequence has such a neighbour in training; or a column of the file
            (``Sequences.groups``), those of equal value. A column that holds only train, val and test names the sets.
        identity: Identity for clusters: 1 minus the edit distance over the longer length.
        borders: Borders of an earlier split, used instead of the sizes of validation and test.

    Returns:
        The three sets; each has at least two sequences, so that there is a pair. Test and validation are in the order of
        the line.

    Raises:
        InputError: If there are too few distinct sequences for these sizes, or too many for clusters.
    """
    distinct = sequences.unique()
    if by not in ("content", "clusters"):
        named = _named_sets(distinct)
        if named is not None:
            train, val, test = (distinct.take(np.flatnonzero(named == number)) for number in range(3))
            return _checked(train, val, test)
    places = _places(distinct, seed, by, identity)
    order = np.argsort(places, kind="stable")
    line = places[order]
    del places  # 40 MB for five million
    if borders is None:
        borders = _borders(line, train_size, val_size, test_size)
    ends = [_count_below(line, border) for border in borders]
    rest = order[ends[1] :]
    validated = order[ends[0] : ends[1]][: MOST_VALIDATED if val_size is None else None]
    return _checked(
        distinct.take(rest if train_size is None else rest[:train_size]),
        distinct.take(validated),
        distinct.take(order[: ends[0]]),
        borders,
    )


def _places(distinct: Sequences, seed: int, by: str, identity: float) -> NDArray[np.uint64]:
    """``(N,)`` places on the line."""
    if by == "content":
        return seeded(distinct.hashes, seed)
    if by != "clusters":
        assert distinct.groups is not None
        return seeded(content_hashes(distinct.groups), seed)
    places = seeded(distinct.hashes, seed)
    # The smallest hash of a cluster decides its place; it is hashed again, because the smallest of many is small.
    first = np.full(len(distinct), np.iinfo(np.uint64).max, dtype=np.uint64)
    cluster = identity_clusters(distinct, identity)
    np.minimum.at(first, cluster, places)
    return seeded(first[cluster], seed)


def _named_sets(distinct: Sequences) -> NDArray[np.int64] | None:
    """The set that each value of the column names; None if one of them names no set."""
    assert distinct.groups is not None
    numbers = np.empty(len(distinct), dtype=np.int64)
    for row, value in enumerate(distinct.groups):
        number = SET_NAMES.get(value.decode().strip().lower())
        if number is None:
            return None
        numbers[row] = number
    return numbers


def _borders(line: NDArray[np.uint64], train_size: int | None, val_size: Size, test_size: Size) -> Borders:
    """Borders for these sizes on the sorted line."""
    for name, size in (("val_size", val_size), ("test_size", test_size)):
        if size is not None and not (size >= 0 and (isinstance(size, int) or size < 1)):
            raise InputError(
                f"{name}: expected a number of sequences, or a fraction between 0 and 1, found {size}; give another"
            )
    whole = sum(PUBLISHED_SPLIT)
    test = PUBLISHED_SPLIT[2] / whole if test_size is None else test_size
    val = PUBLISHED_SPLIT[1] / whole if val_size is None else val_size
    wanted = [size if isinstance(size, int) else max(2, int(len(line) * size)) for size in (val, test)]
    train = len(line) - sum(wanted) if train_size is None else train_size
    if min(train, wanted[0]) < 2 or wanted[1] == 1 or train + sum(wanted) > len(line):
        raise InputError(
            f"expected at least 2 sequences each to train, validate and test, found {len(line)} distinct sequences for "
            f"{max(train, 2)} + {wanted[0]} + {wanted[1]}; give more sequences or smaller sizes"
        )
    least = 2 if train_size is None else train_size
    first = _border(line, 0, test, leave=least + (val if isinstance(val, int) else 2))
    return Borders(first, _border(line, first, val, leave=least))


def _border(line: NDArray[np.uint64], after: int, size: float, *, leave: int) -> int:
    """The end of a set that begins at ``after``: after ``size`` sequences, or after a fraction ``size`` of the line.

    Even with few sequences, a fraction takes at least two of them, and leaves as many as the other sets need.
    """
    start = _count_below(line, after)
    if isinstance(size, int):
        return int(line[start + size - 1]) + 1 if size else after
    least, most = int(line[min(start + 1, len(line) - 1)]) + 1, int(line[len(line) - leave])
    return max(least, min(after + int(size * _END), most))


def _count_below(line: NDArray[np.uint64], border: int) -> int:
    return int(np.searchsorted(line, np.uint64(border))) if border < _END else len(line)


def _checked(train: Sequences, val: Sequences, test: Sequences, borders: Borders | None = None) -> Split:
    """The split, if every set has at least one pair; the test set may be empty."""
    for name, part in (("train on", train), ("validate on", val), ("test on", test)):
        if len(part) < 2 and (len(part) or part is not test):
            raise InputError(
                f"expected at least 2 sequences to {name}, found {len(part)} of {len(train) + len(val) + len(test)} distinct "
                f"sequences; give more sequences or other sizes"
            )
    return Split(train, val, test, borders)
