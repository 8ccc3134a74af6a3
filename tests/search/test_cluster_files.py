import re

import numpy as np
import pytest
from rapidfuzz.distance import Levenshtein

from nwa_lightning import InputError, load_sequences
from nwa_lightning.search import cluster_files
from nwa_lightning.search.cluster_files import (
    Records,
    members,
    write_centroids,
    write_consensus,
    write_members,
    write_otu_table,
)
from nwa_lightning.search.cluster_report import diameters
from nwa_lightning.search.clusters import greedy_clusters
from nwa_lightning.search.formats import write_cluster_uc
from nwa_lightning.search.limits import Limit
from nwa_lightning.search.reads import distinct_reads
from nwa_lightning.sequences.alphabet import ALPHABETS

#: Two clusters by at most two edits: around b and c, whose letters are copies of each other, and around x.
CSV = """name,sequence
a;sample=s1;,ACGTACGA
b;sample=s1;size=3,ACGTACGT
c;barcodelabel=s2,ACGTACGT
s3.d,ACGTAC
x y;sample=s2;size=2;,TTTTTTTT
,TTTTTTT
"""
SMALL = Limit(2)


def clustered(path, limit=SMALL, alphabet=ALPHABETS["dna"]):
    sequences = load_sequences(path, alphabet)
    distinct = distinct_reads(sequences)
    return greedy_clusters(distinct.reads, limit), Records(sequences.labels, distinct.member_of)


@pytest.fixture
def small(tmp_path):
    (tmp_path / "reads.csv").write_text(CSV)
    return clustered(tmp_path / "reads.csv")


def fasta(path):
    return re.findall(r">(.*)\n(.*)\n", path.read_text())


def test_members(small, tmp_path):
    clusters, records = small
    write_members(clusters, records, np.array([3, -1]), tmp_path / "members.tsv")
    assert (tmp_path / "members.tsv").read_text() == (
        "read\tcluster\tcentroid\tedits\tsize\tdiameter\n"
        "a;sample=s1;\t0\tb;sample=s1\t1\t6\t3\n"
        "b;sample=s1\t0\tb;sample=s1\t0\t6\t3\n"
        "c;barcodelabel=s2\t0\tb;sample=s1\t0\t6\t3\n"
        "s3.d\t0\tb;sample=s1\t2\t6\t3\n"
        "x y;sample=s2\t1\tx y;sample=s2\t0\t3\t\n"
        "6\t1\tx y;sample=s2\t1\t3\t\n"
    )


def test_centroids(small, tmp_path):
    write_centroids(small[0], tmp_path / "centroids.fasta")
    assert (tmp_path / "centroids.fasta").read_text() == (
        ">b;sample=s1;size=6\nACGTACGT\n>x y;sample=s2;size=3\nTTTTTTTT\n"
    )
    sizes = distinct_reads(load_sequences(tmp_path / "centroids.fasta")).reads.sizes
    assert sizes.tolist() == [6, 1]  # the second name ends at its space


def test_samples(small, tmp_path):
    """As vsearch finds them: sample=, barcodelabel=, or how the name begins."""
    write_otu_table(*small, tmp_path / "table.tsv")
    assert (tmp_path / "table.tsv").read_text() == (
        "#OTU ID\t6\ts1\ts2\ts3\n"
        "b;sample=s1\t0\t4\t1\t1\n"
        "x y;sample=s2\t1\t0\t2\t0\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "sample"),
    [
        ("sample=a;x", "a"),
        ("x;sample=a b;y", "a b"),
        ("notsample=a", "notsample"),
        ("x.sample=a", "x"),
        ("x;sample=", "x"),
        ("A_1-2", "A_1"),
        ("-1", ""),
        ("é", ""),
    ],
)
def test_the_sample_of_a_name(tmp_path, name, sample):
    (tmp_path / "reads.csv").write_text(f"name,sequence\n{name},ACGT\n")
    write_otu_table(*clustered(tmp_path / "reads.csv"), tmp_path / "table.tsv")
    assert (tmp_path / "table.tsv").read_text().splitlines()[0] == f"#OTU ID\t{sample}"


def test_too_many_samples(small, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_files, "_MOST_CELLS", 7)
    message = "--otutab: expected names with samples, found 4 different ones; write ;sample=X into the names"
    with pytest.raises(InputError, match=message):
        write_otu_table(*small, tmp_path / "table.tsv")
    assert not (tmp_path / "table.tsv").exists()


def test_names_with_tabs_and_line_ends(tmp_path):
    """They may be in a table; in a file of lines they would be other columns and records."""
    (tmp_path / "reads.csv").write_text('name,sequence\n"a\tb\n>c;sample=s\t1",ACGT\n')
    clusters, records = clustered(tmp_path / "reads.csv")
    write_members(clusters, records, np.array([0]), tmp_path / "members")
    write_centroids(clusters, tmp_path / "centroids")
    write_consensus(clusters, tmp_path / "consensus")
    write_otu_table(clusters, records, tmp_path / "table")
    name = "a b >c;sample=s 1"
    assert (tmp_path / "members").read_text().splitlines()[1] == f"{name}\t0\t{name}\t0\t1\t0"
    assert (tmp_path / "centroids").read_text() == f">{name};size=1\nACGT\n" == (tmp_path / "consensus").read_text()
    assert (tmp_path / "table").read_text() == f"#OTU ID\ts 1\n{name}\t1\n"
    assert [member.name for member in members(clusters)] == [name]


