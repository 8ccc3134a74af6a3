"""pair_batch: the same batch from strings, bytes, codes and anybody's tokens; distances and matrices against the oracle."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import edit_distance, nw_matrix

from nwa_lightning import InputError, Sequences, pair_batch
from nwa_lightning.data.batch import block_first_pairs, chosen_pairs
from nwa_lightning.sequences.alphabet import DNA

READS = ["ACGT", "AGT", "", "A", "acgtt"]


def same(one, other):
    for left, right in zip(one, other, strict=True):
        assert torch.equal(left, right) if isinstance(left, torch.Tensor) else left == right


def test_strings_bytes_codes_and_sequences_are_the_same():
    expected = pair_batch(READS, "all", nwa_batch_size=3)
    same(pair_batch([read.encode() for read in READS], "all", nwa_batch_size=3), expected)
    same(pair_batch([DNA.encode(read) for read in READS], "all", nwa_batch_size=3), expected)
    same(pair_batch(Sequences.from_strings(READS), "all", nwa_batch_size=3), expected)
    assert expected.tokens[0].tolist() == [1, 2, 3, 4, 5, 0]
    assert Sequences.from_strings(READS).to_strings() == [read.upper() for read in READS]


def test_tokens_of_somebody_else():
    """Any integers will do: only which are equal counts."""
    letters = [[1000 + 77 * "ACGT".index(letter) for letter in read.upper()] for read in READS]
    tokens = torch.full((len(READS), 7), -5)
    for row, read in zip(tokens, letters, strict=True):
        row[: len(read)] = torch.tensor(read, dtype=torch.long)
    lengths = [len(read) for read in READS]
    found = pair_batch(tokens, "all", lengths=lengths, max_length=7)
    expected = pair_batch(READS, "all", max_length=7)
    same(found[1:], expected[1:])
    assert torch.equal(found.tokens, tokens)
    same(pair_batch(tokens.int(), "all", lengths=torch.tensor(lengths), max_length=7)[1:], expected[1:])


@settings(deadline=None)
@given(
    reads=st.lists(st.text("ACGT", max_size=9), max_size=7),
    block=st.integers(0, 8),
    pairs=st.sampled_from([None, "all", "given"]),
    seed=st.integers(0, 9),
)
def test_distances_and_matrices(reads, block, pairs, seed):
    generator = np.random.default_rng(seed)
    given_pairs = generator.integers(len(reads), size=(5, 2)) if reads and pairs == "given" else pairs
    if not reads and pairs == "given":
        given_pairs = []
    batch = pair_batch(reads, given_pairs, nwa_batch_size=block)
    assert batch.lengths.tolist() == [len(read) for read in reads]
    listed = batch.pairs.tolist()
    if pairs == "given":
        assert listed == np.asarray(given_pairs, dtype=int).reshape(-1, 2).tolist()
    else:
        count = len(reads) if pairs == "all" else min(block, len(reads))
        assert sorted(map(tuple, listed)) == [(a, b) for a in range(count) for b in range(a + 1, count)]
    assert batch.distance.tolist() == [edit_distance(reads[a], reads[b]) for a, b in listed]
    matrices = len(batch.nw)
    rows = {row for pair in listed[:matrices] for row in pair}
    assert len(rows) <= block
    if matrices < len(listed) and (matrices < block * block or pairs != "given"):
        assert len({*rows, *listed[matrices]}) > block, "one more pair would have fitted"
    assert batch.nw_rows == (len(rows) if rows == set(range(len(rows))) else None)
    for matrix, (a, b) in zip(batch.nw.tolist(), listed, strict=False):
        found = [row[: len(reads[b]) + 1] for row in matrix[: len(reads[a]) + 1]]
        assert np.array_equal(found, nw_matrix(reads[a], reads[b]))


def test_one_width():
    batch = pair_batch(READS, max_length=9, nwa_batch_size=2)
    assert batch.tokens.shape == (5, 10)
    assert batch.nw.shape == (1, 10, 10)
    narrow = pair_batch(READS, nwa_batch_size=2)
    assert torch.equal(batch.nw[:, :6, :6], narrow.nw)


def test_chosen_pairs_have_their_matrices():
    batch = pair_batch(READS, "all", nwa_batch_size=0)
    chosen = chosen_pairs(batch, [3, 0])
    assert chosen.pairs.tolist() == [[0, 1], [2, 3]]
    assert chosen.distance.tolist() == batch.distance[[3, 0]].tolist()
    for number, pair in enumerate([3, 0]):
        a, b = batch.pairs[pair].tolist()
        expected = nw_matrix(READS[a].upper(), READS[b].upper())
        assert np.array_equal(chosen.nw[number, : len(READS[a]) + 1, : len(READS[b]) + 1].numpy(), expected)
    assert torch.equal(chosen.tokens[0], batch.tokens[batch.pairs[3, 0]])


def test_the_pairs_of_the_block_lead():
    assert block_first_pairs(4, 3).tolist() == [[0, 1], [0, 2], [1, 2], [0, 3], [1, 3], [2, 3]]


TOKENS = torch.zeros(2, 3, dtype=torch.long)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("ACGT",), {}, "sequences: expected a list of strings or codes, or tokens with lengths, found str"),
        (([["A"]],), {}, "sequences: expected strings or uint8 codes, found list in row 0; for tokens give one tensor"),
        (
            (["AC", "ANC"],),
            {},
            r"sequence 1, position 2: expected one of ACGT \(dna\), found 'N'; choose another alphabet",
        ),
        (
            (["A"],),
            {"alphabet": "greek"},
            "alphabet: expected one of dna, rna, iupac, protein, or two .* found 'greek'",
        ),
        ((["A"],), {"lengths": [1]}, "lengths: expected none with strings"),
        ((["ACG"],), {"max_length": 2}, "max_length: expected at least the 3 letters of the longest sequence, found 2"),
        ((["A"],), {"nwa_batch_size": -1}, "nwa_batch_size: expected at least 0, found -1"),
        ((["A"], [[0, 1]]), {}, "pairs: expected rows of sequences, 0 to 0, found 0 to 1"),
        ((TOKENS,), {}, r"lengths: expected how many tokens of each row count, found none; pass lengths=\.\.\."),
        ((TOKENS,), {"lengths": [4, 1]}, r"lengths: expected 2 numbers from 0 to 3, found shape \(2,\), 1 to 4"),
        (
            (TOKENS.float(),),
            {"lengths": [1, 1]},
            r"sequences: expected \(U, n\) integer tokens, found \(2, 3\) torch.float32",
        ),
        (
            (torch.arange(300)[None],),
            {"lengths": [300]},
            "at most 255 different tokens in a batch, found 300; give the seq",
        ),
    ],
)
def test_what_cannot_be_used(arguments, options, message):
    with pytest.raises(InputError, match=message):
        pair_batch(*arguments, **options)


def test_other_alphabets():
    assert pair_batch(["ACN", "ACG"], alphabet="iupac").distance.tolist() == [1]
