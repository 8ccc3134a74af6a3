import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nwa_lightning import Augment, NWADataModule
from nwa_lightning.data.lengths import LengthWindows
from nwa_lightning.errors import InputError
from nwa_lightning.sequences.alphabet import DNA
from nwa_lightning.sequences.collection import Sequences


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 3000), min_size=1, max_size=60),
    st.floats(0, 0.9),
    st.integers(0, 1000),
    st.data(),
)
def test_rows_are_different_and_of_similar_lengths(lengths, most, seed, data):
    sizes = np.array(lengths)
    count = data.draw(st.integers(1, len(lengths)))
    rows = LengthWindows(sizes, most).draw(count, np.random.default_rng(seed))
    assert len(set(rows.tolist())) == count
    assert set(rows.tolist()) <= set(range(len(lengths)))
    drawn = sizes[rows]
    if drawn.min() < (1 - most) * drawn.max() - 1e-6:
        # Then fewer lengths than that are in any window around one of them: the rows are neighbours in the order of lengths.
        ordered = np.sort(sizes)
        places = np.searchsorted(ordered, [drawn.min(), drawn.max()], side="left")
        inside = [((ordered >= low) & (ordered <= low / (1 - most))).sum() for low in ordered]
        assert min(inside) < count
        assert places[1] - places[0] < max(2 * count, count + (ordered == drawn.max()).sum() + 1)


def test_every_row_is_drawn_about_equally_often():
    generator = np.random.default_rng(0)
    sizes = generator.integers(500, 1500, 400)
    windows = LengthWindows(sizes, 0.1)
    drawn = np.bincount(np.concatenate([windows.draw(8, generator) for _ in range(4000)]), minlength=400)
    inner = drawn[(sizes > 600) & (sizes < 1400)]
    assert inner.min() > 0.5 * inner.mean()
    assert inner.max() < 1.6 * inner.mean()
    assert drawn.min() > 0


@pytest.fixture
def mixed(tmp_path):
    """Reads of 30 to 300 bases."""
    generator = np.random.default_rng(0)
    path = tmp_path / "mixed.txt"
    sizes = generator.integers(30, 301, 2000)
    path.write_text("".join("".join(generator.choice(list("ACGT"), size)) + "\n" for size in sizes))
    return str(path)


def padding(batch):
    return 1 - batch.lengths.float().mean().item() / batch.lengths.max().item()


def test_little_of_a_batch_is_padding(mixed):
    options = {"batch_size": 8, "val_size": 30, "test_size": 30, "pairs": 20, "nwa_batch_size": 0}
    narrow = NWADataModule(mixed, max_padding=0.1, **options)
    batches = list(narrow.train_dataloader())
    assert max(map(padding, batches)) < 0.1
    assert np.mean([padding(batch) for batch in NWADataModule(mixed, **options).train_dataloader()]) > 0.3
    again = list(NWADataModule(mixed, max_padding=0.1, **options).train_dataloader())
    for one, two in zip(batches, again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one[:5], two[:5], strict=True))
    # Over an epoch, short and long reads are drawn.
    longest = [batch.lengths.max().item() for batch in batches]
    assert min(longest) < 100
    assert max(longest) > 250


def test_the_fraction_is_checked(mixed):
    for wrong in (1, -0.1):
        with pytest.raises(
            InputError, match=f"max_padding: expected a fraction from 0 to below 1, found {wrong}; write"
        ):
            NWADataModule(mixed, max_padding=wrong)


def test_a_crop_is_a_part_of_the_parent():
    parent = "ACGTTGCAAGGCTTACCATG" * 3
    augment = Augment(fraction=1, edits=0, crossover=False, crop=0.8)
    drawn = np.zeros(300, dtype=np.int64)
    training = Sequences.from_strings([parent])
    crops = augment.vary(training, drawn, DNA, np.random.default_rng(0)).to_strings()
    assert all(crop and crop in parent for crop in crops)
    sizes = np.array([len(crop) for crop in crops])
    assert sizes.min() >= 0.2 * len(parent)
    assert sizes.max() > 0.9 * len(parent)
    assert {crop[:10] for crop in crops} > {parent[:10]}
    assert any(parent.endswith(crop) for crop in crops)


def test_a_crop_keeps_one_base():
    training = Sequences.from_strings(["A", "CC"])
    augment = Augment(fraction=1, edits=0, crossover=False, crop=1)
    crops = augment.vary(training, np.zeros(50, dtype=np.int64), DNA, np.random.default_rng(0)).to_strings()
    assert set(crops) <= {"A", "C", "CC"}


def test_crops_have_no_fixed_length():
    with pytest.raises(InputError, match=r"augment.crop: expected 0 with augment.fixed_length, found 0.5; switch"):
        Augment(crop=0.5, fixed_length=True)
