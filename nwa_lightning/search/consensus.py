"""The consensus of a cluster: the strand from which its reads came, by a vote of all of them."""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np
from rapidfuzz.distance import Levenshtein

from nwa_lightning.levenshtein import take_strings

#: Rounds of alignment and vote, and of single changes; a few are usually enough.
ROUNDS: Final = 4
CHANGES: Final = 20


def consensus(reads: list[str], sizes: list[int] | None = None) -> str:
    """The most likely original of some noisy copies.

    Every read is aligned with a centre, by an optimal alignment; then the reads vote on each letter of the centre (keep it,
    change it, delete it) and on the letters between them. The result is the next centre, until it stays the same. The first
    centre is the read with the smallest sum of distances to some others. At last, single edits are tried as long as they make
    the sum of the edit distances to all reads smaller: a local search for the median string (Kohonen, 1985, doi
    10.1016/0167-8655(85)90061-3).

    Args:
        reads: R reads.
        sizes: Votes of each; None for one each.

    Raises:
        ValueError: If there are no reads.
    """
    if not reads:
        raise ValueError("Expected at least one read but got none.")
    votes = [1] * len(reads) if sizes is None else sizes
    some = reads[:15]
    centre = min(some, key=lambda read: (sum(Levenshtein.distance(read, other) for other in some), read))
    for _ in range(ROUNDS):
        following = _voted(centre, reads, votes)
        if following == centre:
            break
        centre = following
    for _ in range(CHANGES):
        following = _changed(centre, reads, votes)
        if following == centre:
            break
        centre = following
    return centre


def _changed(centre: str, reads: list[str], votes: list[int]) -> str:
    """The string within one edit of the centre with the smallest sum of distances; the centre itself if none has a smaller."""
    used = sorted(set("".join(reads)))
    variants = {centre[:place] + centre[place + 1 :] for place in range(len(centre))}
    variants |= {centre[:place] + letter + centre[place + 1 :] for place in range(len(centre)) for letter in used}
    variants |= {centre[:place] + letter + centre[place:] for place in range(len(centre) + 1) for letter in used}
    some = [centre, *sorted(variants - {centre})]
    letters = take_strings([*reads, *some])
    table = letters.block(np.arange(len(reads)), np.arange(len(reads), len(reads) + len(some)))
    return some[int((np.array(votes) @ table).argmin())]


def _voted(centre: str, reads: list[str], votes: list[int]) -> str:
    letters: list[Counter[str]] = [Counter() for _ in centre]
    between: list[Counter[str]] = [Counter() for _ in range(len(centre) + 1)]
    for read, weight in zip(reads, votes, strict=True):
        inserted = [""] * (len(centre) + 1)
        for code in Levenshtein.opcodes(centre, read):
            start, stop = code.src_start, code.src_end
            if code.tag == "insert":
                inserted[start] += read[code.dest_start : code.dest_end]
            for offset in range(stop - start):
                letter = "" if code.tag == "delete" else read[code.dest_start + offset]
                letters[start + offset][letter] += weight
        for place, text in enumerate(inserted):
            between[place][text] += weight
    parts = [_winner(between[0])]
    for place, counts in enumerate(letters):
        parts += [_winner(counts), _winner(between[place + 1])]
    return "".join(parts)


def _winner(counts: Counter[str]) -> str:
    """The commonest; the first in the alphabet of equals."""
    return min(counts, key=lambda text: (-counts[text], text))
