"""Landmarks as features: right distances on every way, drawn once, kept, and at home in any model."""

import copy

import numpy as np
import oracle
import pytest
import torch
from conftest import Theirs
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch import Trainer
from quiet import QUIET_TRAINER
from torch import nn

from nwa_lightning import (
    Augment,
    EditDistanceModel,
    InputError,
    LandmarkEncoder,
    Landmarks,
    NeuroSEEDCNN,
    NWACallback,
    NWADataModule,
    NWAMixin,
    ResidualCNN,
    Sequences,
    load_encoder,
    pair_batch,
)
from nwa_lightning.landmarks.distances import landmark_distances, tensor_distances
from nwa_lightning.models.export import export_checkpoint


def drawn(count=5, max_length=32, reads=None, seed=0):
    landmarks = Landmarks(count, max_length)
    landmarks.draw(Sequences.from_strings(reads) if reads else random_reads(40, max_length), seed)
    return landmarks


def random_reads(count, longest, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, longest + 1, count)
    return Sequences.from_codes([rng.integers(2, 6, size).astype(np.uint8) for size in lengths], [""] * count)


texts = st.lists(st.text("ACGT", max_size=12), min_size=1, max_size=6)


@settings(max_examples=100, deadline=None)
@given(texts, texts, st.integers(0, 3))
def test_distances_are_those_of_the_recurrence_by_kernel_and_by_tensors(reads, others, padding):
    tokens = pair_batch(reads, max_length=12 + padding).tokens
    landmarks = Sequences.from_strings(others)
    padded, lengths = torch.from_numpy(landmarks.padded(13)), torch.from_numpy(landmarks.lengths.copy())
    right = [[oracle.edit_distance(one, two) for two in others] for one in reads]
    assert landmark_distances(tokens, padded, lengths).tolist() == right
    assert tensor_distances(tokens, padded, lengths).tolist() == right


def test_distances_of_an_empty_batch_and_of_reads_of_another_width():
    landmarks = drawn()
    assert landmarks(torch.empty(0, 9, dtype=torch.int64)).shape == (0, 5)
    tokens = pair_batch(["ACGT" * 20, ""]).tokens
    found = landmarks.distances(tokens)
    assert found.equal(tensor_distances(tokens, landmarks.landmarks, landmarks.lengths))
    assert found[1].equal(landmarks.lengths.float())


def test_features_are_standardised_on_the_training_set():
    reads = random_reads(60, 20).unique()
    landmarks = Landmarks(7, 20)
    landmarks.draw(reads)
    features = landmarks(pair_batch(reads, nwa_batch_size=0).tokens)
    torch.testing.assert_close(features.mean(dim=0), torch.zeros(7), atol=1e-5, rtol=0)
    torch.testing.assert_close(features.std(dim=0, correction=0), torch.ones(7), atol=1e-5, rtol=0)


def test_a_landmark_as_far_from_all_is_no_noise():
    landmarks = drawn(2, 4, ["AAAA", "CCCC", "GGGG", "TTTT"])
    features = landmarks(pair_batch(["AAAA", "ACGT"]).tokens)
    assert features.isfinite().all()
    assert features.abs().max() <= 4


def test_the_draw_follows_the_seed_and_leaves_copies_out():
    reads = ["A", "C", "G", "T", "AC"] * 3
    one, two, other = drawn(3, 4, reads), drawn(3, 4, reads), drawn(3, 4, reads, seed=1)
    assert one.landmarks.equal(two.landmarks)
    assert not one.landmarks.equal(other.landmarks)
    assert len({tuple(row) for row in drawn(5, 4, reads).landmarks.tolist()}) == 5
    with pytest.raises(InputError, match=r"at least 6 distinct training sequences .* found 5; ask for fewer"):
        drawn(6, 4, reads)
    with pytest.raises(InputError, match=r"at most 4 bases \(max_length\), found one of 5"):
        drawn(1, 4, ["ACGTA"])
    for options in ({"count": 0}, {"max_length": 0}):
        with pytest.raises(InputError, match="expected at least 1, found 0"):
            Landmarks(**options)


def test_landmarks_that_are_not_drawn_say_so():
    with pytest.raises(RuntimeError, match=r"none are drawn yet; call draw\(sequences\)"):
        Landmarks()(torch.ones(1, 3, dtype=torch.int64))


def test_weights_bring_the_landmarks():
    landmarks, fresh = drawn(), Landmarks(5, 32)
    fresh.load_state_dict(landmarks.state_dict())
    tokens = pair_batch(["ACGT", "TTTT"]).tokens
    assert fresh(tokens).equal(landmarks(tokens))
    assert copy.deepcopy(fresh)(tokens).equal(landmarks(tokens))
    fresh.load_state_dict(Landmarks(5, 32).state_dict())
    assert not fresh.drawn


def test_foreign_reads_are_those_far_from_every_landmark():
    family = ["".join("ACGT"[letter] for letter in row) for row in np.random.default_rng(0).integers(0, 4, (1, 60))]
    near = [family[0][:place] + "A" + family[0][place + 1 :] for place in range(60)]
    landmarks = drawn(4, 60, near)
    foreign = landmarks.foreign(pair_batch([*near[:10], "T" * 60, "ACGT" * 15], nwa_batch_size=0).tokens)
    assert foreign.tolist() == [False] * 10 + [True] * 2


def test_it_compiles_in_one_graph_and_goes_with_other_types():
    landmarks = drawn()
    tokens = pair_batch(["ACGT", "TTTT", "A"]).tokens
    torch.testing.assert_close(torch.compile(landmarks, fullgraph=True, backend="aot_eager")(tokens), landmarks(tokens))
    assert copy.deepcopy(landmarks).to(torch.bfloat16)(tokens).dtype == torch.bfloat16


