import numpy as np
import pytest
import torch
from oracle import edit_distance, nw_matrix

from nwa_lightning import NWADataModule
from nwa_lightning.alignment import Scores
from nwa_lightning.data.batch import block_first_pairs
from nwa_lightning.data.datasets import DrawnPairs, FixedPairs
from nwa_lightning.data.loaders import StepSampler
from nwa_lightning.errors import InputError
from nwa_lightning.sequences.alphabet import DNA, PADDING, SOS


def same(one, two):
    assert one.nw_rows == two.nw_rows
    return all(torch.equal(a, b) for a, b in zip(one[:5], two[:5], strict=True))


def test_a_batch_keeps_its_contract(data):
    batch = next(iter(data.train_dataloader()))
    size = int(batch.lengths.max()) + 1
    assert batch.tokens.shape == (16, size)
    assert batch.pairs.shape == (120, 2)
    assert batch.distance.shape == (120,)
    assert batch.nw.shape == (15, size, size)
    assert batch.nw.dtype == torch.int16
    assert batch.nw_pairs.max() < 6
    assert (batch.tokens[:, 0] == SOS).all()
    assert torch.equal((batch.tokens != PADDING).sum(1) - 1, batch.lengths)
    assert torch.equal(batch.left, batch.tokens[batch.pairs[:, 0]])
    assert torch.equal(batch.right, batch.tokens[batch.pairs[:, 1]])
    strings = [DNA.decode(row.numpy()) for row in batch.tokens]
    for number, (first, second) in enumerate(batch.pairs.tolist()):
        assert batch.distance[number] == edit_distance(strings[first], strings[second])
        assert batch.longest[number] == max(len(strings[first]), len(strings[second]))
    for number, (first, second) in enumerate(batch.nw_pairs.tolist()):
        rows, columns = len(strings[first]) + 1, len(strings[second]) + 1
        assert np.array_equal(batch.nw[number, :rows, :columns], nw_matrix(strings[first], strings[second], 1, -1, -1))


def test_pairs_are_distinct_and_as_many_as_asked(data):
    dataset = DrawnPairs(data.split.train, batch_size=16, pairs=40, nwa_batch_size=5, scores=Scores(), seed=1)
    batch = dataset[7]
    assert batch.pairs.shape == (40, 2)
    assert len({tuple(pair) for pair in batch.pairs.tolist()}) == 40
    assert (batch.pairs[:, 0] < batch.pairs[:, 1]).all()
    assert batch.nw.shape[0] == 10


def test_block_first_pairs():
    assert block_first_pairs(4, 3).tolist() == [[0, 1], [0, 2], [1, 2], [0, 3], [1, 3], [2, 3]]


def test_batches_come_from_the_whole_training_set_and_nothing_else(data):
    train = {row.tobytes() for row in data.split.train.padded()}
    held_out = {row.tobytes() for part in (data.split.val, data.split.test) for row in part.padded()}
    assert not train & held_out
    width = data.max_length
    seen = set()
    for number in range(60):
        tokens = data.train_dataloader().dataset[number].tokens[:, 1:].numpy().astype(np.uint8)
        seen |= {np.pad(row, (0, width - len(row))).tobytes() for row in tokens}
    assert seen == train


@pytest.mark.parametrize("workers", [1, 2])
def test_same_seed_same_batches_for_any_number_of_workers(reads, workers):
    options = {"batch_size": 8, "nwa_batch_size": 3, "seed": 3}
    alone = NWADataModule(str(reads), **options).train_dataloader()
    helped = NWADataModule(str(reads), num_workers=workers, **options).train_dataloader()
    for epoch in range(2):
        for loader in (alone, helped):
            loader.sampler.set_epoch(epoch)
        batches = [list(loader) for loader in (alone, helped)]
        assert len(batches[0]) == len(batches[1]) > 1
        assert all(same(one, two) for one, two in zip(*batches, strict=True))


def test_every_epoch_and_every_seed_has_fresh_batches(reads):
    tokens = []
    for seed in (0, 1):
        loader = NWADataModule(str(reads), batch_size=8, seed=0).train_dataloader()
        loader.dataset.seed = seed
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)
            tokens += [batch.tokens.numpy().tobytes() for batch in loader]
    assert len(set(tokens)) == len(tokens)


def test_ranks_draw_different_numbers_and_equally_many():
    drawn = []
    for rank in range(3):
        sampler = StepSampler(4, world_size=3, rank=rank, first=lambda after_epochs: after_epochs)
        for epoch in range(2):
            sampler.set_epoch(epoch)
            drawn.append(list(sampler))
    assert {len(numbers) for numbers in drawn} == {4}
    assert sorted(number for numbers in drawn for number in numbers) == list(range(24))
    fixed = StepSampler(4, world_size=3, rank=1)
    first = list(fixed)
    fixed.set_epoch(1)
    assert list(fixed) == first


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 7])
@pytest.mark.parametrize(
    ("count", "all_pairs", "expected"), [(42, False, 181), (42, True, 861), (41, False, 180), (41, True, 820)]
)
def test_fixed_groups_cover_each_pair_once(data, count, all_pairs, expected, processes):
    sequences = data.split.train.take(np.arange(count))
    dataset = FixedPairs(sequences, group=10, all_pairs=all_pairs, processes=processes)
    assert len(dataset) % processes == 0
    pairs = []
    for number in range(len(dataset)):
        batch = dataset[number]
        names = [
            row.numpy().tobytes() for row in torch.nn.functional.pad(batch.tokens, (0, 33 - batch.tokens.shape[1]))
        ]
        pairs += [frozenset((names[first], names[second])) for first, second in batch.pairs.tolist()]
        assert same(batch, dataset[number])
        assert len(batch.pairs)
    assert len(pairs) == len(set(pairs)) == expected
    assert len(dataset[len(dataset)].pairs) == 0


def test_prediction_reads_the_file_in_order(data):
    tokens = [DNA.decode(row.numpy()) for batch in data.predict_dataloader() for row in batch.tokens]
    assert tokens == [DNA.decode(row) for row in data.sequences.padded()]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 1}, "batch_size: expected at least 2"),
        ({"val_group": 0}, "val_group: expected at least 2"),
        ({"nwa_batch_size": 20, "pairs": 100}, r"pairs: expected at least the 190 pairs .* found 100"),
        ({"match": 2000}, "int16"),
        ({"train_size": 500}, "distinct sequences"),
    ],
)
def test_bad_options(reads, options, message):
    with pytest.raises(InputError, match=message):
        NWADataModule(str(reads), **options).train_dataloader()
