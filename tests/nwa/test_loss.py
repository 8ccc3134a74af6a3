"""NWALoss: value and gradients, every k-th step, what counts as training, sizes, and what cannot be used."""

import math

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.nn.functional import mse_loss

from nwa_lightning import InputError, NWACallback, NWADataModule, NWALoss, NWAMixin, NWAWeightSchedule, pair_batch
from nwa_lightning.nwa.step import drop_idle_gradients

READS = ["ACGTACGTAC", "ACGTTTACGT", "GGGTACG", "ACGTACGAAC", "TTTTACG", "ACGACGT"]


@pytest.fixture
def batch():
    return pair_batch(READS, nwa_batch_size=4)


@pytest.fixture
def embeddings():
    return torch.randn(6, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)


def loss(**options):
    torch.manual_seed(0)
    return NWALoss(16, 12, **{"every": 1, **options})


def gradients(nwa, embeddings, batch):
    embeddings.grad = None
    nwa.zero_grad()
    nwa(embeddings, batch).backward()
    return [parameter.grad.clone() for parameter in nwa.parameters()], embeddings.grad.clone()


@pytest.mark.parametrize("weight", [0, 1e-12, 1e-5, 0.5, 7])
def test_lambda_scales_the_gradient_into_the_encoder_alone(weight, embeddings, batch):
    head, encoder = gradients(loss(weight=1), embeddings, batch)
    scaled_head, scaled_encoder = gradients(loss(weight=weight), embeddings, batch)
    assert max(gradient.abs().max() for gradient in head) > 1e-5
    for one, other in zip(head, scaled_head, strict=True):
        assert torch.equal(one, other)
    torch.testing.assert_close(scaled_encoder, weight * encoder)
    nwa = loss(weight=weight)
    torch.testing.assert_close(nwa(embeddings, batch), weight * nwa.divergence(embeddings, batch))
    # The head's gradient is that of the divergence per row; the encoder's that of the whole.
    plain = loss()
    plain.divergence(embeddings, batch).backward()
    for parameter, gradient in zip(plain.parameters(), head, strict=True):
        torch.testing.assert_close(parameter.grad / batch.nw.shape[1], gradient, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("weight", [0, 1e-8])
def test_the_head_learns_with_a_tiny_lambda_as_with_a_large_one(weight, embeddings, batch):
    found = []
    for used in (1, weight):
        nwa = loss(weight=used)
        optimizer = torch.optim.Adam(nwa.parameters(), lr=1e-2)
        for _ in range(30):
            optimizer.zero_grad()
            nwa(embeddings, batch).backward()
            optimizer.step()
        found.append(nwa.last.item())
    assert found[1] == found[0] < 0.8 * loss().divergence(embeddings, batch).item()


@pytest.mark.parametrize("k", [1, 3])
def test_every_kth_step_weighs_k_times_as_much(k, embeddings, batch):
    nwa = loss(weight=0.5, every=k)
    whole = nwa.divergence(embeddings, batch).item()
    for step in range(7):
        assert nwa.due == (step % k == 0)
        value = nwa(embeddings, batch)
        assert value.item() == pytest.approx(0.5 * k * whole if step % k == 0 else 0)
        assert value.requires_grad
    _, once = gradients(loss(weight=0.5), embeddings, batch)
    _, kth = gradients(loss(weight=0.5, every=k), embeddings, batch)
    torch.testing.assert_close(kth, k * once)


def test_evaluation_changes_nothing(embeddings, batch):
    nwa = loss(weight="auto", every=2)
    own = torch.tensor(3.0)
    nwa(embeddings, batch, own)
    nwa(embeddings, batch, own)
    before = {name: value.clone() for name, value in nwa.state_dict().items()}
    value = (nwa.auto() * nwa.divergence(embeddings, batch)).item()
    with torch.no_grad():
        assert nwa(embeddings, batch).item() == pytest.approx(value)
    nwa.eval()
    for _ in range(3):
        assert nwa(embeddings, batch, 100 * own).item() == pytest.approx(value)
    for name, kept in before.items():
        assert torch.equal(nwa.state_dict()[name], kept), name


def test_a_shared_validation_step_leaves_lambda_alone(reads):
    class Shared(NWAMixin, LightningModule):
        def __init__(self):
            super().__init__(nwa_embedding_dim=16, nwa_max_length=32, nwa_weight="auto", nwa_every=1)
            self.encoder = nn.EmbeddingBag(6, 16)

        def training_step(self, batch, batch_idx):
            embeddings = self.encode(batch.tokens)
            own = mse_loss(embeddings.norm(dim=1), batch.lengths.float())
            return own + self.nwa_loss(embeddings, batch, own)

        def validation_step(self, batch, batch_idx):
            self.training_step(batch, batch_idx)

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters())

    found = []
    for validations in (0, 5):
        torch.manual_seed(0)
        data = NWADataModule(str(reads), batch_size=16, nwa_batch_size=4)
        model = Shared()
        options = {"limit_val_batches": validations, "num_sanity_val_steps": 0, "enable_progress_bar": False}
        Trainer(max_steps=12, max_epochs=-1, logger=False, enable_checkpointing=False, **options).fit(model, data)
        found.append((model.nwa.auto.running.tolist(), model.nwa.steps))
    assert found[0] == found[1]
    assert found[0][1] == 12


