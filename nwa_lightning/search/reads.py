"""Reads with the number of their copies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.packed import Packed

if TYPE_CHECKING:
    from typing_extensions import Self

#: Number of copies at the end of a name, as vsearch and swarm write it.
_SIZE: Final = re.compile(rb";size=(\d{1,18});?\Z")


def name_and_size(label: bytes) -> tuple[bytes, int]:
    """The name of a record without ``;size=N`` at its end, and N; 1 if there is none."""
    if b";size=" not in label:
        return label, 1
    found = _SIZE.search(label)
    return (label[: found.start()], max(1, int(found[1]))) if found else (label, 1)


@dataclass(frozen=True, eq=False)
class Reads:
    """Distinct reads and how often each was found.

    Attributes:
        sequences: N reads; a name is that of the first copy.
        sizes: ``(N,)`` copies of each.
    """

    sequences: Sequences
    sizes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sequences)

    def take(self, rows: NDArray[np.int64]) -> Self:
        """The chosen rows, in the order given."""
        return type(self)(self.sequences.take(rows), self.sizes[rows])


class Distinct(NamedTuple):
    """What ``distinct_reads`` returns.

    Attributes:
        reads: Distinct reads, in the order of their first copies.
        member_of: ``(N,)`` row in ``reads`` of each of N sequences.
    """

    reads: Reads
    member_of: NDArray[np.int64]


def distinct_reads(sequences: Sequences) -> Distinct:
    """Merge copies; ``;size=N`` at the end of a name counts as N copies.

    Args:
        sequences: N sequences.
    """
    _, first, which = np.unique(sequences.hashes, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    row = np.empty(len(order), dtype=np.int64)
    row[order] = np.arange(len(order))
    member_of = row[which]
    named = [name_and_size(label) for label in sequences.labels]
    sizes = np.bincount(member_of, weights=[size for _, size in named], minlength=len(order)).astype(np.int64)
    kept = sequences.take(first[order])
    names = Packed.of(named[number][0] for number in first[order].tolist())
    distinct = Sequences(kept.bases, names)
    distinct.__dict__["hashes"] = kept.hashes
    return Distinct(Reads(distinct, sizes), member_of)


def concatenated(parts: list[Reads]) -> Reads:
    """Reads of several parts, one after the other."""
    if len(parts) == 1:
        return parts[0]
    bases = _packed_together([part.sequences.bases for part in parts])
    labels = _packed_together([part.sequences.labels for part in parts])
    return Reads(Sequences(bases, labels), np.concatenate([part.sizes for part in parts]))


def _packed_together(parts: list[Packed]) -> Packed:
    begins = np.cumsum([0, *(part.flat.size for part in parts)])
    return Packed(
        np.concatenate([part.flat for part in parts]),
        np.concatenate([part.starts + begin for part, begin in zip(parts, begins[:-1], strict=True)]),
        np.concatenate([part.lengths for part in parts]),
    )
