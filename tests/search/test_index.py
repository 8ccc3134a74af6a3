import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from nwa_lightning import InputError, load_sequences
from nwa_lightning.search import index as index_module
from nwa_lightning.search import index_files
from nwa_lightning.search.embedder import ReadEmbedder
from nwa_lightning.search.index import Index
from nwa_lightning.search.recall import Effort
from nwa_lightning.search.vectors import KINDS, cells_of, kind_of
from nwa_lightning.sequences.alphabet import ALPHABETS
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.packed import Packed

ALL = Effort(1000, 1000)
COMPLEMENT = str.maketrans("ACGT", "TGCA")


@pytest.fixture(scope="module")
def reads():
    return load_sequences("tree:300x40")


@pytest.fixture(scope="module")
def embedder(reads):
    return ReadEmbedder.from_landmarks(reads, 30, 20, max_length=50)


@pytest.fixture
def targets(reads):
    return reads.take(np.arange(0, 240))


@pytest.fixture
def queries(reads):
    return reads.take(np.arange(200, 300))


def named(strings, names):
    return Sequences(Sequences.from_strings(strings).bases, Packed.of(name.encode() for name in names))


def naive(queries, targets, most=1, maxdist=None, identity=None, strands=("+",)):
    """(query, target, edits, strand) with plain loops; ``targets`` may hold None for a read that is not there."""
    found = []
    for row, query in enumerate(queries):
        candidates = []
        for place, target in enumerate(targets):
            if target is None:
                continue
            both = [(Levenshtein.distance(query, target), "+")]
            if "-" in strands:
                both.append((Levenshtein.distance(query[::-1].translate(COMPLEMENT), target), "-"))
            edits, strand = min(both, key=lambda pair: (pair[0], pair[1] == "-"))
            longer = max(len(query), len(target), 1)
            if (maxdist is None or edits <= maxdist) and (identity is None or 1 - edits / longer >= identity - 1e-12):
                candidates.append((edits, place, strand))
        found += [(row, place, edits, strand) for edits, place, strand in sorted(candidates)[:most]]
    return found


def rows(found):
    hits = found.hits
    signs = ["-" if reverse else "+" for reverse in hits.reverse.tolist()]
    return list(zip(hits.query.tolist(), hits.target.tolist(), hits.edits.tolist(), signs, strict=True))


@pytest.mark.parametrize("kind", ["flat", "ivf", None])
@pytest.mark.parametrize("limits", [{}, {"maxdist": 5}, {"identity": 0.9}, {"maxdist": 6, "identity": 0.8}])
def test_exact_and_with_all_candidates(targets, queries, embedder, kind, limits, monkeypatch):
    monkeypatch.setattr(index_module, "_QUERIES", 30)
    index = Index.build(targets, None if kind is None else embedder, kind=kind)
    distinct = index.reads.sequences.to_strings()
    assert distinct == list(dict.fromkeys(targets.to_strings()))
    for most in (1, 4, 1000):
        expected = naive(queries.to_strings(), distinct, most, **limits)
        for threads in (1, 3):
            found = index.search(queries, most, exact=True, threads=threads, **limits)
            assert rows(found) == expected
            assert found.recall is None
        assert rows(index.search(queries, most, effort=ALL, **limits)) == expected


def test_both_strands(reads, targets, embedder):
    strings = reads.take(np.arange(200, 230)).to_strings()
    turned = [string[::-1].translate(COMPLEMENT) if row % 2 else string for row, string in enumerate(strings)]
    turned.append("ACGT" * 5)  # its own complement: the plus strand is named
    queries = Sequences.from_strings(turned)
    for index in (Index.build(targets), Index.build(targets, embedder)):
        distinct = index.reads.sequences.to_strings()
        for most in (1, 3):
            expected = naive(turned, distinct, most, strands="+-")
            assert rows(index.search(queries, most, both_strands=True, exact=True)) == expected
            assert rows(index.search(queries, most, both_strands=True, effort=ALL)) == expected
        assert {strand for *_, strand in naive(turned, distinct, 1, strands="+-")} == {"+", "-"}
        assert rows(index.search(queries, exact=True)) == naive(turned, distinct)


def test_the_recall_is_that_of_the_sample(targets, queries, embedder):
    """The sample is all queries here, so the recall can be counted."""
    index = Index.build(targets, embedder, kind="ivf")
    nearest = {row: edits for row, _, edits, _ in naive(queries.to_strings(), index.reads.sequences.to_strings())}
    for wanted in (0.3, 0.9, 1):
        found = index.search(queries, recall=wanted)
        right = sum(edits == nearest[row] for row, _, edits, _ in rows(found))
        assert (found.recall.sample, found.recall.found) == (100, right)
        assert found.recall.fraction == right / 100 >= wanted
        assert rows(index.search(queries, effort=found.recall.effort)) == rows(found)
        assert index.search(queries, effort=found.recall.effort).recall is None
    efforts = [index.search(queries, recall=wanted).recall.effort for wanted in (0.3, 1)]
    assert efforts[0] < efforts[1]