def test_scattered_pairs_and_a_known_block_are_the_same(embeddings, batch):
    nwa = loss()
    assert batch.nw_rows == 4
    known = nwa.divergence(embeddings, batch)
    torch.testing.assert_close(nwa.divergence(embeddings, batch._replace(nw_rows=None)), known)
    scattered = pair_batch(READS, [[5, 2], [0, 3], [2, 0]])
    assert scattered.nw_rows is None
    singles = [
        nwa.divergence(embeddings, pair_batch(READS, [pair], max_length=10)) for pair in [[5, 2], [0, 3], [2, 0]]
    ]
    torch.testing.assert_close(nwa.divergence(embeddings, scattered), torch.stack(singles).mean())


def test_without_matrices_the_term_is_0_and_reaches_every_parameter(embeddings):
    nwa = loss()
    value = nwa(embeddings, pair_batch(READS, nwa_batch_size=0))
    value.backward()
    assert value.item() == 0
    assert all(parameter.grad is not None for parameter in nwa.parameters())


def test_the_count_of_steps_is_in_the_state(embeddings, batch):
    nwa = loss(every=3)
    nwa(embeddings, batch)
    nwa(embeddings, batch)
    resumed = loss(every=3)
    resumed.load_state_dict(nwa.state_dict())
    assert [resumed.steps, resumed.due] == [2, False]
    unsized = NWALoss(every=3)
    unsized.load_state_dict(nwa.state_dict())
    assert unsized.sizes == (16, 12)
    assert torch.equal(unsized.attention(embeddings, batch), nwa.attention(embeddings, batch))


def test_an_optimizer_keeps_the_parameters_of_a_head_that_gets_its_sizes_later(embeddings, batch):
    nwa = NWALoss(every=1)
    held = list(nwa.parameters())
    with pytest.raises(InputError, match="embedding_dim, max_length: expected numbers before the first step"):
        nwa(embeddings, batch)
    nwa.set_sizes(16, 12)
    assert all(one is other for one, other in zip(held, nwa.parameters(), strict=True))
    nwa(embeddings, batch).backward()
    assert all(parameter.grad is not None for parameter in held)


