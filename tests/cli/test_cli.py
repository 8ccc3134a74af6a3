import csv
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from nwa_lightning import EditDistanceModel, NeuroSEEDTransformer, __version__
from nwa_lightning.cli.lightning_cli import NWACLI
from nwa_lightning.cli.main import main

CONFIGS = sorted((Path(__file__).parents[2] / "examples" / "configs").glob("*.yaml"))

# Small encoders, little data, few steps: what is tested is that the parts fit.
QUICK = ["--trainer.fast_dev_run=true", "--trainer.enable_progress_bar=false"]
SMALL = ["--model.encoder.layers=2", "--model.encoder.channels=8", "--trainer.enable_progress_bar=false"]


def nwa(*args, cwd=None):
    return subprocess.run([sys.executable, "-m", "nwa_lightning", *args], capture_output=True, text=True, cwd=cwd)


def test_help_and_version(capsys):
    for args, expected in ((["--help"], "demo"), (["demo", "--help"], "--fast"), (["--version"], __version__)):
        with pytest.raises(SystemExit) as stop:
            main(args)
        assert stop.value.code == 0
        assert expected in capsys.readouterr().out


def test_fit_help_explains_the_options(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for option in ("--data.nwa_batch_size", "--model", "--checkpoint.monitor", "--trainer.strategy"):
        assert option in shown
    with pytest.raises(SystemExit):
        main(["fit", "--model.help", "EditDistanceModel"])
    assert "lambda, the weight of the NWA term" in capsys.readouterr().out


def test_printed_config_can_be_read_back(capsys, here):
    with pytest.raises(SystemExit):
        main(["fit", "--model.nwa_weight=1e-4", "--print_config"])
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed)["model"]["init_args"]["nwa_weight"] == 1e-4
    (here / "config.yaml").write_text(printed)
    with pytest.raises(SystemExit):
        main(["fit", "--config", "config.yaml", "--print_config"])
    assert capsys.readouterr().out == printed


def test_the_longest_length_and_the_alphabet_flow_into_the_model(reads, here):
    options = [f"--data.data={reads}", "--model.encoder.layers=2", "--data.alphabet=iupac", "--trainer.logger=false"]
    cli = NWACLI(options, run=False)
    assert cli.model.encoder.max_length == cli.datamodule.max_length == 32
    assert cli.model.nwa.head.max_length == 32
    assert cli.model.encoder.vocabulary == 17
    assert isinstance(cli.model, EditDistanceModel)


def test_the_transformer_by_its_short_name(reads, here):
    options = [f"--data.data={reads}", "--model.encoder=NeuroSEEDTransformer", "--model.encoder.layers=1", *QUICK]
    main(["fit", *options, "--data.batch_size=16", "--model.encoder.positions=sinusoidal"])
    encoder = NWACLI([*options, "--model.encoder.window=2"], run=False).model.encoder
    assert isinstance(encoder, NeuroSEEDTransformer)
    assert len(encoder.features.layers) == 1
    assert encoder.max_length == 32


