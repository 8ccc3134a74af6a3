"""An alphabet of one's own letters, from a file to search, with one's own scores."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle import edit_distance
from quiet import QUIET, inside

from nwa_lightning import Index, NWADataModule, ReadEmbedder, Scoring, alignment_scores, pair_batch
from nwa_lightning.cli.main import main
from nwa_lightning.errors import InputError
from nwa_lightning.search.shards import open_shards
from nwa_lightning.sequences.alphabet import DNA, PROTEIN, as_alphabet

#: Helix, strand, coil and turn, and one that stands for none.
LETTERS = "HECT*"
TABLE = """# secondary structure
   H  E  C  T  *
H  4 -3 -1 -2  0
E -3  5 -1 -2  0
C -1 -1  2  1  0
T -2 -2  1  3  0
*  0  0  0  0  1
"""


@given(st.lists(st.text(LETTERS, max_size=12), min_size=2, max_size=4))
def test_letters_of_ones_own(sequences):
    own = as_alphabet(LETTERS)
    assert [own.decode(own.encode(each)) for each in sequences] == sequences
    assert [own.decode(own.encode(each.lower())) for each in sequences] == sequences
    found = pair_batch(sequences, "all", alphabet=LETTERS)
    assert found.distance.tolist() == [edit_distance(sequences[i], sequences[j]) for i, j in found.pairs.tolist()]


def test_known_alphabets():
    assert as_alphabet("dna") is DNA
    assert as_alphabet(PROTEIN) is PROTEIN
    assert as_alphabet("HP").size == 4


@pytest.mark.parametrize("letters", ["", "A", "AAC", "acgt", "AC GT", "AC>", "ACé", "Protein"])
def test_what_is_no_alphabet(letters):
    with pytest.raises(
        InputError, match=r"alphabet: expected one of dna, rna, iupac, protein, or two or more different"
    ):
        as_alphabet(letters)


def test_another_letter_is_named():
    with pytest.raises(InputError, match=r"position 2: expected one of HP, found 'Q'"):
        as_alphabet("HP").encode("HQ")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with 80 sequences of three families, scores of their letters, and checkpoints of a model of them."""
    folder = tmp_path_factory.mktemp("own")
    generator = np.random.default_rng(0)
    letters = list(LETTERS)
    families = generator.choice(letters, (3, 30))
    lines = []
    for row in range(80):
        changed = np.where(generator.random(30) < 0.2, generator.choice(letters, 30), families[row % 3])
        lines.append(f">{row}\n{''.join(changed[: generator.integers(24, 31)])}\n")
    (folder / "own.fasta").write_text("".join(lines))
    (folder / "scores.txt").write_text(TABLE)
    with inside(folder):
        options = ["--data.alphabet", LETTERS, "--data.target=score", "--data.substitution=scores.txt", "--data.gap=-3"]
        small = ["--model.encoder.layers=2", "--model.encoder.channels=8"]
        main(["fit", "own.fasta", *options, *small, *QUIET, "--trainer.max_steps=3"])
    return folder


def test_scores_of_ones_own(folder):
    scoring = Scoring.from_table(folder / "scores.txt", as_alphabet(LETTERS), gap_open=-3, gap_extend=-3)
    found = alignment_scores(["HEC", "HC*"], [[0, 1], [0, 0]], scoring=scoring, alphabet=as_alphabet(LETTERS))
    assert found.tolist() == [max(4 - 1 + 0, 4 - 3 + 2 - 3), 4 + 5 + 2]
    data = NWADataModule(
        str(folder / "own.fasta"), alphabet=LETTERS, target="score", substitution=str(folder / "scores.txt"), gap=-3
    )
    batch = next(iter(data.test_dataloader()))
    texts = [data.alphabet.decode(row.numpy().astype(np.uint8)) for row in batch.tokens]
    pairs = batch.pairs.numpy()
    scores = alignment_scores(texts, scoring=scoring, alphabet=data.alphabet)
    own = scores.diagonal()[pairs].sum(axis=1) / 2
    np.testing.assert_allclose(batch.distance, own - scores[pairs[:, 0], pairs[:, 1]])


def test_a_run_and_what_comes_after_it(folder):
    known = torch.load("checkpoints/last.ckpt", weights_only=True)["NWADataModule"]["trained_on"]["arguments"]
    assert known["alphabet"] == LETTERS
    main(["test", "checkpoints/best.ckpt", *QUIET])
    main(["export", "--ckpt_path", "checkpoints/best.ckpt", "--to", "exported"])
    described = json.loads((folder / "exported" / "config.json").read_text())
    assert described["tokens"]["letters"] == {"H": 2, "E": 3, "C": 4, "T": 5, "*": 6}
    embedder = ReadEmbedder.from_checkpoint("checkpoints/best.ckpt")
    assert embedder.alphabet.letters == LETTERS


def test_search_without_a_model(folder):
    main(["embed", "own.fasta", "--landmarks", "8", "--alphabet", LETTERS, "--out", "shards"])
    assert open_shards("shards").alphabet.letters == LETTERS
    main(["index", "shards"])
    main(["search", "own.fasta", "shards", "--maxdist", "3", "--blast6out", "hits.b6"])
    rows = [line.split("\t") for line in (folder / "hits.b6").read_text().splitlines()]
    assert [row[0] for row in rows] == [str(number) for number in range(80)]
    assert all(float(row[2]) == 100 for row in rows)


def test_what_is_no_alphabet_on_the_command_line(folder, refused):
    message = refused("embed", "own.fasta", "--landmarks", "8", "--out", "other", "--alphabet", "HECt")
    assert "alphabet: expected one of dna, rna, iupac, protein, or two or more" in message


def test_an_index_in_memory(folder):
    own = as_alphabet(LETTERS)
    data = NWADataModule(str(folder / "own.fasta"), alphabet=LETTERS)
    embedder = ReadEmbedder.from_landmarks(data.sequences, 8, alphabet=own)
    found = Index.build(data.sequences, embedder, alphabet=own).search(data.sequences, 1)
    assert (found.hits.edits == 0).all()
