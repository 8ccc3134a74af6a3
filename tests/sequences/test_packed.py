import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.packed import Packed

strings = st.lists(st.binary(max_size=12), max_size=20)


@given(strings, st.randoms(use_true_random=False))
def test_what_goes_in_comes_out(rows, random):
    packed = Packed.of(rows)
    assert list(packed) == rows
    chosen = [random.randrange(len(rows)) for _ in range(5)] if rows else []
    taken = packed.take(np.array(chosen, dtype=np.int64))
    assert list(taken) == [rows[row] for row in chosen]
    assert [taken[number] for number in range(len(taken))] == list(taken)


@given(strings, st.integers(0, 15))
def test_padded_rows(rows, width):
    padded = Packed.of(rows).padded(width, 9)
    assert padded.shape == (len(rows), width)
    assert [row.tobytes() for row in padded] == [row[:width].ljust(width, b"\x09") for row in rows]


def test_a_long_string_widens_no_other():
    packed = Packed.of([b"A" * 16_000, *[b"C" * 100] * 1000])
    assert packed.flat.nbytes == 116_000


def test_taking_copies_no_bases():
    packed = Packed.of([b"ACGT"] * 100)
    assert packed.take(np.arange(50)).flat is packed.flat


def test_padded_codes_are_taken_over():
    codes = np.array([[2, 3, 0], [4, 0, 0]], dtype=np.uint8)
    made = Sequences.from_padded(codes, np.array([2, 1]), Packed.of([b"a", b"b"]))
    assert made.to_strings() == ["AC", "G"]
    assert np.shares_memory(made.bases.flat, codes)


def test_cut_sequences_have_their_own_hashes():
    whole = Sequences.from_strings(["ACGTA", "ACGTC", "AC"])
    assert len(set(whole.hashes.tolist())) == 3
    cut = whole.cut(4)
    assert cut.to_strings() == ["ACGT", "ACGT", "AC"]
    assert cut.hashes[0] == cut.hashes[1]
    assert len(cut.unique()) == 2


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 11])
def test_all_are_gone_through_block_by_block(monkeypatch, count):
    monkeypatch.setattr("nwa_lightning.sequences.packed._AT_A_TIME", 4)
    rows = [bytes([number]) * number for number in range(count)]
    assert list(Packed.of(rows)) == rows
