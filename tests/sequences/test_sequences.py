import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwa_lightning.errors import InputError
from nwa_lightning.sequences.alphabet import ALPHABETS, DNA, FIRST_LETTER, IUPAC
from nwa_lightning.sequences.catalog import load_sequences
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.simulate.tree import evolve_tree


@given(st.text("ACGTacgt"))
def test_decode_undoes_encode(text):
    codes = DNA.encode(text)
    assert codes.dtype == np.uint8
    assert codes.min(initial=FIRST_LETTER) >= FIRST_LETTER
    assert codes.max(initial=0) < DNA.size
    assert DNA.decode(codes) == text.upper()


@pytest.mark.parametrize("alphabet", ALPHABETS.values(), ids=str)
def test_every_letter_has_its_own_code(alphabet):
    assert alphabet.encode(alphabet.letters).tolist() == list(range(FIRST_LETTER, alphabet.size))
    assert alphabet.encode(alphabet.letters.lower()).tolist() == list(range(FIRST_LETTER, alphabet.size))


@pytest.mark.parametrize(
    ("text", "position", "letter"), [("ACNT", 3, "N"), ("é", 1, "é"), ("AC T", 3, " "), ("ACGTU", 5, "U")]
)
def test_encode_names_the_first_wrong_letter(text, position, letter):
    with pytest.raises(InputError, match=f"position {position}: expected one of ACGT .* found '{letter}'"):
        DNA.encode(text)


FORMATS = {
    "fasta": ">one first\nACGT\nAC\n>two\nacgtt\n",
    "fastq": "@one first\nACGTAC\n+\nIIIIII\n@two\nacgtt\n+\nIIIII\n",
    "text": "\nACGTAC\n\n  acgtt  \n",
}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", FORMATS)
def test_formats_are_told_by_content(tmp_path, kind, compressed):
    content = FORMATS[kind].encode()
    path = tmp_path / "reads.dat"
    path.write_bytes(gzip.compress(content) if compressed else content)
    sequences = load_sequences(path)
    assert [DNA.decode(row) for row in sequences.padded()] == ["ACGTAC", "ACGTT"]
    assert sequences.lengths.tolist() == [6, 5]
    assert sequences.padded()[1, 5] == 0
    assert sequences.names == (["2", "4"] if kind == "text" else ["one", "two"])


