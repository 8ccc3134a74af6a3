"""Global alignments of two sequences with the fewest edits, and what vsearch counts on them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Hamming, Levenshtein

Op = Literal["M", "X", "I", "D"]

_OPS: Final[tuple[Op, ...]] = ("M", "X", "I", "D")

#: What vsearch calls them: its D is a letter of the query beside a gap, its I a letter of the target.
_VSEARCH: Final = {"M": "M", "X": "M", "I": "D", "D": "I"}


class Ends(NamedTuple):
    """Letters of a sequence beside a terminal gap of the other: before and after the internal columns."""

    left: int
    right: int


@dataclass(frozen=True)
class Alignment:
    """An alignment of two whole sequences.

    *Internal* columns are those without terminal gaps. Counts, identities and rows mean what they mean in vsearch 2.22
    (Rognes et al., 2016, doi 10.7717/peerj.2584), whose manual names them in the section on userfields.

    Attributes:
        ops: Runs of columns, as counts and one of ``M`` (two equal letters), ``X`` (two different letters), ``I`` (a letter of
            the query beside a gap), ``D`` (a letter of the target beside a gap).
        query: The first sequence.
        target: The second sequence.
    """

    ops: tuple[tuple[int, Op], ...]
    query: str
    target: str

    @cached_property
    def matches(self) -> int:
        """Columns of two equal letters."""
        return self._total("M")

    @cached_property
    def mismatches(self) -> int:
        """Columns of two different letters."""
        return self._total("X")

    @cached_property
    def columns(self) -> int:
        """All columns, terminal gaps included."""
        return self._total("MXID")

    @property
    def edits(self) -> int:
        """Columns of edits: the edit distance, if the alignment is optimal."""
        return self.columns - self.matches

    @cached_property
    def query_ends(self) -> Ends:
        """Letters of the query beside terminal gaps of the target."""
        return self._ends("I")

    @cached_property
    def target_ends(self) -> Ends:
        """Letters of the target beside terminal gaps of the query."""
        return self._ends("D")

    @cached_property
    def alnlen(self) -> int:
        """Internal columns."""
        return self.columns - sum(self._terminal)

    @property
    def gaps(self) -> int:
        """Internal columns with a gap."""
        return self.alnlen - self.matches - self.mismatches

    @cached_property
    def opens(self) -> int:
        """Internal runs of gaps."""
        return self._runs - sum(columns > 0 for columns in self._terminal)

    @cached_property
    def identities(self) -> tuple[float, float, float, float, float]:
        """Identity in % by the five definitions of vsearch (``--iddef 0`` to ``4``); 0 for sequences without a letter."""
        shortest, longest = sorted((len(self.query), len(self.target)))
        columns = _percent(self.matches, self.columns)
        return (
            _percent(self.matches, shortest),
            columns,
            _percent(self.matches, self.alnlen),
            max(0.0, 100.0 * (1.0 - (self.mismatches + self._runs) / longest)) if longest else 0.0,
            columns,
        )

    @property
    def cigar(self) -> str:
        """The columns in the form of PAF: ``=``, ``X``, ``I`` and ``D`` after their counts."""
        return "".join(f"{count}{op}" for count, op in self.ops).replace("M", "=")

    @property
    def caln(self) -> str:
        """The columns as vsearch writes them: a count of 1 is left out, and ``I`` and ``D`` are the other way round."""
        return "".join(f"{count}{op}" if count > 1 else op for count, op in self._merged())

    @property
    def aln(self) -> str:
        """As ``caln``, a letter for every column."""
        return "".join(count * op for count, op in self._merged())

    @cached_property
    def rows(self) -> tuple[str, str]:
        """Query and target with ``-`` for gaps, all columns."""
        query, target, i, j = [], [], 0, 0
        for count, op in self.ops:
            query.append("-" * count if op == "D" else self.query[i : i + count])
            target.append("-" * count if op == "I" else self.target[j : j + count])
            i += 0 if op == "D" else count
            j += 0 if op == "I" else count
        return "".join(query), "".join(target)

    @property
    def qrow(self) -> str:
        """Internal columns of the query."""
        return self.rows[0][self._terminal[0] :][: self.alnlen]

    @property
    def trow(self) -> str:
        """Internal columns of the target."""
        return self.rows[1][self._terminal[0] :][: self.alnlen]

    @cached_property
    def _terminal(self) -> tuple[int, int]:
        """Columns of terminal gaps, left and right."""
        return self.query_ends.left + self.target_ends.left, self.query_ends.right + self.target_ends.right

    @cached_property
    def _runs(self) -> int:
        return sum(op in "ID" for _, op in self.ops)

    def _total(self, kinds: str) -> int:
        return sum(count for count, op in self.ops if op in kinds)

    def _ends(self, kind: Op) -> Ends:
        left = self.ops[0][0] if self.ops and self.ops[0][1] == kind else 0
        # A single run is both the first and the last; it counts once.
        right = self.ops[-1][0] if len(self.ops) > 1 and self.ops[-1][1] == kind else 0
        return Ends(left, right)

    def _merged(self) -> list[tuple[int, str]]:
        """Runs with the letters of vsearch, which has one for both kinds of pairs."""
        merged: list[tuple[int, str]] = []
        for count, op in self.ops:
            letter = _VSEARCH[op]
            if merged and merged[-1][1] == letter:
                count += merged.pop()[0]
            merged.append((count, letter))
        return merged


def align(query: str, target: str) -> Alignment:
    """An optimal alignment of two whole sequences if every edit costs 1.

    Many alignments can have the fewest edits. rapidfuzz finds one (bit-parallel, Hyyrö, 2003); then neighbouring gaps become
    one gap, or none, where this costs no edit. A gap is placed at an end of the alignment if this costs no edit, and else as
    far left as possible. So the alignment looks like those of programs in which a gap costs more than a mismatch.

    Args:
        query: The first sequence.
        target: The second sequence.

    Example:
        >>> align("ACGTACGT", "ACTTACG").cigar
        '2=1X4=1I'
    """
    if query == target:
        return Alignment(((len(query), "M"),) if query else (), query, target)
    pair = _Pair(query, target, _codes(query), _codes(target))
    return Alignment(_ops(pair, _gaps(pair)), query, target)


class _Pair(NamedTuple):
    query: str
    target: str
    query_codes: NDArray[np.uint32]
    target_codes: NDArray[np.uint32]


class _Gap(NamedTuple):
    """Letters of one sequence beside a gap of the other.

    Attributes:
        i: Letters of the query before it.
        j: Letters of the target before it.
        shift: Its letters: of the query if positive, of the target if negative.
    """

    i: int
    j: int
    shift: int

    @property
    def end(self) -> tuple[int, int]:
        """Letters of query and target up to its end."""
        return (self.i + self.shift, self.j) if self.shift > 0 else (self.i, self.j - self.shift)


def _codes(sequence: str) -> NDArray[np.uint32]:
    return np.frombuffer(sequence.encode("utf-32-le"), dtype=np.uint32)


def _gaps(pair: _Pair) -> list[_Gap]:
    """Gaps of an optimal alignment, in their order."""
    gap, edits = _one_gap(pair, (0, 0), (len(pair.query), len(pair.target)))
    if edits == Levenshtein.distance(pair.query, pair.target):
        return [gap] if gap.shift else []
    found = [
        _Gap(edit.src_start, edit.dest_start, edit.src_end - edit.src_start - (edit.dest_end - edit.dest_start))
        for edit in Levenshtein.opcodes(pair.query, pair.target)
        if edit.tag in ("insert", "delete")
    ]
    place = 0
    while place + 1 < len(found):
        start, stop = _around(pair, found, place, place + 1)
        gap, edits = _one_gap(pair, start, stop)
        if edits == _edits(pair, start, stop, found[place : place + 2]):
            found[place : place + 2] = [gap] if gap.shift else []
            place = max(0, place - 1)  # the gap before it may now join
        else:
            place += 1
    for place in range(len(found)):
        found[place], _ = _one_gap(pair, *_around(pair, found, place, place))
    return found


def _around(pair: _Pair, gaps: list[_Gap], first: int, last: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where the gap before the first ends, and where the gap after the last starts."""
    start = gaps[first - 1].end if first else (0, 0)
    stop = gaps[last + 1][:2] if last + 1 < len(gaps) else (len(pair.query), len(pair.target))
    return start, stop


