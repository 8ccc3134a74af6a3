import base64
import gzip
import json
import re

import numpy as np
import pytest
from PIL import Image

from nwa_lightning import load_sequences
from nwa_lightning.cli.main import main
from nwa_lightning.search import layout as layout_module
from nwa_lightning.search.embedder import ReadEmbedder
from nwa_lightning.search.layout import layout
from nwa_lightning.search.reads import Reads, distinct_reads
from nwa_lightning.search.shards import Manifest, Shard, sha256, write_manifest, write_shard
from nwa_lightning.sequences.alphabet import DNA

#: 16 distinct reads, two of them twice.
READS = [f"{a}{b}ACGTACGT" for a in "ACGT" for b in "ACGT"] + ["AAACGTACGT", "ACACGTACGT"]


@pytest.fixture
def fasta(here):
    lines = [f">r{number};size={number + 1}\n{read}\n" for number, read in enumerate(READS)]
    (here / "reads.fasta").write_text("".join(lines))
    (here / "groups.tsv").write_text(
        "id\tfirst\tlast\n" + "".join(f'r{n}\t{r[0]}\t"{r[1]}\n' for n, r in enumerate(READS))
    )
    return here


def nwa(line):
    main(line.split())


def page(path):
    """The data of a page; coordinates, sizes and groups by id."""
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text())[1])
    xy = np.frombuffer(base64.b64decode(data["xy"]), "<f4").reshape(-1, 2)
    sizes = np.frombuffer(base64.b64decode(data["sizes"]), "<u4").tolist()
    group_of = np.frombuffer(base64.b64decode(data["groupOf"]), "<u4").tolist()
    groups = [data["groups"][number] for number in group_of]
    assert len(set(data["ids"])) == len(data["ids"])
    rows = zip(map(tuple, xy.tolist()), sizes, groups, strict=True)
    return dict(zip(data["ids"], rows, strict=True))


def test_a_page_and_a_picture(fasta, capsys):
    nwa("plot reads.fasta --out map.html map.PNG --color groups.tsv --landmarks 8")
    assert capsys.readouterr().out == "written: map.html, map.PNG: 16 distinct reads\n"
    assert sorted(path.name for path in fasta.iterdir()) == ["groups.tsv", "map.PNG", "map.html", "reads.fasta"]
    shown = page(fasta / "map.html")
    assert {name: row[1:] for name, row in shown.items()} == {
        f"r{number}": (number + 1 + {0: 17, 1: 18}.get(number, 0), READS[number][0]) for number in range(16)
    }
    reads = distinct_reads(load_sequences("reads.fasta")).reads.sequences
    expected = layout(ReadEmbedder.from_landmarks(reads, 8).embed(reads))
    np.testing.assert_array_equal([shown[name.split(";")[0]][0] for name in reads.names], expected)
    text = (fasta / "map.html").read_text()
    assert "<title>reads.fasta: 16 distinct reads</title>" in text
    assert "<summary>first</summary>" in text
    assert "t-SNE: near points are similar reads" in text
    with Image.open(fasta / "map.PNG") as image:
        assert image.format == "PNG"
        assert min(image.size) > 500


def test_the_same_command_writes_the_same_bytes(fasta):
    nwa("plot reads.fasta --out one.html one.png")
    nwa("plot reads.fasta --out two.html two.png --threads 1")
    for ending in ("html", "png"):
        assert (fasta / f"one.{ending}").read_bytes() == (fasta / f"two.{ending}").read_bytes()
    nwa("plot reads.fasta --out two.html --seed 1")
    assert (fasta / "one.html").read_bytes() != (fasta / "two.html").read_bytes()


