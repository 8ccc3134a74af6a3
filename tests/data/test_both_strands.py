"""Reads of either strand: the distance of a pair is the smaller of two, on every way from a batch to a checkpoint."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle import edit_distance
from quiet import QUIET

from nwa_lightning import EditDistanceModel, NWADataModule, PooledCNN, Scoring, StrandInvariant, pair_batch
from nwa_lightning.cli.main import main
from nwa_lightning.data.trained_on import check_batches
from nwa_lightning.errors import InputError
from nwa_lightning.sequences.alphabet import IUPAC, RNA

reads = st.lists(st.text("ACGT", max_size=9), min_size=1, max_size=5)


def turned(read):
    return read[::-1].translate(str.maketrans("ACGT", "TGCA"))


def nearer(one, two):
    return min(edit_distance(one, two), edit_distance(one, turned(two)))


def all_pairs(sequences):
    return [(i, j) for i in range(len(sequences)) for j in range(len(sequences))]


@given(reads)
def test_the_nearer_strand_counts(sequences):
    pairs = all_pairs(sequences)
    options = {"nwa_batch_size": 0, "both_strands": True}
    found = pair_batch(sequences, pairs, **options)
    assert found.distance.tolist() == [nearer(sequences[i], sequences[j]) for i, j in pairs]
    assert found.distance.dtype == torch.int64
    for other in (
        pair_batch([read.replace("T", "U") for read in sequences], pairs, alphabet=RNA, **options),
        pair_batch(sequences, pairs, alphabet="iupac", **options),
        pair_batch([turned(read) for read in sequences], pairs, **options),
        pair_batch(sequences, [(j, i) for i, j in pairs], **options),
        # With these scores, the dissimilarity by score is the edit distance.
        pair_batch(sequences, pairs, target="score", match=0, mismatch=-1, gap=-1, **options),
    ):
        assert other.distance.tolist() == found.distance.tolist()
    identity = pair_batch(sequences, pairs, target="identity", **options)
    np.testing.assert_allclose(identity.distance, found.distance / found.longest.clamp(min=1), rtol=1e-6)


def test_ambiguous_letters_have_complements():
    found = pair_batch(["AARN", "NYTT", "GGGG"], "all", alphabet=IUPAC, nwa_batch_size=0, both_strands=True)
    assert found.distance.tolist() == [0, 4, 4]


def skewed():
    """DNA, in which A beside C does not score as T beside G."""
    table = Scoring.simple(1, -1, -1).substitution.copy()
    table[2, 3] = table[3, 2] = 0
    return Scoring(table, -1, -1)


@pytest.mark.parametrize(
    ("sequences", "options", "message"),
    [
        (
            ["AC", "GT"],
            {"nwa_batch_size": 2},
            "both_strands: expected strings or codes, and nwa_batch_size=0, found nwa_b",
        ),
        (torch.ones(2, 2).long(), {"lengths": [2, 2]}, "found tokens of another tokenizer"),
        (["AC", "DF"], {"alphabet": "protein"}, "both strands: expected DNA or RNA, found protein"),
        (
            ["AC", "GT"],
            {"target": "score", "scoring": skewed()},
            "both_strands: expected letters that score as their comp",
        ),
    ],
)
def test_what_has_no_nearer_strand(sequences, options, message):
    with pytest.raises(InputError, match=message):
        pair_batch(sequences, "all", **({"nwa_batch_size": 0} | options), both_strands=True)


@pytest.fixture(scope="module")
def either(tmp_path_factory):
    """A file of reads of human16s, of which every second one is from the other strand."""
    path = tmp_path_factory.mktemp("strands") / "either.txt"
    some = NWADataModule().sequences.take(np.arange(60)).to_strings()
    path.write_text("".join(f"{turned(read) if number % 2 else read}\n" for number, read in enumerate(some)))
    return path


def test_all_sets_of_a_run(either):
    data = NWADataModule(str(either), batch_size=8, val_group=4, test_group=4, both_strands=True)
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        batch = next(iter(loader))
        assert len(batch.nw) == 0
        letters = [data.alphabet.decode(row.numpy().astype(np.uint8)) for row in batch.tokens]
        expected = [nearer(letters[i], letters[j]) for i, j in batch.pairs.tolist()]
        assert batch.distance.tolist() == expected
        plain = [edit_distance(letters[i], letters[j]) for i, j in batch.pairs.tolist()]
        assert expected != plain


def test_a_run_keeps_its_labels(either, here, refused):
    model = ["--model.encoder=StrandInvariant", "--model.encoder.encoder=PooledCNN", "--model.nwa_weight=null"]
    small = ["--model.encoder.encoder.max_length=150", "--model.encoder.encoder.channels=8"]
    main(["fit", str(either), "--data.both_strands=true", *model, *small, *QUIET, "--trainer.max_steps=3"])
    known = torch.load("checkpoints/last.ckpt", weights_only=True)["NWADataModule"]["trained_on"]["batches"]
    assert known["both_strands"] is True
    main(["test", "checkpoints/best.ckpt", *QUIET])
    message = refused("test", "checkpoints/best.ckpt", "--data.both_strands=false", *QUIET)
    assert "--data.both_strands: expected True" in message


def test_nwa_needs_matrices(either, here, refused):
    message = refused("fit", either, "--data.both_strands=true", *QUIET, "--trainer.max_steps=1")
    assert "nwa_batch_size: expected Needleman-Wunsch matrices" in message


def test_proteins_are_refused_before_a_run(proteins):
    with pytest.raises(InputError, match="both strands: expected DNA or RNA, found protein"):
        NWADataModule(str(proteins), alphabet="protein", both_strands=True)


def test_checkpoints_from_before_have_one_strand():
    for training in (True, False):
        with pytest.raises(InputError, match=r"--data\.both_strands: expected False.* found True"):
            check_batches({}, {"target": "edits", "both_strands": True}, training=training)


def test_the_predictions_of_both_strands_are_the_same(either):
    data = NWADataModule(str(either), batch_size=8, test_group=4, both_strands=True)
    model = EditDistanceModel(StrandInvariant(PooledCNN(150, channels=8)), nwa_weight=None).eval()
    batch = next(iter(data.test_dataloader()))
    letters = [data.alphabet.decode(row.numpy().astype(np.uint8)) for row in batch.tokens]
    other = pair_batch([turned(read) for read in letters], batch.pairs, nwa_batch_size=0, both_strands=True)
    assert torch.equal(other.distance, batch.distance)
    with torch.inference_mode():
        one, two = (model.predicted_distances(model(each.tokens), each.pairs) for each in (batch, other))
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-3)
