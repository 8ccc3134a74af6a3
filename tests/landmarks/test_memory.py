"""The memory of distances: the same numbers as without it, of the right landmarks, and no more bytes than allowed."""

import copy
import pickle
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from nwa_lightning import LandmarkEncoder, Landmarks, Sequences
from nwa_lightning.landmarks import distances, memory
from nwa_lightning.landmarks.distances import landmark_distances
from nwa_lightning.landmarks.memory import Memory, digests


@pytest.fixture(autouse=True)
def always(monkeypatch):
    """A fresh memory, which remembers short reads too."""
    monkeypatch.setattr(distances, "WORTH", 1)
    monkeypatch.setattr(distances, "_MEMORY", Memory())


@pytest.fixture
def computed(monkeypatch):
    """The reads that went to the kernel, call by call."""
    calls, table = [], distances._table

    def counted(rows, columns, threads):
        calls.append(list(columns))
        return table(rows, columns, threads)

    monkeypatch.setattr(distances, "_table", counted)
    return calls


def tokens_of(*reads, width=None):
    codes = Sequences.from_strings(reads).padded(width)
    return torch.from_numpy(np.pad(codes.astype(np.int64), ((0, 0), (1, 0)), constant_values=1))


def landmarks_of(*reads):
    sequences = Sequences.from_strings(reads)
    return torch.from_numpy(sequences.padded()), torch.from_numpy(sequences.lengths.copy())


def expected(reads, others):
    return [[Levenshtein.distance(one, two) for two in others] for one in reads]


reads_of_any_length = st.lists(st.text("ACGT", max_size=9), min_size=1, max_size=5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(reads_of_any_length, reads_of_any_length, st.integers(0, 3)), min_size=1, max_size=6))
def test_distances_are_right_in_any_order_of_reads_and_landmarks(batches):
    """The few short reads and landmarks of all examples share one memory."""
    for reads, others, padding in batches:
        found = landmark_distances(tokens_of(*reads, width=9 + padding), *landmarks_of(*others))
        assert found.tolist() == expected(reads, others)


def test_only_new_reads_go_to_the_kernel(computed):
    landmarks = landmarks_of("ACGT", "TTTTT")
    coded = {read: Sequences.from_strings([read]).bases[0] for read in ("ACG", "AC", "GGG", "")}
    for reads, new in ((["ACG", "AC"], ["ACG", "AC"]), (["GGG", "ACG", ""], ["GGG", ""]), (["AC", "GGG"], None)):
        found = landmark_distances(tokens_of(*reads, width=3 + len(reads)), *landmarks)
        assert found.tolist() == expected(reads, ["ACGT", "TTTTT"])
        assert found.dtype == torch.float32
        if new is not None:
            assert computed.pop() == [coded[read] for read in new]
        assert not computed


def test_a_caller_may_change_what_was_returned():
    landmarks, tokens = landmarks_of("ACGT"), tokens_of("AC", "TTT")
    for _ in range(3):
        found = landmark_distances(tokens, *landmarks)
        assert found.tolist() == [[2], [3]]
        found.zero_()


def test_short_reads_are_not_remembered(monkeypatch):
    monkeypatch.setattr(distances, "WORTH", 12)
    for length, kept in ((0, 0), (3, 0), (4, 1), (7, 2)):
        landmark_distances(tokens_of("A" * length, width=9), *landmarks_of("A", "C", "G"))
        assert len(distances._MEMORY) == kept


def test_other_landmarks_are_told_apart():
    """Drawn anew, loaded, changed in place, of another width: the features are those of the landmarks as they are now."""
    rng = np.random.default_rng(0)
    some = [Sequences.from_codes(rng.integers(2, 6, (30, 12)).astype(np.uint8), [""] * 30) for _ in range(2)]
    tokens = tokens_of("ACGTACGTAC", "TTTTT", "")
    landmarks, fresh = Landmarks(4, 12), Landmarks(4, 12)
    for number, seed in ((0, 0), (1, 0), (0, 1), (0, 0)):
        landmarks.draw(some[number], seed)
        for _ in range(2):
            right = expected(["ACGTACGTAC", "TTTTT", ""], landmarks.sequences.to_strings())
            assert landmarks.distances(tokens).tolist() == right
        fresh.load_state_dict(landmarks.state_dict())
        assert fresh(tokens).equal(landmarks(tokens))
    landmarks.landmarks[0, 0] = 2 + (landmarks.landmarks[0, 0] - 1) % 4
    landmarks.lengths[1] -= 1
    assert landmarks.distances(tokens).tolist() == expected(
        ["ACGTACGTAC", "TTTTT", ""], landmarks.sequences.to_strings()
    )


