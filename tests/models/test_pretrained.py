"""The models in the box: from Python, from the command line, and as files."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nwa_lightning import InputError, load_sequences, pair_batch
from nwa_lightning.cli.main import main
from nwa_lightning.models.checkpoint import read_checkpoint
from nwa_lightning.models.metrics import LengthRMSE
from nwa_lightning.models.pretrained import PRETRAINED, load_pretrained, read_pretrained, save_pretrained


@pytest.fixture(scope="module")
def some():
    return load_sequences("human16s").to_strings()[:40]


@pytest.mark.parametrize("name", PRETRAINED)
def test_its_distances_are_edits(name, some):
    batch = pair_batch(some)
    model = load_pretrained(name)
    assert not model.training
    with torch.no_grad():
        found = model.predicted_edits(model(batch.tokens), batch.pairs)
    rmse = LengthRMSE()(found, batch.distance, batch.lengths[batch.pairs].amax(1))
    assert rmse < 0.8


def test_a_name_that_is_unknown():
    with pytest.raises(InputError, match="expected one of human16s-v4, found 'human16s'"):
        load_pretrained("human16s")


def test_it_is_tested_and_embeds_by_its_name(here, some, capsys):
    (here / "reads.txt").write_text("\n".join([*some, "ACGT" * 30]) + "\n")
    with pytest.warns(UserWarning, match=r"reads.txt: \d\d of 41 reads were trained on"):
        main(["test", "human16s-v4", "reads.txt", "--trainer.logger=false"])
    assert "test/rmse" in capsys.readouterr().out
    main(["predict", "human16s-v4", "reads.txt"])
    assert np.load(here / "embeddings" / "embeddings.npy").shape == (41, 128)


def test_a_file_of_that_name_comes_first(here, refused):
    (here / "human16s-v4").write_text("not a model")
    assert "human16s-v4: expected a Lightning checkpoint" in refused("test", "human16s-v4")


def test_what_is_saved_is_what_is_read(tmp_path, monkeypatch):
    checkpoint = read_checkpoint(Path("human16s-v4"))
    save_pretrained(checkpoint | {"optimizer_states": [1]}, tmp_path / "mine")
    monkeypatch.setattr("nwa_lightning.models.pretrained._FOLDER", tmp_path)
    again = read_pretrained("mine")
    assert again.keys() == {"hyper_parameters", "NWADataModule", "state_dict"}
    assert again["hyper_parameters"] == checkpoint["hyper_parameters"]
    assert again["NWADataModule"] == checkpoint["NWADataModule"]
    for key, value in checkpoint["state_dict"].items():
        torch.testing.assert_close(again["state_dict"][key], value)
