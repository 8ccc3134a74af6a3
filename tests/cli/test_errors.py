"""Every error of a user is one line: what was expected, what was found, how to mend it; and status 2."""

import subprocess
import sys

import pytest
import torch

from nwa_lightning.cli.main import main
from nwa_lightning.cli.messages import parser_message

THEIRS = """
from lightning.pytorch import LightningModule
from torch import nn

from nwa_lightning import NWAMixin


class Sized(LightningModule):
    def __init__(self, width: int, depth: int):
        super().__init__()


class SizedNWA(NWAMixin, LightningModule):
    def __init__(self, width: int, depth: int, **kwargs):
        super().__init__(**kwargs)
"""

FIT = [
    # options
    (["--model.nosuch=1"], "--model.nosuch: expected an option, found an unknown one"),
    (["--landmarks=128"], "--landmarks=128: expected an option, found an unknown one, did you mean --model.landmarks?"),
    (["--max_steps", "9"], "--max_steps: expected an option, found an unknown one, did you mean --trainer.max_steps?"),
    (["--model.nwa_wieght=1"], "did you mean --model.nwa_weight?"),
    (["--model.encoder.laeyrs=3"], "did you mean --model.encoder.layers?"),
    (["--data.sede=3"], "did you mean --data.seed?"),
    (["--trainer.max_stepz=3"], "did you mean --trainer.max_steps?"),
    (["--cnofig=x"], "did you mean --config?"),
    (["--model.lr=abc"], "--model.lr: expected float, found abc"),
    (["--model.nwa_weight=abc"], "--model.nwa_weight: expected float or 'auto' or null, found abc"),
    (["--data.seed=1.5"], "--data.seed: expected int, found 1.5"),
    (
        ["--data.alphabet=klingon"],
        "alphabet: expected one of dna, rna, iupac, protein, or two or more different letters",
    ),
    (["--trainer.max_steps=abc"], "--trainer.max_steps: expected int, found abc"),
    (["--checkpoint.monitor"], "--checkpoint.monitor: expected a value, found nothing"),
    (["--trainer.accelerator=nosuch"], "invalid accelerator name"),
    (["--trainer.strategy=nosuch"], "invalid strategy name"),
    # classes
    (["--model=no.Such"], "--model: expected a class that can be imported, found no module no"),
    (["--model=NoSuch"], "--model: expected the name of a class, found NoSuch"),
    (["--model.encoder=NoSuch"], "--model.encoder: expected the name of a class, found NoSuch"),
    (["--optimizer=NoSuch"], "--optimizer: expected the name of a class, found NoSuch"),
    (["--trainer.callbacks=NoSuch"], "--trainer.callbacks: expected the name of a class, found NoSuch"),
    (["--model=theirs_of_errors.Sized"], "give --model.width=..., --model.depth=..."),
    (["--model=theirs_of_errors.SizedNWA", "--model.width=3"], "give --model.depth=..."),
    # files
    (["--config=none.yaml"], "--config: expected a file, found none at"),
    (["--config=reads.txt"], "--config: expected a YAML file of settings, found "),
    (["--data=reads.txt"], "for reads write --data.data reads.txt"),
    (["--data", "reads.txt"], "for reads write --data.data reads.txt"),
    (["--data.data=none.fasta"], "none.fasta: expected a file or the name of a built-in set"),
    (["--data.test_data=none.fasta"], "none.fasta: expected a file or the name of a built-in set"),
    (["--ckpt_path=none.ckpt"], "none.ckpt: expected a checkpoint, found no such file"),
    (["--ckpt_path=reads.txt"], "reads.txt: expected a Lightning checkpoint"),
    (["more.txt"], "more.txt: expected a file"),
    (["one", "two"], "expected at most 1 arguments without a name"),
    # parts that do not fit together
    (["--trainer.callbacks=AttentionMapLogger", "--model.nwa_weight=null"], "Expected a model with a head but"),
    (["--trainer.callbacks=NWACallback"], "leave out one of NWAMixin and NWACallback"),
    (
        ["--trainer.callbacks=NWAWeightSchedule", "--trainer.callbacks.decay=5"],
        "decay=5: expected a number of steps to hold",
    ),
    (["--model.nwa_features=encoder.nosuch"], "nwa_features, nwa_channels: Expected"),
    # numbers of the model
    (["--model.encoder.embedding_dim=0"], "embedding_dim: expected at least 1, found 0"),
    (["--model.encoder.channels=0"], "channels: expected at least 1, found 0"),
    (["--model.encoder.kernel_size=4"], "kernel_size: expected an odd number"),
    (["--model.encoder.layers=9"], "layers: expected few enough to halve 33 positions, found 9"),
    (["--model.encoder=ResidualCNN", "--model.encoder.stem_stride=0"], "stem_stride: expected at least 1, found 0"),
    (["--model.encoder=ResidualCNN", "--model.encoder.stem_kernel=4"], "stem_kernel: expected an odd number"),
    (["--model.nwa_temperature=0"], "temperature: expected"),
    (["--model.nwa_weight=-1"], "weight: expected"),
    (["--model.nwa_weight=nan"], "weight: expected"),
    (["--model.nwa_every=0"], "every: expected"),
    (["--model.lr=-1"], "lr: expected"),
    (["--model.nwa_lr=0"], "nwa_lr: expected"),
    (["--model.warmup=2"], "warmup: expected"),
    (["--model.distance.radius=2"], "radius: expected"),
    (["--model.distance.power=nan"], "power: expected"),
    (["--model.homologous=-1"], "homologous: expected"),
    (["--trainer.max_steps=-1"], "schedule: expected a run with an end for the cosine"),
    (["--seed_everything=-1"], "--seed_everything: expected a number from 0 to 4294967295, found -1"),
    # numbers of the data
    (["--data.seed=-1"], "seed: expected at least 0, found -1"),
    (["--data.num_workers=-1"], "num_workers: expected 0 for none or a number of processes, found -1"),
    (["--data.max_length=0"], "max_length: expected at least 1, found 0"),
    (["--data.max_length=25"], "reads.txt: expected at most 25 bases (max_length)"),
    (["--data.train_size=500"], "expected at least 2 sequences each to train, validate and test, found 120"),
    (["--data.val_size=1.5"], "val_size: expected a number of sequences, or a fraction between 0 and 1, found 1.5"),
    (["--data.test_size=0.9", "--data.val_size=0.2"], "expected at least 2 sequences"),
    (["--data.test_data=reads.txt", "--data.test_size=10"], "test_size: expected none beside test_data"),
    (["--data.split_by=family"], "family"),
    (["--data.split_by=clusters", "--data.split_identity=97"], "split_identity: expected more than 0 and at most 1"),
    (["--data.augment.fraction=2"], "augment.fraction: expected a fraction between 0 and 1, found 2"),
    (["--data.batch_size=1"], "batch_size: expected at least 2 sequences"),
    (["--data.match=32000"], "expected scores within int16"),
]


