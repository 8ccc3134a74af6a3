"""What pairs are labelled with: edits, identity, alignment score; compared with Biopython and plain loops."""

import re

import numpy as np
import pytest
import torch
from Bio.Align import PairwiseAligner, substitution_matrices
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import edit_distance

from nwa_lightning import InputError, NWADataModule, Scoring, pair_batch
from nwa_lightning.alignment import nw_matrices
from nwa_lightning.data.batch import chosen_pairs
from nwa_lightning.data.scores import chosen_scoring, letter_score
from nwa_lightning.data.targets import full_scale, whole_scale
from nwa_lightning.data.trained_on import check_batches
from nwa_lightning.sequences.alphabet import DNA, PROTEIN
from nwa_lightning.sequences.collection import Sequences

BLOSUM = Scoring.named("BLOSUM62", PROTEIN, gap_open=-11, gap_extend=-1)
strings = st.lists(st.text(PROTEIN.letters, max_size=12), min_size=2, max_size=5)


def aligner(**scores):
    made = PairwiseAligner(mode="global")
    for name, value in scores.items():
        setattr(made, name, value)
    return made


def dissimilarities(score, sequences, pairs):
    """By whole alignments, also of a sequence with itself."""
    return [(score(a, a) + score(b, b)) / 2 - score(a, b) for a, b in ((sequences[i], sequences[j]) for i, j in pairs)]


def by_biopython(made):
    # It refuses to align nothing: then all letters are beside one gap.
    def score(a, b):
        if a and b:
            return made.score(a, b)
        return made.open_gap_score + (len(a + b) - 1) * made.extend_gap_score if a or b else 0

    return score


@settings(deadline=None, max_examples=60)
@given(strings)
def test_scores_are_those_of_biopython(sequences):
    pairs = [(i, j) for i in range(len(sequences)) for j in range(len(sequences))]
    found = pair_batch(sequences, pairs, alphabet=PROTEIN, target="score", scoring=BLOSUM).distance
    matrix = substitution_matrices.load("BLOSUM62")
    made = aligner(substitution_matrix=matrix, open_gap_score=-11, extend_gap_score=-1)
    assert found.dtype == torch.float32
    assert found.tolist() == dissimilarities(by_biopython(made), sequences, pairs)
    table = found.view(len(sequences), -1)
    assert (table.diagonal() == 0).all()
    assert torch.equal(table, table.T)
    assert (table >= 0).all()


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text("ACGT", max_size=12), min_size=2, max_size=5), st.integers(1, 4), st.integers(-4, -1))
def test_scores_of_match_mismatch_and_gap(sequences, match, gap):
    pairs = [(i, j) for i in range(len(sequences)) for j in range(len(sequences))]
    found = pair_batch(sequences, pairs, match=match, mismatch=-2, gap=gap, target="score").distance
    made = aligner(match_score=match, mismatch_score=-2, open_gap_score=gap, extend_gap_score=gap)
    assert found.tolist() == dissimilarities(by_biopython(made), sequences, pairs)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text("ACGT", max_size=12), min_size=2, max_size=5))
def test_edits_and_identity(sequences):
    pairs = [(i, j) for i in range(len(sequences)) for j in range(len(sequences))]
    edits = [edit_distance(sequences[i], sequences[j]) for i, j in pairs]
    found = pair_batch(sequences, pairs).distance
    assert found.dtype == torch.int64
    assert found.tolist() == edits
    longer = [max(len(sequences[i]), len(sequences[j]), 1) for i, j in pairs]
    identity = pair_batch(sequences, pairs, target="identity").distance
    assert identity.dtype == torch.float32
    np.testing.assert_allclose(identity, np.array(edits) / longer, rtol=1e-6)
    # With these scores, the dissimilarity by score is the edit distance.
    by_score = pair_batch(sequences, pairs, match=0, mismatch=-1, gap=-1, target="score").distance
    assert by_score.tolist() == edits


@pytest.mark.parametrize("target", ["edits", "identity", "score"])
def test_no_pairs_one_sequence_no_letters(target):
    none = np.empty((0, 2), dtype=np.int64)
    assert pair_batch([], none, target=target).distance.shape == (0,)
    assert pair_batch(["ACGT"], target=target).distance.shape == (0,)
    assert pair_batch(["", "", "A"], [[0, 1]], target=target).distance.tolist() == [0]


