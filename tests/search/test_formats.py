import re
import signal

import numpy as np
import pytest
from oracle import edit_distance

from nwa_lightning.errors import InputError
from nwa_lightning.search import format_rows
from nwa_lightning.search.format_lines import (
    USERFIELDS,
    blast6_lines,
    cluster_lines,
    paf_lines,
    raw_score,
    uc_lines,
    userout_lines,
)
from nwa_lightning.search.format_rows import Hit, Member, QueryHits, hit_rows
from nwa_lightning.search.formats import ParquetOutput, TextOutput, write_cluster_uc, write_hits
from nwa_lightning.search.hits import Hits
from nwa_lightning.sequences.alphabet import PROTEIN, RNA
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.packed import Packed

TARGETS = {
    "other": "TTTTTAGAGAGCCCGAGATTTTACACACTTAGGGGCCCAGAGTCTCTC",
    "t": "ACGTTGCATGGACCTTAGCAAAAAAGGATCCATGACCAGTTAACGGCTA",
}
QUERIES = {
    "same": "ACGTTGCATGGACCTTAGCAAAAAAGGATCCATGACCAGTTAACGGCTA",
    "sub": "ACGTTGCATGGACCTTAGCAAAAAAGGAACCATGACCAGTTAACGGCTA",
    "lacks2": "ACGTTGCATGGACCTTAGCAAAAGGATCCATGACCAGTTAACGGCTA",
    "has4": "ACGTTGCATGGACCTTAGCAAAAAACCCCGGATCCATGACCAGTTAACGGCTA",
    "ends": "GTTGCATGGACCTTAGCAAAAAAGGATCCATGACCAGTTAACGGCTATTTT",
    "minus": "CGTTAACTGGTCATGGTTCCTTTTTTGCTAAGGTCCATGCAACGT",
    "none": "CCATATATCGCGCGAATTCCGGTGTGTGACGCATCATCTACTACTTGG",
}

# What vsearch 2.22.1 writes for these two files; spaces stand for tabs:
# vsearch --usearch_global queries.fa --db targets.fa --id 0.5 --strand both --qmask none --dbmask none --blast6out -
BLAST6 = """\
same t 100.0 49 0 0 1 49 1 49 -1 0
sub t 98.0 49 1 0 1 49 1 49 -1 0
lacks2 t 95.9 49 0 1 1 47 1 49 -1 0
has4 t 92.5 53 0 1 1 53 1 49 -1 0
ends t 100.0 47 0 0 1 51 1 49 -1 0
minus t 97.8 45 1 0 45 1 1 49 -1 0
"""

# ... --uc -
UC = """\
H 1 49 100.0 + 0 0 = same t
H 1 49 98.0 + 0 0 49M sub t
H 1 47 95.9 + 0 0 19M2I28M lacks2 t
H 1 53 92.5 + 0 0 25M4D24M has4 t
H 1 51 100.0 + 0 0 2I47M4D ends t
H 1 45 97.8 - 0 0 45M4I minus t
N * * * . * * * none *
"""