def _edits(pair: _Pair, start: tuple[int, int], stop: tuple[int, int], gaps: list[_Gap]) -> int:
    """Edits between two places, with these gaps and no others."""
    total = 0
    for gap in [*gaps, _Gap(*stop, 0)]:
        total += Hamming.distance(pair.query[start[0] : gap.i], pair.target[start[1] : gap.j]) + abs(gap.shift)
        start = gap.end
    return total


def _one_gap(pair: _Pair, start: tuple[int, int], stop: tuple[int, int]) -> tuple[_Gap, int]:
    """The gap of the best alignment between two places that has at most one, and the edits of this alignment."""
    shift = (stop[0] - start[0]) - (stop[1] - start[1])
    if not shift:
        edits = Hamming.distance(pair.query[start[0] : stop[0]], pair.target[start[1] : stop[1]])
        return _Gap(*stop, 0), edits
    query, target = pair.query_codes[start[0] : stop[0]], pair.target_codes[start[1] : stop[1]]
    count = min(len(query), len(target))
    # With the gap after p pairs, p pairs are aligned from the left and all others from the right.
    cost = np.zeros(count + 1, dtype=np.int64)
    (query[:count] != target[:count]).cumsum(out=cost[1:])
    right = query[len(query) - count :] != target[len(target) - count :]
    cost[:-1] += right[::-1].cumsum()[::-1]
    place = int(cost.argmin())
    if place and stop == (len(pair.query), len(pair.target)) and cost[-1] == cost[place]:
        place = count
    return _Gap(start[0] + place, start[1] + place, shift), int(cost[place]) + abs(shift)


def _ops(pair: _Pair, gaps: list[_Gap]) -> tuple[tuple[int, Op], ...]:
    """Runs of columns of the alignment with these gaps."""
    columns = np.empty(len(pair.query) + sum(-gap.shift for gap in gaps if gap.shift < 0), dtype=np.uint8)
    i = j = column = 0
    for gap in [*gaps, _Gap(len(pair.query), len(pair.target), 0)]:
        pairs = columns[column : column + gap.i - i]
        np.not_equal(pair.query_codes[i : gap.i], pair.target_codes[j : gap.j], out=pairs, casting="unsafe")
        column += len(pairs)
        columns[column : column + abs(gap.shift)] = 2 if gap.shift > 0 else 3
        column += abs(gap.shift)
        i, j = gap.end
    ends = [*((columns[1:] != columns[:-1]).nonzero()[0] + 1).tolist(), len(columns)]
    kinds, starts = columns.tobytes(), [0, *ends[:-1]]
    return tuple((end - start, _OPS[kinds[start]]) for start, end in zip(starts, ends, strict=True))


def _percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 0.0
