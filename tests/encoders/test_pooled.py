"""PooledCNN: neither padding nor other reads nor max_length change an embedding, whatever the length."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_asmac import random_reads, tokens_of
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nwa_lightning import EditDistanceModel, HyperbolicDistance, PooledCNN, edit_distances
from nwa_lightning.encoders.pooling import AttentionPooling, bin_weights
from nwa_lightning.models.export import _program


def parts_in_common(length, count, position, stride):
    """The fraction of each of ``count`` bins of a read that a position covers; plain fractions."""
    first, last = position * stride, (position + 1) * stride
    size = Fraction(length, count)
    for number in range(count):
        start, end = number * size, (number + 1) * size
        yield max(Fraction(0), min(end, last) - max(start, first)) / size


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.integers(1, 90), min_size=1, max_size=3),
    st.lists(st.integers(1, 20), min_size=1, max_size=3),
    st.integers(1, 9),
)
def test_weights_are_overlaps(lengths, bins, stride):
    positions = -(-max(lengths) // stride) + 2
    found = bin_weights(torch.tensor(lengths), bins, positions, stride)
    assert found.shape == (len(lengths), sum(bins), positions)
    for row, length in zip(found, lengths, strict=True):
        columns = [
            [float(part) for count in bins for part in parts_in_common(length, count, position, stride)]
            for position in range(positions)
        ]
        torch.testing.assert_close(row, torch.tensor(columns).T)
    torch.testing.assert_close(found.sum(dim=2), torch.ones(len(lengths), sum(bins)))


def test_weights_by_hand():
    """3 bins of 8 bases, with positions of 4 bases; 4 bins of one base; no base at all."""
    third = torch.tensor([[1, 0], [0.5, 0.5], [0, 1]])
    torch.testing.assert_close(bin_weights(torch.tensor([8]), [3], 2, 4)[0], third)
    torch.testing.assert_close(bin_weights(torch.tensor([1]), [4], 2, 4)[0], torch.tensor([[1.0, 0]] * 4))
    assert not bin_weights(torch.tensor([0]), [1, 4], 2, 4).any()


def test_weights_of_long_reads_are_exact():
    length, count, stride = 1_000_003, 16, 8
    weights = bin_weights(torch.tensor([length]), [count], -(-length // stride), stride)[0]
    for position in (0, 7_812, 7_813, 62_500, 125_000):
        expected = [float(part) for part in parts_in_common(length, count, position, stride)]
        torch.testing.assert_close(weights[:, position], torch.tensor(expected))


def attended(pooling, features, length, stride):
    """Attention pooling of one read, position by position, in float64."""
    queries, keys, places = (
        weight.detach().double() for weight in (pooling.queries, pooling.keys.weight, pooling.places.weight)
    )
    found = []
    for query in queries:
        weights, total = [], torch.zeros(features.shape[1], dtype=torch.float64)
        for position in range(math.ceil(length / stride)):
            first, last = position * stride, min((position + 1) * stride, length)
            place = math.pi * (first + last) / 2 / length
            code = [math.sin(half * place) for half in (1, 2, 3, 4)] + [math.cos(half * place) for half in (1, 2, 3, 4)]
            key = keys @ features[position].double() + places @ torch.tensor(code, dtype=torch.float64)
            weights.append((last - first) * math.exp(query @ key / math.sqrt(len(key))))
            total += weights[-1] * features[position].double()
        found.append(total / sum(weights))
    return torch.stack(found)


@pytest.mark.parametrize("stride", [1, 3, 8])
def test_attention_is_that_of_plain_loops(stride):
    """Whatever is behind the end of a read; a read without a base has zeros."""
    torch.manual_seed(0)
    pooling, lengths = AttentionPooling(6, 4), torch.tensor([1, 2, 3, 20, 24, 25, 0])
    features = 3 * torch.randn(7, 25, 6)
    found = pooling(features, lengths, stride)
    for row, length in enumerate(lengths.tolist()[:-1]):
        expected = attended(pooling, features[row], length, stride)
        torch.testing.assert_close(found[row].double(), expected, atol=1e-5, rtol=0)
    assert found[-1].equal(torch.zeros(4, 6))
    assert (found[:, 0] - found[:, 1])[4:6].abs().max() > 0.1  # queries differ


def test_equal_keys_give_the_mean_over_the_read():
    torch.manual_seed(0)
    pooling, lengths, features = AttentionPooling(6, 2), torch.tensor([1, 9, 31, 32]), torch.randn(4, 8, 6)
    with torch.no_grad():
        pooling.queries.zero_()
    mean = bin_weights(lengths, [1], 8, 4) @ features
    torch.testing.assert_close(pooling(features, lengths, 4), mean.expand(-1, 2, -1))


def test_attention_finds_a_place():
    """With the right weights, one query sees the start of reads of any length, and one their end."""
    pooling = AttentionPooling(2, 2)
    with torch.no_grad():
        pooling.keys.weight.zero_()
        pooling.places.weight.zero_()
        pooling.places.weight[0, 4] = 1  # cos(pi x) falls from 1 to -1
        pooling.queries.copy_(torch.tensor([[1e6, 0], [-1e6, 0]]))
    features = torch.stack([torch.arange(50.0), torch.ones(50)], dim=1).expand(3, -1, -1)
    found = pooling(features, torch.tensor([1, 40, 200]), 4)
    torch.testing.assert_close(found[:, :, 0], torch.tensor([[0.0, 0], [0, 9], [0, 49]]))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"queries": 5},
        {"stages": 3, "stem_stride": 3, "stem_kernel": 5, "bins": (1, 40)},
        {"stages": 3, "stem_stride": 3, "stem_kernel": 5, "bins": (1,), "queries": 2},
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_a_read_alone_in_any_batch_and_with_any_padding(options, training):
    """For each length from 1 to 300, with fewer bases than bins among them."""
    torch.manual_seed(0)
    encoder = PooledCNN(300, 24, channels=16, **options).train(training)
    reads = [read for n in range(1, 301) for read in random_reads(n, 1, n, n)]
    with torch.no_grad():
        together = encoder(tokens_of(*reads))
        assert 0.1 < together.std(dim=0).mean() < 10
        padded = encoder(nn.functional.pad(tokens_of(*reads), (0, 37)))
        torch.testing.assert_close(padded, together, rtol=0, atol=1e-5)
        for read, embedding in zip(reads, together, strict=True):
            torch.testing.assert_close(encoder(tokens_of(read))[0], embedding, rtol=0, atol=1e-5)


@pytest.mark.parametrize("queries", [0, 3])
def test_no_weight_depends_on_max_length(queries):
    """A trained encoder embeds reads of any length, the same whatever its max_length."""
    torch.manual_seed(0)
    short, long = PooledCNN(40, 24, queries=queries), PooledCNN(100_000, 24, queries=queries)
    long.load_state_dict(short.state_dict())
    tokens = tokens_of(*random_reads(0, 3, 500, 600))
    assert torch.equal(short(tokens), long(tokens))


def test_the_same_content_twice_as_long_is_near():
    """Bins are parts of the read, not of max_length: each bin of a stretched read has the same letters."""
    torch.manual_seed(0)
    encoder = PooledCNN(1000, 24, bins=(4,)).eval()
    stretched = ["".join(letter * size for letter in "ACGT") for size in (64, 128)]
    other = "".join(letter * 64 for letter in "CATG")
    one, two, three = encoder(tokens_of(*stretched, other))
    assert (one - two).norm() < 0.2 * (one - three).norm()


def test_work_is_linear_in_the_length():
    torch.manual_seed(0)
    encoder, work = PooledCNN(40, 24, channels=8, queries=2), []
    for length in (800, 8000):
        with FlopCounterMode(display=False) as counter:
            encoder(torch.full((1, length + 1), 2))
        work.append(counter.get_total_flops())
    assert 0 < work[1] <= 10 * work[0]


@pytest.mark.parametrize("queries", [0, 3])
def test_reads_without_a_base(queries):
    torch.manual_seed(0)
    encoder = PooledCNN(40, 24, queries=queries)
    for tokens in (torch.ones(2, 1, dtype=torch.long), torch.tensor([[1, 0, 0]] * 2)):
        embeddings = encoder(tokens)
        torch.testing.assert_close(embeddings, encoder.readout.bias.expand(2, -1))
    encoder(tokens_of("", "A")).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())


@pytest.mark.parametrize("queries", [0, 3])
@pytest.mark.parametrize("size", [1, 2, 9, 300])
def test_gradients_are_finite(size, queries):
    torch.manual_seed(0)
    encoder = PooledCNN(300, 24, queries=queries)
    tokens = tokens_of(*random_reads(0, 3, size, size), "ACG")
    encoder(tokens).square().sum().backward()
    for parameter in encoder.parameters():
        assert parameter.grad.isfinite().all()
    assert encoder.readout.weight.grad.any(dim=0).all()  # of every bin


@pytest.mark.parametrize("queries", [0, 3])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types(dtype, queries):
    torch.manual_seed(0)
    encoder = PooledCNN(40, 24, queries=queries)
    tokens = tokens_of(*random_reads(2, 4))
    expected = encoder(tokens)
    found = encoder.to(dtype)(tokens)
    assert found.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float64 else 5e-2
    torch.testing.assert_close(found, expected.to(dtype), atol=tolerance, rtol=0)


def test_an_exported_program_says_the_same(tmp_path):
    torch.manual_seed(0)
    encoder = PooledCNN(24, 10, channels=8, queries=2).eval()
    tokens = encoder.pad(tokens_of(*random_reads(3, 4, 2, 24), ""))
    path = tmp_path / "encoder.pt2"
    path.write_bytes(_program(encoder))
    program = torch.export.load(path).module()
    for part in (tokens, tokens[:1], tokens[3:]):
        torch.testing.assert_close(program(part), encoder(part))


def test_a_checkpoint_rebuilds_it():
    torch.manual_seed(0)
    model = EditDistanceModel(PooledCNN(40, 24, channels=8, bins=[1, 3], queries=2), nwa_weight=None)
    again = EditDistanceModel(model.hparams["encoder"], nwa_weight=None)
    again.load_state_dict(model.state_dict())
    assert again.encoder.bins == (1, 3)
    assert len(again.encoder.attention.queries) == 2
    tokens = tokens_of(*random_reads(0, 3))
    assert torch.equal(again.encode(tokens), model.encode(tokens))


@pytest.mark.parametrize("queries", [0, 3])
def test_training_lowers_the_loss(queries):
    torch.manual_seed(0)
    encoder, distance = PooledCNN(40, 32, channels=16, queries=queries), HyperbolicDistance()
    reads = random_reads(4, 12)
    tokens, (first, second) = tokens_of(*reads), torch.triu_indices(12, 12, 1)
    edits = torch.from_numpy(edit_distances(reads, torch.stack([first, second], dim=1).numpy())) / 40
    optimizer = torch.optim.Adam([*encoder.parameters(), *distance.parameters()], lr=1e-2)
    losses = []
    for _ in range(40):
        embeddings = encoder(tokens)
        loss = (distance(embeddings[first], embeddings[second]) - edits).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10
