"""PooledCNN: neither padding nor other reads nor max_length change an embedding, whatever the length."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_asmac import random_reads, tokens_of
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nwa_lightning import EditDistanceModel, HyperbolicDistance, PooledCNN, edit_distances
from nwa_lightning.encoders.pooled import bin_weights
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


@pytest.mark.parametrize("options", [{}, {"stages": 3, "stem_stride": 3, "stem_kernel": 5, "bins": (1, 40)}])
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


def test_no_weight_depends_on_max_length():
    """A trained encoder embeds reads of any length, the same whatever its max_length."""
    torch.manual_seed(0)
    short, long = PooledCNN(40, 24), PooledCNN(100_000, 24)
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
    encoder, work = PooledCNN(40, 24, channels=8), []
    for length in (800, 8000):
        with FlopCounterMode(display=False) as counter:
            encoder(torch.full((1, length + 1), 2))
        work.append(counter.get_total_flops())
    assert 0 < work[1] <= 10 * work[0]


def test_reads_without_a_base():
    torch.manual_seed(0)
    encoder = PooledCNN(40, 24)
    for tokens in (torch.ones(2, 1, dtype=torch.long), torch.tensor([[1, 0, 0]] * 2)):
        embeddings = encoder(tokens)
        torch.testing.assert_close(embeddings, encoder.readout.bias.expand(2, -1))
    encoder(tokens_of("", "A")).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())


@pytest.mark.parametrize("size", [1, 2, 9, 300])
def test_gradients_are_finite(size):
    torch.manual_seed(0)
    encoder = PooledCNN(300, 24)
    tokens = tokens_of(*random_reads(0, 3, size, size), "ACG")
    encoder(tokens).square().sum().backward()
    for parameter in encoder.parameters():
        assert parameter.grad.isfinite().all()
    assert encoder.readout.weight.grad.any(dim=0).all()  # of every bin


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types(dtype):
    torch.manual_seed(0)
    encoder = PooledCNN(40, 24)
    tokens = tokens_of(*random_reads(2, 4))
    expected = encoder(tokens)
    found = encoder.to(dtype)(tokens)
    assert found.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float64 else 5e-2
    torch.testing.assert_close(found, expected.to(dtype), atol=tolerance, rtol=0)


def test_an_exported_program_says_the_same(tmp_path):
    torch.manual_seed(0)
    encoder = PooledCNN(24, 10, channels=8).eval()
    tokens = encoder.pad(tokens_of(*random_reads(3, 4, 2, 24), ""))
    path = tmp_path / "encoder.pt2"
    path.write_bytes(_program(encoder))
    program = torch.export.load(path).module()
    for part in (tokens, tokens[:1], tokens[3:]):
        torch.testing.assert_close(program(part), encoder(part))


def test_a_checkpoint_rebuilds_it():
    torch.manual_seed(0)
    model = EditDistanceModel(PooledCNN(40, 24, channels=8, bins=[1, 3]), nwa_weight=None)
    again = EditDistanceModel(model.hparams["encoder"], nwa_weight=None)
    again.load_state_dict(model.state_dict())
    assert again.encoder.bins == (1, 3)
    tokens = tokens_of(*random_reads(0, 3))
    assert torch.equal(again.encode(tokens), model.encode(tokens))


def test_training_lowers_the_loss():
    torch.manual_seed(0)
    encoder, distance = PooledCNN(40, 32, channels=16), HyperbolicDistance()
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
