"""The other strand of nucleic acids."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwa_lightning.errors import InputError
from nwa_lightning.sequences.alphabet import ALPHABETS, DNA, RNA, as_alphabet
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.strands import reverse_complement, with_other_strands

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


@pytest.mark.parametrize("letters", ["ACG", "AC", "ACGTX", "ACGTUR"])
def test_letters_without_a_complement_have_one_strand(letters):
    own = as_alphabet(letters)
    with pytest.raises(InputError, match=f"both strands: expected DNA or RNA, found {letters}"):
        reverse_complement(Sequences.from_strings(["ACC"], own), own)


def test_letters_of_ones_own_in_any_order():
    own = as_alphabet("TGCAN")
    assert reverse_complement(Sequences.from_strings(["AACGN"], own), own).to_strings(own) == ["NCGTT"]


def test_proteins_have_one_strand():
    protein = ALPHABETS["protein"]
    with pytest.raises(
        InputError, match=r"both strands: expected DNA or RNA, found protein, which has no second strand"
    ):
        reverse_complement(Sequences.from_strings(["ACD"], protein), protein)


@given(st.sampled_from([DNA, RNA, ALPHABETS["iupac"]]), st.data())
def test_codes_of_both_strands(alphabet, data):
    reads = data.draw(st.lists(st.text(alphabet.letters, max_size=8), max_size=6))
    sequences = Sequences.from_strings(reads, alphabet)
    padding = data.draw(st.integers(0, 3))
    codes = sequences.padded(sequences.max_length + padding)
    found = with_other_strands(codes, sequences.lengths, alphabet)
    both = Sequences.from_strings(reads + [other_strand(read, alphabet) for read in reads], alphabet)
    np.testing.assert_array_equal(found, both.padded(sequences.max_length + padding))


def test_codes_behind_a_sequence_stay_there():
    found = with_other_strands(np.array([[2, 3, 4, 4]], dtype=np.uint8), np.array([2]))
    assert found[1, :2].tolist() == [4, 5]


def test_codes_of_proteins_have_one_strand():
    with pytest.raises(InputError, match="both strands: expected DNA or RNA, found protein"):
        with_other_strands(np.full((1, 1), 2, dtype=np.uint8), np.array([1]), ALPHABETS["protein"])