def test_consensus_of_noisy_copies(tmp_path):
    """Ten copies of each of eight strands; the order of the file does not matter."""
    reads = load_sequences("storage:80x60")
    strings = reads.to_strings()
    (tmp_path / "reads.txt").write_text("\n".join(strings) + "\n")
    clusters, _ = clustered(tmp_path / "reads.txt", Limit(None, 0.75))
    write_consensus(clusters, tmp_path / "one.fasta")
    found = fasta(tmp_path / "one.fasta")
    assert [header for header, _ in found] == [f"{name};size=10" for name in _centroid_names(clusters)]
    assert all(len(letters) == 60 for _, letters in found)
    for number, (_, letters) in enumerate(found):
        rows = np.flatnonzero(clusters.cluster == number)
        copies = [clusters.reads.sequences.to_strings()[row] for row in rows]
        sums = [sum(Levenshtein.distance(one, two) for two in copies) for one in [letters, *copies]]
        assert sums[0] <= min(sums[1:])
    (tmp_path / "other.txt").write_text("\n".join(np.random.default_rng(0).permutation(strings).tolist()) + "\n")
    write_consensus(clustered(tmp_path / "other.txt", Limit(None, 0.75))[0], tmp_path / "two.fasta")
    assert [letters for _, letters in fasta(tmp_path / "two.fasta")] == [letters for _, letters in found]


def _centroid_names(clusters):
    return clusters.reads.sequences.take(clusters.centroids).names


def test_consensus_counts_copies(tmp_path):
    (tmp_path / "reads.fa").write_text(">a;size=2\nACGT\n>b\nACCT\n>c;size=4\nAGGT\n")
    clusters, _ = clustered(tmp_path / "reads.fa")
    write_consensus(clusters, tmp_path / "consensus.fasta")
    assert fasta(tmp_path / "consensus.fasta") == [("c;size=7", "AGGT")]


def test_members_for_uclust(small, tmp_path):
    found = list(members(small[0]))
    assert [(row.cluster, row.name, row.length, row.size) for row in found] == [
        (0, "b;sample=s1", 8, 4),
        (0, "a;sample=s1;", 8, 1),
        (0, "s3.d", 6, 1),
        (1, "x y;sample=s2", 8, 2),
        (1, "6", 7, 1),
    ]
    assert [row.hit and (row.hit.query, row.hit.target, row.hit.edits) for row in found] == [
        None, ("a;sample=s1;", "b;sample=s1", 1), ("s3.d", "b;sample=s1", 2), None, ("6", "x y;sample=s2", 1)
    ]  # fmt: skip
    write_cluster_uc(iter(found), tmp_path / "clusters.uc")
    kinds = [line.split("\t")[0] for line in (tmp_path / "clusters.uc").read_text().splitlines()]
    assert (kinds.count("S"), kinds.count("H"), kinds.count("C")) == (2, 3, 2)


def test_another_alphabet(tmp_path):
    protein = ALPHABETS["protein"]
    (tmp_path / "reads.fa").write_text(">a\nMKV\n>b\nMKL\n>c\nACDEFW\n")
    clusters, _ = clustered(tmp_path / "reads.fa", Limit(1), protein)
    write_centroids(clusters, tmp_path / "centroids", protein)
    assert dict(fasta(tmp_path / "centroids"))["c;size=1"] == "ACDEFW"
    write_consensus(clusters, tmp_path / "consensus", protein)
    assert sorted(letters for _, letters in fasta(tmp_path / "consensus")) == ["ACDEFW", "MKL"]
    assert {row.length for row in members(clusters, protein)} == {3, 6}


def test_no_clusters(tmp_path):
    clusters = greedy_clusters(distinct_reads(load_sequences("tree:3x20").take(np.arange(0))).reads, SMALL)
    records = Records(clusters.reads.sequences.labels, np.empty(0, dtype=np.int64))
    write_members(clusters, records, diameters(clusters), tmp_path / "members")
    write_centroids(clusters, tmp_path / "centroids")
    write_consensus(clusters, tmp_path / "consensus")
    write_otu_table(clusters, records, tmp_path / "table")
    lengths = [
        len((tmp_path / name).read_text().splitlines()) for name in ("members", "centroids", "consensus", "table")
    ]
    assert lengths == [1, 0, 0, 1]
    assert list(members(clusters)) == []


@pytest.mark.parametrize("place", ["none/file", "file/below"])
def test_files_that_cannot_be_written(small, tmp_path, place):
    clusters, records = small
    (tmp_path / "file").write_text("")
    for write in (
        lambda path: write_members(clusters, records, np.array([0, 0]), path),
        lambda path: write_centroids(clusters, path),
        lambda path: write_consensus(clusters, path),
        lambda path: write_otu_table(clusters, records, path),
    ):
        with pytest.raises(InputError, match=f"{place}: expected a folder that can be written") as error:
            write(tmp_path / place)
        assert "\n" not in str(error.value)