def test_steps_without_the_term_leave_the_head_alone(embeddings, batch):
    """Also where its gradients are zeros, as those of a distributed run."""
    nwa = loss(every=3)
    optimizer = torch.optim.Adam(nwa.parameters(), lr=0.1)
    seen = []
    for _ in range(4):
        optimizer.zero_grad()
        (nwa(embeddings, batch) + nwa._touch_head()).backward()
        drop_idle_gradients(nwa)
        optimizer.step()
        seen.append(nwa.head.query.weight.detach().clone())
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[1], seen[2])
    assert not torch.equal(seen[2], seen[3])


@pytest.mark.parametrize("dim", [3, 10, 30, 128])
def test_any_dimension(dim):
    nwa = NWALoss(dim, 12)
    assert nwa.attention(torch.randn(6, dim), pair_batch(READS)).shape == (15, 11, 11)
    assert nwa.head.query.in_features % 4 == 0


def test_sizes_of_the_decoder():
    options = {"hidden_dim": 24, "heads": 3, "layers": 1, "feedforward_dim": 32}
    head = NWALoss(16, 12, head_options=options).head
    assert (head.query.in_features, head.heads, len(head.decoder.layers)) == (24, 3, 1)
    assert head.decoder.layers[0].linear1.out_features == 32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": -1}, r"weight: expected a number of at least 0, 'auto' or None, found -1"),
        ({"weight": math.nan}, r"weight: .* found nan"),
        ({"weight": math.inf}, r"weight: .* found inf"),
        ({"weight": "automatic"}, r"weight: .* found 'automatic'"),
        ({"temperature": 0}, r"temperature: expected a number above 0, found 0"),
        ({"every": 0}, r"every: expected at least 1 step, found 0"),
        ({"head_options": {"width": 3}}, r"head_options: expected some of hidden_dim, heads, .*, found width"),
        ({"head_options": {"hidden_dim": 9}}, r"hidden_dim: expected a positive multiple of the 4 heads, found 9"),
        ({"head": "features", "head_options": {"heads": 2}}, r"head_options: expected none with features"),
    ],
)
def test_what_cannot_be_used(options, message):
    with pytest.raises(InputError, match=message):
        NWALoss(16, 12, **options)
    if "head" not in options:
        with pytest.raises(InputError, match=message):
            NWACallback(**options)


def test_inputs_that_do_not_fit(batch):
    nwa = loss()
    with pytest.raises(TypeError, match=r"lengths, pairs and nw, such as a PairBatch, but got tuple; .*pair_batch"):
        nwa(torch.randn(6, 16), (1, 2))
    with pytest.raises(ValueError, match=r"one embedding per sequence of the batch \(6\) but got 5"):
        nwa(torch.randn(5, 16), batch)
    with pytest.raises(ValueError, match=r"\(rows, 16\) but got \(6, 8\); set embedding_dim"):
        nwa(torch.randn(6, 8), batch)
    with pytest.raises(ValueError, match=r"the weight is 'auto'; pass it as encoder_loss"):
        loss(weight="auto")(torch.randn(6, 16, requires_grad=True), batch)


@pytest.mark.parametrize("way", ["mixin", "callback"])
def test_an_interrupted_schedule_gives_the_weight_back(theirs, reads, way):
    class WithNWA(NWAMixin, theirs):
        pass

    class Interrupt(Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            nwa = pl_module.nwa
            seen.append(nwa.factor * nwa.weight)
            if trainer.global_step == 3:
                raise KeyboardInterrupt

    seen = []
    model = WithNWA(nwa_weight=0.8) if way == "mixin" else theirs()
    callback = NWACallback(weight=0.8)
    callbacks = [*([callback] if way == "callback" else []), NWAWeightSchedule(warmup=8), Interrupt()]
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "limit_val_batches": 0}
    trainer = Trainer(max_steps=9, max_epochs=-1, callbacks=callbacks, **options)
    data = NWADataModule(str(reads), batch_size=16)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trainer.fit(model, data)
    assert seen == pytest.approx([0.1, 0.2, 0.3])
    nwa = model.nwa if way == "mixin" else callback.nwa
    assert nwa.factor * nwa.weight == 0.8
