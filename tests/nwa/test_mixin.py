import copy

import pytest
import torch
from lightning.pytorch import Trainer

from nwa_lightning import EditDistanceModel, NWADataModule, NWAMixin
from nwa_lightning.encoders.neuroseed import NeuroSEEDCNN
from nwa_lightning.nwa.capture import Call, by_tokens, in_named_order
from nwa_lightning.nwa.functional import row_jsd

NWA = {"nwa_embedding_dim": 16, "nwa_max_length": 32, "nwa_every": 1}


@pytest.fixture
def with_nwa(theirs):
    class TheirsWithNWA(NWAMixin, theirs):
        pass

    return TheirsWithNWA


@pytest.fixture
def batch(data):
    return data.train_dataloader().dataset[0]


def train(model, data, steps=30, **options):
    trainer = Trainer(
        max_steps=steps,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        **options,
    )
    trainer.fit(model, data)
    return trainer


@pytest.mark.parametrize("both_sides", [False, True])
@pytest.mark.parametrize("as_dict", [False, True])
def test_the_term_is_added_to_the_loss_of_their_step(theirs, with_nwa, batch, both_sides, as_dict):
    torch.manual_seed(0)
    plain = theirs(both_sides=both_sides, as_dict=as_dict)
    torch.manual_seed(0)
    model = with_nwa(both_sides=both_sides, as_dict=as_dict, nwa_weight=0.5, **NWA)
    for name, value in plain.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), "the head must not disturb the start of the encoder"
    expected, found = plain.training_step(batch, 0), model.training_step(batch, 0)
    if as_dict:
        assert found["size"] == expected["size"]
        expected, found = expected["loss"], found["loss"]
    inside = batch.tokens != 0
    first, second = batch.nw_pairs.T
    logits = model.nwa.head(model.encoder(batch.tokens), batch.lengths, batch.nw_pairs, batch.tokens.shape[1])
    term = 0.5 * row_jsd(logits, batch.nw, inside[first], inside[second]).mean()
    assert term > 0.1
    torch.testing.assert_close(found, expected + term)


def test_joined_sides_are_found_too(with_nwa, batch):
    class Joined(with_nwa.__mro__[2]):
        def training_step(self, batch, batch_idx):
            one, two = self.encoder(torch.cat([batch.left, batch.right])).chunk(2)
            return (one - two).norm(dim=1).mean()

    class WithNWA(NWAMixin, Joined):
        pass

    model = WithNWA(nwa_weight=1.0, **NWA)
    plain = Joined.training_step(model, batch, 0)
    term = model.nwa_loss(model.encoder(batch.tokens), batch)
    torch.testing.assert_close(model.training_step(batch, 0), plain + term)


def test_nothing_is_added_twice(theirs, batch):
    class Calls(theirs):
        def training_step(self, batch, batch_idx):
            return self.nwa_loss(self.encode(batch.tokens), batch)

    class WithNWA(NWAMixin, Calls):
        pass

    model = WithNWA(nwa_weight=1.0, **NWA)
    torch.testing.assert_close(model.training_step(batch, 0), model.nwa_loss(model.encode(batch.tokens), batch))


def test_a_foreign_model_trains_and_its_nwa_loss_falls(with_nwa, data):
    torch.manual_seed(0)
    model = with_nwa(nwa_weight=1e-2, **NWA)
    first = train(model, data, steps=1).callback_metrics["train/nwa_loss"]
    start = copy.deepcopy(model.encoder.state_dict())
    last = train(model, data, steps=100).callback_metrics["train/nwa_loss"]
    assert last < 0.8 * first
    assert any(not torch.equal(value, start[name]) for name, value in model.encoder.state_dict().items())


def test_one_step_of_1024_pairs_encodes_64_sequences_once():
    data = NWADataModule(pairs=1024)
    model = EditDistanceModel(NeuroSEEDCNN(data.max_length, vocabulary=data.vocabulary), nwa_every=1)
    rows = []
    model.encoder.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    decoded = []
    model.nwa.head.decoder.register_forward_hook(lambda module, inputs, output: decoded.append(len(output)))
    trainer = train(model, data, steps=2)
    assert trainer.global_step == 2
    assert len(data.train_dataloader().dataset[0].pairs) == 1024
    assert rows == [64, 64]
    assert decoded == [6, 6]


def test_without_weight_there_is_no_head_and_their_step_is_untouched(theirs, with_nwa, data, batch):
    torch.manual_seed(0)
    plain = theirs()
    torch.manual_seed(0)
    model = with_nwa(nwa_weight=None, **NWA)
    assert model.nwa is None
    assert list(model.state_dict()) == list(plain.state_dict())
    train(plain, data, steps=5)
    train(model, data, steps=5)
    for name, value in plain.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
    assert model.nwa_loss(model.encode(batch.tokens), batch).requires_grad