def test_tokens_of_another_tokenizer_have_scores_of_two_kinds():
    tokens = torch.tensor([[900, 7, 8, 0], [900, 8, 0, 0]])
    found = pair_batch(tokens, [[0, 1]], lengths=[3, 2], target="score", match=2, mismatch=-1, gap=-3)
    assert found.distance.tolist() == [(6 + 4) / 2 - (2 * 2 - 3)]


def test_matrices_by_any_scores():
    sequences = ["MKTAYI", "MKAYW"]
    batch = pair_batch(sequences, alphabet=PROTEIN, scoring=BLOSUM)
    made = aligner(substitution_matrix=substitution_matrices.load("BLOSUM62"), open_gap_score=-11, extend_gap_score=-1)
    assert batch.nw.dtype == torch.int16
    for i, j in [(6, 5), (3, 2), (1, 4), (6, 1)]:
        assert batch.nw[0, i, j] == made.score(sequences[0][:i], sequences[1][:j])
    assert batch.distance.tolist() == [edit_distance(*sequences)]
    strided = pair_batch(sequences, alphabet=PROTEIN, scoring=BLOSUM, stride=2)
    assert torch.equal(strided.nw, batch.nw[:, ::2, ::2])


def test_the_same_scores_by_either_way_make_the_same_matrices():
    sequences = ["ACGTTGA", "ACTTGGA", "TTTACG"]
    codes = Sequences.from_strings(sequences)
    for kind in ("prefix", "best_through"):
        one = pair_batch(sequences, match=2, mismatch=-3, gap=-2, kind=kind)
        two = pair_batch(sequences, scoring=Scoring.simple(2, -3, -2), kind=kind)
        assert torch.equal(one.nw, two.nw)
        options = {"match": 2, "mismatch": -3, "gap": -2, "kind": kind}
        whole = nw_matrices(codes.padded(), codes.lengths, one.pairs.numpy(), **options)
        np.testing.assert_array_equal(one.nw, whole)


def test_chosen_pairs_keep_their_distance():
    batch = pair_batch(["ACGT", "AC", "GGT", "A"], "all", target="identity")
    assert torch.equal(chosen_pairs(batch, [3, 0]).distance, batch.distance[[3, 0]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "length"}, "target: expected one of edits, identity, score, found 'length'"),
        (
            {"scoring": BLOSUM, "match": 2},
            "scoring: expected strings or codes, and no match, mismatch and gap, found 2",
        ),
        (
            {"target": "score", "match": 1, "mismatch": 2},
            "letters that score no more beside others than beside themselves",
        ),
        ({"target": "score", "match": -4}, "letters that score no more beside others"),
        ({"target": "score", "match": 0, "gap": 0}, None),
        ({"target": "score", "match": -1, "gap": 0}, "expected a gap that scores at most -0.5"),
        ({"target": "score", "scoring": Scoring(np.eye(3, dtype=np.int64), -1, -1)}, "expected codes below 3"),
        (
            {"target": "score", "scoring": Scoring(np.triu(np.ones((6, 6), dtype=np.int64)), -1, -1)},
            "expected symmetric scores",
        ),
    ],
)
def test_scores_without_a_dissimilarity_are_refused(options, message):
    if message is None:
        assert pair_batch(["ACGT", "AC"], **options).distance.tolist() == [0]
        return
    with pytest.raises(InputError, match=re.escape(message)) as error:
        pair_batch(["ACGT", "AC"], **options)
    assert len(str(error.value).splitlines()) == 1


def test_tokens_have_no_substitution_matrix():
    with pytest.raises(InputError, match="found tokens of another tokenizer"):
        pair_batch(torch.tensor([[1, 2]]), lengths=[2], scoring=BLOSUM)


