"""Hits and clusters as lines of text: userout, blast6out and uc of vsearch, and PAF."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from nwa_lightning.errors import InputError
from nwa_lightning.search.alignments import Alignment
from nwa_lightning.search.format_rows import Hit, Member, QueryHits

#: The lines of a query and its hits, each with its line end.
Lines = Callable[[QueryHits], str]


class _Score(NamedTuple):
    """Default scores of vsearch; a gap of n letters scores ``open + (n - 1) extend``."""

    match: int = 2
    mismatch: int = -4
    open: int = -20
    extend: int = -2
    terminal_open: int = -2
    terminal_extend: int = -1


_SCORE: Final = _Score()


def raw_score(alignment: Alignment) -> int:
    """Score of an alignment by the default scores of vsearch."""
    total = _SCORE.match * alignment.matches + _SCORE.mismatch * alignment.mismatches
    for number, (count, op) in enumerate(alignment.ops):
        if op in "ID":
            terminal = number in (0, len(alignment.ops) - 1)
            first = _SCORE.terminal_open if terminal else _SCORE.open
            total += first + (count - 1) * (_SCORE.terminal_extend if terminal else _SCORE.extend)
    return total


#: Fields of a hit: those of vsearch 2.22 (its manual, "Userfields"), and ``dist``, the edits.
USERFIELDS: Final[dict[str, Callable[[Hit], str]]] = {
    "aln": lambda hit: hit.alignment.aln,
    "alnlen": lambda hit: str(hit.alignment.alnlen),
    "bits": lambda hit: "0",
    "caln": lambda hit: hit.alignment.caln,
    "dist": lambda hit: str(hit.edits),
    "evalue": lambda hit: "-1",
    "exts": lambda hit: str(hit.alignment.gaps - hit.alignment.opens),
    "gaps": lambda hit: str(hit.alignment.gaps),
    "id": lambda hit: _percent(hit.alignment.identities[2]),
    "id0": lambda hit: _percent(hit.alignment.identities[0]),
    "id1": lambda hit: _percent(hit.alignment.identities[1]),
    "id2": lambda hit: _percent(hit.alignment.identities[2]),
    "id3": lambda hit: _percent(hit.alignment.identities[3]),
    "id4": lambda hit: _percent(hit.alignment.identities[4]),
    "ids": lambda hit: str(hit.alignment.matches),
    "mism": lambda hit: str(hit.alignment.mismatches),
    "opens": lambda hit: str(hit.alignment.opens),
    "pairs": lambda hit: str(_pairs(hit)),
    "pctgaps": lambda hit: _ratio(hit.alignment.gaps, hit.alignment.alnlen),
    "pctpv": lambda hit: _ratio(hit.alignment.matches, hit.alignment.alnlen),
    "pv": lambda hit: str(hit.alignment.matches),
    "qcov": lambda hit: _ratio(_pairs(hit), len(hit.query_sequence)),
    "qframe": lambda hit: "+0",
    "qhi": lambda hit: "1" if hit.strand == "-" else str(len(hit.query_sequence)),
    "qihi": lambda hit: str(len(hit.query_sequence) - hit.alignment.query_ends.right),
    "qilo": lambda hit: str(hit.alignment.query_ends.left + 1),
    "ql": lambda hit: str(len(hit.query_sequence)),
    "qlo": lambda hit: str(len(hit.query_sequence)) if hit.strand == "-" else "1",
    "qrow": lambda hit: hit.alignment.qrow,
    "qs": lambda hit: str(len(hit.query_sequence)),
    "qstrand": lambda hit: hit.strand,
    "query": lambda hit: hit.query,
    "raw": lambda hit: str(raw_score(hit.alignment)),
    "target": lambda hit: hit.target,
    "tcov": lambda hit: _ratio(_pairs(hit), len(hit.target_sequence)),
    "tframe": lambda hit: "+0",
    "thi": lambda hit: str(len(hit.target_sequence)),
    "tihi": lambda hit: str(len(hit.target_sequence) - hit.alignment.target_ends.right),
    "tilo": lambda hit: str(hit.alignment.target_ends.left + 1),
    "tl": lambda hit: str(len(hit.target_sequence)),
    "tlo": lambda hit: "1",
    "trow": lambda hit: hit.alignment.trow,
    "ts": lambda hit: str(len(hit.target_sequence)),
    "tstrand": lambda hit: "+",
}


def userout_lines(userfields: str) -> Lines:
    """Lines of ``--userout``: chosen fields of every hit.

    Args:
        userfields: Names of ``USERFIELDS``, such as ``query+target+id+dist``.

    Raises:
        InputError: If there is no such field.
    """
    fields = [_field(name) for name in userfields.split("+")]

    def lines(found: QueryHits) -> str:
        """The chosen fields of every hit, a line each."""
        return "".join("\t".join([field(hit) for field in fields]) + "\n" for hit in found.hits)

    return lines


def _field(name: str) -> Callable[[Hit], str]:
    if name in USERFIELDS:
        return USERFIELDS[name]
    near = difflib.get_close_matches(name.strip().lower(), USERFIELDS, n=1)
    meant = f" (did you mean {near[0]}?)" if near else ""
    raise InputError(
        f"--userfields: expected fields among {', '.join(USERFIELDS)}, found {name!r}{meant}; write + between fields"
    )


#: Lines of ``--blast6out``: the twelve columns of a BLAST table; they mean the same as in vsearch.
blast6_lines: Final = userout_lines("query+target+id+alnlen+mism+opens+qlo+qhi+tlo+thi+evalue+bits")


def uc_lines(found: QueryHits) -> str:
    """Lines of ``--uc`` for a search: the nearest hit (H), or that there is none (N), as in vsearch."""
    if not found.hits:
        return f"N\t*\t*\t*\t.\t*\t*\t*\t{found.query}\t*\n"
    hit = found.hits[0]
    return _uc_hit(hit.target_row, hit)


def cluster_lines(members: Iterable[Member]) -> Iterator[str]:
    """Lines of ``--uc`` for clusters: centroids (S) and members (H) in their order, then the clusters (C), as in vsearch.

    Args:
        members: Each centroid comes before the other members of its cluster; clusters are numbered in the order of their
            centroids.
    """
    centroids: list[str] = []
    sizes: list[int] = []
    for member in members:
        if member.hit is None:
            centroids.append(member.name)
            sizes.append(0)
            yield f"S\t{member.cluster}\t{member.length}\t*\t*\t*\t*\t*\t{member.name}\t*\n"
        else:
            yield _uc_hit(member.cluster, member.hit)
        sizes[member.cluster] += member.size
    for number, (name, size) in enumerate(zip(centroids, sizes, strict=True)):
        yield f"C\t{number}\t{size}\t*\t*\t*\t*\t*\t{name}\t*\n"


def paf_lines(found: QueryHits) -> str:
    """Lines of PAF: columns 1 to 12 of minimap2 (Li, 2018, doi 10.1093/bioinformatics/bty191), edits and the alignment.

    Both sequences are aligned from end to end, so their starts are 0 and their ends are their lengths. The mapping quality
    is 255, which stands for unknown.
    """
    return "".join(_paf(hit) for hit in found.hits)


def _paf(hit: Hit) -> str:
    query, target, aligned = len(hit.query_sequence), len(hit.target_sequence), hit.alignment
    return (
        f"{hit.query}\t{query}\t0\t{query}\t{hit.strand}\t{hit.target}\t{target}\t0\t{target}\t{aligned.matches}"
        f"\t{aligned.columns}\t255\tNM:i:{hit.edits}\tcg:Z:{aligned.cigar}\n"
    )


def _uc_hit(number: int, hit: Hit) -> str:
    aligned = hit.alignment
    shown = "=" if aligned.matches == aligned.columns else aligned.caln
    identity = _percent(aligned.identities[2])
    return (
        f"H\t{number}\t{len(hit.query_sequence)}\t{identity}\t{hit.strand}\t0\t0\t{shown}\t{hit.query}\t{hit.target}\n"
    )


def _pairs(hit: Hit) -> int:
    return hit.alignment.matches + hit.alignment.mismatches


def _ratio(part: int, whole: int) -> str:
    return _percent(100.0 * part / whole if whole else 0.0)


def _percent(value: float) -> str:
    return f"{value:.1f}"
