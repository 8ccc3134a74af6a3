"""Hits and members of clusters, one by one, in the form that is written to files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Final, Literal, NamedTuple

import numpy as np

from nwa_lightning.errors import InputError
from nwa_lightning.progress import counted
from nwa_lightning.search.alignments import Alignment, align
from nwa_lightning.search.hits import Hits
from nwa_lightning.sequences.alphabet import DNA, Alphabet
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.strands import complement_table

Strand = Literal["+", "-"]

#: Hits that take a few seconds to align and write.
_WORTH_A_BAR: Final = 50_000


@dataclass(frozen=True)
class Hit:
    """A query and a target.

    Attributes:
        query: Name of the query.
        target: Name of the target.
        query_sequence: The query as it was compared: on the minus strand, its reverse complement.
        target_sequence: The target.
        edits: Edit distance of the two sequences.
        strand: Strand of the query.
        target_row: Number of the target among all targets, from 0.
    """

    query: str
    target: str
    query_sequence: str
    target_sequence: str
    edits: int
    strand: Strand = "+"
    target_row: int = 0

    @cached_property
    def alignment(self) -> Alignment:
        """An optimal alignment of the two sequences; computed once, for the formats that show it."""
        return align(self.query_sequence, self.target_sequence)

    @property
    def identity(self) -> float:
        """1 minus edits over the longer length, which no choice among optimal alignments changes; 1 if both are empty."""
        return 1 - self.edits / max(len(self.query_sequence), len(self.target_sequence), 1)


class QueryHits(NamedTuple):
    """A query and all of its hits.

    Attributes:
        query: Name of the query.
        hits: Its hits, the nearest first; none if nothing was found.
    """

    query: str
    hits: list[Hit]


@dataclass(frozen=True)
class Member:
    """A sequence of a cluster.

    Attributes:
        cluster: Number of the cluster, from 0.
        name: Name of the sequence.
        length: Its letters.
        size: Its copies.
        hit: The sequence as a query and the centroid as a target; None for the centroid itself.
    """

    cluster: int
    name: str
    length: int
    size: int = 1
    hit: Hit | None = None


def hit_rows(hits: Hits, queries: Sequences, targets: Sequences, alphabet: Alphabet = DNA) -> Iterator[QueryHits]:
    """Every query with its hits, in the order of the queries.

    Args:
        hits: What was found; sorted by query, as ``Hits`` are.
        queries: The queries on the plus strand, to which ``hits.query`` refers.
        targets: The targets, to which ``hits.target`` refers.
        alphabet: Alphabet of both.

    Raises:
        InputError: If a name contains a tab or a line end, or a hit is on the minus strand and the letters have no
            complements.
    """
    complement = complement_table(alphabet) if hits.reverse.any() else b""
    ends = np.searchsorted(hits.query, np.arange(len(queries)), side="right").tolist()
    columns = zip(hits.target.tolist(), hits.edits.tolist(), hits.reverse.tolist(), strict=True)
    start = 0
    with counted("writing", len(queries), worth=len(hits) > _WORTH_A_BAR) as done:
        for row, end in enumerate(ends):
            name, codes = _name(queries, row, "query"), queries.bases[row]
            plus = _letters(codes, alphabet)
            found = []
            for target, edits, reverse in islice(columns, end - start):
                sequence = _letters(codes.translate(complement)[::-1], alphabet) if reverse else plus
                other = _letters(targets.bases[target], alphabet)
                found.append(
                    Hit(name, _name(targets, target, "target"), sequence, other, edits, "-" if reverse else "+", target)
                )
            yield QueryHits(name, found)
            start = end
            done(row + 1)


def _letters(codes: bytes, alphabet: Alphabet) -> str:
    return alphabet.decode(np.frombuffer(codes, dtype=np.uint8))


def _name(sequences: Sequences, row: int, kind: str) -> str:
    """The name of a sequence, which must fit in a column of a line."""
    name = sequences.labels[row].decode()
    if any(mark in name for mark in "\t\r\n"):
        raise InputError(f"{kind} {row + 1}: expected a name without tabs and line ends, found {name!a}; rename it")
    return name