# ... --userout - --userfields, with these fields
FIELDS = {
    "query+target+evalue+id+pctpv+pctgaps+pairs+gaps+qlo+qhi+tlo+thi+pv+ql+tl+qs+ts+alnlen+opens+exts+raw+bits": """\
same t -1 100.0 100.0 0.0 49 0 1 49 1 49 49 49 49 49 49 49 0 0 98 0
sub t -1 98.0 98.0 0.0 49 0 1 49 1 49 48 49 49 49 49 49 0 0 92 0
lacks2 t -1 95.9 95.9 4.1 47 2 1 47 1 49 47 47 49 47 49 49 1 1 72 0
has4 t -1 92.5 92.5 7.5 49 4 1 53 1 49 49 53 49 53 49 53 1 3 72 0
ends t -1 100.0 100.0 0.0 47 0 1 51 1 49 47 51 49 51 49 47 0 0 86 0
minus t -1 97.8 97.8 0.0 45 0 45 1 1 49 44 45 49 45 49 45 0 0 79 0
""",
    "caln+qstrand+tstrand+qframe+tframe+mism+ids+qcov+tcov+id0+id1+id2+id3+id4+qilo+qihi+tilo+tihi": """\
49M + + +0 +0 0 49 100.0 100.0 100.0 100.0 100.0 100.0 100.0 1 49 1 49
49M + + +0 +0 1 48 100.0 100.0 98.0 98.0 98.0 98.0 98.0 1 49 1 49
19M2I28M + + +0 +0 0 47 100.0 95.9 100.0 95.9 95.9 98.0 95.9 1 47 1 49
25M4D24M + + +0 +0 0 49 92.5 100.0 100.0 92.5 92.5 98.1 92.5 1 53 1 49
2I47M4D + + +0 +0 0 47 92.2 95.9 95.9 88.7 100.0 96.1 88.7 1 47 3 49
45M4I - + +0 +0 1 44 100.0 91.8 97.8 89.8 97.8 95.9 89.8 1 45 1 45
""",
    "query+qrow": """\
same ACGTTGCATGGACCTTAGCAAAAAAGGATCCATGACCAGTTAACGGCTA
sub ACGTTGCATGGACCTTAGCAAAAAAGGAACCATGACCAGTTAACGGCTA
lacks2 ACGTTGCATGGACCTTAGC--AAAAGGATCCATGACCAGTTAACGGCTA
has4 ACGTTGCATGGACCTTAGCAAAAAACCCCGGATCCATGACCAGTTAACGGCTA
ends GTTGCATGGACCTTAGCAAAAAAGGATCCATGACCAGTTAACGGCTA
minus ACGTTGCATGGACCTTAGCAAAAAAGGAACCATGACCAGTTAACG
""",
    "query+trow": """\
same ACGTTGCATGGACCTTAGCAAAAAAGGATCCATGACCAGTTAACGGCTA
sub ACGTTGCATGGACCTTAGCAAAAAAGGATCCATGACCAGTTAACGGCTA
lacks2 ACGTTGCATGGACCTTAGCAAAAAAGGATCCATGACCAGTTAACGGCTA
has4 ACGTTGCATGGACCTTAGCAAAAAA----GGATCCATGACCAGTTAACGGCTA
ends GTTGCATGGACCTTAGCAAAAAAGGATCCATGACCAGTTAACGGCTA
minus ACGTTGCATGGACCTTAGCAAAAAAGGATCCATGACCAGTTAACG
""",
    "query+aln": """\
same MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM
sub MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM
lacks2 MMMMMMMMMMMMMMMMMMMIIMMMMMMMMMMMMMMMMMMMMMMMMMMMM
has4 MMMMMMMMMMMMMMMMMMMMMMMMMDDDDMMMMMMMMMMMMMMMMMMMMMMMM
ends IIMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMDDDD
minus MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMIIII
""",
}

# vsearch --cluster_smallmem all.fa --usersort --sizein --id 0.9 --strand both --qmask none --uc -
# of both files, where t is named t;size=3 and sub is named sub;size=2
CLUSTERS = """\
S 0 48 * * * * * other *
S 1 49 * * * * * t;size=3 *
H 1 49 100.0 + 0 0 = same t;size=3
H 1 49 98.0 + 0 0 49M sub;size=2 t;size=3
H 1 47 95.9 + 0 0 19M2I28M lacks2 t;size=3
H 1 53 92.5 + 0 0 25M4D24M has4 t;size=3
H 1 51 100.0 + 0 0 2I47M4D ends t;size=3
H 1 45 97.8 - 0 0 45M4I minus t;size=3
S 2 48 * * * * * none *
C 0 1 * * * * * other *
C 1 10 * * * * * t;size=3 *
C 2 1 * * * * * none *
"""