def test_scores_of_a_run(tmp_path):
    from nwa_lightning.alignment import Scores

    assert chosen_scoring(Scores(2, -3, -4), None, None, DNA) is None
    affine = chosen_scoring(Scores(2, -3, -4), None, -1, DNA)
    assert (affine.gap_open, affine.gap_extend) == (-4, -1)
    assert affine.substitution[2:, 2:].tolist() == (5 * np.eye(4) - 3).tolist()
    (tmp_path / "m.txt").write_text("  A C G T\nA 5 -1 -1 -1\nC -1 5 -1 -1\nG -1 -1 5 -1\nT -1 -1 -1 5\n")
    mine = chosen_scoring(Scores(gap=-6), str(tmp_path / "m.txt"), None, DNA)
    assert (mine.gap_open, mine.gap_extend) == (-6, -6)
    assert mine.substitution[2, 2:].tolist() == [5, -1, -1, -1]
    assert chosen_scoring(Scores(), "NUC.4.4", -1, DNA).substitution[2, 2:].tolist() == [5, -4, -4, -4]
    for wrong, message in (
        ((Scores(2), "BLOSUM62", None), "match, mismatch: expected none beside substitution"),
        ((Scores(), "nothing", None), "substitution: nothing: expected one of BENNER22"),
        ((Scores(gap=-1), None, -2), "<= gap_open <= gap_extend <= 0"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            chosen_scoring(*wrong, DNA)


def test_mean_score_of_a_letter():
    sequences = Sequences.from_strings(["AAW", "W", "", "CA"], PROTEIN)
    assert letter_score(BLOSUM, sequences) == pytest.approx((3 * 4 + 2 * 11 + 9) / 6)
    assert whole_scale("score", torch.tensor([6, 2]), 7.0).tolist() == [42, 14]
    assert full_scale("identity", None, 30) == 1
    assert full_scale("edits", None, 30) == 30


@pytest.mark.parametrize("target", ["identity", "score"])
def test_all_sets_of_a_run_have_the_target(reads, target):
    scores = {"match": 2, "mismatch": -1, "gap": -3, "gap_extend": -1}
    data = NWADataModule(str(reads), batch_size=8, target=target, val_group=5, test_group=5, **scores)
    for loader, split in (
        (data.train_dataloader(), None),
        (data.val_dataloader(), data.split.val),
        (data.test_dataloader(), data.split.test),
    ):
        batch = next(iter(loader))
        letters = [data.alphabet.decode(row.numpy().astype(np.uint8)) for row in batch.tokens]
        if split is not None:
            assert letters == split.to_strings()[:5]
        pairs = batch.pairs.tolist()
        if target == "score":
            made = aligner(match_score=2, mismatch_score=-1, open_gap_score=-3, extend_gap_score=-1)
            expected = dissimilarities(made.score, letters, pairs)
        else:
            ends = [(letters[i], letters[j]) for i, j in pairs]
            expected = [edit_distance(a, b) / max(len(a), len(b)) for a, b in ends]
        np.testing.assert_allclose(batch.distance, expected, rtol=1e-6)
    assert data.target_scale == (2 * data.max_length if target == "score" else None)


def test_old_checkpoints_were_trained_on_edits():
    old = {"match": 1, "mismatch": -1, "gap": -1, "nwa_kind": "prefix"}
    new = {**old, "target": "edits", "both_strands": False, "substitution": None, "gap_extend": None}
    check_batches(old, new, training=True)
    check_batches(old, {**new, "gap": -2}, training=False)  # no number of a test depends on it
    for name, value in (("target", "score"), ("substitution", "BLOSUM62"), ("gap_extend", -1)):
        with pytest.raises(InputError, match=rf"--data\.{name}: expected .* found {value}"):
            check_batches(old, {**new, name: value}, training=True)
    with pytest.raises(InputError, match=r"--data\.gap: expected -1"):
        check_batches({**new, "target": "score"}, {**new, "target": "score", "gap": -2}, training=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "length"}, "target: expected one of edits"),
        ({"nwa_kind": "best_through", "gap": -3, "gap_extend": -1}, "nwa_kind: expected prefix for affine gaps"),
        ({"target": "score", "match": -1}, "expected a gap that scores at most"),
        ({"substitution": "BLOSUM62", "mismatch": -2}, "match, mismatch: expected none beside substitution"),
    ],
)
def test_a_data_module_refuses_what_does_not_go_together(reads, options, message):
    if options.get("match") == -1:
        options = {**options, "gap": 0}
    with pytest.raises(InputError, match=re.escape(message)):
        NWADataModule(str(reads), **options)