@pytest.fixture
def in_a_folder(here, reads):
    (here / "reads.txt").write_text(reads.read_text())
    (here / "theirs_of_errors.py").write_text(THEIRS)
    yield here
    sys.modules.pop("theirs_of_errors", None)


@pytest.mark.parametrize(("args", "message"), FIT, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_a_malformed_fit(in_a_folder, refused, args, message):
    named = any(argument.startswith("--data.data") for argument in args) or not args[0].startswith("--")
    data = [] if named else ["--data.data=reads.txt"]
    rest = ["--trainer.logger=false", "--trainer.enable_progress_bar=false"]
    if not any("max_steps" in argument for argument in args):
        rest.append("--trainer.max_steps=2")
    line = refused("fit", *args, *data, *rest)
    assert message in line


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["fti"], "did you mean fit?"),
        (["nosuch"], "expected a command (fit, validate, test, predict, export, demo, embed, "),
        (["test"], "--ckpt_path: expected a checkpoint, found none"),
        (["validate"], "--ckpt_path: expected a checkpoint, found none"),
        (["predict", "--data.data=reads.txt"], "--ckpt_path: expected a checkpoint, found none"),
        (["predict", "--ckpt_path=best"], "best: expected a checkpoint, found no such file"),
        (["test", "reads.txt"], "reads.txt: expected a Lightning checkpoint"),
        (["test", "cut.ckpt"], "cut.ckpt: expected a Lightning checkpoint"),
        (["test", "tensor.ckpt"], "tensor.ckpt: expected a Lightning checkpoint"),
        (["test", "a", "b", "c"], "expected at most 2 arguments without a name"),
        (["export"], "the following arguments are required"),
        (["export", "--ckpt_path=cut.ckpt", "--to=x"], "cut.ckpt: expected a Lightning checkpoint"),
        (["export", "--ckpt_path=none.ckpt", "--to=x", "y"], "expected the options of nwa export, found y"),
        (["demo", "--steps=abc"], "--steps"),
        (["demo", "none.fasta"], "none.fasta: expected a file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_malformed_command(in_a_folder, refused, args, message):
    torch.save({"state_dict": {"a": torch.zeros(1000)}}, "whole.ckpt")
    (in_a_folder / "cut.ckpt").write_bytes((in_a_folder / "whole.ckpt").read_bytes()[:2000])
    torch.save(torch.zeros(3), "tensor.ckpt")
    line = refused(*args)
    assert message in line
    assert "weights_only" not in line
    assert "unsafe" not in line


def test_the_installed_program_ends_with_status_2(in_a_folder):
    command = [sys.executable, "-m", "nwa_lightning", "fit", "reads.txt", "--model.lr=abc"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=in_a_folder)
    assert done.returncode == 2
    assert done.stderr.strip() == "nwa: error: --model.lr: expected float, found abc; see `nwa fit --help`"


def test_a_file_of_the_folder_shadows_no_package(in_a_folder):
    before = sys.path.copy()
    with pytest.raises(SystemExit):
        main(["fit", "--model.lr=abc"])
    assert sys.path == [*before, str(in_a_folder)]


def test_a_bug_keeps_its_traceback(in_a_folder, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("Expected nothing of this")

    monkeypatch.setattr("nwa_lightning.models.export.export_checkpoint", broken)
    with pytest.raises(RuntimeError, match="of this"):
        main(["export", "--ckpt_path=a", "--to=b"])


def test_an_unknown_message_is_squeezed_into_one_line():
    shown = parser_message("Something\n  new " + 1000 * "x", lambda _: (), "`nwa fit --help`")
    assert "\n" not in shown
    assert len(shown) < 450
    assert shown.startswith("Something new xxx")