def test_the_recall_counts_what_is_within_the_limit(targets, queries, embedder):
    index = Index.build(targets, embedder)
    expected = naive(queries.to_strings(), index.reads.sequences.to_strings(), maxdist=2)
    found = index.search(queries, maxdist=2, recall=1)
    assert 0 < found.recall.sample == found.recall.found == len(expected) < 100
    assert {(row, edits) for row, _, edits, _ in rows(found)} == {(row, edits) for row, _, edits, _ in expected}


def test_threads_change_nothing(targets, queries, embedder):
    index = Index.build(targets, embedder, kind="ivf")
    one, three = (index.search(queries, 3, recall=0.8, threads=threads) for threads in (1, 3))
    assert rows(one) == rows(three)
    assert one.recall == three.recall


def test_reads_are_added_and_deleted(reads, targets, queries, embedder):
    """A deleted read is never returned, by no kind of search, on no strand."""
    index = Index.build(targets.take(np.arange(100)), embedder)
    more = targets.take(np.arange(100, 240))
    index.add(more)
    strings = index.reads.sequences.to_strings()
    assert strings[: len(strings) - 140] == list(dict.fromkeys(targets.to_strings()[:100]))
    assert rows(index.search(queries, 3, exact=True)) == naive(queries.to_strings(), strings, 3)
    assert rows(index.search(queries, 3, effort=ALL)) == naive(queries.to_strings(), strings, 3)
    nearest = sorted({place for _, place, _, _ in naive(queries.to_strings(), strings)})
    names = [index.reads.sequences.names[place] for place in nearest]
    gone = {row for row, name in enumerate(index.reads.sequences.names) if name in names}
    assert index.delete(names) == len(gone)
    assert index.delete(names[:1]) == 0
    left = [None if row in gone else string for row, string in enumerate(strings)]
    expected = naive(queries.to_strings(), left, 2)
    assert rows(index.search(queries, 2, exact=True)) == expected
    assert rows(index.search(queries, 2, effort=ALL)) == expected
    for found in (
        index.search(queries, 5),
        index.search(queries, 5, both_strands=True),
        index.search(queries, recall=0.1),
    ):
        assert not gone & set(found.hits.target.tolist())


def test_copies_count_once_among_the_targets():
    index = Index.build(named(["AC", "GT", "AC"], ["a;size=3", "b", "c"]))
    assert (index.reads.sequences.names, index.reads.sizes.tolist()) == (["a", "b"], [4, 1])
    index.add(named(["AC", "TT", "TT"], ["d", "e", "f"]))
    assert (index.reads.sequences.names, index.reads.sizes.tolist()) == (["a", "b", "d", "e"], [4, 1, 1, 2])
    assert index.search(Sequences.from_strings(["AC", "TT"]), 2).hits.target.tolist() == [0, 2, 3, 1]


def test_names_that_are_not_there():
    index = Index.build(named(["AC", "GT", "GG", "AC"], ["a", "b", "b", "c"]))
    with pytest.raises(
        InputError, match=r"delete: expected names of reads in the index, found c \(2 unknown names\).*copy"
    ):
        index.delete(["c", "d", "a"])
    assert not index.deleted.any()
    assert index.delete(["b"]) == 2


@pytest.mark.parametrize("model", [False, True])
def test_all_reads_are_deleted(targets, queries, embedder, model):
    index = Index.build(targets, embedder if model else None)
    index.delete(index.reads.sequences.names)
    for options in ({}, {"exact": True}, {"effort": ALL}, {"both_strands": True}):
        assert rows(index.search(queries, **options)) == []


def test_nothing(targets, queries, embedder):
    nothing = Sequences.from_strings([])
    for model in (None, embedder):
        for options in ({}, {"exact": True}, {"effort": ALL}, {"both_strands": True}):
            assert rows(Index.build(targets, model).search(nothing, **options)) == []
            assert rows(Index.build(nothing, model).search(queries, **options)) == []
    grown = Index.build(nothing, embedder)
    grown.add(targets)
    assert rows(grown.search(queries, effort=ALL)) == naive(queries.to_strings(), targets.to_strings())


def test_one_target(queries, embedder):
    one = queries.take(np.array([3]))
    expected = naive(queries.to_strings(), one.to_strings(), 2)
    for model in (None, embedder, ReadEmbedder.from_landmarks(one, max_length=50)):
        assert rows(Index.build(one, model).search(queries, 2)) == expected


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    targets=st.lists(st.text("AC", max_size=6), max_size=8),
    queries=st.lists(st.text("AC", max_size=6), max_size=4),
    most=st.integers(1, 10),
    maxdist=st.none() | st.integers(0, 3),
)
def test_few_short_reads(embedder, targets, queries, most, maxdist):
    """Also empty ones; with all candidates, vectors that are equal hide nothing."""
    index = Index.build(Sequences.from_strings(targets), embedder)
    expected = naive(queries, list(dict.fromkeys(targets)), most, maxdist)
    asked = Sequences.from_strings(queries)
    assert rows(index.search(asked, most, maxdist=maxdist, exact=True)) == expected
    assert rows(index.search(asked, most, maxdist=maxdist, effort=ALL)) == expected