EDITS = {"same": 0, "sub": 1, "lacks2": 2, "has4": 4, "ends": 6, "minus": 5}


def sequences_of(named):
    return Sequences(Sequences.from_strings(named.values()).bases, Packed.of(name.encode() for name in named))


def hits_of(rows):
    """From rows of query, target, edits and reverse."""
    query, target, edits, reverse = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    return Hits(query, target, edits, reverse.astype(bool))


@pytest.fixture
def found():
    """All queries; those with a hit have target t."""
    rows = [(row, 1, EDITS[name], name == "minus") for row, name in enumerate(QUERIES) if name in EDITS]
    return list(hit_rows(hits_of(rows), sequences_of(QUERIES), sequences_of(TARGETS)))


def tabs(text):
    return text.replace(" ", "\t")


def written(found, lines, tmp_path):
    path = tmp_path / "hits.txt"
    write_hits(found, [TextOutput(path, lines)])
    assert list(tmp_path.iterdir()) == [path]
    return path.read_bytes().decode()


def test_the_edits_of_the_examples_are_right():
    turned = QUERIES["minus"][::-1].translate(str.maketrans("ACGT", "TGCA"))
    for name, edits in EDITS.items():
        assert edit_distance(turned if name == "minus" else QUERIES[name], TARGETS["t"]) == edits


def test_blast6out_is_that_of_vsearch(found, tmp_path):
    assert written(found, blast6_lines, tmp_path) == tabs(BLAST6)


def test_uc_is_that_of_vsearch(found, tmp_path):
    assert written(found, uc_lines, tmp_path) == tabs(UC)


@pytest.mark.parametrize("fields", FIELDS)
def test_userout_is_that_of_vsearch(found, fields, tmp_path):
    assert written(found, userout_lines(fields), tmp_path) == tabs(FIELDS[fields])


def test_every_userfield_of_vsearch_is_compared_above():
    assert {name for fields in FIELDS for name in fields.split("+")} == set(USERFIELDS) - {"dist"}


def test_dist_is_the_edits(found, tmp_path):
    lines = [f"{name}\t{edits}" for name, edits in EDITS.items()]
    assert written(found, userout_lines("query+dist"), tmp_path).splitlines() == lines


def test_uc_has_the_nearest_hit_and_blast6out_has_all(tmp_path):
    queries, targets = sequences_of({"q": "ACGT"}), sequences_of({"a": "ACGT", "b": "ACG", "c": "AAGT"})
    found = list(hit_rows(hits_of([(0, 0, 0, 0), (0, 1, 1, 0), (0, 2, 1, 0)]), queries, targets))
    assert written(found, uc_lines, tmp_path) == "H\t0\t4\t100.0\t+\t0\t0\t=\tq\ta\n"
    named = [line.split("\t")[1] for line in written(found, blast6_lines, tmp_path).splitlines()]
    assert named == ["a", "b", "c"]


def test_uc_of_clusters_is_that_of_vsearch(found, tmp_path):
    def renamed(hit, name):
        return Hit(name, "t;size=3", hit.query_sequence, hit.target_sequence, hit.edits, hit.strand, hit.target_row)

    members = [Member(0, "other", 48), Member(1, "t;size=3", 49, 3)]
    for query, hits in found:
        name, size = ("sub;size=2", 2) if query == "sub" else (query, 1)
        if hits:
            members.append(Member(1, name, len(QUERIES[query]), size, renamed(hits[0], name)))
        else:
            members.append(Member(2, name, 48))
    assert "".join(cluster_lines(members)) == tabs(CLUSTERS)
    write_cluster_uc(iter(members), tmp_path / "clusters.uc")
    assert (tmp_path / "clusters.uc").read_text() == tabs(CLUSTERS)
    assert len(list(tmp_path.iterdir())) == 1


