"""The other strand of nucleic acids, and edit distances that do not depend on the strand."""

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwa_lightning.errors import InputError
from nwa_lightning.sequences.alphabet import ALPHABETS, DNA, RNA
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.strands import reverse_complement, strand_distances

#: Complements as bases that pair: of an ambiguity code, those of its bases.
BASES = {
    **{base: base for base in "ACGT"},
    **{"R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC"},
    **{"B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT"},
}
PARTNER = {"A": "T", "C": "G", "G": "C", "T": "A"}


def other_strand(read, alphabet):
    """Base by base."""
    turned = ""
    for letter in reversed(read):
        partners = {PARTNER[base] for base in BASES[letter.replace("U", "T")]}
        found = next(letter for letter, bases in BASES.items() if set(bases) == partners)
        turned += "U" if found == "T" and alphabet is RNA else found
    return turned


@pytest.mark.parametrize(
    ("alphabet", "one", "two"),
    [
        (DNA, ["AACGT", "", "T"], ["ACGTT", "", "A"]),
        (RNA, ["AACGU"], ["ACGUU"]),
        (ALPHABETS["iupac"], ["ACGTRYSWKMBDHVN"], ["NBDHVKMWSRYACGT"]),
    ],
)
def test_the_other_strand(alphabet, one, two):
    given_reads = Sequences.from_strings(one, alphabet)
    found = reverse_complement(given_reads, alphabet)
    assert found.to_strings(alphabet) == two
    assert found.names == given_reads.names
    assert reverse_complement(found, alphabet).to_strings(alphabet) == one


def test_proteins_have_one_strand():
    protein = ALPHABETS["protein"]
    with pytest.raises(
        InputError, match=r"both strands: expected DNA or RNA, found protein, which has no second strand"
    ):
        reverse_complement(Sequences.from_strings(["ACD"], protein), protein)


@st.composite
def reads_and_pairs(draw):
    alphabet = draw(st.sampled_from([DNA, RNA, ALPHABETS["iupac"]]))
    reads = draw(st.lists(st.text(alphabet.letters, max_size=8), min_size=1, max_size=6))
    row = st.integers(0, len(reads) - 1)
    return alphabet, reads, draw(st.lists(st.tuples(row, row), max_size=8)), draw(st.integers(0, 3))


@given(reads_and_pairs())
def test_distances_of_either_strand(drawn):
    alphabet, reads, pairs, padding = drawn
    sequences = Sequences.from_strings(reads, alphabet)
    codes = sequences.padded(sequences.max_length + padding)
    found = strand_distances(codes, sequences.lengths, np.array(pairs, dtype=np.int64).reshape(-1, 2), alphabet)
    expected = [
        min(
            oracle.edit_distance(reads[one], reads[two]),
            oracle.edit_distance(reads[one], other_strand(reads[two], alphabet)),
        )
        for one, two in pairs
    ]
    assert found.tolist() == expected
    for row, length in zip(codes, sequences.lengths, strict=True):
        row[length:] = 2  # is not read
    assert strand_distances(codes, sequences.lengths, pairs, alphabet, threads=2).tolist() == expected


def test_distances_by_hand():
    sequences = Sequences.from_strings(["AACG", "CGTT", "CGTA", "", "GGGG"])
    pairs = [[0, 0], [0, 1], [1, 0], [0, 2], [0, 3], [3, 4], [4, 4]]
    found = strand_distances(sequences.padded(), sequences.lengths, pairs)
    assert found.tolist() == [0, 0, 0, 1, 4, 4, 0]
    assert strand_distances(sequences.padded(), sequences.lengths, []).shape == (0,)
    assert strand_distances(np.zeros((2, 0), dtype=np.uint8), [0, 0], [[0, 1]]).tolist() == [0]


def test_what_has_no_distance():
    codes = np.full((2, 3), 2, dtype=np.uint8)
    for given_codes, lengths, pairs, alphabet, message in (
        (codes, [3, 4], [[0, 1]], DNA, r"lengths: expected 0 to 3 \(the columns of codes\), found 3 to 4"),
        (codes, [3, 3], [[0, 2]], DNA, "pairs: expected rows of codes, 0 to 1, found 0 to 2"),
        (codes.astype(float), [3, 3], [[0, 1]], DNA, r"codes: expected a \(sequences, letters\) array of uint8"),
        (codes, [3, 3], [[0, 1]], ALPHABETS["protein"], "both strands: expected DNA or RNA, found protein"),
    ):
        with pytest.raises(InputError, match=message):
            strand_distances(given_codes, lengths, pairs, alphabet)