def test_digests_tell_apart_what_differs():
    """Also where the bytes of landmarks, lengths and read are the same one after the other."""
    codes = np.array([[2, 3, 0], [2, 3, 2], [2, 0, 0]], dtype=np.uint8)
    landmarks = np.array([[2, 3], [3, 0]], dtype=np.uint8)
    found = digests(codes, np.array([2, 3, 1]), landmarks, np.array([2, 1]))
    found += digests(codes, np.array([2, 3, 1]), landmarks.reshape(1, 4), np.array([3]))
    found += digests(codes, np.array([2, 3, 1]), landmarks, np.array([2, 2]))
    found += digests(codes[:, :2], np.array([2, 2, 1]), landmarks[::-1], np.array([2, 1]))[::2]
    assert len(set(found)) == len(found) == 11
    wider = np.pad(codes, ((0, 0), (0, 2)))
    assert digests(wider, np.array([2, 3, 1]), landmarks, np.array([2, 1])) == found[:3]
    assert digests(codes[:0], np.array([], dtype=np.int64), landmarks, np.array([2, 1])) == []


def test_the_oldest_are_forgotten():
    few, asked = Memory(most_bytes=3 * (4 * 2 + memory._ENTRY_BYTES)), []

    def compute(places):
        asked.append(places.tolist())
        return np.array([[place, 7] for place in places], dtype=np.int32)

    def keys(text):
        return [letter.encode() for letter in text]

    assert few.rows(keys("abc"), 2, compute).tolist() == [[0, 7], [1, 7], [2, 7]]
    assert few.rows(keys("cxa"), 2, compute).tolist() == [[2, 7], [1, 7], [0, 7]]  # a is forgotten, after it was used
    assert few.rows(keys("bcxa"), 2, compute).tolist()[3] == [3, 7]
    assert few.rows(keys("abc"), 2, compute)[0].tolist() == [3, 7]
    assert asked == [[0, 1, 2], [1], [3], [1]]
    assert few.rows(keys("defghij"), 2, compute)[:, 0].tolist() == list(range(7))
    assert (len(few), few._bytes) == (3, few.most_bytes)
    none = Memory(most_bytes=memory._ENTRY_BYTES)
    assert none.rows(keys("aa"), 2, compute).tolist() == [[0, 7], [1, 7]]
    assert len(none) == 0
    assert few.rows([], 2, compute).shape == (0, 2)


def test_rows_of_different_widths_are_counted():
    both = Memory(most_bytes=4 * 12 + 2 * memory._ENTRY_BYTES)
    for width in (2, 10, 4, 100, 1):
        assert both.rows([b"%d" % width], width, lambda places, w=width: np.ones((1, w), np.int32)).shape == (1, width)
        held = sum(len(row) + memory._ENTRY_BYTES for row in both._rows.values())
        assert held == both._bytes <= both.most_bytes
    assert len(both) == 2


def test_many_threads(monkeypatch):
    rng = np.random.default_rng(1)
    reads = ["".join(rng.choice(list("ACGT"), size)) for size in rng.integers(0, 20, 40)]
    others = reads[:5]
    small = Memory(most_bytes=15 * (4 * 5 + memory._ENTRY_BYTES))
    monkeypatch.setattr(distances, "_MEMORY", small)
    right = expected(reads, others)
    landmarks = landmarks_of(*others)
    orders = [rng.permutation(40) for _ in range(60)]

    def one(order):
        return landmark_distances(tokens_of(*(reads[row] for row in order)), *landmarks).tolist()

    with ThreadPoolExecutor(8) as pool:
        for order, found in zip(orders, pool.map(one, orders), strict=True):
            assert found == [right[row] for row in order]
    assert small._bytes == 15 * (4 * 5 + memory._ENTRY_BYTES)


def test_compiled_and_copied_modules():
    torch.manual_seed(0)
    encoder = LandmarkEncoder(count=3, max_length=12, embedding_dim=4).eval()
    reads = Sequences.from_strings(["ACGT", "AACC", "TTTTT", "GGCA"])
    encoder.landmarks.draw(reads)
    names, tokens = set(encoder.state_dict()), tokens_of("ACG", "GGG")
    first = encoder(tokens)
    assert len(distances._MEMORY) == 2
    assert set(encoder.state_dict()) == names
    compiled = torch.compile(encoder, fullgraph=True, backend="aot_eager")
    for other in (encoder, compiled, copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        torch.testing.assert_close(other(tokens), first, rtol=0, atol=0)
    assert encoder.double()(tokens).dtype == torch.float64


def test_an_exported_program_has_no_memory():
    encoder = LandmarkEncoder(count=3, max_length=12, embedding_dim=4).eval()
    encoder.landmarks.draw(Sequences.from_strings(["ACGT", "AACC", "TTTTT", "GGCA"]))
    tokens = tokens_of("ACG", "GGG")
    right = encoder(tokens)
    kept = len(distances._MEMORY)
    program = torch.export.export(encoder, (tokens,))
    assert not re.search(r"nwa_lightning\.", str(program.graph))
    torch.testing.assert_close(program.module()(tokens), right)
    assert len(distances._MEMORY) == kept