def test_paf_agrees_with_the_sequences(found, tmp_path):
    lines = written(found, paf_lines, tmp_path).splitlines()
    assert lines[2].split("\t") == [
        *("lacks2", "47", "0", "47", "+", "t", "49", "0", "49", "47", "49", "255", "NM:i:2", "cg:Z:19=2D28="),
    ]
    assert lines[5].endswith("\t44\t49\t255\tNM:i:5\tcg:Z:28=1X16=4D")
    for line, (query, edits) in zip(lines, EDITS.items(), strict=True):
        name, length, _, end, strand, *_, pairs, columns, _, distance, cigar = line.split("\t")
        runs = [(int(count), op) for count, op in re.findall(r"(\d+)([=XID])", cigar)]
        assert (name, int(length), int(end)) == (query, len(QUERIES[query]), len(QUERIES[query]))
        assert strand == ("-" if query == "minus" else "+")
        assert sum(count for count, op in runs if op in "=XI") == len(QUERIES[query])
        assert sum(count for count, op in runs if op in "=XD") == 49
        assert sum(count for count, op in runs if op == "=") == int(pairs)
        assert sum(count for count, _ in runs) == int(columns)
        assert sum(count for count, op in runs if op != "=") == edits == int(distance.removeprefix("NM:i:"))


def test_parquet_needs_no_alignment(found, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(format_rows, "align", None)
    assert write_hits(found, [ParquetOutput(tmp_path / "hits.parquet")]) == 6
    table = parquet.read_table(tmp_path / "hits.parquet").to_pydict()
    assert table["query"] == list(EDITS)
    assert table["target"] == ["t"] * 6
    assert table["edits"] == list(EDITS.values())
    assert table["identity"] == pytest.approx([1, 48 / 49, 47 / 49, 49 / 53, 45 / 51, 44 / 49])
    assert table["strand"] == ["+"] * 5 + ["-"]
    write_hits([], [ParquetOutput(tmp_path / "hits.parquet")])
    assert parquet.read_table(tmp_path / "hits.parquet").num_rows == 0


def test_a_hit_is_aligned_once_for_all_formats(found, tmp_path, monkeypatch):
    pairs = []
    align = format_rows.align
    monkeypatch.setattr(format_rows, "align", lambda *pair: pairs.append(pair) or align(*pair))
    outputs = [
        TextOutput(tmp_path / str(number), lines) for number, lines in enumerate([blast6_lines, uc_lines, paf_lines])
    ]
    write_hits(found, outputs)
    assert len(pairs) == 6


def test_the_score_of_gaps_depends_on_their_place():
    def score(query, target):
        return raw_score(Hit("q", "t", query, target, 0).alignment)

    assert score("ACGT", "ACGT") == 8
    assert score("ACGT", "AGGT") == 6 - 4
    assert score("ACGTCCA", "ACGCCA") == 12 - 20
    assert score("ACCCCCGT", "ACCGT") == 10 - 20 - 2 - 2
    assert score("TTTACGT", "ACGTC") == 8 - (2 + 1 + 1) - 2


def test_hits_of_rna_and_of_sequences_without_letters():
    queries, targets = Sequences.from_strings(["GGCU"], RNA), Sequences.from_strings(["AGCC", ""], RNA)
    (found,) = hit_rows(hits_of([(0, 0, 0, 1), (0, 1, 4, 0)]), queries, targets, RNA)
    assert [(hit.query_sequence, hit.target_sequence, hit.strand) for hit in found.hits] == [
        ("AGCC", "AGCC", "-"),
        ("GGCU", "", "+"),
    ]
    assert userout_lines("query+target+id+id3+qcov+tcov+alnlen+caln")(found).splitlines() == [
        "1\t1\t100.0\t100.0\t100.0\t100.0\t4\t4M",
        "1\t2\t0.0\t75.0\t0.0\t0.0\t0\t4D",
    ]
    empty = Hit("q", "t", "", "", 0)
    assert (empty.identity, empty.alignment.identities) == (1.0, (0.0,) * 5)


def test_protein_has_no_minus_strand():
    proteins = Sequences.from_strings(["MKV", "MKL"], PROTEIN)
    (one, two) = hit_rows(hits_of([(1, 0, 1, 0)]), proteins, proteins, PROTEIN)
    assert (one, two.hits[0].query_sequence) == (QueryHits("1", []), "MKL")
    with pytest.raises(InputError, match="expected DNA or RNA, found protein"):
        list(hit_rows(hits_of([(1, 0, 1, 1)]), proteins, proteins, PROTEIN))


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        ("query+identity", "found 'identity'; write + between fields"),
        ("Target", "found 'Target' (did you mean target?); write + between fields"),
        ("query+caIn", "found 'caIn' (did you mean caln?); write + between fields"),
        ("", "found ''; write + between fields"),
    ],
)
def test_an_unknown_field_is_refused(fields, end):
    known = r"aln, alnlen, bits, caln, dist, .* tstrand"
    with pytest.raises(InputError, match=f"^--userfields: expected fields among {known}, {re.escape(end)}$") as error:
        userout_lines(fields)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("name", ["a\tb", "a\nb"])