def test_another_encoder_has_its_own_defaults(reads, here, capsys):
    """The CNN of the defaults has 4 layers too; jsonargparse would hand that number on."""
    options = [f"--data.data={reads}", "--model.encoder=NeuroSEEDTransformer", *QUICK]
    cli = NWACLI(options, run=False)
    assert len(cli.model.encoder.features.layers) == 2
    assert cli.model.hparams["encoder"]["init_args"]["layers"] == 2
    with pytest.raises(SystemExit):
        main(["fit", "--model.encoder=NeuroSEEDTransformer", "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["model"]["init_args"]["encoder"]["init_args"]["layers"] == 2


def test_layered_configs_merge(reads, here):
    (here / "one.yaml").write_text(
        "model: {class_path: EditDistanceModel, init_args: {nwa_weight: 0.5, lr: 0.25, "
        "encoder: {class_path: NeuroSEEDTransformer, init_args: {heads: 4, layers: 3}}}}\n"
    )
    (here / "two.yaml").write_text(
        "model: {init_args: {lr: 0.125, encoder: {init_args: {layers: 1}}}}\ndata: {batch_size: 7}\n"
    )
    options = ["--config=one.yaml", "--config=two.yaml", f"--data.data={reads}", "--model.homologous=5", *QUICK]
    cli = NWACLI(options, run=False)
    assert (cli.model.nwa.weight, cli.model.lr, cli.model.hparams["homologous"]) == (0.5, 0.125, 5)
    assert (cli.model.encoder.heads, len(cli.model.encoder.features.layers)) == (4, 1)
    assert cli.datamodule.batch_size == 7
    main(["fit", *options])


def test_printed_config_runs_again(reads, here, capsys):
    options = [f"--data.data={reads}", "--model.encoder=NeuroSEEDTransformer", "--model.lr=0.5", *QUICK]
    with pytest.raises(SystemExit):
        main(["fit", *options, "--print_config"])
    (here / "printed.yaml").write_text(capsys.readouterr().out)
    main(["fit", "--config=printed.yaml"])
    with pytest.raises(SystemExit):
        main(["fit", "--config=printed.yaml", "--print_config"])
    assert capsys.readouterr().out.endswith((here / "printed.yaml").read_text())


THEIR_MODULE = """
import torch
from lightning.pytorch import LightningModule
from torch import nn

from nwa_lightning import Encoder


class Counts(nn.Module):
    def __init__(self, width: int = 4):
        super().__init__()
        self.bag = nn.EmbeddingBag(6, width, padding_idx=0)

    def forward(self, tokens):
        return self.bag(tokens)


class NoEncoder(LightningModule):
    def __init__(self, lr: float = 0.5):
        super().__init__()
        self.save_hyperparameters()
        self.encoder = Counts()

    def training_step(self, batch, batch_idx):
        one, two = self.encoder(batch.tokens)[batch.pairs].unbind(1)
        return ((one - two).norm(dim=1) - batch.distance).square().mean()


class WithOptimizer(NoEncoder):
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.hparams["lr"])


class OtherEncoder(WithOptimizer):
    def __init__(self, encoder: nn.Module, lr: float = 0.5):
        super().__init__()
        self.encoder = encoder


class NamedEncoder(WithOptimizer):
    def __init__(self, encoder: str = "counts", lr: float = 0.5):
        super().__init__()


class CountsEncoder(Encoder):
    def __init__(self, embedding_dim: int = 8, max_length: int = 9):
        super().__init__(max_length, embedding_dim, 6)
        self.counts = Counts(embedding_dim)

    def forward(self, tokens):
        return self.counts(tokens)
"""


@pytest.fixture
def their_module(here, monkeypatch):
    (here / "their_module.py").write_text(THEIR_MODULE)
    monkeypatch.syspath_prepend(here)
    yield "their_module"
    sys.modules.pop("their_module", None)


@pytest.mark.parametrize(
    "args",
    [
        ["WithOptimizer"],
        ["NoEncoder", "--optimizer=Adam", "--optimizer.lr=0.01"],
        [
            "NoEncoder",
            *("--optimizer=Adam", "--optimizer.lr=0.01", "--lr_scheduler=ExponentialLR", "--lr_scheduler.gamma=0.9"),
        ],
        ["OtherEncoder", "--model.encoder=their_module.Counts"],
        ["NamedEncoder"],
    ],
    ids=["no encoder", "optimizer", "scheduler", "other encoder", "named encoder"],
)
def test_a_model_of_ones_own(their_module, reads, args):
    main(["fit", f"--data.data={reads}", f"--model={their_module}.{args[0]}", *args[1:], *QUICK])


def test_a_model_of_ones_own_keeps_its_defaults(their_module, reads):
    options = [f"--data.data={reads}", f"--model={their_module}.WithOptimizer", *QUICK]
    cli = NWACLI(options, run=False)
    assert cli.model.hparams["lr"] == 0.5
    assert NWACLI([*options, "--model.lr=0.25"], run=False).model.hparams["lr"] == 0.25


def test_an_encoder_of_ones_own_that_takes_no_vocabulary(their_module, reads):
    options = [f"--data.data={reads}", f"--model.encoder={their_module}.CountsEncoder", *QUICK]
    model = NWACLI(options, run=False).model
    assert model.encoder.max_length == 32
    assert model.hparams["encoder"]["init_args"] == {"embedding_dim": 8, "max_length": 32}


def test_a_model_in_the_current_folder_is_found(reads, here):
    (here / "in_this_folder.py").write_text(THEIR_MODULE)
    main(["fit", "--model=in_this_folder.WithOptimizer", f"--data.data={reads}", *QUICK])
    assert sys.modules.pop("in_this_folder").__file__ == str(here / "in_this_folder.py")


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_example_config_runs_as_it_says(config, proteins, here):
    (here / "proteins.fasta").write_text(proteins.read_text())  # that of protein.yaml
    command = re.search(r"# .*?nwa fit (.*)", config.read_text())[1]
    assert command.endswith(f"--config examples/configs/{config.name}")
    args = command.replace("examples/configs", str(config.parent)).split()
    main(["fit", *args, "--trainer.fast_dev_run=true", "--trainer.enable_progress_bar=false"])


@pytest.mark.filterwarnings("ignore:The dirpath has changed")  # ModelCheckpoint, when a checkpoint is only tested
def test_fit_test_predict(reads, here, capsys):
    options = [
        f"--data.data={reads}",
        "--data.batch_size=16",
        "--trainer.logger=CSVLogger",
        "--trainer.logger.save_dir=.",
    ]
    main(["fit", *SMALL, *options, "--trainer.max_steps=12", "--trainer.log_every_n_steps=1", "--model.homologous=12"])
    folder = here / "lightning_logs" / "version_0"
    checkpoint = folder / "checkpoints" / "best.ckpt"
    assert {path.name for path in checkpoint.parent.iterdir()} == {"best.ckpt", "last.ckpt"}
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {"val/rmse", "val/rmse_homologous", "val/r2", "val/spearman"} <= set(rows[0])
    assert {"train/loss", "train/encoder_loss", "train/nwa_loss"} <= set(rows[0])

    state = torch.load(checkpoint, weights_only=True)
    model = EditDistanceModel.load_from_checkpoint(checkpoint, weights_only=True)
    assert len(model.encoder.features) == 8
    assert model.hparams["homologous"] == 12
    for name, value in model.state_dict().items():
        assert torch.equal(value, state["state_dict"][name])

    main(["test", *SMALL, *options, f"--ckpt_path={checkpoint}"])
    assert "test/rmse" in capsys.readouterr().out
    main(["predict", *SMALL, *options, f"--ckpt_path={checkpoint}", "--embeddings.folder=found"])
    found = np.load(here / "found" / "embeddings.npy")
    assert found.shape == (120, 128)
    assert (here / "found" / "names.txt").read_text().split() == [str(number) for number in range(1, 121)]


def test_an_optimizer_of_the_command_line_trains_the_head(reads, here):
    options = [
        f"--data.data={reads}",
        "--data.batch_size=16",
        *SMALL,
        "--trainer.logger=false",
        "--trainer.max_steps=3",
    ]
    main(["fit", *options, "--checkpoint.monitor=null", "--optimizer=Adam", "--optimizer.lr=0.01"])
    state = torch.load(here / "checkpoints" / "last.ckpt")
    held = len(state["optimizer_states"][0]["param_groups"][0]["params"])
    assert held == len(list(EditDistanceModel.load_from_checkpoint(here / "checkpoints" / "last.ckpt").parameters()))


def test_two_processes_measure_what_one_does(reads, here, capsys):
    """Three validation groups on two processes: one of them gets a batch without pairs, and nothing counts twice."""
    options = [f"--data.data={reads}", "--data.batch_size=16", "--data.val_size=27", "--data.val_group=9", *SMALL]
    options.append("--trainer.logger=false")
    two = ["--trainer.accelerator=cpu", "--trainer.strategy=ddp", "--trainer.devices=2"]
    done = nwa("fit", *options, *two, "--trainer.max_steps=4", cwd=here)
    assert done.returncode == 0, done.stderr
    options.append(f"--ckpt_path={here / 'checkpoints' / 'last.ckpt'}")
    main(["validate", *options])
    tables = [capsys.readouterr().out]
    main(["predict", *options, "--embeddings.folder=one"])
    done = nwa("validate", *options, *two, cwd=here)
    assert done.returncode == 0, done.stderr
    tables.append(done.stdout)
    done = nwa("predict", *options, *two, "--embeddings.folder=two", cwd=here)
    assert done.returncode == 0, done.stderr
    one, other = ([line for line in table.splitlines() if "val/" in line] for table in tables)
    assert len(one) == 4
    assert one == other
    np.testing.assert_array_equal(*(np.load(here / folder / "embeddings.npy") for folder in ("one", "two")))


def test_demo_in_its_fast_version(here):
    done = nwa("demo", "--fast", "--out", "shown", "--seed", "1", cwd=here)
    assert done.returncode == 0, done.stderr
    assert "cnn_nwa" in done.stdout
    written = {path.name for path in (here / "shown").iterdir()}
    assert written == {"table.csv", "attention.png", "predictions.png", "cnn.ckpt", "cnn_nwa.ckpt", "landmarks.ckpt"}
    assert {path.name for path in here.iterdir()} == {"shown"}, "the demo writes into its folder only"
    with (here / "shown" / "table.csv").open() as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["constant", "kmer", "landmark_mds", "cnn", "cnn_nwa", "landmarks"]
    assert list(rows["cnn"]) == ["model", "rmse", "rmse_homologous", "r2", "spearman", "seconds"]
    assert 5 < float(rows["constant"]["rmse"]) < 8
    assert float(rows["kmer"]["rmse"]) < 0.75 * float(rows["constant"]["rmse"])
    assert float(rows["landmarks"]["rmse"]) < float(rows["cnn"]["rmse"])
    for name in ("cnn", "cnn_nwa", "landmarks"):
        assert float(rows[name]["rmse"]) < float(rows["kmer"]["rmse"])
        model = EditDistanceModel.load_from_checkpoint(here / "shown" / f"{name}.ckpt", weights_only=True)
        assert (model.nwa is not None) == (name == "cnn_nwa")


def test_demo_on_a_file_of_ones_own(reads, here):
    main(["demo", str(reads), "--steps", "3", "--out", "mine"])
    assert len((here / "mine" / "table.csv").read_text().splitlines()) == 7


@pytest.mark.parametrize(
    ("content", "args", "message"),
    [
        (b"", [], "found an empty file"),
        (b">only\nACGT\n", [], "found 1 distinct sequences"),
        (b">a\nACGT\n>b\nACXT\n", [], "record 2 (b), position 3: expected one of ACGT (dna), found 'X'"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", [], "is the file complete?"),
        (b"@a\nACGT\n+\nIIII\n@b\nAC", [], "damaged after record 1"),
        (None, [], "found neither"),
        (b"ACGT\n" * 9, ["--data.match=32000"], "expected scores within int16"),
    ],
    ids=["empty", "one sequence", "letter", "gzip", "fastq", "missing", "scores"],
)
def test_bad_input_ends_in_one_line(here, content, args, message, capsys):
    if content is not None:
        (here / "reads").write_bytes(content)
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--data.data=reads", *SMALL, *args])
    assert stop.value.code == 2
    shown = capsys.readouterr().err.strip().splitlines()
    assert message in shown[-1]
    assert shown[-1].startswith("nwa: error: ")
    assert not [line for line in shown if "Traceback" in line]


def test_missing_checkpoint(reads, here, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["test", f"--data.data={reads}", *SMALL, "--trainer.logger=false", "--ckpt_path=none.ckpt"])
    assert stop.value.code == 2
    assert "nwa: error: none.ckpt: expected a checkpoint, found no such file" in capsys.readouterr().err


def test_bad_input_to_the_demo(here, capsys):
    (here / "file").write_text("")
    for args, message in (
        (["none.fa"], "none.fa: expected a file"),
        (["--out", "file"], "--out file"),
        (["--steps", "0"], "--steps: expected at least 1"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["demo", *args])
        assert stop.value.code == 2
        assert message in capsys.readouterr().err