def test_another_column_and_method(fasta):
    with pytest.warns(UserWarning, match="100% of the sequences are more than 46 edits from every landmark"):
        nwa("plot reads.fasta --out map.html --color groups.tsv --column last --method pca --ckpt_path human16s-v4")
    shown = page(fasta / "map.html")
    assert {row[2] for row in shown.values()} == {f'"{letter}' for letter in "ACGT"}  # a quote is a letter of a TSV
    reads = distinct_reads(load_sequences("reads.fasta")).reads.sequences
    expected = layout(ReadEmbedder.from_checkpoint("human16s-v4").embed(reads), method="pca")
    np.testing.assert_array_equal([shown[name][0] for name in reads.names], expected)
    assert "Principal components" in (fasta / "map.html").read_text()


@pytest.mark.parametrize(
    "table", ['id,kind\nr0,"a, b"\nr1,c\n\n', "\ufeffid;kind\r\nr0;a, b\r\nr1;c\r\n", "id\tkind\nr0\ta, b\nr1\tc"]
)
def test_reads_that_a_table_lacks_are_grey_and_counted(fasta, capsys, table):
    with gzip.open(fasta / "kinds.csv.gz", "wt", encoding="utf-8", newline="") as file:
        file.write(table)
    nwa("plot reads.fasta --out map.html --color kinds.csv.gz --method pca")
    assert capsys.readouterr().out.splitlines() == [
        "kinds.csv.gz: 14 of 16 reads are missing, such as r2; they become grey",
        "written: map.html: 16 distinct reads",
    ]
    groups = {name: row[2] for name, row in page(fasta / "map.html").items()}
    assert groups == {f"r{number}": "unknown" for number in range(16)} | {"r0": "a, b", "r1": "c"}


def test_members_of_clusters(fasta, capsys):
    nwa("cluster reads.fasta --maxdist 1 --method components --members members.tsv")
    nwa("plot reads.fasta --out map.html --color members.tsv --method pca")
    assert "missing" not in capsys.readouterr().out
    assert {row[2] for row in page(fasta / "map.html").values()} == {"0"}


def make_folder(folder, reads, embeddings, shards):
    """What ``nwa embed`` writes, without the model."""
    folder.mkdir()
    records = []
    for number, rows in enumerate(np.array_split(np.arange(len(reads)), shards)):
        path = folder / f"{number:05d}.parquet"
        write_shard(path, Shard(reads.take(rows), embeddings[rows]), DNA, "model")
        records.append({"file": path.name, "rows": len(rows), "sha256": sha256(path)})
    write_manifest(
        folder, Manifest("model", embeddings.shape[1], "dna", ["reads.fasta"], len(reads), len(reads), records)
    )


def test_a_folder_of_embeddings(fasta, capsys, monkeypatch):
    sequences = distinct_reads(load_sequences("reads.fasta")).reads.sequences
    embeddings = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    make_folder(fasta / "folder", Reads(sequences, np.arange(16) + 5), embeddings, shards=3)
    nwa("plot folder --out map.html")
    assert capsys.readouterr().out == "written: map.html: 16 distinct reads\n"
    expected = layout(embeddings)
    whole = page(fasta / "map.html")
    assert whole == {
        name: (tuple(expected[row].tolist()), row + 5, "reads") for row, name in enumerate(sequences.names)
    }
    assert "<title>folder: 16 distinct reads</title>" in (fasta / "map.html").read_text()

    monkeypatch.setattr(layout_module, "MOST_POINTS", 9)
    nwa("plot folder --out some.html")
    assert capsys.readouterr().out == "written: some.html: a random sample of 9 of 16 distinct reads\n"
    some = page(fasta / "some.html")
    rows = [sequences.names.index(name) for name in some]
    np.testing.assert_array_equal(
        [place for place, _, _ in some.values()], layout(embeddings[np.sort(rows)])[np.argsort(np.argsort(rows))]
    )
    assert len(some) == 9
    nwa("plot reads.fasta --out file.html --seed 3 --method pca")
    assert "a random sample of 9 of 16 distinct reads" in capsys.readouterr().out
    assert len(page(fasta / "file.html")) == 9


