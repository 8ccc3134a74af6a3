import numpy as np
import oracle
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist
from test_alignment import run_python

import nwa_lightning
from nwa_lightning import _nw
from nwa_lightning.alignment import code_distances, edit_distances
from nwa_lightning.errors import InputError
from nwa_lightning.levenshtein import Letters, Strings, take_flat, take_strings
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.neighbours import nearest_edits
from nwa_lightning.sequences.packed import Packed

EDGES = [0, 1, 2, 31, 62, 63, 64, 65, 127, 128, 129, 191, 192, 193]
CUTOFFS = [None, 0, 1, 5, 16, 31, 32, 63, 64, 65, 128, 1000]


def relatives(seed, lengths, letters=4, rate=0.2):
    """Sequences of given lengths, some near to each other, some far."""
    rng = np.random.default_rng(seed)
    base = rng.integers(0, letters, max(lengths, default=0) + 8)
    made = []
    for length in lengths:
        start = rng.integers(0, 8)
        row = base[start : start + length].copy()
        changed = rng.random(length) < rate * rng.random()
        row[changed] = rng.integers(0, letters, changed.sum())
        if length > 4 and rng.random() < 0.5:
            place, other = rng.integers(0, length, 2)
            row = np.insert(np.delete(row, place), other, rng.integers(0, letters))
        made.append(
            row.astype(np.uint8).tobytes() if rng.random() < 0.8 else rng.bytes(length).translate(folded(letters))
        )
    return made


def folded(letters):
    return bytes(code % letters for code in range(256))


def expected(strings, cutoff=None):
    table = cdist(strings, strings, scorer=Levenshtein.distance, dtype=np.int32)
    return table if cutoff is None else np.minimum(table, cutoff + 1)


def check(strings, cutoffs, threads=1):
    """All ways to ask give what rapidfuzz gives."""
    taken, table, count = take_strings(strings), expected(strings), len(strings)
    assert isinstance(taken, Letters)
    rng = np.random.default_rng(count)
    pairs, rows, columns = rng.integers(0, count, (3 * count, 2)), rng.permutation(count)[::2], rng.permutation(count)
    for cutoff in cutoffs:
        right = table if cutoff is None else np.minimum(table, cutoff + 1)
        options = {"cutoff": cutoff, "threads": threads}
        np.testing.assert_array_equal(taken.all_pairs(**options), right)
        np.testing.assert_array_equal(taken.pairs(pairs, **options), right[pairs[:, 0], pairs[:, 1]])
        np.testing.assert_array_equal(taken.block(rows, columns, **options), right[np.ix_(rows, columns)])
        np.testing.assert_array_equal(taken.block(rows[:1], columns, **options), right[np.ix_(rows[:1], columns)])


def check_everything():
    """What each instruction set must pass; run in a process of its own."""
    for letters in (1, 2, 4, 5, 8, 9, 20, 32):
        check(relatives(letters, EDGES, letters), CUTOFFS)
    check(relatives(1, [150] * 21), CUTOFFS)
    # So many that need a wider band that some are done before a block is at its end.
    check(relatives(10, [150] * 600, rate=0.3), [None])
    check(relatives(2, [*range(64), *range(100, 130)]), [None, 3])
    check(relatives(3, [1000, 990, 300, 1000, 0, 5, 1003, 700, 1000], rate=0.6), [None, 100, 600])
    check(relatives(4, [1500] * 4, rate=1.0), [None, 200])
    check(relatives(5, [300] * 9, 20, rate=0.9), [None, 10, 150])


@pytest.mark.parametrize("name", _nw.instruction_sets)
def test_each_instruction_set(name):
    # Without what the package imports by itself, which takes seconds.
    code = f"""
import sys, types
package = types.ModuleType("nwa_lightning")
package.__path__ = {list(nwa_lightning.__path__)}
sys.modules["nwa_lightning"] = package
import test_edit_kernel
test_edit_kernel.check_everything()
print(test_edit_kernel._nw.instruction_set)
"""
    result = run_python(code, NWA_LIGHTNING_ISA=name)
    assert (result.returncode, result.stdout.strip()) == (0, name), result.stderr


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_sequences(data):
    letters = data.draw(st.integers(1, 32))
    length = st.one_of(st.integers(0, 40), st.sampled_from(EDGES), st.integers(0, 260))
    seed, rate = data.draw(st.integers(0, 10**6)), data.draw(st.sampled_from([0.05, 0.3, 1.0]))
    strings = relatives(seed, data.draw(st.lists(length, min_size=1, max_size=20)), letters, rate)
    check(strings, [None, data.draw(st.integers(0, 200))], threads=data.draw(st.integers(1, 3)))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_lengths_to_5000(data):
    lengths = data.draw(st.lists(st.integers(0, 5000), min_size=2, max_size=5))
    seed, rate = data.draw(st.integers(0, 10**6)), data.draw(st.sampled_from([0.02, 0.2, 1.0]))
    strings = relatives(seed, lengths, data.draw(st.sampled_from([2, 4, 20])), rate)
    check(strings, [None, data.draw(st.integers(0, 5000))])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("ab", max_size=9), min_size=1, max_size=6), st.integers(0, 9))
