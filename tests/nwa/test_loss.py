"""NWALoss in a plain loop: its value, its gradients, its count of steps."""

import copy
import math

import pytest
import torch
from foreign import fit, random_reads, term_of
from torch import nn

from nwa_lightning import InputError, NWACallback, NWADataModule, NWALoss, NWAMixin, NWAWeightSchedule, pair_batch
from nwa_lightning.nwa.step import drop_idle_gradients
from nwa_lightning.nwa.weight import AutoWeight

READS = random_reads(12)
M = 16


def nwa_loss(**options):
    torch.manual_seed(0)
    return NWALoss(M, 32, **{"every": 1, **options})


def points(count=12):
    return torch.randn(count, M, generator=torch.Generator().manual_seed(1), requires_grad=True)


def gradients(nwa, embeddings, batch, *encoder_loss):
    """Value, gradient of the embeddings and gradients of the head of one call."""
    embeddings.grad = None
    nwa.zero_grad()
    value = nwa(embeddings, batch, *encoder_loss)
    value.backward()
    return value.detach(), embeddings.grad.clone(), [parameter.grad.clone() for parameter in nwa.parameters()]


def test_in_a_plain_loop():
    torch.manual_seed(0)
    encoder, nwa = nn.Embedding(len(READS), M), nwa_loss(weight=0.5, every=2)
    optimizer = torch.optim.Adam([*encoder.parameters(), *nwa.parameters()], lr=1e-2)
    batch, rows, seen = pair_batch(READS), torch.arange(len(READS)), []
    for _ in range(60):
        embeddings = encoder(rows)
        loss = embeddings.square().mean() + nwa(embeddings, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(nwa.last.item())
    assert nwa.steps == 60
    assert seen[1] == seen[0]
    assert seen[-1] < 0.7 * seen[0]


def test_the_value_is_that_of_the_slow_recurrence():
    nwa, embeddings = nwa_loss(weight=0.3), points()
    pairs = [[0, 1], [4, 2], [11, 0], [1, 4]]
    batch = pair_batch(READS, pairs)
    expected = term_of(nwa, embeddings, READS, pairs)
    torch.testing.assert_close(nwa.divergence(embeddings, batch), expected)
    torch.testing.assert_close(nwa(embeddings, batch), 0.3 * expected)


def test_scattered_rows_give_what_a_block_gives():
    """The same pairs, once of rows 7, 2 and 9, once of rows 0, 1 and 2."""
    nwa, scattered = nwa_loss(), points()
    order = [7, 2, 9, *(row for row in range(len(READS)) if row not in (7, 2, 9))]
    block = scattered.detach()[order].requires_grad_()
    one = pair_batch(READS, [[7, 2], [7, 9], [2, 9]])
    two = pair_batch([READS[row] for row in order], [[0, 1], [0, 2], [1, 2]])
    assert (one.nw_rows, two.nw_rows) == (None, 3)
    found, expected = gradients(nwa, scattered, one), gradients(nwa, block, two)
    torch.testing.assert_close(found[0], expected[0])
    torch.testing.assert_close(found[1][order], expected[1])
    for a, b in zip(found[2], expected[2], strict=True):
        torch.testing.assert_close(a, b)
    unknown = two._replace(nw_rows=None)
    assert torch.equal(nwa(block, unknown), nwa(block, two))
    assert torch.equal(nwa.attention(block, unknown), nwa.attention(block, two))


@pytest.mark.parametrize("weight", [1e-12, 0.0, 0.3, 1e3])
def test_lambda_scales_the_gradient_of_the_encoder_and_not_that_of_the_head(weight):
    batch, embeddings, nwa = pair_batch(READS), points(), nwa_loss(weight=weight)
    divergence = nwa.divergence(embeddings, batch)
    into, *of_head = torch.autograd.grad(divergence, [embeddings, *nwa.parameters()])
    found, scaled, head = gradients(nwa, embeddings, batch)
    assert into.abs().max() > 1e-4
    torch.testing.assert_close(found, weight * divergence.detach())
    torch.testing.assert_close(scaled, weight * into, rtol=1e-4, atol=weight * 1e-7)
    rows = batch.nw.shape[1]  # the head learns from the divergence of a row
    for one, two in zip(head, of_head, strict=True):
        torch.testing.assert_close(one, two / rows, rtol=1e-4, atol=1e-7)
    for one, two in zip(head, gradients(nwa_loss(weight=1.0), embeddings, batch)[2], strict=True):
        assert torch.equal(one, two)
    assert sum(gradient.abs().sum() > 0 for gradient in head) > 10


@pytest.mark.parametrize("weight", [1e-12, 0.0])
def test_the_head_learns_with_a_lambda_of_next_to_nothing(theirs, reads, weight):
    """As it learns with lambda 1, of an encoder that stands still."""

    class StandsStill(theirs):
        def configure_optimizers(self):
            groups = [{"params": self.encoder.parameters(), "lr": 0.0}, {"params": self.nwa.parameters(), "lr": 1e-3}]
            return torch.optim.Adam(groups)

    states = []
    for one in (1.0, weight):
        torch.manual_seed(0)
        callback = NWACallback(weight=one, every=2)
        fit(StandsStill(), NWADataModule(str(reads), batch_size=16), callback, steps=6)
        states.append(callback.nwa.state_dict())
    for name, value in states[0].items():
        assert torch.equal(states[1][name], value), name


def test_every_third_step():
    nwa, embeddings, batch = nwa_loss(weight=0.5, every=3), points(), pair_batch(READS)
    whole, into, head = gradients(nwa_loss(weight=1.0), embeddings, batch)
    for step in range(7):
        assert nwa.due == (step % 3 == 0)
        assert nwa.steps == step
        value, found, of_head = gradients(nwa, embeddings, batch) if nwa.due else (nwa(embeddings, batch), None, None)
        if found is None:
            assert value == 0
            assert torch.autograd.grad(value, embeddings)[0].abs().max() == 0
            continue
        torch.testing.assert_close(value, 1.5 * whole)
        torch.testing.assert_close(found, 1.5 * into)
        for one, two in zip(of_head, head, strict=True):
            assert torch.equal(one, two)
        torch.testing.assert_close(nwa.last, whole)
        assert nwa.last_weight.item() == 0.5


def test_the_count_of_steps_is_resumed():
    nwa, embeddings, batch = nwa_loss(every=3), points(), pair_batch(READS)
    for _ in range(4):
        nwa(embeddings, batch)
    resumed = NWALoss(M, 32, every=3)
    resumed.load_state_dict(nwa.state_dict())
    assert resumed.steps == 4
    for _ in range(5):
        assert resumed.due == nwa.due
        assert torch.equal(resumed(embeddings, batch), nwa(embeddings, batch))


def test_a_state_brings_its_sizes():
    """The head has its true size, and the optimizer that held its parameters still holds them."""
    known, unknown = nwa_loss(), NWALoss()
    held = {name: id(parameter) for name, parameter in unknown.named_parameters()}
    unknown.load_state_dict(known.state_dict())
    assert unknown.sizes == (M, 32)
    assert {name: id(parameter) for name, parameter in unknown.named_parameters()} == held
    embeddings, batch = points(), pair_batch(READS)
    assert torch.equal(unknown.divergence(embeddings, batch), known.divergence(embeddings, batch))
    with pytest.raises(
        InputError, match=r"embedding_dim, max_length: .* found none; pass both .*, or train by a Trainer"
    ):
        NWALoss()(embeddings, batch)


@pytest.mark.parametrize("gradient", ["none", "zero"])
def test_an_idle_step_leaves_the_head_alone(gradient):
    """With several processes an idle head has gradients of zero, by which Adam would move it on."""
    nwa, embeddings, batch = nwa_loss(every=2), points(), pair_batch(READS)
    optimizer = torch.optim.Adam(nwa.parameters(), lr=0.1)
    moved = []
    for _ in range(4):
        before = copy.deepcopy(nwa.head.state_dict())
        optimizer.zero_grad()
        value = nwa(embeddings, batch)
        if gradient == "zero":
            (value + nwa._touch_head()).backward()
            assert all(parameter.grad is not None for parameter in nwa.parameters())
        else:
            value.backward()
        drop_idle_gradients(nwa)
        optimizer.step()
        moved.append(any(not torch.equal(value, before[name]) for name, value in nwa.head.state_dict().items()))
    assert moved == [True, False, True, False]


def test_accumulated_gradients_are_kept_where_one_of_the_steps_had_the_term():
    nwa, embeddings, batch = nwa_loss(every=2), points(), pair_batch(READS)
    nwa(embeddings, batch).backward()
    nwa(embeddings, batch).backward()
    drop_idle_gradients(nwa)
    assert all(parameter.grad is not None for parameter in nwa.parameters())
    drop_idle_gradients(nwa)
    assert all(parameter.grad is None for parameter in nwa.parameters())


def test_auto_is_a_tenth_of_the_loss_and_moves_in_training_alone():
    nwa, embeddings, batch = nwa_loss(weight="auto"), points(), pair_batch(READS)
    value, into, _ = gradients(nwa, embeddings, batch, torch.tensor(7.0))
    assert value.item() == pytest.approx(0.7, rel=1e-5)
    whole, plain, _ = gradients(nwa_loss(weight=1.0), embeddings, batch)
    torch.testing.assert_close(into, 0.7 / whole * plain)
    running = nwa.auto.running.clone()
    with torch.no_grad():
        nwa(embeddings, batch, torch.tensor(100.0))
    nwa.eval()(embeddings, batch, torch.tensor(100.0))
    nwa(embeddings, batch)
    assert torch.equal(nwa.auto.running, running)
    nwa.train()(embeddings, batch, torch.tensor(100.0))
    assert not torch.equal(nwa.auto.running, running)
    nwa.factor = 0.5
    assert nwa.eval()(embeddings, batch).item() == pytest.approx(0.5 * nwa.auto().item() * whole.item(), rel=1e-5)


def test_auto_by_hand():
    auto = AutoWeight(ratio=0.5, decay=0.5)
    assert auto() == 0
    auto.update(torch.tensor(4.0), torch.tensor(2.0))
    assert auto().item() == 1
    auto.update(torch.tensor(-8.0), torch.tensor(1.0))
    assert auto.running.tolist() == [5, 1]
    assert auto().item() == 2.5


BAD = [
    ({"weight": -1}, "weight: expected a number of at least 0, 'auto' or None, found -1"),
    ({"weight": math.nan}, "weight: .* found nan"),
    ({"weight": math.inf}, "weight: .* found inf"),
    ({"weight": True}, "weight: .* found True"),
    ({"weight": "automatic"}, "weight: .* found 'automatic'; give one such as"),
    ({"temperature": 0}, "temperature: expected a number above 0, found 0"),
    ({"temperature": math.nan}, "temperature: expected a number above 0, found nan"),
    ({"every": 0}, "every: expected at least 1 step, found 0"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_numbers_that_cannot_be_used(theirs, options, message):
    mixed = type("WithNWA", (NWAMixin, theirs), {})
    for make in (
        lambda: NWALoss(M, 32, **options),
        lambda: NWACallback(**options),
        lambda: mixed(**{f"nwa_{name}": value for name, value in options.items()}),
    ):
        with pytest.raises(InputError, match=message):
            make()


def test_embeddings_and_batches_that_do_not_fit():
    nwa, batch = nwa_loss(), pair_batch(READS)
    with pytest.raises(ValueError, match=r"one embedding per sequence of the batch \(12\) but got 3; encode each"):
        nwa(points(3), batch)
    with pytest.raises(ValueError, match=r"embeddings of shape \(rows, 16\) but got \(12, 8\); set embedding_dim"):
        nwa(points()[:, :8], batch)
    with pytest.raises(TypeError, match=r"lengths, pairs and nw, .* but got list; .* pair_batch\(sequences\)"):
        nwa(points(), READS)
    with pytest.raises(ValueError, match=r"at most 32 bases \(max_length\) but got 40"):
        nwa(points(2), pair_batch(["A" * 40, "C" * 40]))


def test_a_schedule_moves_a_factor_of_the_term():
    schedule, nwa, embeddings, batch = NWAWeightSchedule(warmup=2), nwa_loss(weight=0.5), points(), pair_batch(READS)
    whole = nwa(embeddings, batch)
    nwa.factor = schedule.factor(0)
    torch.testing.assert_close(nwa(embeddings, batch), 0.5 * whole)
