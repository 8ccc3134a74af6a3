"""Near pairs in training batches: copies with a few edits, or members of one cluster, beside the reads drawn."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.data.augment import Augment
from nwa_lightning.data.reads import ReadSets
from nwa_lightning.errors import InputError
from nwa_lightning.sequences.alphabet import FIRST_LETTER, Alphabet
from nwa_lightning.sequences.catalog import load_sequences
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.content import content_hashes
from nwa_lightning.sequences.packed import Packed


@dataclass(frozen=True, eq=False)
class Groups:
    """The training set by group, for random members of a group.

    Attributes:
        order: ``(n,)`` rows of the training set, group by group.
        places: ``(n,)`` place of each row in ``order``.
        starts: ``(n,)`` place in ``order`` where the group of each row starts.
        sizes: ``(n,)`` members of the group of each row.
    """

    order: NDArray[np.int64]
    places: NDArray[np.int64]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @classmethod
    def of(cls, names: Packed) -> Groups:
        """Rows with equal names make a group."""
        _, group, counts = np.unique(content_hashes(names), return_inverse=True, return_counts=True)
        order = np.argsort(group, kind="stable")
        places = np.empty_like(order)
        places[order] = np.arange(len(order))
        return cls(order, places, (np.cumsum(counts) - counts)[group], counts[group])

    def others(
        self, rows: NDArray[np.int64], numbers: NDArray[np.int64], turns: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """Other members of the groups of some rows.

        Args:
            rows: ``(K,)`` rows of the training set, or -1 for a sequence without a group.
            numbers: ``(K,)`` which of the others to take, from 0: different numbers give different members.
            turns: ``(K,)`` random numbers from 0 to 1 that say where to start counting.

        Returns:
            ``(K,)`` rows of the training set; -1 where the group has not so many others.
        """
        known = np.maximum(rows, 0)
        others = self.sizes[known] - 1
        steps = 1 + ((turns * others).astype(np.int64) + numbers) % np.maximum(others, 1)
        around = (self.places[known] - self.starts[known] + steps) % self.sizes[known]
        return np.where((rows >= 0) & (numbers < others), self.order[self.starts[known] + around], -1)


def find_groups(reads: ReadSets, column: str) -> Groups:
    """The groups of the training set.

    Args:
        reads: The reads of a run.
        column: A column of their file, or a ``name=value`` in its headers.

    Raises:
        InputError: If the file has no such column.
    """
    training = reads.split.train
    if reads.split_by == column and training.groups is not None:
        return Groups.of(training.groups)
    try:
        with warnings.catch_warnings():  # the first reading has given them
            warnings.simplefilter("ignore")
            file = load_sequences(reads.data, reads.letters, on_invalid=reads.on_invalid, group=column)
    except InputError as error:
        raise InputError(f"near.group: {error}") from None
    assert file.groups is not None
    hashes = file.cut(reads.longest).hashes
    # Of copies with different groups the first one counts, which is also the one that a split keeps.
    order = np.argsort(hashes, kind="stable")
    return Groups.of(file.groups.take(order[np.searchsorted(hashes[order], training.hashes)]))


@dataclass(frozen=True)
class NearPairs:
    """Make a fraction of every training batch near partners of other sequences of the batch.

    In a batch of unrelated reads hardly any pair is a few edits apart. A near partner stands right behind its original, so
    the first sequences of a batch, which feed the NWA term, have their share of near pairs. All pairs of an original and
    a partner are among the pairs of the batch, and their edit distances are computed like all others.

    A partner is a fresh copy with random edits, at least one, and no longer than the longest training sequence; or, with
    ``group``, a random training sequence of the same group. If the group has no other member that is not in the batch yet,
    or if the original is a variant (``Augment``), the partner is a copy.

    Args:
        fraction: Fraction of the sequences of a batch that are near partners, 0 to 1. Up to 0.5, an original has one
            partner; above it, it has several. The other sequences are drawn as always.
        edits: Highest rate of edits per base, 0 to 1; each copy draws its own rate between 0 and it.
        indels: Fraction of the edits that are insertions or deletions, half of them each; the others are substitutions.
        group: Column of the file, or name=value in a FASTA header, whose equal values are near; null for copies alone.

    Raises:
        InputError: If a fraction or a rate is not between 0 and 1.
    """

    fraction: float = 0.25
    edits: float = 0.05
    indels: float = 0.2
    group: str | None = None

    def __post_init__(self) -> None:
        for name, kind in (("fraction", "fraction"), ("edits", "rate"), ("indels", "fraction")):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(
                    f"near.{name}: expected a {kind} between 0 and 1, found {getattr(self, name)}; write 25 % as 0.25"
                )

    def originals(self, count: int) -> NDArray[np.int64]:
        """``(U,)`` for each row of a batch of U: its own number, or the row of which it is a near partner."""
        rows = np.arange(count)
        partner = np.diff(np.floor(np.arange(count + 1) * self.fraction + 1e-9)) > 0
        partner[:1] = False  # nothing stands before it
        return np.maximum.accumulate(np.where(partner, 0, rows))

    def join(
        self,
        drawn: Sequences,
        rows: NDArray[np.int64],
        originals: NDArray[np.int64],
        training: Sequences,
        groups: Groups | None,
        alphabet: Alphabet,
        generator: np.random.Generator,
    ) -> Sequences:
        """A batch: the sequences drawn, each with its near partners behind it.

        Args:
            drawn: The D sequences drawn; some may be variants.
            rows: ``(D,)`` rows of the training set, -1 for variants.
            originals: ``(U,)`` as ``originals(U)`` returns them; D of them are their own.
            training: The training set.
            groups: Its groups; None for copies alone.
            alphabet: Its alphabet; edits draw their letters uniformly from it.
            generator: The random generator.

        Returns:
            The U sequences. A partner has the name of its original.
        """
        own = originals == np.arange(len(originals))
        source = (np.cumsum(own) - 1)[originals]
        width = training.max_length
        block, lengths = drawn.padded(width)[source], drawn.lengths[source]
        copies = near = np.flatnonzero(~own)
        if groups is not None:
            turns = generator.random(len(drawn))[source[near]]
            members = groups.others(rows[source[near]], near - originals[near] - 1, turns)
            taken = ~np.isin(members, rows) & (members >= 0)
            first = np.zeros_like(taken)
            first[np.unique(members, return_index=True)[1]] = True
            taken &= first
            found = training.take(members[taken])
            block[near[taken]], lengths[near[taken]] = found.padded(width), found.lengths
            copies = near[~taken]
        block[copies], lengths[copies] = self._copies(block[copies], lengths[copies], alphabet, generator)
        return Sequences.from_padded(block, lengths, drawn.labels.take(source))

    def _copies(
        self,
        codes: NDArray[np.uint8],
        lengths: NDArray[np.int64],
        alphabet: Alphabet,
        generator: np.random.Generator,
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Copies of ``(K, n)`` codes with random edits, at least one each, and no wider."""
        letters, width = len(alphabet.letters), codes.shape[1]
        edit = Augment(edits=self.edits, indels=self.indels).edit
        wide, sizes = edit(codes.copy(), lengths, letters, generator)
        edited, sizes = wide[:, :width], np.minimum(sizes, width)
        # Two equal sequences have equal embeddings and would teach nothing.
        same = np.flatnonzero((edited == codes).all(axis=1))
        places, steps = generator.integers(sizes[same]), generator.integers(1, letters, len(same))
        edited[same, places] = (edited[same, places] - FIRST_LETTER + steps) % letters + FIRST_LETTER
        return edited, sizes
