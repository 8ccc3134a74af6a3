"""Landmark MDS: right by construction where the answer is known, and better than k-mers on real reads."""

import json

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from nwa_lightning import (
    InputError,
    LandmarkMDS,
    LandmarkMDSModel,
    NWADataModule,
    Sequences,
    load_encoder,
    load_sequences,
    pair_batch,
)
from nwa_lightning.models.baselines import ConstantBaseline, KmerBaseline
from nwa_lightning.models.metrics import evaluate


def cube(bits, length=40):
    """Every sequence that has A or C in some places far from each other: edit distance is the number of other letters."""
    places = np.linspace(0, length - 1, bits).astype(int)
    base = np.array(list("GT" * (length // 2)))
    rows = []
    for number in range(1 << bits):
        read = base.copy()
        read[places] = ["C" if number >> bit & 1 else "A" for bit in range(bits)]
        rows.append("".join(read))
    return rows


def predicted(encoder, batch):
    with torch.inference_mode():
        return encoder.predicted_edits(encoder(batch.tokens), batch.pairs)


def test_corners_of_a_cube_are_laid_out_exactly():
    reads = cube(6)
    encoder = LandmarkMDS(40, embedding_dim=8, count=32).fit(Sequences.from_strings(reads))
    batch = pair_batch(reads, "all")
    assert encoder.power == 2
    torch.testing.assert_close(predicted(encoder, batch), batch.distance.float(), atol=0.02, rtol=0.01)
    embeddings = encoder(batch.tokens)
    assert (embeddings.abs().amax(dim=0) > 1e-3).sum() == 6, "as many dimensions as the cube has"


def test_fewer_dimensions_than_are_needed():
    reads = cube(6)
    batch = pair_batch(reads, "all")
    errors = []
    for dim in (2, 4, 6):
        encoder = LandmarkMDS(40, embedding_dim=dim, count=32, power=1.5).fit(Sequences.from_strings(reads))
        assert encoder(batch.tokens).shape == (64, dim)
        assert encoder.power == 1.5
        errors.append((predicted(encoder, batch) - batch.distance).square().mean())
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("reads", [["ACGT", "ACGA"], ["A", "C", "G", "T"], ["", "A"]])
def test_a_handful_of_reads_has_no_nan(reads):
    encoder = LandmarkMDS(4, embedding_dim=4, count=2).fit(Sequences.from_strings(reads))
    assert encoder(pair_batch(reads).tokens).isfinite().all()


def test_copies_of_one_read_are_at_one_point():
    encoder = LandmarkMDS(4, count=1).fit(Sequences.from_strings(["ACGT", "ACGT"]))
    assert encoder(pair_batch(["ACGT", "AAAA"]).tokens).eq(0).all()


def test_too_few_reads_and_wrong_numbers_say_so():
    with pytest.raises(
        InputError, match=r"at least 512 distinct training sequences .* found 2; ask for fewer landmarks"
    ):
        LandmarkMDS(4).fit(Sequences.from_strings(["ACGT", "ACGA", "ACGT"]))
    with pytest.raises(InputError, match="power: expected more than 0, found 0"):
        LandmarkMDS(4, power=0)


def test_it_beats_k_mers_on_real_reads_and_is_the_same_again(tmp_path):
    data = NWADataModule("human16s", nwa_batch_size=0)
    encoder = LandmarkMDS(150, count=256).fit(data.split.train)
    again = LandmarkMDS(150, count=256).fit(data.split.train)
    batches = list(data.test_dataloader())
    fitting = [data.train_dataloader().dataset[number] for number in range(20)]
    ours = evaluate(lambda batch: predicted(encoder, batch), batches)["rmse"]
    assert ours < evaluate(KmerBaseline(data.vocabulary).fit(fitting), batches)["rmse"] / 1.5
    assert ours < evaluate(ConstantBaseline().fit(fitting), batches)["rmse"] / 3
    torch.testing.assert_close(encoder.weight, again.weight)
    kept = LandmarkMDS(150, count=256)
    kept.load_state_dict(encoder.state_dict())
    assert kept(batches[0].tokens).equal(encoder(batches[0].tokens))


def test_the_model_is_fitted_to_a_data_module(data):
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    with pytest.raises(InputError, match="expected an NWADataModule, found none"):
        trainer.test(LandmarkMDSModel(8), data.test_dataloader())


def test_predict_and_test_without_a_checkpoint(here, reads, refused, capsys):
    from nwa_lightning.cli.main import main

    main(["predict", str(reads), "--landmarks", "50", "--model.embedding_dim=16", "--trainer.logger=false"])
    embeddings = np.load("embeddings/embeddings.npy")
    assert embeddings.shape == (120, 16)
    config = json.loads((here / "embeddings" / "config.json").read_text())
    encoder = load_encoder("embeddings")
    texts = load_sequences(str(reads)).to_strings()
    with torch.inference_mode():
        again = encoder(pair_batch(texts, nwa_batch_size=0).tokens).numpy()
    np.testing.assert_allclose(again, embeddings, atol=1e-4)
    assert config["distance"]["power"] == encoder.power
    capsys.readouterr()
    main(["test", str(reads), "--landmarks=50", "--trainer.logger=false"])
    assert "test/rmse" in capsys.readouterr().out
    assert refused("predict", reads, "--landmarks", "500") == (
        "landmarks: expected at least 500 distinct training sequences to draw them from, found 120; ask for fewer landmarks"
    )
    assert refused("predict", reads, "--landmarks", "0").startswith("count: expected at least 1, found 0")
    assert refused("predict", reads, "--landmarks=5", "--ckpt_path=x.ckpt").startswith("x.ckpt: ")
    assert "--landmarks 512, which needs no training" in refused("predict", f"--data.data={reads}")