def test_another_alphabet():
    protein, rna = ALPHABETS["protein"], ALPHABETS["rna"]
    index = Index.build(Sequences.from_strings(["MKV", "ACDEFW"], protein), alphabet=protein)
    assert rows(index.search(Sequences.from_strings(["ACDW"], protein))) == [(0, 1, 2, "+")]
    with pytest.raises(InputError, match="both strands: expected DNA or RNA, found protein"):
        index.search(Sequences.from_strings(["ACDW"], protein), both_strands=True)
    index = Index.build(Sequences.from_strings(["ACCU", "GGGG"], rna), alphabet=rna)
    assert rows(index.search(Sequences.from_strings(["AGGU"], rna), both_strands=True)) == [(0, 0, 0, "-")]


@pytest.mark.parametrize("exact", [False, True])
def test_numbers_out_of_range(targets, queries, embedder, exact):
    index = Index.build(targets, embedder)
    for options, message in (
        ({"most": 0}, "hits: expected at least 1, found 0"),
        ({"recall": 0}, "recall: expected more than 0 and at most 1, found 0; write 99 % as 0.99"),
        ({"recall": 99}, "recall: expected more than 0"),
        ({"maxdist": -1}, "maxdist: expected at least 0"),
        ({"identity": 97}, "id: expected 0 to 1, found 97"),
    ):
        with pytest.raises(InputError, match=message):
            index.search(queries, exact=exact, **options)


def test_reads_that_are_too_long_for_the_model(targets, queries, embedder):
    long = named(["A" * 51], ["long"])
    with pytest.raises(InputError, match=r"expected at most 50 bases.*found 51 in long"):
        Index.build(long, embedder)
    index = Index.build(targets, embedder)
    with pytest.raises(InputError, match=r"expected at most 50 bases.*found 51 in long"):
        index.search(long)
    assert len(index.search(long, exact=True).hits) == 1
    with pytest.raises(InputError, match=r"expected at most 50 bases.*found 51 in long"):
        index.add(long)
    assert rows(index.search(queries, effort=ALL)) == rows(index.search(queries, exact=True))  # nothing was added


def test_saved_and_loaded(targets, queries, embedder, tmp_path):
    index = Index.build(targets, embedder)
    index.delete(index.reads.sequences.names[:7])
    index.save(tmp_path / "new" / "folder")
    loaded = Index.load(str(tmp_path / "new" / "folder"))
    assert loaded.reads.sequences.names == index.reads.sequences.names[7:]
    assert loaded.reads.sizes.tolist() == index.reads.sizes[7:].tolist()
    assert loaded.embedder.fingerprint == embedder.fingerprint
    for options in ({"exact": True}, {"recall": 0.9}, {"maxdist": 4, "most": 3}):
        one, two = index.search(queries, **options), loaded.search(queries, **options)
        assert [(row, place - 7, *rest) for row, place, *rest in rows(one)] == rows(two)
        assert one.recall == two.recall
    loaded.delete(loaded.reads.sequences.names[:1])
    loaded.save(tmp_path / "again")
    assert len(Index.load(tmp_path / "again").reads) == len(loaded.reads) - 1
    with pytest.raises(
        InputError, match="again: expected a folder without embeddings, found one with some; name another"
    ):
        loaded.save(tmp_path / "again")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("several", [False, True])
def test_saved_and_loaded_with_its_kind(targets, queries, embedder, tmp_path, kind, several, monkeypatch):
    """Also the cells: a search of a few of them finds the same."""
    if several:
        monkeypatch.setattr(index_files, "_ROWS", 90)
    index = Index.build(targets.take(np.arange(200)), embedder, kind=kind)
    index.add(targets.take(np.arange(200, 240)))
    index.delete(index.reads.sequences.names[20:30])
    index.save(tmp_path / "one")
    loaded = Index.load(tmp_path / "one")
    loaded.save(tmp_path / "two")
    row_of = np.flatnonzero(~index.deleted)
    for other in (loaded, Index.load(tmp_path / "two")):
        assert kind_of(other.vectors) == kind_of(index.vectors) == kind
        assert type(other.vectors) is type(index.vectors)
        assert cells_of(other.vectors) == cells_of(index.vectors)
        for effort in (Effort(4, 1), Effort(20, 2)):
            one, two = (some.search(queries, 3, effort=effort).hits for some in (index, other))
            assert one.query.tolist() == two.query.tolist()
            assert one.target.tolist() == row_of[two.target].tolist()
            assert one.edits.tolist() == two.edits.tolist()


def test_saved_without_reads_or_without_a_model(targets, queries, embedder, tmp_path):
    Index.build(Sequences.from_strings([]), embedder).save(tmp_path / "empty")
    assert rows(Index.load(tmp_path / "empty").search(queries)) == []
    with pytest.raises(InputError, match="save: expected an index with a model, found one without"):
        Index.build(targets).save(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/below: .*name a folder that can be written"):
        Index.build(targets, embedder).save(tmp_path / "file" / "below")


def test_all_processors_by_default(targets, queries, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    index = Index.build(targets)
    assert rows(index.search(queries)) == rows(index.search(queries, threads=1))
