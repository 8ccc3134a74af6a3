import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import Trainer

from nwa_lightning import (
    AttentionMapLogger,
    EditDistanceModel,
    InputError,
    NWACallback,
    NWADataModule,
    NWAMixin,
    nw_matrices,
)
from nwa_lightning.encoders.neuroseed import NeuroSEEDCNN, NeuroSEEDTransformer
from nwa_lightning.encoders.recurrent import GRUEncoder
from nwa_lightning.encoders.residual import ResidualCNN
from nwa_lightning.nwa.capture import captured_calls, channels_last
from nwa_lightning.nwa.functional import row_jsd
from nwa_lightning.nwa.heads import FeatureHead

#: A step is called without a trainer to log to.
no_trainer = pytest.mark.filterwarnings("ignore:You are trying to `self.log")

PAIRS = torch.tensor([[0, 1], [1, 2], [0, 2]])
LENGTHS = torch.tensor([12, 7, 9])


@pytest.mark.parametrize("layout", ["positions first", "channels first", "two-dimensional convolution"])
def test_logits_are_scaled_dot_products(layout):
    torch.manual_seed(0)
    head = FeatureHead(6, 12).double()
    features = torch.randn(3, 5, 6).double()
    expected = torch.empty(3, 5, 5).double()
    for number, (one, two) in enumerate(PAIRS):
        for row in range(5):
            for column in range(5):
                query, key = head.query(features[one, row]), head.key(features[two, column])
                expected[number, row, column] = query @ key / math.sqrt(3)
    given_as = {"positions first": features, "channels first": features.mT}.get(layout, features.mT[:, :, None])
    torch.testing.assert_close(head(given_as, LENGTHS, PAIRS, 13), expected)


@given(st.data())
def test_pooled_scores_are_the_largest_of_their_cells(data):
    longest = data.draw(st.integers(1, 12))
    positions = data.draw(st.integers(1, longest + 1))
    lengths = torch.tensor(data.draw(st.lists(st.integers(0, longest), min_size=3, max_size=3)))
    size = int(lengths.max()) + 1
    scores = torch.randint(-9, 9, (3, size, size), dtype=torch.int16)
    inside = torch.arange(size) <= lengths[:, None]
    found, present = FeatureHead(4, longest).pooled(scores, inside, PAIRS, positions)

    stands_for = size if positions == size else longest + 1
    bins = [
        range(k * stands_for // positions, -(-(k + 1) * stands_for // positions)) for k in range(positions)
    ]  # the definition of torch's adaptive pooling
    for row in range(3):
        for k in range(positions):
            assert present[row, k] == any(place <= lengths[row] for place in bins[k])
    for number, (one, two) in enumerate(PAIRS.tolist()):
        for row in range(positions):
            for column in range(positions):
                cells = [
                    int(scores[number, i, j])
                    for i in bins[row]
                    for j in bins[column]
                    if i <= lengths[one] and j <= lengths[two]
                ]
                if cells:
                    assert found[number, row, column] == max(cells)


def test_features_that_do_not_fit():
    head = FeatureHead(6, 12)
    for shape in ((3, 5, 7), (3, 6), (3, 6, 2, 5), (3, 0, 6)):
        with pytest.raises(ValueError, match=r"features of 6 channels.* but got \(3, "):
            head(torch.zeros(shape), LENGTHS, PAIRS, 13)


def test_as_many_positions_as_channels():
    """The head takes the channels as last; which they are is told by whether the part has convolutions."""
    torch.manual_seed(0)
    head = FeatureHead(6, 12).double()
    features = torch.randn(3, 6, 6).double()
    expected = head.query(features)[0] @ head.key(features)[1].T / math.sqrt(3)
    torch.testing.assert_close(head(features, LENGTHS, PAIRS, 13)[0], expected)
    convolution, linear = torch.nn.Sequential(torch.nn.Conv1d(6, 6, 1)), torch.nn.Linear(6, 6)
    for channels in (6, None):
        assert torch.equal(channels_last(features, convolution, channels), features.mT)
        assert torch.equal(channels_last(features, linear, channels), features)
    wide = torch.randn(3, 6, 5)
    assert torch.equal(channels_last(wide, linear, 6), wide.mT)
    assert torch.equal(channels_last(wide.mT[:, :, None], convolution, 5), wide)


ENCODERS = [
    (NeuroSEEDCNN(32, 16, channels=6, layers=3), "encoder.features.7", 6, 8),
    (NeuroSEEDTransformer(32, 16), "encoder.features", 16, 8),
    (ResidualCNN(32, 16, channels=12), "encoder.features.3", 12, 9),
]


def divergence(model, batch):
    with torch.no_grad(), captured_calls(model, model.nwa_features) as calls:
        model.encode(batch.tokens)
        return model.nwa.divergence(calls[0].output, batch)


def model_of(encoder, features, channels, **options):
    options = {"nwa_every": 1, **options}
    return EditDistanceModel(copy.deepcopy(encoder), nwa_features=features, nwa_channels=channels, **options)


@no_trainer
@pytest.mark.parametrize(("encoder", "features", "channels", "positions"), ENCODERS)
def test_the_term_of_a_step(encoder, features, channels, positions, reads):
    torch.manual_seed(0)
    data = NWADataModule(str(reads), batch_size=16, nwa_batch_size=6, nwa_kind="best_through")
    batch = data.train_dataloader().dataset[0]
    model = model_of(encoder, features, channels, nwa_weight=0.5)
    plain = model_of(encoder, features, channels, nwa_weight=None)
    outputs = []
    model.get_submodule(features).register_forward_hook(lambda *found: outputs.append(found[2]))
    loss = model.training_step(batch, 0)

    inside = (batch.tokens != 0)[:6]
    logits = model.nwa.head(outputs[0][:6], batch.lengths[:6], batch.nw_pairs, batch.tokens.shape[1])
    scores, present = model.nwa.head.pooled(batch.nw, inside, batch.nw_pairs, positions)
    first, second = batch.nw_pairs.T
    term = 0.5 * row_jsd(logits, scores, present[first], present[second]).mean()
    torch.testing.assert_close(loss, plain.training_step(batch, 0) + term)
    term.backward()
    assert model.encoder.readout.weight.grad is None
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.nwa.parameters() if parameter.ndim > 1)
    assert any(parameter.grad is not None for parameter in model.encoder.parameters())


