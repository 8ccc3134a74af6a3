"""nwa embed, index, search and cluster: from files to files; ``tests/search`` checks what they compute."""

import contextlib
import io
import re
import sys

import numpy as np
import pandas
import pytest
from rapidfuzz.distance import Levenshtein

from nwa_lightning import Index, load_sequences
from nwa_lightning.cli.main import COMMANDS, OTHERS, main
from nwa_lightning.search import centroids, clusters, partition

CPU = ["--trainer.accelerator=cpu", "--trainer.devices=1"]


def strings(source):
    return load_sequences(source).to_strings()


def tables(text):
    return [line.split("\t") for line in text.splitlines()]


def nearest(queries, targets):
    """Edits to the nearest target of each query."""
    return [min(Levenshtein.distance(query, target) for target in targets) for query in queries]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Known reads, queries, and a folder with an index of the known reads."""
    folder = tmp_path_factory.mktemp("known")
    reads = strings("tree:330x30")
    for name, some in (("known.fasta", reads[:250]), ("queries.fasta", reads[250:300]), ("more.fasta", reads[300:])):
        (folder / name).write_text("".join(f">{name[0]}{row}\n{read}\n" for row, read in enumerate(some)))
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setattr(partition, "PART_BYTES", 4000)
        main(["embed", str(folder / "known.fasta"), "--out", str(folder / "dir"), "--landmarks=30", *CPU])
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        main(["index", str(folder / "dir")])
    assert re.search(r"indexed: 250 reads in 2 shards, 2 of them now, in .*dir$", shown.getvalue().strip())
    return folder


@pytest.fixture
def known(folder, here, capsys):
    """In the folder with these files; what is written goes elsewhere."""
    for name in ("known.fasta", "queries.fasta", "more.fasta", "dir"):
        (here / name).symlink_to(folder / name)
    capsys.readouterr()
    return here


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_option(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert f"nwa {command}" in shown or command not in OTHERS
    if command in OTHERS:
        import argparse

        parser = argparse.ArgumentParser()
        OTHERS[command].add_arguments(parser)
        options = [option for action in parser._actions for option in action.option_strings]
        assert len(options) > 2
        for option in options:
            assert re.search(rf"{re.escape(option)}\b", shown)
        for action in parser._actions:
            assert action.help, action.dest


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    for command in COMMANDS:
        assert re.search(rf"^ +{command}\s", shown, re.MULTILINE)


@pytest.mark.parametrize("command", sorted(OTHERS))
def test_unknown_options(command, refused):
    needed = {"export": ["--ckpt_path=a", "--to=b"], "search": ["a", "b"], "demo": [], "plot": ["a", "--out=b.html"]}
    line = refused(
        command, *needed.get(command, ["a", "--out=b"] if command not in ("index", "cluster") else ["a"]), "--nosuch=1"
    )
    assert line == f"expected the options of nwa {command}, found --nosuch=1; see `nwa {command} --help`"


def test_hits_are_printed(known, capsys):
    """Without output files, from reads or from a folder."""
    queries, targets = strings("queries.fasta"), strings("known.fasta")
    expected = nearest(queries, targets)
    for place, options in (
        ("known.fasta", []),
        ("known.fasta", ["--landmarks=30"]),
        ("dir", ["--recall=1"]),
        ("dir", ["--exact"]),
    ):
        main(["search", "queries.fasta", place, *options, "--threads=1"])
        shown = capsys.readouterr()
        found = tables(shown.out)
        assert "50 of 50 queries have a hit among 250 reads" in shown.err
        assert [row[0] for row in found] == [f"q{row}" for row in range(50)]
        assert [int(row[2]) for row in found] == expected
        for number, (_, target, edits, identity) in enumerate(found):
            other = targets[int(target[1:])]
            assert Levenshtein.distance(queries[number], other) == int(edits)
            assert 0 <= float(identity) <= 100
    assert {path.name for path in known.iterdir()} == {"known.fasta", "queries.fasta", "more.fasta", "dir"}


def test_hits_are_written(known, capsys):
    files = {"blast6out": "h.b6", "uc": "h.uc", "userout": "h.tsv", "paf": "h.paf", "parquet": "h.parquet"}
    options = [f"--{name}={path}" for name, path in files.items()]
    main(
        [
            "search",
            "queries.fasta",
            "dir",
            *options,
            "--userfields=query+target+dist",
            "--hits=3",
            "--id=0.8",
            "--exact",
        ]
    )
    written, summary = capsys.readouterr().out.splitlines()
    assert written == f"written: {', '.join(files.values())}"
    frame = pandas.read_parquet("h.parquet")
    assert list(zip(frame["query"], frame["target"], frame["edits"].astype(str), strict=True)) == [
        tuple(row) for row in tables((known / "h.tsv").read_text())
    ]
    assert len(frame) == len(tables((known / "h.b6").read_text())) == len(tables((known / "h.paf").read_text()))
    assert set(frame["strand"]) == {"+"}
    assert frame.groupby("query").size().max() == 3
    found = frame["query"].nunique()
    assert re.fullmatch(rf"{found} of 50 queries have a hit among 250 reads; [\d.]+ s; all pairs compared", summary)
    kinds = [row[0] for row in tables((known / "h.uc").read_text())]
    assert (kinds.count("H"), kinds.count("N")) == (found, 50 - found)  # the best hit alone, as vsearch


def test_what_is_said_about_the_recall(known, capsys):
    main(["search", "queries.fasta", "dir", "--userout=h.tsv", "--recall=0.9"])
    line = capsys.readouterr().out.splitlines()[-1]
    found = re.search(
        r"; (\d+) candidates per query: on a sample of 50 queries, they contain the nearest read of ([\d.]+)%$", line
    )
    expected = nearest(strings("queries.fasta"), strings("known.fasta"))
    right = [int(row[2]) == edits for row, edits in zip(tables((known / "h.tsv").read_text()), expected, strict=True)]
    assert 90 <= float(found[2]) == 100 * np.mean(right)


def test_the_other_strand(known, capsys):
    turned = [read[::-1].translate(str.maketrans("ACGT", "TGCA")) for read in strings("queries.fasta")]
    (known / "turned.txt").write_text("\n".join(turned) + "\n")
    main(["search", "turned.txt", "known.fasta", "--strand=both", "--parquet=h.parquet"])
    frame = pandas.read_parquet("h.parquet")
    assert frame["edits"].tolist() == nearest(strings("queries.fasta"), strings("known.fasta"))
    assert set(frame["strand"]) == {"-"}


def test_reads_are_added_and_deleted(known, capsys):
    main(["embed", "known.fasta", "--out=own", "--landmarks=30", *CPU])
    main(["index", "own", "--add", "more.fasta", "--kind=ivf"])
    assert "indexed: 280 reads in 2 shards, 2 of them now, in own" in capsys.readouterr().out
    main(["index", "own", "--add", "more.fasta"])
    assert (
        capsys.readouterr().out
        == "own: holds these reads already\nindexed: 280 reads in 2 shards, 0 of them now, in own\n"
    )
    main(["search", "more.fasta", "own", "--exact"])
    rows = tables(capsys.readouterr().out)
    assert [(row[1], row[2]) for row in rows] == [(f"m{number}", "0") for number in range(30)]
    (known / "names.txt").write_text("m3\nm7\n")
    main(["index", "own", "--delete", "names.txt"])
    assert capsys.readouterr().out.splitlines()[0] == "deleted: 2 reads"
    for options in ([], ["--exact"], ["--hits=9", "--strand=both"]):
        main(["search", "more.fasta", "own", *options])
        assert not {"m3", "m7"} & {row[1] for row in tables(capsys.readouterr().out)}
    main(["index", "own", "--rebuild", "--kind=ivf8"])
    assert Index.load("own").deleted.sum() == 2


@pytest.mark.parametrize("executor", ["memory", "shards"])
def test_deleted_reads_are_left_out(known, capsys, refused, executor):
    """Clusters and maps are those of a file without these reads."""
    reads = load_sequences("known.fasta")
    (known / "kept.fasta").write_text(
        "".join(f">{name}\n{read}\n" for name, read in zip(reads.names[50:], reads.to_strings()[50:], strict=True))
    )
    (known / "names.txt").write_text("\n".join(reads.names[:50]))
    main(["embed", "known.fasta", "--out=own", "--landmarks=30", *CPU])
    main(["index", "own", "--delete=names.txt"])
    shown = clustered(capsys, "own", "--id=0.85", "--members=own.tsv", f"--executor={executor}")
    assert "200 reads, 200 of them distinct" in shown
    clustered(capsys, "kept.fasta", "--id=0.85", "--members=kept.tsv")
    groups = [{row[0]: row[2:4] for row in tables((known / name).read_text())[1:]} for name in ("own.tsv", "kept.tsv")]
    assert len(groups[0]) == 200
    assert groups[0] == groups[1]
    main(["plot", "own", "--out=map.html", "--method=pca"])
    assert capsys.readouterr().out == "written: map.html: 200 distinct reads\n"
    page = (known / "map.html").read_text()
    assert not [name for name in reads.names[:50] if f'"{name}"' in page]
    assert all(f'"{name}"' in page for name in reads.names[50:])
    (known / "names.txt").write_text("\n".join(reads.names))
    main(["index", "own", "--delete=names.txt"])
    left = "own: expected reads, found none that are left; name another folder, or add reads"
    assert left in refused("cluster", "own", "--id=0.85", "--members=m.tsv", f"--executor={executor}")
    assert left in refused("plot", "own", "--out=map.html")


def test_embed_goes_on(known, capsys):
    main(["embed", "known.fasta", "more.fasta", "--out=own", "--landmarks=30", *CPU])
    assert re.search(
        r"written: 280 reads, 280 of them distinct, to 1 shards in own; [\d.]+ s, [\d,]+ reads/s",
        capsys.readouterr().out,
    )
    main(["embed", "known.fasta", "more.fasta", "--out=own", "--landmarks=30", *CPU])
    assert capsys.readouterr().out == "own: complete already; delete the folder to embed again\n"
    frame = pandas.read_parquet("own/00000.parquet")
    assert frame.columns.tolist() == ["id", "sequence", "size", "embeddings"]


def clustered(capsys, *args):
    main(["cluster", *args])
    return capsys.readouterr().out


@pytest.mark.parametrize("method", ["greedy", "components", "average"])
@pytest.mark.parametrize("source", ["known.fasta", "dir"])
def test_clusters(known, capsys, method, source):
    files = {"members": "m.tsv", "centroids": "c.fa", "uc": "c.uc", "consensus": "s.fa"}
    options = [f"--{name}={path}" for name, path in files.items()]
    shown = clustered(capsys, source, "--id=0.85", f"--method={method}", *options)
    header, *rows = tables((known / "m.tsv").read_text())
    assert header == ["read", "cluster", "centroid", "edits", "size", "diameter"]
    count = len({row[1] for row in rows})
    summary = r"250 reads, 250 of them distinct: (\d+) clusters, (\d+) of one read; largest distance within a cluster (\d+) edi"
    found = re.search(summary, shown)
    assert int(found[1]) == count == len(strings("c.fa")) == len(strings("s.fa"))
    assert int(found[2]) == sum(row[4] == "1" for row in rows)
    assert int(found[3]) == max(int(row[5]) for row in rows)
    assert shown.splitlines()[0] == f"written: {', '.join(files.values())}"
    reads = dict(zip(load_sequences("known.fasta").names, strings("known.fasta"), strict=True))
    assert sorted(row[0] for row in rows) == sorted(reads)
    for read, _, centroid, edits, *_ in rows:
        assert Levenshtein.distance(reads[read], reads[centroid]) == int(edits)
        assert method != "greedy" or int(edits) <= 0.15 * max(len(reads[read]), len(reads[centroid])) + 1e-9


def test_samples_and_copies(here, capsys):
    (here / "reads.fa").write_text(">a.1;size=3\nACGTACGT\n>b.1\nACGTACGT\n>b.2\nTTTTTTTT\n")
    shown = clustered(capsys, "reads.fa", "--maxdist=1", "--otutab=t.tsv", "--members=m.tsv")
    assert "5 reads, 2 of them distinct: 2 clusters, 1 of one read" in shown
    assert (here / "t.tsv").read_text() == "#OTU ID\ta\tb\na.1\t3\t1\nb.2\t0\t1\n"
    assert [row[:2] for row in tables((here / "m.tsv").read_text())[1:]] == [["a.1", "0"], ["b.1", "0"], ["b.2", "1"]]


def test_many_clusters_are_checked(known, capsys, monkeypatch):
    """k-mers or vectors choose what is compared; what that misses is said."""
    monkeypatch.setattr(centroids, "MOST_COMPARED", 20)
    monkeypatch.setattr(clusters, "BLOCK", 40)
    line = r"not all centroids were compared: of a sample of (\d+) centroids, (\d+) are within the limit of an"
    for source, options in (("known.fasta", []), ("known.fasta", ["--landmarks=20"]), ("dir", [])):
        shown = clustered(capsys, source, "--maxdist=3", "--members=m.tsv", *options)
        count = int(re.search(r"distinct: (\d+) clusters", shown)[1])
        found = re.search(line, shown)
        assert int(found[1]) == count > 20
        assert int(found[2]) <= 0.05 * count
    shown = clustered(capsys, "known.fasta", "--maxdist=3", "--members=m.tsv", "--exact")
    assert re.search(line, shown) is None


def test_the_alphabet_is_that_of_the_model(here, capsys, refused):
    (here / "rna.txt").write_text("ACGUACGU\nACGUACGA\nAAGUACGA\n")
    main(["embed", "rna.txt", "--out=rna", "--landmarks=3", "--alphabet=rna", *CPU])
    main(["index", "rna"])
    capsys.readouterr()
    for options in (["rna"], ["rna.txt", "--ckpt_path=rna/model.ckpt"], ["rna.txt", "--alphabet=rna"]):
        main(["search", "rna.txt", *options])
        assert [row[2] for row in tables(capsys.readouterr().out)] == ["0", "0", "0"]
    clustered(capsys, "rna.txt", "--maxdist=1", "--ckpt_path=rna/model.ckpt", "--centroids=c.fa")
    assert "U" in (here / "c.fa").read_text()
    assert "rna.txt: line 1, position 4: expected one of ACGT (dna), found 'U'" in refused(
        "search", "rna.txt", "rna.txt"
    )


@pytest.mark.filterwarnings("ignore:.*dropped 1 of:UserWarning")
def test_reads_with_other_letters(here, capsys, refused):
    (here / "reads.fa").write_text(">a\nACGT\n>b\nACNT\n>c\nACGA\n")
    assert "reads.fa: record 2 (b), position 3: expected one of ACGT (dna), found 'N'" in refused(
        "embed", "reads.fa", "--out=dir", *CPU
    )
    for command in (
        ["embed", "reads.fa", "--out=dir", *CPU],
        ["search", "reads.fa", "reads.fa"],
        ["cluster", "reads.fa", "--maxdist=1", "--members=m.tsv"],
    ):
        main([*command, "--on_invalid=drop"])
    shown = capsys.readouterr().out
    assert "left out: 1 reads with letters outside ACGT" in shown
    assert "a\ta\t0\t100.0\nc\tc\t0\t100.0\n" in shown
    assert "2 reads, 2 of them distinct: 1 clusters" in shown


MESSAGES = [
    (["embed", "known.fasta"], "the following arguments are required: --out"),
    (["embed", "none.fasta", "--out=o"], "none.fasta: expected a file or the name of a built-in set"),
    (["embed", "known.fasta", "--out=o", "--landmarks=0"], "--landmarks: expected at least 1, found 0"),
    (["embed", "known.fasta", "--out=o", "--landmarks=x"], "--landmarks: invalid int value: 'x'"),
    (
        ["embed", "known.fasta", "--out=o", "--landmarks=3", "--ckpt_path=c"],
        "--landmarks: expected no checkpoint, found c",
    ),
    (["embed", "known.fasta", "--out=o", "--ckpt_path=none"], "none: expected a checkpoint, found no such file"),
    (["embed", "known.fasta", "--out=known.fasta/o", *CPU], "--out known.fasta/o: Not a directory; name a folder"),
    (["embed", "known.fasta", "--out=known.fasta", *CPU], "--out known.fasta: File exists; name a folder"),
    (["embed", "known.fasta", "--out=dir", "--landmarks=30", *CPU], "dir: complete already"),
    (["embed", "more.fasta", "--out=dir", "--landmarks=30", *CPU], "dir: expected embeddings of more.fasta"),
    (["embed", "known.fasta", "--out=dir", "--ckpt_path=human16s-v4", *CPU], "dir: expected embeddings by model"),
    (
        ["embed", "known.fasta", "--out=dir", *CPU],
        "dir: expected embeddings by landmarks 512, found those by landmarks 30; name another folder (--out), or give",
    ),
    (
        ["embed", "long.fasta", "--out=o", "--ckpt_path=human16s-v4", *CPU],
        "long.fasta: record 2 (b): expected at most 150",
    ),
    (
        ["embed", "known.fasta", "--out=o", "--trainer.accelerator=x"],
        "--trainer: You selected an invalid accelerator name",
    ),
    (["embed", "known.fasta", "--out=o", "--trainer.strategy=x"], "--trainer: You selected an invalid strategy name"),
    (["embed", "known.fasta", "--out=o", "--trainer.precision=x"], "--trainer: Precision 'x' is invalid"),
    (
        ["embed", "known.fasta", "--out=o", "--alphabet=x"],
        "alphabet: expected one of dna, rna, iupac, protein, or two or more",
    ),
    (["index", "none"], "none: expected a folder of `nwa embed`, found no manifest.json in it"),
    (["index", "dir", "--kind=hnsw"], "--kind: invalid choice: 'hnsw'"),
    (["index", "dir", "--delete=none.txt"], "none.txt: expected names of reads, one on each line, found"),
    (["index", "dir", "--delete=queries.fasta"], "queries.fasta: expected names of reads in dir, found"),
    (["index", "dir", "--add", "none.fasta"], "none.fasta: expected a file"),
    (["search", "queries.fasta"], "the following arguments are required: DIR_OR_READS"),
    (["search", "queries.fasta", "none"], "none: expected a file or the name of a built-in set"),
    (["search", "none.fasta", "known.fasta"], "none.fasta: expected a file"),
    (["search", "queries.fasta", "empty"], "empty: expected a folder of `nwa embed`"),
    (["search", "queries.fasta", "dir", "--landmarks=3"], "expected none for dir, which has its own model"),
    (["search", "queries.fasta", "dir", "--ckpt_path=human16s-v4"], "expected none for dir, which has its own model"),
    (["search", "queries.fasta", "known.fasta", "--id=97"], "id: expected 0 to 1, found 97"),
    (["search", "queries.fasta", "known.fasta", "--maxdist=-1"], "maxdist: expected at least 0, found -1"),
    (["search", "queries.fasta", "known.fasta", "--hits=0"], "hits: expected at least 1, found 0"),
    (["search", "queries.fasta", "known.fasta", "--recall=99"], "recall: expected more than 0 and at most 1"),
    (["search", "queries.fasta", "known.fasta", "--threads=0"], "--threads: expected at least 1, found 0"),
    (["search", "queries.fasta", "known.fasta", "--strand=minus"], "--strand: invalid choice: 'minus'"),
    (["search", "queries.fasta", "known.fasta", "--userfields=query"], "--userfields: expected --userout FILE too"),
    (["search", "queries.fasta", "known.fasta", "--userfields=color", "--userout=u"], "color"),
    (["search", "queries.fasta", "known.fasta", "--uc=none/h.uc"], "none/h.uc: "),
    (["search", "queries.fasta", "known.fasta", "--uc=h", "--paf=h"], "h"),
    (["search", "queries.fasta", "known.fasta", "--uc=h", "--parquet=./h"], "h"),
    (["search", "long.fasta", "dir"], "expected at most 32 bases, for which the model was built, found 151 in b"),
    (
        ["search", "protein.fasta", "protein.fasta", "--alphabet=protein", "--strand=both"],
        "both strands: expected DNA or RNA",
    ),
    (["cluster", "known.fasta", "--members=m"], "nwa cluster: expected --id or --maxdist, found neither"),
    (["cluster", "known.fasta", "--id=0.9"], "nwa cluster: expected an output file, found none; give one of --members"),
    (["cluster", "known.fasta", "--id=90", "--members=m"], "id: expected 0 to 1, found 90"),
    (["cluster", "known.fasta", "--maxdist=-3", "--members=m"], "maxdist: expected at least 0"),
    (
        ["cluster", "known.fasta", "--id=0.9", "--maxdist=3", "--method=average", "--members=m"],
        "expected one limit, found --id",
    ),
    (["cluster", "known.fasta", "--id=0.9", "--method=single", "--members=m"], "--method: invalid choice: 'single'"),
    (["cluster", "known.fasta", "--id=0.9", "--members=none/m"], "none/m: expected a folder that can be written"),
    (
        ["cluster", "known.fasta", "--id=0.9", "--members=m", "--uc=./m"],
        "m: expected a file for each output, found two",
    ),
    (["cluster", "dir", "--id=0.9", "--otutab=t"], "--otutab: expected a file of reads, found dir"),
    (["cluster", "empty", "--id=0.9", "--members=m"], "empty: expected a folder of `nwa embed`"),
    (
        ["cluster", "known.fasta", "--id=0.9", "--members=m", "--landmarks=3", "--ckpt_path=c"],
        "--landmarks: expected no check",
    ),
]


@pytest.mark.parametrize(("args", "message"), MESSAGES, ids=[" ".join(args) for args, _ in MESSAGES])
def test_errors(known, refused, capsys, args, message):
    (known / "long.fasta").write_text(f">a\nACGT\n>b\n{151 * 'A'}\n")
    (known / "protein.fasta").write_text(">a\nMKV\n")
    (known / "empty").mkdir()
    before = {path.name for path in known.iterdir()}
    if "complete already" in message:
        main(args)
        assert message in capsys.readouterr().out
        return
    assert message in refused(*args)
    left = {path.name for path in known.iterdir()} - before
    assert left <= {"o"}  # parts of the reads, to go on with
    assert not list(known.glob("o/*.parquet"))


@pytest.mark.parametrize(
    ("module", "package", "args"),
    [
        ("pyarrow", "pyarrow", ["embed", "known.fasta", "--out=o", *CPU]),
        ("faiss", "faiss-cpu", ["index", "dir", "--rebuild"]),
        ("faiss", "faiss-cpu", ["search", "queries.fasta", "known.fasta", "--landmarks=9"]),
        ("pyarrow", "pyarrow", ["search", "queries.fasta", "dir"]),
        ("pyarrow", "pyarrow", ["search", "queries.fasta", "known.fasta", "--parquet=h.parquet"]),
        ("pyarrow.parquet", "pyarrow", ["cluster", "dir", "--id=0.9", "--members=m"]),
    ],
)
def test_missing_packages(known, folder, refused, monkeypatch, module, package, args):
    monkeypatch.setitem(sys.modules, module, None)
    line = refused(*args)
    assert f"expected the package {package}, found none that can be imported" in line
    assert "python -m pip install 'nwa-lightning[search]'" in line
    monkeypatch.undo()
    assert len(Index.load(folder / "dir").reads) == 250


def test_no_package_is_needed_for_exact_distances(known, monkeypatch, capsys):
    for module in ("pyarrow", "faiss", "skbio", "openTSNE"):
        monkeypatch.setitem(sys.modules, module, None)
    main(["search", "queries.fasta", "known.fasta"])
    main(["cluster", "known.fasta", "--id=0.9", "--members=m.tsv", "--uc=c.uc"])
    assert "250 reads" in capsys.readouterr().out
