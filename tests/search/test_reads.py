import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwa_lightning.errors import InputError
from nwa_lightning.search.extra import optional
from nwa_lightning.search.files import replaced, sha256
from nwa_lightning.search.reads import Reads, concatenated, distinct_reads, name_and_size
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.packed import Packed

reads_and_names = st.lists(
    st.tuples(st.text("AC", max_size=3), st.sampled_from(["a", "b;size=3", "c;size=2;", "d;size=0", "e;size=x"])),
    max_size=12,
)


def sequences(pairs):
    letters = Sequences.from_strings([letters for letters, _ in pairs])
    return Sequences(letters.bases, Packed.of(name.encode() for _, name in pairs))


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (b"read", (b"read", 1)),
        (b"read;size=12", (b"read", 12)),
        (b"read;sample=a;size=12;", (b"read;sample=a", 12)),
        (b"read;size=12;sample=a", (b"read;size=12;sample=a", 1)),  # only at the end
        (b"read;size=0", (b"read", 1)),  # the read itself is there
        (b"read;size=-3", (b"read;size=-3", 1)),
        (b"readsize=3", (b"readsize=3", 1)),
        (b";size=7", (b"", 7)),
        (b"", (b"", 1)),
    ],
)
def test_copies_in_a_name(label, expected):
    assert name_and_size(label) == expected


@given(reads_and_names)
def test_copies_are_merged(pairs):
    found = distinct_reads(sequences(pairs))
    expected = {}
    for letters, label in pairs:
        name, size = name_and_size(label.encode())
        entry = expected.setdefault(letters, [name.decode(), 0])
        entry[1] += size
    assert found.reads.sequences.to_strings() == list(expected)
    assert found.reads.sequences.names == [name for name, _ in expected.values()]
    assert found.reads.sizes.tolist() == [size for _, size in expected.values()]
    assert found.member_of.tolist() == [list(expected).index(letters) for letters, _ in pairs]


@given(st.lists(reads_and_names, min_size=1, max_size=4))
def test_parts_follow_one_another(parts):
    each = [distinct_reads(sequences(pairs)).reads for pairs in parts]
    whole = concatenated(each)
    assert whole.sequences.to_strings() == [letters for part in each for letters in part.sequences.to_strings()]
    assert whole.sequences.names == [name for part in each for name in part.sequences.names]
    assert whole.sizes.tolist() == [size for part in each for size in part.sizes.tolist()]


def test_rows_are_taken():
    reads = Reads(Sequences.from_strings(["A", "C", "G"]), np.array([5, 6, 7]))
    some = reads.take(np.array([2, 0]))
    assert (some.sequences.to_strings(), some.sizes.tolist(), len(some)) == (["G", "A"], [7, 5], 2)


def half_written(path, error):
    with replaced(path) as part:
        part.write_text("half")
        raise error


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyError, match="interrupted"):
        half_written(path, KeyError("interrupted"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"
    with replaced(path) as part:
        part.write_text("new")
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("error", "found"), [(OSError(28, "No space left on device"), "No space left"), (OSError("Arrow"), "Arrow")]
)
def test_a_full_disk(tmp_path, error, found):
    path = tmp_path / "file"
    message = f"{path}: expected a folder that can be written, with enough space, found: {found}.*; free some space"
    with pytest.raises(InputError, match=message):
        half_written(path, error)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "below", tmp_path / "none" / "below"):
        with pytest.raises(InputError, match="below: expected a folder that can be written"), replaced(path) as part:
            part.write_text("")


def test_checksums(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    # The example of FIPS 180-2.
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256(tmp_path / "none") == sha256(tmp_path) == ""


@pytest.mark.parametrize(
    ("module", "extra"),
    [("faiss", "search"), ("pyarrow.parquet", "search"), ("skbio", "search"), ("openTSNE", "search"), ("ray", "ray")],
)
def test_a_missing_package(monkeypatch, module, extra):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr("nwa_lightning.search.extra.import_module", missing)
    with pytest.raises(InputError, match=rf"expected the package .* install it: .*'nwa-lightning\[{extra}\]'") as error:
        optional(module)
    assert f"No module named '{module}'" in str(error.value)
    assert "\n" not in str(error.value)
