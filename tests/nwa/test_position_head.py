"""PositionHead: its size does not depend on the length, and its maps may have every s-th row and column."""

import math

import pytest
import torch
from foreign import fit, random_reads, term_of
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nwa_lightning import (
    EditDistanceModel,
    InputError,
    NWACallback,
    NWADataModule,
    NWAHead,
    NWALoss,
    NWAMixin,
    PooledCNN,
    PositionHead,
    pair_batch,
    row_jsd,
)
from nwa_lightning.cli.main import main
from nwa_lightning.nwa.position_head import position_codes

LENGTHS = torch.tensor([12, 7, 9])
PAIRS = torch.tensor([[0, 1], [1, 2], [0, 2]])
READS = random_reads(6)


@pytest.fixture(params=[1, 3])
def head(request):
    torch.manual_seed(0)
    head = PositionHead(16, 12, stride=request.param).double()
    nn.init.normal_(head.merge)
    return head


def points(count=3):
    return torch.randn(count, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_no_parameter_depends_on_the_length():
    torch.manual_seed(0)
    short, long = PositionHead(128, 150), PositionHead(128, 100_000, stride=100)
    shapes = {name: value.shape for name, value in short.state_dict().items()}
    assert shapes == {name: value.shape for name, value in long.state_dict().items()}
    expansion = 64 * (128 * 64 + 64) + (64 * 64 + 64)
    published = NWAHead(128, 150)
    linear = 151 * 64 * 128 + 151 * 64
    counts = [sum(parameter.numel() for parameter in one.parameters()) for one in (short, published)]
    assert counts[0] - expansion == counts[1] - linear
    size = 30_001
    logits = long(torch.randn(2, 128), torch.tensor([size - 1, 20_000]), torch.tensor([[0, 1]]), size)
    assert logits.shape == (1, 301, 301)
    assert logits.isfinite().all()


def test_work_depends_on_the_rows_alone():
    torch.manual_seed(0)
    work = []
    for length, stride in ((300, 3), (30_000, 300), (300, 1)):
        head = PositionHead(16, length, stride=stride)
        with FlopCounterMode(display=False) as counter:
            head(torch.randn(2, 16), torch.full((2,), length), torch.tensor([[0, 1]]), length + 1)
        work.append(counter.get_total_flops())
    assert work[0] == work[1] > 0
    assert work[2] > 2.9 * work[0]


@pytest.mark.parametrize("size", range(1, 14))
@pytest.mark.parametrize("stride", [1, 2, 3, 5, 20])
def test_rows_are_those_of_a_slice(size, stride):
    head = PositionHead(16, 20, stride=stride)
    scores = torch.arange(3 * size * size).view(3, size, size)
    inside = torch.arange(size) <= LENGTHS[:, None]
    rows = len(range(0, size, stride))
    logits = head(torch.randn(3, 16), LENGTHS.clamp(max=size - 1), PAIRS, size)
    nw, mask = head.pooled(scores, inside, PAIRS, rows)
    assert logits.shape == nw.shape == (3, rows, rows)
    assert torch.equal(nw, scores[:, ::stride, ::stride])
    assert torch.equal(mask, inside[:, ::stride])
    whole = head.spread(logits, size)
    assert whole.shape == (3, size, size)
    for row in range(size):
        for column in range(size):
            assert torch.equal(whole[:, row, column], logits[:, row // stride, column // stride])


def test_both_sides_share_one_decoder(head):
    """Swapping the sides transposes the map, once queries and keys are the same."""
    with torch.no_grad():
        head.key.weight.copy_(head.query.weight)
        head.query.bias.zero_()  # keys have none
    logits = head(points(), LENGTHS, PAIRS, 13)
    torch.testing.assert_close(head(points(), LENGTHS, PAIRS.flip(1), 13), logits.mT)
    reordered = head(points()[[2, 0, 1]], LENGTHS[[2, 0, 1]], torch.tensor([[1, 2], [2, 0], [1, 0]]), 13)
    torch.testing.assert_close(reordered, logits)


def test_rows_after_the_end_of_a_read_change_nothing(head):
    one = torch.tensor([7])
    wide = head.decode(points(1), one, 40)
    rows = 1 + 7 // head.stride
    torch.testing.assert_close(head.decode(points(1), one, 8), wide[:, :rows])
    # The same in a batch with a longer read.
    together = head.decode(points(2), torch.tensor([7, 39]), 40)
    torch.testing.assert_close(together[:1, :rows], wide[:, :rows])
    assert together.isfinite().all()


def test_only_the_direction_of_an_embedding_counts(head):
    torch.testing.assert_close(head(1e-3 * points(), LENGTHS, PAIRS, 13), head(points(), LENGTHS, PAIRS, 13))


def test_every_row_differs_and_depends_on_the_embedding(head):
    decoded = head.decode(points(), LENGTHS.new_full((3,), 12), 13)
    flat = decoded.flatten(0, 1)
    apart = torch.cdist(flat, flat) + 10 * torch.eye(len(flat))
    assert apart.min() > 1e-3


def test_the_matrix_of_a_position_is_a_weighted_sum(head):
    """The sum over k in plain loops."""
    directions, codes = nn.functional.normalize(points()), position_codes(torch.arange(3), LENGTHS).double()
    layer, shared = head.expand.matrices, head.expand.position
    found = head.expand(directions, codes)
    for read in range(3):
        for row in range(3):
            expected = shared.weight @ codes[read, row] + shared.bias
            for k, code in enumerate(codes[read, row]):
                part = slice(8 * k, 8 * (k + 1))
                expected = expected + code / 8 * (layer.weight[part] @ (4 * directions[read]) + layer.bias[part])
            torch.testing.assert_close(found[read, row], expected)


def test_codes_by_hand():
    codes = position_codes(torch.tensor([0, 5, 10]), torch.tensor([10, 0]))
    assert codes.shape == (2, 3, 64)
    torch.testing.assert_close(codes[:, 0], torch.tensor([0.0] * 32 + [1.0] * 32).expand(2, -1))
    assert codes[0, 1, 0].item() == pytest.approx(math.sin(5), abs=1e-6)
    assert codes[0, 1, 15].item() == pytest.approx(math.sin(5e-5), abs=1e-9)
    assert codes[0, 1, 16].item() == pytest.approx(1, abs=1e-6)  # half of the read is a quarter turn
    assert codes[0, 2, 48].item() == pytest.approx(-1, abs=1e-6)  # its end is half a turn
    assert codes[1].isfinite().all()


def test_the_state_of_another_length_and_stride_loads():
    torch.manual_seed(0)
    trained, longer = NWALoss(16, 32, head="positions"), NWALoss(16, 5000, head="positions", stride=4)
    longer.load_state_dict(trained.state_dict())
    assert longer.sizes == (16, 5000)
    longer.head.stride = 1
    batch, embeddings = pair_batch(READS), points(6).float()
    assert torch.equal(longer.divergence(embeddings, batch), trained.divergence(embeddings, batch))


@pytest.mark.parametrize("stride", [1, 4])
def test_the_term_is_that_of_the_slow_recurrence(stride):
    torch.manual_seed(0)
    nwa = NWALoss(16, 32, head="positions", weight=0.3, every=1, stride=stride)
    embeddings, pairs = points(6).float(), [[0, 1], [4, 2], [5, 0]]
    batch = pair_batch(READS, pairs)
    if stride == 1:
        expected = term_of(nwa, embeddings, READS, pairs)
    else:
        size = batch.nw.shape[1]
        first, second = (torch.arange(0, size, 4) <= batch.lengths[side][:, None] for side in batch.pairs.T)
        logits = nwa.head(embeddings, batch.lengths, batch.pairs, size).double()  # the formula, not the kernel
        expected = row_jsd(logits, batch.nw[:, ::4, ::4], first, second).mean().float()
    torch.testing.assert_close(nwa.divergence(embeddings, batch), expected)
    torch.testing.assert_close(nwa(embeddings, batch), 0.3 * expected)


def test_maps_for_display():
    nwa = NWALoss(16, 32, head="positions", stride=5)
    batch = pair_batch(READS)
    maps = nwa.attention(points(6).float(), batch)
    assert maps.shape == batch.nw.shape
    torch.testing.assert_close(maps.sum(dim=2), torch.ones(maps.shape[:2]))
    assert torch.equal(maps[:, 0], maps[:, 4])
    for one, second in zip(maps, batch.pairs[:, 1], strict=True):
        assert not one[:, batch.lengths[second] + 1 :].any()


@pytest.mark.parametrize("stride", [1, 4])
def test_the_head_learns_per_row_and_the_encoder_by_lambda(stride):
    torch.manual_seed(0)
    nwa, batch = NWALoss(16, 32, head="positions", weight=0.25, every=1, stride=stride), pair_batch(READS)
    embeddings = points(6).float().requires_grad_()
    into, *of_head = torch.autograd.grad(nwa.divergence(embeddings, batch), [embeddings, *nwa.parameters()])
    found, *head = torch.autograd.grad(nwa(embeddings, batch), [embeddings, *nwa.parameters()])
    torch.testing.assert_close(found, 0.25 * into)
    for one, two in zip(head, of_head, strict=True):
        assert one.isfinite().all()
        assert one.any()
        torch.testing.assert_close(one, two * stride / batch.nw.shape[1], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("stride", [1, 4])
def test_a_toy_pair_is_learnt(stride):
    torch.manual_seed(0)
    nwa, batch = NWALoss(16, 32, head="positions", every=1, stride=stride), pair_batch(READS[:2])
    points_of_reads = nn.Parameter(torch.randn(2, 16))
    optimizer = torch.optim.Adam([points_of_reads, *nwa.parameters()], lr=1e-3)
    losses = []
    for _ in range(80):
        optimizer.zero_grad()
        nwa(points_of_reads, batch).backward()
        optimizer.step()
        losses.append(nwa.last.item())
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("way", ["mixin", "callback", "model"])
def test_all_ways_in(theirs, reads, way):
    data = NWADataModule(str(reads), batch_size=16, nwa_batch_size=6)
    options = {"head": "positions", "stride": 3, "every": 1}
    if way == "callback":
        model, holder = theirs(), NWACallback(**options)
    else:
        named = {f"nwa_{name}": value for name, value in options.items()}
        if way == "mixin":
            model = type("WithNWA", (NWAMixin, theirs), {})(**named)
        else:
            encoder = PooledCNN(32, 16, channels=8)
            model = EditDistanceModel(encoder, **named, nwa_head_options={"feedforward_dim": 8})
        holder = model
    trainer = fit(model, data, *([holder] if way == "callback" else []))
    assert type(holder.nwa.head) is PositionHead
    assert holder.nwa.head.stride == 3
    assert 0 < trainer.callback_metrics["train/nwa_loss"] < 1 + 32 / 3


def test_on_the_command_line(reads, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.logger=false", "--trainer.max_steps=2"]
    named = ["--model.encoder=PooledCNN", "--model.encoder.bins=[1,3]", "--model.nwa_head=positions"]
    main(["fit", str(reads), *named, "--model.nwa_stride=4", "--data.batch_size=16", *quiet])
    model = EditDistanceModel.load_from_checkpoint("checkpoints/last.ckpt", weights_only=True)
    assert (type(model.encoder), tuple(model.encoder.bins)) == (PooledCNN, (1, 3))
    assert (type(model.nwa.head), model.nwa.stride, model.nwa.head.stride) == (PositionHead, 4, 4)


BAD = [
    ({"head": "positions", "stride": 0}, "stride: expected at least 1, found 0"),
    ({"head": "positions", "stride": 1.5}, "stride: expected a whole number, found 1.5"),
    ({"stride": 2}, "stride: expected 1 with the head 'decoder', found 2; use the head 'positions'"),
    ({"head": "nothing"}, "head: expected .*decoder.*positions.*, found 'nothing'; name one of them"),
    ({"head": "positions", "head_options": {"depth": 1}}, "head_options: expected some of hidden_dim, .* found depth"),
    ({"head": "positions", "head_options": {"heads": 0}}, "heads: expected at least 1, found 0"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_options_that_cannot_be_used(theirs, options, message):
    mixed = type("WithNWA", (NWAMixin, theirs), {})
    named = {f"nwa_{name}": value for name, value in options.items()}
    for make in (
        lambda: NWALoss(16, 32, **options),
        lambda: NWACallback(**options),
        lambda: mixed(**named),
        lambda: EditDistanceModel(PooledCNN(32, 16), **named),
    ):
        with pytest.raises(InputError, match=message):
            make()


def test_maps_of_one_row_teach_nothing(theirs, reads):
    message = "stride: expected at most max_length, 32, or maps have one row; found 33"
    with pytest.raises(InputError, match=message):
        NWALoss(16, 32, head="positions", stride=33)
    # Where the longest length is found later.
    data = NWADataModule(str(reads), batch_size=16, nwa_batch_size=6)
    with pytest.raises(InputError, match=message):
        fit(theirs(), data, NWACallback(head="positions", stride=33))
    state, unknown = NWALoss(16, 32, head="positions").state_dict(), NWALoss(head="positions", stride=33)
    with pytest.raises(InputError, match=message):
        unknown.load_state_dict(state)
    assert PositionHead(16, 32, stride=32).decode(torch.randn(1, 16), torch.tensor([32]), 33).shape == (1, 2, 8)


@pytest.mark.parametrize("name", ["features", "positions"])
def test_a_head_beside_features(theirs, name):
    message = "head: expected no choice with features" if name == "positions" else "head: expected decoder or positions"
    with pytest.raises(InputError, match=message):
        NWACallback(features="encoder.0", head=name)
    with pytest.raises(InputError, match=message):
        type("WithNWA", (NWAMixin, theirs), {})(nwa_features="encoder.0", nwa_head=name)
