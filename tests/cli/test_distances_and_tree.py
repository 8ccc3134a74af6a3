import sys

import numpy as np
import pytest
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist
from scipy.cluster.hierarchy import average, cophenet
from scipy.spatial.distance import squareform
from skbio import TreeNode

from nwa_lightning import load_sequences
from nwa_lightning.cli.main import main
from nwa_lightning.search.embedder import ReadEmbedder
from nwa_lightning.sequences.alphabet import ALPHABETS

FASTA = ">a x\nACGTACGT\n>b\nACGTACG\n>c_1\nTTTTACGT\n>d\nACGAACGT\n"


@pytest.fixture
def fasta(here):
    (here / "reads.fasta").write_text(FASTA)
    return here


def edits(source):
    reads = load_sequences(source).to_strings()
    return cdist(reads, reads, scorer=Levenshtein.distance)


def tips(path):
    return sorted(tip.name for tip in TreeNode.read(path).tips())


def test_exact_distances(fasta, capsys):
    main(["distances", "reads.fasta", "--out", "d.phylip"])
    rows = (fasta / "d.phylip").read_text()
    assert rows == "4\na 0 1 3 1\nb 1 0 4 2\nc_1 3 4 0 4\nd 1 2 4 0\n"
    assert capsys.readouterr().out == "written: d.phylip; exact edit distances of 4 reads, int32\n"
    main(["distances", "reads.fasta", "--out", "d.tsv", "--fraction", "--threads=1"])
    assert (fasta / "d.tsv").read_text().splitlines()[1] == "a\t0\t0.125\t0.375\t0.125"
    assert capsys.readouterr().out == "written: d.tsv; exact edit distances of 4 reads, float32\n"


def test_a_named_set(here, capsys):
    main(["distances", "tree:60x40", "--out", "d.npy"])
    np.testing.assert_array_equal(np.load(here / "d.npy"), edits("tree:60x40"))
    assert "written: d.npy, d.names.txt; exact" in capsys.readouterr().out
    assert len((here / "d.names.txt").read_text().splitlines()) == 60


@pytest.mark.parametrize("model", ["--landmarks=40", "--ckpt_path=human16s-v4"])
def test_distances_by_a_model(here, capsys, model):
    main(["distances", "tree:60x40", "--out", "d.npy", model])
    assert "edit distances predicted by the model of 60 reads, float32" in capsys.readouterr().out
    found, expected = np.load(here / "d.npy"), edits("tree:60x40")
    assert np.array_equal(found, found.T)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.6


def test_the_alphabet_is_that_of_the_checkpoint(here, refused):
    (here / "rna.txt").write_text("ACGUACGU\nACGUACGA\nAAGUACGA\n")
    rna = ALPHABETS["rna"]
    ReadEmbedder.from_landmarks(load_sequences("rna.txt", rna), 3, alphabet=rna).save(here / "rna.ckpt")
    main(["distances", "rna.txt", "--out", "d.npy", "--ckpt_path", "rna.ckpt"])
    assert np.load(here / "d.npy").shape == (3, 3)
    assert "rna.txt: line 1" in refused("distances", "rna.txt", "--out", "d.npy")


@pytest.mark.parametrize("method", ["nj", "gme", "upgma"])
def test_a_tree(fasta, capsys, method):
    main(["tree", "reads.fasta", "--out", "tree.nwk", "--method", method])
    assert tips(fasta / "tree.nwk") == ["a", "b", "c_1", "d"]
    assert capsys.readouterr().out == f"written: tree.nwk; tree of 4 reads by {method} from exact edit distances\n"


def test_neighbour_joining_is_the_default(fasta):
    main(["tree", "reads.fasta", "--out", "default.nwk"])
    main(["tree", "reads.fasta", "--out", "nj.nwk", "--method=nj"])
    assert (fasta / "default.nwk").read_text() == (fasta / "nj.nwk").read_text()


def test_upgma_of_a_named_set(here):
    main(["tree", "tree:60x40", "--out", "tree.nwk", "--method=upgma"])
    tree = TreeNode.read(here / "tree.nwk", convert_underscores=False)
    found = tree.cophenet().filter(load_sequences("tree:60x40").names).data
    expected = squareform(cophenet(average(squareform(edits("tree:60x40")))))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_a_tree_by_a_model(here, capsys):
    main(["tree", "tree:60x40", "--out", "tree.nwk", "--landmarks=40", "--fraction"])
    assert len(tips(here / "tree.nwk")) == 60
    assert "tree of 60 reads by nj from edit distances predicted by the model" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["distances", "reads.fasta", "--out=d.csv"], "--out: expected a file that ends in .npy, .tsv or .phylip"),
        (
            ["distances", "reads.fasta", "--out=none/d.npy"],
            "--out: expected a file in a folder that exists, found no none",
        ),
        (["distances", "twice.fasta", "--out=d.tsv"], "d.tsv: record 3: expected names that differ, found a twice"),
        (["distances", "reads.fasta"], "--out"),
        (["distances", "none.fasta", "--out=d.npy"], "none.fasta: expected a file"),
        (["distances", "reads.fasta", "--out=d.npy", "--landmarks=0"], "--landmarks: expected at least 1, found 0"),
        (["distances", "reads.fasta", "--out=d.npy", "--landmarks=2", "--ckpt_path=x"], "--landmarks: expected no"),
        (["distances", "reads.fasta", "--out=d.npy", "--threads=0"], "--threads: expected at least 1, found 0"),
        (["tree", "reads.fasta", "--out=none/t.nwk"], "--out: expected a file in a folder that exists, found no none"),
        (["tree", "twice.fasta", "--out=t.nwk"], "reads: record 3: expected names that differ, found a twice"),
        (["tree", "reads.fasta", "--out=t.nwk", "--method=ml"], "--method: invalid choice: 'ml'"),
        (
            ["tree", "one.fasta", "--out=t.nwk", "--method=upgma"],
            "reads: expected at least 2 for a tree by upgma, found 1",
        ),
        (["tree", "long.fasta", "--out=t.nwk", "--ckpt_path=human16s-v4"], "expected at most 150 bases"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors(fasta, refused, args, message):
    (fasta / "twice.fasta").write_text(">a\nACGT\n>b\nACGA\n>a\nACGT\n")
    (fasta / "one.fasta").write_text(">a\nACGT\n")
    (fasta / "long.fasta").write_text(f">a\nACGT\n>b\nACGA\n>c\n{151 * 'A'}\n")
    assert message in refused(*args)
    assert {path.suffix for path in fasta.iterdir()} == {".fasta"}


def test_without_scikit_bio(fasta, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "skbio.tree", None)
    line = refused("tree", "reads.fasta", "--out=t.nwk")
    assert "expected the package scikit-bio" in line
    assert "nwa-lightning[search]" in line
    main(["tree", "reads.fasta", "--out=t.nwk", "--method=upgma"])
    assert (fasta / "t.nwk").exists()