@pytest.mark.parametrize("count", [2, 3])
def test_few_reads(here, capsys, count):
    (here / "few.txt").write_text("".join(f"{read}\n" for read in READS[:count]))
    nwa("plot few.txt --out map.html map.png")
    assert f": {count} distinct reads\n" in capsys.readouterr().out
    assert len(page(here / "map.html")) == count


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--out map.pdf", r"--out map.pdf: expected a name that ends in .html or .png"),
        ("--out none/map.png", r"--out none/map.png: expected an existing folder, found none at none; make it first"),
        ("--out map.png --column a", r"--column a: expected --color TABLE too, found none"),
        (
            "--out map.png --color none.tsv",
            r"--color none.tsv: expected a table in UTF-8, found: No such file or directory",
        ),
        (
            "--out map.png --color groups.tsv --column frist",
            r"--column frist: expected one column of groups.tsv, found: id, first, last, did you mean first\?",
        ),
        ("--out map.png --seed=-1", r"--seed: expected at least 0, found -1"),
        (
            "--out map.png --landmarks 8 --ckpt_path human16s-v4",
            r"--landmarks: expected no checkpoint, found human16s-v4",
        ),
        ("--out map.png --threads 0", r"--threads: expected at least 1, found 0"),
        ("--out map.png --method umap", r"argument --method: invalid choice: 'umap'"),
        ("", r"the following arguments are required: --out"),
    ],
)
def test_what_cannot_be_done(fasta, refused, arguments, message):
    assert re.match(message, refused("plot", "reads.fasta", *arguments.split()))
    assert sorted(path.name for path in fasta.iterdir()) == ["groups.tsv", "reads.fasta"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a header and at least two columns, ids and groups, found an empty file"),
        (
            b"id\nr0\n",
            "expected a header and at least two columns, ids and groups, found one column in its first line, id;",
        ),
        (b"id\tkind\nr0\ta\nr1\n", "line 3: expected 2 columns as in the header, found 1; mend the row"),
        (b"id,kind\nr0,a\nr0,b\n", "line 3: expected one value of r0, found a before and b now; keep one of the lines"),
        (b'id,kind\nr0,"a\n', "line 2: the row cannot be read: unexpected end of data; check its quotes"),
        (
            b"id\tkind\nx\ta\n",
            "expected ids of reads in its first column, such as r0, found none of them; put the ids there",
        ),
        (b"id\tkind\nr0\t\xff\n", "expected a table in UTF-8, found: 'utf-8' codec can't decode byte 0xff"),
        (b"id\tkind\tkind\nr0\ta\tb\n", ""),
    ],
)
def test_tables_that_cannot_be_used(fasta, refused, content, message):
    (fasta / "table").write_bytes(content)
    if message:
        assert refused("plot", "reads.fasta", "--out=map.png", "--color=table").startswith(f"--color table: {message}")
    else:
        found = refused("plot", "reads.fasta", "--out=map.png", "--color=table", "--column=kind")
        assert found.startswith("--column kind: expected one column of table, found: id, kind, kind")
    assert not (fasta / "map.png").exists()


def test_folders_that_cannot_be_used(fasta, refused):
    (fasta / "folder").mkdir()
    assert refused("plot", "folder", "--out=map.png").startswith("folder: expected a folder of `nwa embed`, found no")
    found = refused("plot", "folder", "--out=map.png", "--landmarks=8")
    assert found.startswith("--ckpt_path, --landmarks: expected none for folder, which has its own model")
    (fasta / "map.png").mkdir()
    assert refused("plot", "reads.fasta", "--out=map.png", "--method=pca").startswith(
        "map.png: expected a folder that can be"
    )


def test_reads_that_are_too_long(fasta, refused):
    (fasta / "long.txt").write_text("ACGT" * 100 + "\n")
    found = refused("plot", "long.txt", "--out=map.png", "--ckpt_path=human16s-v4")
    assert re.match(r"long.txt: expected at most \d+ bases, for which the model was built, found 400 in 1", found)
