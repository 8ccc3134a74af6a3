"""Searches and clusters from shard to shard, against the same in memory and against plain loops."""

import shutil
import sys
from collections import Counter
from pathlib import Path

import faiss
import numpy as np
import pyarrow.parquet
import pytest
from rapidfuzz.distance import Levenshtein

from nwa_lightning.cli.main import main
from nwa_lightning.errors import InputError
from nwa_lightning.search import partition
from nwa_lightning.search.cluster_by_shards import cluster_by_shards
from nwa_lightning.search.cluster_shards import read_centroids, write_cells
from nwa_lightning.search.clusters import canonical_order, greedy_clusters
from nwa_lightning.search.embed import embed_reads
from nwa_lightning.search.executors import RayExecutor, run_here
from nwa_lightning.search.format_rows import hit_rows
from nwa_lightning.search.hits import Hits
from nwa_lightning.search.index import Index
from nwa_lightning.search.index_files import index_here
from nwa_lightning.search.limits import Limit
from nwa_lightning.search.reads import Reads, concatenated
from nwa_lightning.search.recall import Effort
from nwa_lightning.search.search_shards import search_by_shards
from nwa_lightning.search.shard_jobs import (
    UNFINISHED,
    hit_targets,
    live_rows,
    read_deleted,
    shard_hit_rows,
    write_deleted,
)
from nwa_lightning.search.shards import open_shards
from nwa_lightning.sequences.catalog import load_sequences
from nwa_lightning.sequences.collection import Sequences


def walks(seed, count, steps):
    """Sequences of 30 letters, each with one to three letters of the one before it changed; some occur twice."""
    generator = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        row = generator.integers(2, 6, 30).astype(np.uint8)
        for _ in range(steps):
            row = row.copy()
            row[generator.integers(0, 30, 3)] = generator.integers(2, 6, 3)
            rows.append(row[: generator.integers(28, 31)])
    rows += rows[:10]
    return Sequences.from_codes(rows, map(str, range(len(rows))))


def write(path, sequences):
    path.write_text("".join(f">r{number}\n{row}\n" for number, row in enumerate(sequences.to_strings())))
    return str(path)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write(tmp_path_factory.mktemp("source") / "reads.fasta", walks(0, 2, 150))


@pytest.fixture(scope="module")
def folder(source, tmp_path_factory):
    """Four shards and their index, with a few cells."""
    path = tmp_path_factory.mktemp("shards") / "known"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partition, "PART_BYTES", Path(source).stat().st_size // 4)
        embed_reads([source], path, landmarks=24, executor=run_here)
    index_here(open_shards(path), "ivf")
    assert len(open_shards(path)) == 4
    return path


@pytest.fixture(scope="module")
def queries(source):
    """Some of the reads with a few other letters."""
    generator = np.random.default_rng(1)
    rows = []
    for row in load_sequences(source).padded()[::7, :28]:
        row = row.copy()
        row[generator.integers(0, 28, 6)] = generator.integers(2, 6, 6)
        rows.append(row)
    return Sequences.from_codes(rows, map(str, range(len(rows))))


class Interrupted:
    """Runs jobs here, and stops after some of them."""

    def __init__(self, most=10**9):
        self.most = most
        self.ran = Counter()

    def __call__(self, function, jobs, what):
        for job in jobs:
            if self.ran.total() == self.most:
                raise InputError("interrupted")
            if not job["target"].exists():
                run_here(function, [job], what)
                self.ran[function.__name__] += 1


def same_files(one, two):
    names = {path.relative_to(one) for path in one.rglob("*") if path.is_file()}
    assert names == {path.relative_to(two) for path in two.rglob("*") if path.is_file()}
    return all((one / name).read_bytes() == (two / name).read_bytes() for name in names)