def test_a_name_that_does_not_fit_in_a_line_is_refused(name):
    good, bad = sequences_of({"q": "ACGT"}), sequences_of({name: "ACGT"})
    with pytest.raises(
        InputError, match=r"query 1: expected a name without tabs and line ends, found 'a\\[tn]b'; rename"
    ):
        list(hit_rows(hits_of([]), bad, good))
    with pytest.raises(InputError, match="target 1: expected a name without tabs"):
        list(hit_rows(hits_of([(0, 0, 0, 0)]), good, bad))


def test_a_failure_leaves_the_old_file_and_no_other(found, tmp_path):
    pytest.importorskip("pyarrow")

    def broken():
        yield from found
        raise InputError("reads: no more")

    outputs = [TextOutput(tmp_path / "old.b6", blast6_lines), ParquetOutput(tmp_path / "new.parquet")]
    (tmp_path / "old.b6").write_text("old\n")
    with pytest.raises(InputError, match="no more"):
        write_hits(broken(), outputs)
    assert [path.name for path in tmp_path.iterdir()] == ["old.b6"]
    assert (tmp_path / "old.b6").read_text() == "old\n"
    write_hits(found, outputs)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.parquet", "old.b6"]
    assert (tmp_path / "old.b6").read_text() == tabs(BLAST6)


@pytest.mark.parametrize("make", [lambda path: TextOutput(path, uc_lines), ParquetOutput])
def test_a_file_that_cannot_be_written_is_named(found, make, tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "folder").mkdir()
    good = TextOutput(tmp_path / "good", blast6_lines)
    for path, reason in ((tmp_path / "folder", "Is a directory"), (tmp_path / "no" / "hits", "No such file")):
        with pytest.raises(InputError, match=f"{path}: expected a file that can be written, found: .*{reason}"):
            write_hits(found, [good, make(path)])
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.fixture
def small_files():
    """No file can have more than 50,000 bytes."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_files")
def test_an_error_of_the_disk_names_its_own_file(found, tmp_path):
    outputs = [TextOutput(tmp_path / "large", lambda _: "A" * 100_000), TextOutput(tmp_path / "small", blast6_lines)]
    with pytest.raises(InputError, match=r"large: expected a file that can be written, found: File too large; check"):
        write_hits(found, outputs)
    assert not list(tmp_path.iterdir())


def test_two_formats_need_two_files(tmp_path):
    with pytest.raises(InputError, match=r"hits: expected a file for each format, found two formats for it; choose"):
        write_hits([], [TextOutput(tmp_path / "hits", uc_lines), TextOutput(tmp_path / "hits", paf_lines)])