@pytest.mark.parametrize("case", ["weight 0", "no matrices"])
def test_the_term_always_reaches_every_parameter_of_the_head(with_nwa, batch, case):
    model = with_nwa(nwa_weight=0.0 if case == "weight 0" else 1.0, **NWA)
    if case == "no matrices":
        batch = batch._replace(nw=batch.nw[:0])
    term = model.nwa_loss(model.encode(batch.tokens), batch)
    assert term.item() == 0
    term.backward()
    assert all(parameter.grad is not None for parameter in model.nwa.parameters())
    assert all(parameter.grad is not None for parameter in model.encoder.parameters())


def test_wrong_order_of_bases(theirs):
    with pytest.raises(TypeError, match=r"write `class Wrong\(NWAMixin, Theirs\)`"):

        class Wrong(theirs, NWAMixin):
            pass


def test_a_head_in_no_optimizer(with_nwa, data):
    class Forgets(with_nwa):
        def configure_optimizers(self):
            return torch.optim.Adam(self.encoder.parameters())

    with pytest.raises(
        RuntimeError, match=r"of nwa in an optimizer .*are in none, such as nwa\.head\..*nwa_param_groups"
    ):
        train(Forgets(**NWA), data, steps=1)


def test_manual_optimization_is_refused_with_a_remedy(with_nwa, batch):
    model = with_nwa(**NWA)
    model.automatic_optimization = False
    with pytest.raises(RuntimeError, match=r"call self\.nwa_loss\(embeddings, batch\) before manual_backward"):
        model.training_step(batch, 0)


def test_wrong_encoder_name(with_nwa, batch):
    with pytest.raises(AttributeError, match=r"submodule named 'body' .* found encoder, encoder.0, .*; name it with"):
        with_nwa(nwa_encoder="body", **NWA).training_step(batch, 0)


def test_wrong_number_of_embeddings(with_nwa, batch):
    model = with_nwa(**NWA)
    with pytest.raises(ValueError, match=r"one embedding per sequence of the batch \(16\) but got 3"):
        model.nwa_loss(torch.randn(3, 16), batch)
    with pytest.raises(RuntimeError, match=r"Expected the 16 sequences .* in 2 calls \[100, 20\]; name each sequence"):
        in_named_order([torch.randn(100, 16), torch.randn(20, 16)], 16, "encoder")


def test_a_batch_of_another_kind(with_nwa, batch):
    model = with_nwa(**NWA)
    parts = {**batch._asdict(), "left": batch.left, "right": batch.right}
    like = type("Like", (), parts)()
    torch.testing.assert_close(model.training_step(like, 0), model.training_step(batch, 0))
    del parts["nw"]
    without = type("Without", (), parts)()
    with pytest.raises(TypeError, match=r"Expected a PairBatch .* but got Without; .*override nwa_batch\(batch\)"):
        model.training_step(without, 0)


def test_attention_maps(with_nwa, batch):
    model = with_nwa(**NWA)
    maps = model.nwa_attention(batch)
    assert maps.shape == batch.nw.shape
    torch.testing.assert_close(maps.sum(-1), torch.ones(maps.shape[:2]))
    outside = (batch.tokens == 0)[batch.nw_pairs[:, 1]]
    assert (maps.mT[outside] == 0).all()
    with pytest.raises(RuntimeError, match="nwa_weight=None"):
        with_nwa(nwa_weight=None, **NWA).nwa_attention(batch)


def test_parameter_groups_cover_all_and_the_encoder_state_has_no_head(theirs, with_nwa):
    model = with_nwa(**NWA)
    groups = model.nwa_param_groups(lr=0.1, nwa_lr=0.2)
    assert [group["lr"] for group in groups] == [0.1, 0.2]
    held = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(held) == sorted(id(parameter) for parameter in model.parameters())
    theirs().load_state_dict(model.encoder_state_dict(), strict=True)
    assert len(with_nwa(nwa_weight=None, **NWA).nwa_param_groups(lr=0.1, nwa_lr=0.2)) == 1


def test_a_sequence_is_taken_from_its_first_occurrence(batch):
    marks = torch.arange(240.0)[:, None].expand(240, 2)
    calls = [Call([side], rows) for side, rows in zip((batch.left, batch.right), marks.split(120), strict=True)]
    found = by_tokens(calls, [call.output for call in calls], batch, "encoder")[:, 0].tolist()
    flat = batch.pairs.T.flatten().tolist()
    assert found == [flat.index(row) for row in range(16)]
