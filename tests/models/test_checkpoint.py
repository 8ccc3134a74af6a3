import argparse
import pickle

import pytest
import torch

from nwa_lightning import InputError
from nwa_lightning.models.checkpoint import read_checkpoint

CONTENT = {"state_dict": {"encoder.weight": torch.arange(6.0)}, "hyper_parameters": {"lr": 0.5, "names": ("a", None)}}


@pytest.mark.parametrize("archive", [True, False])
def test_what_was_saved_is_read(tmp_path, archive):
    torch.save(CONTENT, tmp_path / "a.ckpt", _use_new_zipfile_serialization=archive)
    found = read_checkpoint(tmp_path / "a.ckpt")
    assert found["hyper_parameters"] == CONTENT["hyper_parameters"]
    assert torch.equal(found["state_dict"]["encoder.weight"], torch.arange(6.0))


def test_what_is_changed_in_memory_stays_out_of_the_file(tmp_path):
    torch.save(CONTENT, tmp_path / "a.ckpt")
    before = (tmp_path / "a.ckpt").read_bytes()
    read_checkpoint(tmp_path / "a.ckpt")["state_dict"]["encoder.weight"].zero_()
    assert (tmp_path / "a.ckpt").read_bytes() == before


def saved(content):
    return lambda path: torch.save(content, path)


def cut(path):
    torch.save(CONTENT, path)
    path.write_bytes(path.read_bytes()[:-100])


DAMAGED = "expected a Lightning checkpoint of tensors and plain values, found a damaged or foreign file"
NO_STATE = "expected a Lightning checkpoint, found no state_dict; name one that `nwa fit` wrote"


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "expected a checkpoint, found no such file; name one that `nwa fit` wrote"),
        (lambda path: path.mkdir(), "expected a checkpoint, found a folder; name a file in it, such as .*last.ckpt"),
        (lambda path: path.write_bytes(b""), DAMAGED),
        (lambda path: path.write_text(">read\nACGT\n"), DAMAGED),
        (lambda path: path.write_bytes(pickle.dumps({"state_dict": {}})), DAMAGED),
        (cut, DAMAGED),
        (saved({**CONTENT, "hyper_parameters": argparse.Namespace(lr=1)}), DAMAGED),
        (saved(torch.ones(2)), NO_STATE),
        (saved({"encoder.weight": torch.ones(2)}), NO_STATE),
    ],
    ids=["missing", "folder", "empty", "text", "pickle", "cut", "object", "tensor", "weights"],
)
def test_what_is_no_checkpoint(tmp_path, write, message):
    write(tmp_path / "a.ckpt")
    with pytest.raises(InputError, match=message) as error:
        read_checkpoint(tmp_path / "a.ckpt")
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{tmp_path / 'a.ckpt'}: ")
    for hint in ("weights_only", "torch.load", "arbitrary", "trust", "safe"):
        assert hint not in line.removeprefix(str(tmp_path))