class Own(nn.Module):
    """A module as a user has it: no Encoder, and it tells no sizes."""

    def __init__(self, width=16):
        super().__init__()
        self.bag = nn.EmbeddingBag(6, width, padding_idx=0)

    def forward(self, tokens):
        return self.bag(tokens)


def test_sizes_come_from_the_encoder_or_are_asked_for():
    encoder = LandmarkEncoder(NeuroSEEDCNN(40, channels=4, layers=1, embedding_dim=24), 3)
    assert (encoder.max_length, encoder.embedding_dim, encoder.landmarks.count) == (40, 24, 3)
    assert LandmarkEncoder(max_length=9).embedding_dim == 128
    own = LandmarkEncoder(Own(), max_length=30, embedding_dim=16)
    own.landmarks.draw(random_reads(200, 30))
    assert own(pair_batch(["ACGT"]).tokens).shape == (1, 16)
    with pytest.raises(InputError, match="max_length: expected a number, without an encoder, found none"):
        LandmarkEncoder()
    with pytest.raises(InputError, match="embedding_dim: expected a number, as Own does not tell it, found none"):
        LandmarkEncoder(Own(), max_length=30)
    with pytest.raises(InputError, match="max_length: expected 40, as the encoder of the landmarks has, found 41"):
        LandmarkEncoder(NeuroSEEDCNN(40), max_length=41)


def test_an_embedding_is_that_of_the_encoder_and_of_the_landmarks():
    inner = ResidualCNN(32, embedding_dim=8, channels=4)
    encoder = LandmarkEncoder(inner, 5).eval()
    encoder.landmarks.draw(random_reads(40, 32))
    tokens = pair_batch(["ACGT", "TTTTACGT", ""]).tokens
    features = encoder.landmarks(tokens)
    both = inner(tokens) + encoder.readout(features) + encoder.hidden(features)
    torch.testing.assert_close(encoder(tokens), both)
    linear = LandmarkEncoder(inner, 5, hidden_dim=None).eval()
    linear.landmarks.draw(random_reads(40, 32))
    torch.testing.assert_close(linear(tokens), inner(tokens) + linear.readout(linear.landmarks(tokens)))
    padded = nn.functional.pad(tokens, (0, 7))
    torch.testing.assert_close(encoder(padded), encoder(tokens))


def small(**options):
    return EditDistanceModel(ResidualCNN(32, embedding_dim=8, channels=4), landmarks=6, **options)


@pytest.mark.parametrize("features", [None, "encoder.encoder.features.2"])
def test_our_model_draws_at_the_start_of_fit_and_keeps(reads, tmp_path, features):
    data = NWADataModule(str(reads), batch_size=16, nwa_batch_size=6, augment=Augment(fraction=0.5))
    model = small(nwa_features=features, nwa_channels=4 if features else 64, nwa_weight=0.01)
    trainer = Trainer(max_steps=3, **QUIET_TRAINER)
    trainer.fit(model, datamodule=data)
    kept = model.encoder.landmarks.landmarks.clone()
    rows = {row.tobytes() for row in data.split.train.padded(32)}
    assert all(row.numpy().tobytes() in rows for row in kept)
    path = tmp_path / "model.ckpt"
    trainer.save_checkpoint(path)
    again = EditDistanceModel.load_from_checkpoint(path)
    batch = next(iter(data.test_dataloader()))
    assert again.eval().encode(batch.tokens).equal(model.eval().encode(batch.tokens))
    Trainer(max_steps=1, **QUIET_TRAINER).fit(
        again.train(), datamodule=NWADataModule(str(reads), batch_size=16, seed=5)
    )
    assert again.encoder.landmarks.landmarks.equal(kept), "landmarks of a trained model stay"


def test_the_exported_encoder_needs_no_kernel(reads, tmp_path):
    model = small()
    trainer = Trainer(max_steps=2, **QUIET_TRAINER)
    trainer.fit(model, datamodule=NWADataModule(str(reads), batch_size=16))
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    export_checkpoint(tmp_path / "model.ckpt", tmp_path / "out", version="0")
    tokens = pair_batch(["ACGT", "TTTTACGTA", "A" * 32], max_length=32).tokens
    right = model.encoder.eval()(tokens)
    program = torch.export.load(tmp_path / "out" / "encoder.pt2")
    assert not [node for node in program.graph.nodes if "nwa_lightning" in str(node.target)]
    torch.testing.assert_close(program.module()(tokens), right)
    torch.testing.assert_close(load_encoder(tmp_path / "out")(tokens), right)


class TheirsWithLandmarks(Theirs):
    def __init__(self):
        super().__init__()
        self.encoder = LandmarkEncoder(self.encoder, count=6, max_length=32, embedding_dim=16)


class WithMixin(NWAMixin, TheirsWithLandmarks):
    pass


@pytest.mark.parametrize("way", ["alone", "callback", "mixin"])
def test_a_foreign_model_with_the_add_on(reads, way):
    torch.manual_seed(0)
    model = WithMixin(nwa_embedding_dim=16, nwa_max_length=32) if way == "mixin" else TheirsWithLandmarks()
    callbacks = [NWACallback()] if way == "callback" else []
    data = NWADataModule(str(reads), batch_size=16)
    before = model.encoder.readout.weight.clone()
    Trainer(max_steps=5, limit_val_batches=0, callbacks=callbacks, **QUIET_TRAINER).fit(model, datamodule=data)
    assert model.encoder.landmarks.drawn
    assert not model.encoder.readout.weight.equal(before)