@example(["", "a"], 0)
def test_against_the_plain_recurrence(strings, cutoff):
    right = np.array([[oracle.edit_distance(a, b) for b in strings] for a in strings])
    np.testing.assert_array_equal(take_strings(strings).all_pairs(), right)
    np.testing.assert_array_equal(take_strings(strings).all_pairs(cutoff=cutoff), np.minimum(right, cutoff + 1))


def test_more_pairs_than_are_sorted_at_once():
    strings = relatives(6, [90] * 40 + [150] * 60)
    pairs = np.random.default_rng(0).integers(0, 100, (10_000, 2))
    right = expected(strings)[pairs[:, 0], pairs[:, 1]]
    for threads in (1, 2):
        np.testing.assert_array_equal(take_strings(strings).pairs(pairs, threads=threads), right)
    columns = np.resize(np.arange(100), 9_000)
    np.testing.assert_array_equal(
        take_strings(strings).block(np.arange(7), columns), expected(strings)[np.ix_(np.arange(7), columns)]
    )


def test_flat_memory_with_gaps_and_overlaps():
    flat = np.frombuffer(b"xxACGTACGAyyyy", dtype=np.uint8)
    starts, lengths = np.array([2, 6, 2, 14]), np.array([4, 4, 8, 0])
    taken = take_flat(flat, starts, lengths)
    right = expected([b"ACGT", b"ACGA", b"ACGTACGA", b""])
    np.testing.assert_array_equal(taken.all_pairs(), right)


def test_more_letters_than_the_kernel_takes():
    few, many = [bytes(range(32)), bytes(range(1, 32))], [bytes(range(33)), bytes(range(1, 33)), b""]
    assert isinstance(take_strings(few), Letters)
    taken = take_flat(np.frombuffer(b"".join(many), dtype=np.uint8), np.array([0, 33, 65]), np.array([33, 32, 0]))
    assert isinstance(taken, Strings)
    assert taken.all_pairs().tolist() == [[0, 1, 33], [1, 0, 32], [33, 32, 0]]
    assert taken.all_pairs(cutoff=5).tolist() == [[0, 1, 6], [1, 0, 6], [6, 6, 0]]
    assert taken.pairs(np.array([[0, 1], [2, 1]]), cutoff=5).tolist() == [1, 6]
    assert taken.block(np.array([1]), np.array([0, 2])).tolist() == [[1, 32]]
    assert edit_distances(many).tolist() == [[0, 1, 33], [1, 0, 32], [33, 32, 0]]


@pytest.mark.parametrize("strings", [["Straße", "Strasse"], ["AC", b"AGC"], [("a", "b"), ("a",)], []])
def test_what_only_rapidfuzz_compares(strings):
    np.testing.assert_array_equal(edit_distances(strings), expected(strings).reshape(len(strings), len(strings)))


def test_a_few_pairs_of_many_sequences():
    strings = [text.decode() for text in relatives(7, [30] * 50, 26)]
    assert edit_distances(strings, [[40, 3], [3, 40], [7, 7]]).tolist() == [*[expected(strings)[40, 3]] * 2, 0]


def test_padded_codes():
    codes = np.random.default_rng(8).integers(0, 5, (9, 70)).astype(np.uint8)
    lengths = np.array([70, 0, 3, 64, 65, 70, 1, 69, 70])
    right = expected([row[:length].tobytes() for row, length in zip(codes, lengths, strict=True)])
    np.testing.assert_array_equal(code_distances(codes, lengths), right)
    np.testing.assert_array_equal(code_distances(codes[:, ::-1][:, ::-1], lengths, [[0, 4]], workers=2), right[0, 4:5])
    with pytest.raises(InputError, match=r"lengths: expected 0 to 70 \(the columns of codes\), found 0 to 71"):
        code_distances(codes, lengths + (lengths == 70))
    with pytest.raises(InputError, match="pairs: expected rows of sequences, 0 to 8, found 0 to 9"):
        code_distances(codes, lengths, [[0, 9]])


def test_nearest_of_another_set():
    strings = relatives(9, [40] * 150 + [70] * 30, rate=0.8)
    table = expected(strings)
    lengths = np.array([len(text) for text in strings])
    bases = Packed(np.frombuffer(b"".join(strings), dtype=np.uint8), np.cumsum(lengths) - lengths, lengths)
    everything = Sequences(bases, Packed.of([b""] * len(strings)))
    rows = np.random.default_rng(1).permutation(len(strings))
    queries, others = rows[:140], rows[140:]
    right = table[np.ix_(queries, others)].min(axis=1)
    np.testing.assert_array_equal(nearest_edits(everything.take(queries), everything.take(others)), right)
    apart = Sequences(Packed.of([strings[row] for row in others]), Packed.of([b""] * len(others)))
    np.testing.assert_array_equal(nearest_edits(everything.take(queries), apart), right)
    assert len(nearest_edits(everything.take(queries[:0]), apart)) == 0