def test_an_executor_embeds_and_indexes_like_the_trainer(source, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(partition, "PART_BYTES", Path(source).stat().st_size // 4)
    ours = tmp_path / "known"
    with pytest.raises(InputError, match="interrupted"):
        embed_reads([source], ours, landmarks=24, executor=Interrupted(2))
    rest = Interrupted()
    embed_reads([source], ours, landmarks=24, executor=rest)
    assert rest.ran == {"embed_shard": 2}
    index_here(open_shards(ours), "ivf", executor=rest)
    assert rest.ran["build_shard"] == 4
    assert same_files(folder, ours)
    theirs = tmp_path / "trainer"
    embed_reads([source], theirs, landmarks=24, trainer={"accelerator": "cpu"})
    index_here(open_shards(theirs), "ivf")
    assert same_files(folder, theirs)
    (theirs / "index" / "00001.faiss").write_bytes(b"damaged")
    assert index_here(open_shards(theirs), "ivf", executor=rest) == 1
    assert same_files(folder, theirs)


@pytest.mark.parametrize(
    "options",
    [
        {"exact": True, "most": 1},
        {"exact": True, "most": 7, "identity": 0.7},
        {"exact": True, "most": 2, "maxdist": 12, "both_strands": True},
        {"effort": Effort(500, 500), "most": 3},
        {"effort": Effort(500, 500), "most": 2, "identity": 0.8, "both_strands": True},
    ],
    ids=str,
)
def test_a_search_by_shards_is_that_of_the_whole_index(folder, queries, options):
    expected = Index.load(folder).search(queries, **options)
    found = search_by_shards(folder, queries, **options)
    assert found.recall is None
    for name in ("query", "target", "edits", "reverse"):
        assert getattr(found.hits, name).tolist() == getattr(expected.hits, name).tolist()
    assert len(found.hits) > 20
    assert not (folder / UNFINISHED).exists()


def test_the_effort_is_the_least_that_finds_the_nearest_reads_of_all_shards(folder, queries):
    truth = search_by_shards(folder, queries, exact=True).hits
    found = search_by_shards(folder, queries, recall=1.0)
    assert (found.recall.found, found.recall.sample) == (
        len(queries),
        len(queries),
    )  # so few queries are all in the sample
    assert found.hits.edits.tolist() == truth.edits.tolist()
    smaller = {}
    for number in (1, 2, 4, 8, 16, 32, 64):
        hits = search_by_shards(folder, queries, effort=Effort(number, number)).hits
        smaller[number] = int((hits.edits == truth.edits).sum())
    least = next(number for number, right in smaller.items() if right == len(queries))
    assert least == found.recall.effort.candidates > 1
    half = search_by_shards(folder, queries, recall=0.5).recall
    assert half.found == smaller[half.effort.candidates]
    near = search_by_shards(folder, queries, recall=1.0, maxdist=3).recall
    assert near.sample == (truth.edits <= 3).sum()


def test_deleted_reads_are_not_found(folder, queries):
    before = search_by_shards(folder, queries, exact=True).hits
    try:
        write_deleted(folder, np.unique(before.target))
        for options in ({"exact": True}, {"effort": Effort(500, 500)}):
            found = search_by_shards(folder, queries, **options).hits
            assert not np.isin(found.target, before.target).any()
            assert found.target.tolist() == Index.load(folder).search(queries, **options).hits.target.tolist()
    finally:
        (folder / "index" / "deleted.npy").unlink()


def test_a_search_continues(folder, queries):
    with pytest.raises(InputError, match="interrupted"):
        search_by_shards(folder, queries, executor=Interrupted(6))
    assert len(list((folder / UNFINISHED).iterdir())) == 1
    other, rest = Interrupted(), Interrupted()
    search_by_shards(folder, queries, 2, executor=other)
    assert other.ran == {"measure_shard": 4, "search_shard": 4}  # another search has nothing of this one
    found = search_by_shards(folder, queries, executor=rest)
    assert rest.ran == {"search_shard": 2}
    assert found.hits.target.tolist() == search_by_shards(folder, queries).hits.target.tolist()
    assert not (folder / UNFINISHED).exists()


def test_rows_of_hits_name_reads_of_all_shards(folder, queries):
    index = Index.load(folder)
    hits = search_by_shards(folder, queries, 2, exact=True, both_strands=True).hits
    shards = open_shards(folder)
    assert list(shard_hit_rows(shards, hits, queries)) == list(hit_rows(hits, queries, index.reads.sequences))
    rows, targets = hit_targets(shards, hits.take(hits.target < 100))
    assert targets.names == index.reads.sequences.take(rows).names
    assert targets.bases.flat.size == targets.lengths.sum()  # and no letters of others
    none = Hits.of_table(np.empty((0, 1), dtype=np.int64), np.empty((0, 1), dtype=np.int64))
    assert len(hit_targets(shards, none)[1]) == 0


def test_no_queries_have_no_hits(folder, queries):
    none = queries.take(np.empty(0, dtype=np.int64))
    assert len(search_by_shards(folder, none).hits) == len(search_by_shards(folder, none, exact=True).hits) == 0


def test_bad_numbers_and_files(folder, queries, tmp_path):
    with pytest.raises(InputError, match="hits: expected at least 1, found 0"):
        search_by_shards(folder, queries, 0)
    with pytest.raises(InputError, match="recall: expected more than 0 and at most 1, found 0"):
        search_by_shards(folder, queries, recall=0)
    with pytest.raises(InputError, match="id: expected 0 to 1, found 97"):
        search_by_shards(folder, queries, identity=97)
    with pytest.raises(InputError, match="cells: expected at least 1, found 0"):
        cluster_by_shards(folder, Limit(3), cells=0)
    with pytest.raises(InputError, match="workers: expected at least 1, found 0"):
        RayExecutor(workers=0)
    with pytest.raises(InputError, match=r"expected a cluster at 127\.0\.0\.1:9, found none that answers"):
        RayExecutor("127.0.0.1:9").__enter__()
    damaged = tmp_path / "00000.parquet"
    damaged.write_bytes(b"PAR1")
    with pytest.raises(InputError, match="expected the result of a job, found a damaged file or none"):
        read_centroids(damaged)


def reads_of(folder):
    shards = open_shards(folder)
    return concatenated([shards.read(number, embeddings=False).reads for number in range(len(shards))])


class Loops:
    """The clusters by plain loops, for fewer reads than are taken at a time."""

    def __init__(self, reads, limit):
        self.reads = reads
        self.strings = reads.sequences.to_strings()
        self.limit = limit

    def edits(self, one, two):
        """Edits within the limit; None beyond it."""
        found = Levenshtein.distance(self.strings[one], self.strings[two])
        longer = max(len(self.strings[one]), len(self.strings[two]))
        allowed = self.limit.maxdist if self.limit.identity is None else int((1 - self.limit.identity) * longer + 1e-9)
        return found if found <= allowed else None

    def greedy(self, rows, sizes):
        """Centroid of each of some rows."""
        order = [rows[place] for place in canonical_order(Reads(self.reads.sequences.take(np.array(rows)), sizes))]
        centroids = []
        for row in order:
            if all(self.edits(row, other) is None for other in centroids):
                centroids.append(row)
        return {row: self.nearest(row, [c for c in centroids if order.index(c) <= order.index(row)]) for row in order}

    def nearest(self, row, centroids):
        found = [(self.edits(row, c), place, c) for place, c in enumerate(centroids) if self.edits(row, c) is not None]
        return min(found)[2] if found else None

    def by_cells(self, cell):
        """Centroid of each row; how many centroids join others, and how many reads join another one or none."""
        sizes = self.reads.sizes
        centroid, centroids = {}, []
        for number in range(cell.max() + 1):
            rows = np.flatnonzero(cell == number).tolist()
            found = self.greedy(rows, sizes[rows]) if rows else {}
            centroids += sorted(set(found.values()))
            centroid.update(found)
        weights = np.array([sum(sizes[row] for row in centroid if centroid[row] == c) for c in centroids])
        into = self.greedy(centroids, weights)
        elsewhere = anew = 0
        for number in range(cell.max() + 1):
            rows = np.flatnonzero(cell == number).tolist()
            own = [row for row in rows if centroid[row] == row and into[row] == row]
            others = sorted({into[row] for row in rows if centroid[row] == row and into[row] != row})
            moved = [row for row in rows if into[centroid[row]] != centroid[row]]
            found = {row: into[centroid[row]] for row in moved}
            lost = [row for row in moved if self.edits(row, found[row]) is None]
            found.update({row: self.nearest(row, own + others) for row in lost})
            elsewhere += sum(found[row] is not None for row in lost)
            left = [row for row in moved if found[row] is None]
            anew += len(left)
            if left:
                found.update(self.greedy(left, sizes[left]))
            centroid.update(found)
        return centroid, (sum(into[c] != c for c in centroids), elsewhere, anew)


@pytest.mark.parametrize(("limit", "cells"), [(Limit(3), 1), (Limit(7), 3), (Limit(identity=0.75), 9), (Limit(9), 4)])
def test_clusters_by_cells(folder, tmp_path, limit, cells):
    reads, shards = reads_of(folder), open_shards(folder)
    write_cells(shards, cells, tmp_path / "cells.faiss")
    means = faiss.read_index(str(tmp_path / "cells.faiss")).reconstruct_n(0, cells).astype(float)
    vectors = np.concatenate([shards.read(number).embeddings for number in range(len(shards))]).astype(float)
    cell = np.square(vectors[:, None] - means).sum(axis=2).argmin(axis=1)
    loops = Loops(reads, limit)
    expected, counts = loops.by_cells(cell)
    if cells == 1:
        whole = greedy_clusters(reads, limit)
        assert expected == dict(enumerate(whole.centroids[whole.cluster].tolist()))
        assert counts == (0, 0, 0)
    else:
        assert counts[0] > 0
        assert sum(counts[1:]) > 0

    table, lines, fasta = (tmp_path / name for name in ("members.parquet", "members.tsv", "centroids.fasta"))
    found = cluster_by_shards(folder, limit, members=table, cells=cells)
    again = cluster_by_shards(folder, limit, members=lines, centroids=fasta, cells=cells, exact=True)
    assert found.joined == again.joined == counts[0]
    assert found.sizes.tolist() == again.sizes.tolist() == sorted(found.sizes.tolist(), reverse=True)
    assert (found.reads, found.distinct) == (reads.sizes.sum(), len(reads))
    rows = pyarrow.parquet.read_table(table).to_pylist()
    names = reads.sequences.names
    assert {row["read"]: row["centroid"] for row in rows} == {names[row]: names[c] for row, c in expected.items()}
    assert len(rows) == len(reads)
    row_of = {name: row for row, name in enumerate(names)}
    for row in rows:
        place, centroid = row_of[row["read"]], row_of[row["centroid"]]
        assert row["edits"] == loops.edits(place, centroid)
        assert row["copies"] == reads.sizes[place]
        assert row["size"] == found.sizes[row["cluster"]]
    copies = Counter()
    for row in rows:
        copies[row["centroid"]] += row["copies"]
    number_of = {row["centroid"]: row["cluster"] for row in rows}
    assert all(copies[name] == found.sizes[number] for name, number in number_of.items())

    first, *others = (line.split("\t") for line in lines.read_text().splitlines())
    assert first == ["read", "cluster", "centroid", "edits", "size", "diameter"]
    assert others == [[*(str(row[name]) for name in first[:5]), ""] for row in rows]
    named = {number: name for name, number in number_of.items()}
    letters = reads.sequences.to_strings()
    assert fasta.read_text() == "".join(
        f">{named[number]};size={size}\n{letters[row_of[named[number]]]}\n" for number, size in enumerate(found.sizes)
    )
    assert not (folder / UNFINISHED).exists()


def clustered_names(folder, path, **options):
    cluster_by_shards(folder, Limit(7), members=path, **options)
    return {row["read"]: row["centroid"] for row in pyarrow.parquet.read_table(path).to_pylist()}


@pytest.mark.parametrize("cells", [1, 3])
def test_deleted_reads_are_in_no_cluster(folder, tmp_path, cells):
    """Neither those of an unfinished run from before."""
    reads, shards = reads_of(folder), open_shards(folder)
    with pytest.raises(InputError, match="interrupted"):
        clustered_names(folder, tmp_path / "members.parquet", cells=cells, executor=Interrupted(5))
    whole = greedy_clusters(reads, Limit(7))
    deleted = np.union1d(whole.centroids[:3], np.arange(40, 90))  # of the largest clusters, and most of a shard
    left = np.setdiff1d(np.arange(len(reads)), deleted)
    try:
        write_deleted(folder, deleted)
        rows = [live_rows(shards, number, read_deleted(folder)) for number in range(len(shards))]
        firsts = np.cumsum([0, *(record["rows"] for record in shards.manifest.shards)])
        assert (
            np.concatenate([some + first for some, first in zip(rows, firsts, strict=False)]).tolist() == left.tolist()
        )
        found = clustered_names(folder, tmp_path / "members.parquet", cells=cells)
        assert cluster_by_shards(folder, Limit(7), cells=cells).distinct == len(left)
        names = [reads.sequences.names[row] for row in left]
        assert sorted(found) == sorted(names)
        assert set(found.values()) <= set(names)
        if cells == 1:
            expected = greedy_clusters(reads.take(left), Limit(7))
            assert [found[name] for name in names] == [names[row] for row in expected.centroids[expected.cluster]]
        write_deleted(folder, np.arange(len(reads)))
        with pytest.raises(InputError, match="known: expected reads, found none that are left; name another folder"):
            cluster_by_shards(folder, Limit(7))
    finally:
        (folder / "index" / "deleted.npy").unlink()
        shutil.rmtree(folder / UNFINISHED, ignore_errors=True)


def test_clusters_continue(folder, tmp_path):
    table = tmp_path / "members.tsv"
    cluster_by_shards(folder, Limit(5), members=table, cells=3)
    expected = table.read_bytes()
    for most in (2, 4, 3, 1):
        with pytest.raises(InputError, match="interrupted"):
            cluster_by_shards(folder, Limit(5), members=table, cells=3, executor=Interrupted(most))
    rest = Interrupted()
    cluster_by_shards(folder, Limit(5), members=table, cells=3, executor=rest)
    assert rest.ran == {"settle_shard": 1}  # of 4 shards, 3 cells, the centroids, and 3 cells
    assert table.read_bytes() == expected


def test_the_commands(folder, queries, tmp_path, capsys, refused, monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path.copy())
    asked = write(tmp_path / "queries.fasta", queries)
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    for out, executor in ((one, "memory"), (two, "shards")):
        main(["search", asked, str(folder), "--id", "0.8", "--exact", "--uc", out, "--executor", executor])
        main(["cluster", str(folder), "--maxdist", "5", "--centroids", f"{out}.fasta", "--executor", executor])
    assert Path(one).read_bytes() == Path(two).read_bytes()
    assert Counter(Path(f"{one}.fasta").read_text().split(">")) == Counter(Path(f"{two}.fasta").read_text().split(">"))
    main(["search", asked, str(folder), "--executor", "shards", "--parquet", two])
    assert "candidates per query and shard: on a sample of 45 queries" in capsys.readouterr().out

    shards = ["--executor", "shards"]
    assert "expected a folder of `nwa embed`" in refused("search", asked, asked, *shards)
    assert "expected a folder of `nwa embed`" in refused("cluster", asked, "--id", 0.9, "--members", two, *shards)
    assert "found --uc; leave it out" in refused("cluster", folder, "--id", 0.9, "--uc", two, *shards)
    method = ["--method", "average", "--members", two]
    assert "found --method average; leave it out" in refused("cluster", folder, "--id", 0.9, *method, *shards)
    assert "expected none for" in refused("search", asked, folder, "--landmarks", 8, *shards)
    address = ["--ray_address", "auto"]
    assert "expected --executor ray too" in refused("index", folder, *address)
    assert "expected --executor ray too" in refused("search", asked, folder, *address)
    trainer = ["--trainer.devices", "2", "--executor", "ray"]
    assert "expected no options of the Trainer" in refused("embed", asked, "--out", two, *trainer)
