import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from nwa_lightning.search.consensus import consensus


def noisy(strand, rate, generator):
    """A copy with substitutions, insertions and deletions at the same rate, by plain loops."""
    copy = []
    for letter in strand:
        drawn = generator.random()
        if drawn < rate / 3:
            copy.append(str(generator.choice([other for other in "ACGT" if other != letter])))
        elif drawn < 2 * rate / 3:
            copy += [str(generator.choice(list("ACGT"))), letter]
        elif drawn >= rate:
            copy.append(letter)
    return "".join(copy)


@pytest.mark.parametrize(("rate", "copies", "least"), [(0.01, 5, 1), (0.06, 10, 0.95), (0.06, 30, 1), (0.12, 20, 0.9)])
def test_strands_are_recovered(rate, copies, least):
    generator = np.random.default_rng(0)
    right = 0
    for _ in range(20):
        strand = "".join(generator.choice(list("ACGT"), 80).tolist())
        right += consensus([noisy(strand, rate, generator) for _ in range(copies)]) == strand
    assert right >= least * 20


def test_the_best_read_is_no_match():
    """A single read is far from its strand; the vote corrects each of its errors."""
    generator = np.random.default_rng(1)
    strand = "".join(generator.choice(list("ACGT"), 60).tolist())
    reads = [noisy(strand, 0.15, generator) for _ in range(25)]
    assert min(Levenshtein.distance(read, strand) for read in reads) > 0
    assert consensus(reads) == strand


@pytest.mark.parametrize(
    ("reads", "sizes", "expected"),
    [
        (["ACGT"], None, "ACGT"),
        ([""], None, ""),
        (["", ""], [3, 1], ""),
        (["ACGT", "ACGT", "TTTT"], None, "ACGT"),
        (["ACGT", "TTTT"], [1, 5], "TTTT"),
        (["ACGT", "AGGT"], None, "ACGT"),  # of equal votes, the first letter of the alphabet
        (["AGGT", "ACGT"], None, "ACGT"),  # in any order
        (["ACGT", "ACT"], None, "ACT"),  # nothing comes before a letter
        (["ACGT", "ACT"], [2, 1], "ACGT"),
        (["ACGT", "ACT"], [1, 2], "ACT"),
        (["ACGT", "CCGA", "AGGA"], None, "ACGA"),  # a vote for each letter, not a read
        (["AAAAAAAAAA", "AAAAAAAAA", "AAAAAAAAA"], None, "AAAAAAAAA"),
        (["MKV", "MKV", "MLV"], None, "MKV"),
    ],
)
def test_votes_by_hand(reads, sizes, expected):
    assert consensus(reads, sizes) == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("ACG", max_size=8), min_size=1, max_size=6), st.data())
def test_no_single_edit_is_better(reads, data):
    """The sum of distances, weighted by the copies, cannot be made smaller by one edit."""
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=len(reads), max_size=len(reads)))

    def cost(string):
        return sum(size * Levenshtein.distance(read, string) for read, size in zip(reads, sizes, strict=True))

    found = consensus(reads, sizes)
    letters = set("".join(reads))
    edits = {found[:place] + found[place + 1 :] for place in range(len(found))}
    for letter in letters:
        edits |= {found[:place] + letter + found[place + 1 :] for place in range(len(found))}
        edits |= {found[:place] + letter + found[place:] for place in range(len(found) + 1)}
    assert cost(found) == min(map(cost, [found, *edits]))
    assert set(found) <= letters


def test_nothing():
    with pytest.raises(ValueError, match="Expected at least one read but got none"):
        consensus([])