@no_trainer
def test_padding_changes_nothing(reads):
    """Encoders fill up sequences to max_length, so the term must not depend on the longest sequence of a batch."""
    torch.manual_seed(0)
    model = model_of(*ENCODERS[0][:3], nwa_weight=1.0).eval()
    data = NWADataModule(str(reads), batch_size=6, nwa_batch_size=6, nwa_kind="best_through")
    batches = (data.train_dataloader().dataset[number] for number in range(20))
    batch = next(batch for batch in batches if batch.tokens.shape[1] < 33)
    missing = 33 - batch.tokens.shape[1]
    pad = torch.nn.functional.pad
    longer = batch._replace(tokens=pad(batch.tokens, (0, missing)), nw=pad(batch.nw, (0, missing, 0, missing)))
    torch.testing.assert_close(model.training_step(longer, 0), model.training_step(batch, 0))


def test_batches_have_the_matrices_that_were_asked_for(reads):
    batch = (
        NWADataModule(str(reads), batch_size=8, nwa_batch_size=4, nwa_kind="best_through").train_dataloader().dataset[0]
    )
    codes = batch.tokens[:, 1:].numpy().astype(np.uint8)
    expected = nw_matrices(codes, batch.lengths.numpy(), batch.nw_pairs.numpy(), kind="best_through")
    assert (batch.nw.numpy() == expected).all()
    assert not (batch.nw.numpy() == nw_matrices(codes, batch.lengths.numpy(), batch.nw_pairs.numpy())).all()


