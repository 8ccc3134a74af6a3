import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from quiet import QUIET_TRAINER

from nwa_lightning import EditDistanceModel, InputError, NWADataModule, NWALoss, PooledCNN, pair_batch
from nwa_lightning.cli.main import main
from nwa_lightning.data.batch import chosen_pairs


def random_reads(*lengths):
    generator = np.random.default_rng(0)
    return ["".join(generator.choice(list("ACGT"), length)) for length in lengths]


@pytest.mark.parametrize("stride", [1, 2, 3, 7, 40, 100])
@pytest.mark.parametrize("kind", ["prefix", "best_through"])
def test_matrices_of_a_batch_are_parts_of_whole_ones(stride, kind):
    reads = random_reads(40, 17, 1, 33)
    whole, some = (pair_batch(reads, kind=kind, stride=step) for step in (1, stride))
    assert torch.equal(some.nw, whole.nw[:, ::stride, ::stride])
    assert (some.nw.dtype, some.nw_stride, some.nw_rows) == (torch.int16, stride, 4)
    assert torch.equal(some.distance, whole.distance)
    assert torch.equal(some.tokens, whole.tokens)


def test_large_scores_are_int32():
    reads = random_reads(900, 800)
    some = pair_batch(reads, stride=90, match=100, mismatch=-100, gap=-100)
    assert some.nw.dtype == torch.int32
    assert some.nw.min() < -(2**15)
    with pytest.raises(InputError, match="expected scores within int16"):
        pair_batch(reads, match=100, mismatch=-100, gap=-100)
    loss = NWALoss(8, 900, head="positions", stride=90)
    assert torch.isfinite(loss(torch.randn(2, 8), some))


@pytest.mark.parametrize("stride", [2, 5, 16])
def test_the_term_is_that_of_whole_matrices(stride):
    reads = random_reads(40, 31, 36)
    torch.manual_seed(0)
    loss = NWALoss(8, 40, weight=1.0, head="positions", stride=stride).eval()
    embeddings = torch.randn(3, 8)
    whole, some = (pair_batch(reads, stride=step) for step in (1, stride))
    torch.testing.assert_close(loss.divergence(embeddings, some), loss.divergence(embeddings, whole))
    torch.testing.assert_close(loss(embeddings, some), loss(embeddings, whole), rtol=0.2, atol=0)
    maps = loss.attention(embeddings, some)
    assert maps.shape == some.nw.shape
    torch.testing.assert_close(maps.sum(dim=-1), torch.ones(maps.shape[:2]))
    assert (maps[0, :, 31 // stride + 1 :] == 0).all()


@pytest.mark.parametrize(("made", "wanted"), [(3, 1), (3, 2), (2, 4)])
def test_strides_that_differ(made, wanted):
    head = "decoder" if wanted == 1 else "positions"
    loss = NWALoss(8, 40, head=head, stride=wanted)
    with pytest.raises(
        ValueError, match=rf"Expected matrices with stride 1, or {wanted} as the maps have, but got {made}"
    ):
        loss(torch.randn(2, 8), pair_batch(random_reads(40, 30), stride=made))


def test_chosen_pairs_keep_the_stride():
    batch = pair_batch(random_reads(40, 31, 36), stride=4)
    shown = chosen_pairs(batch, [2])
    assert shown.nw_stride == 4
    assert torch.equal(shown.nw, batch.nw[2:3, :10, :10])


@pytest.fixture
def long_reads(tmp_path):
    """Variants of one read, with 0 to 40 % of the letters drawn anew, of 300 to 400 letters."""
    generator = np.random.default_rng(1)
    (parent,) = random_reads(400)
    reads = []
    for length in generator.integers(300, 401, 60):
        drawn = generator.random(length) < generator.uniform(0, 0.4)
        letters = generator.choice(list("ACGT"), length)
        reads.append("".join(np.where(drawn, letters, list(parent[:length]))))
    path = tmp_path / "long.txt"
    path.write_text("\n".join(reads) + "\n")
    return str(path)


def test_training_with_a_stride(long_reads):
    data = NWADataModule(long_reads, nwa_stride=50, batch_size=8, pairs=20, val_size=6, test_size=6)
    batch = data.train_dataloader().dataset[0]
    assert batch.nw.shape[1:] == (batch.lengths.max() // 50 + 1,) * 2
    model = EditDistanceModel(PooledCNN(400, 16, channels=8), nwa_head="positions", nwa_stride=50, nwa_weight=0.1)
    before = [parameter.clone() for parameter in model.nwa.head.parameters()]
    Trainer(max_steps=4, limit_val_batches=1, **QUIET_TRAINER).fit(model, data)
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    assert any(not torch.equal(one, two) for one, two in zip(before, model.nwa.head.parameters(), strict=True))


def test_on_the_command_line(long_reads, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = [
        "--model.encoder=PooledCNN",
        "--data.val_size=6",
        "--data.test_size=6",
        "--data.batch_size=8",
        "--data.pairs=20",
    ]
    quiet = [
        "--trainer.max_steps=2",
        "--trainer.limit_val_batches=1",
        "--trainer.accelerator=cpu",
        "--trainer.logger=false",
    ]
    stride = ["--data.nwa_stride=50", "--model.nwa_head=positions"]
    main(["fit", long_reads, *options, *quiet, *stride, "--model.nwa_stride=50"])
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    with pytest.raises(SystemExit):
        main(["fit", long_reads, *options, *quiet, *stride, "--model.nwa_stride=25"])
    assert "Expected matrices with stride 1, or 25 as the maps have, but got 50; make" in capsys.readouterr().err


def test_the_stride_is_checked(long_reads):
    with pytest.raises(InputError, match="nwa_stride: expected an integer of at least 1, found 0"):
        NWADataModule(long_reads, nwa_stride=0)