def damaged(kind):
    whole = gzip.compress("".join(f"{'ACGT'[k % 4] * 40}{k}\n" for k in range(99)).encode())
    return {
        "empty": b"",
        "blank": b"\n \n",
        "one": b">a\nACGT\n",
        "letter": b">a\nACGT\n>b\nACXT\n",
        "truncated gzip": whole[:-9],
        "broken gzip": b"\x1f\x8b\x08 nonsense",
        "cut fastq": b"@a\nACGT\n+\nIIII\n@b\nACGT\n",
        "short quality": b"@a\nACGT\n+\nIIII\n@b\nACGT\n+\nII\n",
        "no sequence": b">a\n>b\nACGT\n",
        "binary": bytes(range(128, 256)),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("empty", "found an empty file"),
        ("blank", "found an empty file"),
        ("one", "expected at least 2 sequences, found 1"),
        ("letter", r"record 2 \(b\), position 3: expected one of ACGT \(dna\), found 'X'"),
        ("truncated gzip", "is the file complete"),
        ("broken gzip", "is the file complete"),
        ("cut fastq", "damaged after record 1: .*line 7.*Premature end"),
        ("short quality", "damaged after record 1: .*line 8.*Length of sequence and qualities differ"),
        ("no sequence", r"record 1 \(a\): the sequence is empty"),
        ("binary", "found bytes that are no text"),
    ],
)
def test_bad_files_end_in_one_line_that_names_the_file(tmp_path, kind, message):
    path = tmp_path / "reads"
    path.write_bytes(damaged(kind))
    with pytest.raises(InputError, match=message) as error:
        load_sequences(path, minimum=2)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_missing_file_lists_the_built_in_sets(tmp_path):
    names = r"\(human16s, tree, storage\)"
    with pytest.raises(InputError, match=f"expected a file or the name of a built-in set {names}, found neither"):
        load_sequences(tmp_path / "none.fa")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("human16s:200", "human16s:200: expected human16s without a size"),
        ("human16s:", "human16s:: expected human16s without a size"),
        ("tree:", "tree:: expected tree or storage, alone or with a number of sequences"),
        ("tree:x40", "such as tree:2000 or tree:2000x100; for a file of that name write ./tree:x40"),
        ("tree:0", "expected tree or storage"),
        ("tree:-5", "expected tree or storage"),
        ("tree:020", "expected tree or storage"),
        ("tree:20x", "expected tree or storage"),
        ("tree:20x4x4", "expected tree or storage"),
        ("tree:20X40", "expected tree or storage"),
        ("tree: 20", "expected tree or storage"),
        ("tree:20\n", "expected tree or storage"),
        ("tree:٢", "expected tree or storage"),
        ("storage:1e3", "storage:1e3: expected tree or storage"),
        ("tree:20x2", "tree:20x2: count: expected at most 16 distinct sequences of 2 bases, found 20"),
        ("storage:20x5", "storage:20x5: gc_content: expected fractions between which a strand of 5 bases can have one"),
        ("Tree", "Tree: expected a file or the name of a built-in set"),
        ("trees", "trees: expected a file or the name of a built-in set"),
    ],
)
def test_names_of_simulated_sets_are_read_strictly(name, message):
    with pytest.raises(InputError) as error:
        load_sequences(name)
    assert message in str(error.value)


def test_simulated_sets_come_by_name():
    made = load_sequences("tree:20x40")
    same = evolve_tree(20, 40)
    assert np.array_equal(made.padded(), same.padded())
    assert np.array_equal(made.lengths, same.lengths)
    assert made.names == same.names == [f"leaf{number}" for number in range(1, 21)]
    assert load_sequences("storage:12x20").names[8:] == ["strand1/9", "strand1/10", "strand2/1", "strand2/2"]
    assert len(load_sequences("tree:12")) == 12


def test_another_alphabet_reads_the_letters_of_a_simulated_set():
    letters = [DNA.decode(row) for row in load_sequences("tree:9x30").padded()]
    protein = ALPHABETS["protein"]
    assert [protein.decode(row) for row in load_sequences("tree:9x30", protein).padded()] == letters
    with pytest.raises(
        InputError, match=r"tree:9x30: sequence 1, position \d+: expected one of ACGU \(rna\), found 'T'"
    ):
        load_sequences("tree:9x30", ALPHABETS["rna"])
    with pytest.raises(InputError, match="tree:9x30: expected at least 10 sequences, found 9"):
        load_sequences("tree:9x30", minimum=10)


@pytest.mark.parametrize("name", ["tree:5x20", "human16s"])
def test_a_name_wins_over_a_file(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path(name).write_text("ACGT\n")
    with pytest.warns(UserWarning, match=f"{name}: taking the built-in set, not the file of that name; write ./{name}"):
        assert len(load_sequences(name)) > 1
    assert len(load_sequences(f"./{name}")) == 1
    assert len(load_sequences(Path(name))) == 1


def test_dropping_is_counted(tmp_path):
    path = tmp_path / "reads.fa"
    path.write_text(">a\nACGT\n>b\nACNT\n>c\nNN\n>d\nAC\n")
    with pytest.warns(UserWarning, match=r"dropped 2 of 4 sequences .* the first at record 2 \(b\)"):
        sequences = load_sequences(path, on_invalid="drop")
    assert sequences.names == ["a", "d"]
    assert len(load_sequences(path, IUPAC)) == 4


def test_unique_keeps_the_first_of_each():
    sequences = Sequences.from_strings(["GG", "A", "gg", "AA", "A"]).unique()
    assert sequences.names == ["1", "2", "4"]