@pytest.mark.parametrize("both_sides", [False, True])
def test_a_model_of_somebody_else(theirs, both_sides, reads):
    """Its step is left alone; the mixin and the callback add the same term, from the part that was named."""

    class TheirsWithNWA(NWAMixin, theirs):
        pass

    options = {"nwa_embedding_dim": 8, "nwa_max_length": 32, "nwa_weight": 0.5, "nwa_every": 1}
    torch.manual_seed(0)
    mixed = TheirsWithNWA(both_sides=both_sides, nwa_features="encoder.0", **options)
    batch = NWADataModule(str(reads), batch_size=16, nwa_batch_size=6).train_dataloader().dataset[0]
    letters = mixed.encoder[0](batch.tokens)
    plain = theirs.training_step(mixed, batch, 0)
    torch.testing.assert_close(mixed.training_step(batch, 0), plain + mixed.nwa_loss(letters, batch))
    assert mixed.nwa_loss(letters, batch) > 0.1

    model = theirs(both_sides=both_sides)
    callback = NWACallback("encoder", 8, 32, weight=0.5, every=1, features="encoder.0")
    callback.setup(Trainer(logger=False, enable_checkpointing=False), model, "fit")
    model.load_state_dict(mixed.encoder_state_dict(), strict=False)
    callback.nwa.load_state_dict(mixed.nwa.state_dict())
    torch.testing.assert_close(model.training_step(batch, 0), mixed.training_step(batch, 0))


def test_a_part_that_returns_no_features(theirs, reads):
    class TheirsWithNWA(NWAMixin, theirs):
        pass

    model = TheirsWithNWA(nwa_embedding_dim=16, nwa_max_length=32, nwa_features="encoder.2")
    batch = NWADataModule(str(reads), batch_size=16, nwa_batch_size=6).train_dataloader().dataset[0]
    with pytest.raises(
        TypeError, match=r"encoder.2 to return one tensor of features.* shape \(16, 16\); name the submodule"
    ):
        model.training_step(batch, 0)
    model = TheirsWithNWA(nwa_embedding_dim=16, nwa_max_length=32, nwa_features="encoder.0")
    with pytest.raises(ValueError, match=r"features of 16 channels.* but got \(6, \d+, 8\)"):
        model.training_step(batch, 0)


@pytest.mark.parametrize(("encoder", "features", "channels", "positions"), ENCODERS)
def test_training_teaches_the_map_and_draws_it(encoder, features, channels, positions, reads, tmp_path):
    torch.manual_seed(0)
    data = NWADataModule(str(reads), batch_size=16, nwa_batch_size=6, nwa_kind="best_through", val_group=10)
    model = model_of(encoder, features, channels, nwa_weight=1.0, nwa_lr=0.01)
    batch = data.train_dataloader().dataset[0]
    before = divergence(model, batch)
    trainer = Trainer(
        max_steps=200,
        max_epochs=-1,
        logger=False,
        default_root_dir=tmp_path,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=[AttentionMapLogger(pairs=1)],
    )
    trainer.fit(model, data)
    assert divergence(model, batch) < 0.9 * before
    assert list(tmp_path.glob("attention_maps/*pair=0.png"))

    maps = model.eval().nwa_attention(batch)
    assert maps.shape == batch.nw.shape
    torch.testing.assert_close(maps.sum(dim=2), torch.ones(maps.shape[:2]))
    outside = (batch.tokens == 0)[batch.nw_pairs[:, 1]]
    assert (maps.mT[outside] == 0).all()


@pytest.mark.parametrize(
    ("features", "channels", "message"),
    [
        ("encoder.nope", 6, "Expected a submodule named 'encoder.nope' that returns embeddings or features"),
        ("encoder.features.7", 5, "Expected features of 5 channels"),
        ("encoder.readout", 6, "Expected encoder.readout to return one tensor of features"),
        ("encoder.features.3", 6, None),
    ],
)
def test_a_name_that_does_not_fit_is_found_when_the_model_is_built(features, channels, message):
    encoder = NeuroSEEDCNN(32, 16, channels=6, layers=3)
    before = copy.deepcopy(encoder.state_dict())
    if message is None:
        model = model_of(encoder, features, channels)
        assert all(torch.equal(value, model.encoder.state_dict()[name]) for name, value in before.items())
        assert model.encoder.training
    else:
        with pytest.raises(InputError, match=f"nwa_features, nwa_channels: {message}"):
            model_of(encoder, features, channels)


def test_a_part_that_returns_more_than_a_tensor():
    with pytest.raises(InputError, match=r"encoder.features to return one tensor of features.* but got tuple"):
        EditDistanceModel(GRUEncoder(32, 16), nwa_features="encoder.features")
