import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from nwa_lightning import EditDistanceModel, __version__
from nwa_lightning.cli import NWACLI, main

CONFIGS = sorted((Path(__file__).parents[1] / "examples" / "configs").glob("*.yaml"))

# Small encoders, little data, few steps: what is tested is that the parts fit.
SMALL = ["--model.encoder.layers=2", "--model.encoder.channels=8", "--trainer.enable_progress_bar=false"]


def nwa(*args, cwd=None):
    return subprocess.run([sys.executable, "-m", "nwa_lightning", *args], capture_output=True, text=True, cwd=cwd)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


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
    for option in ("--data.nwa_sequences", "--model", "--checkpoint.monitor", "--trainer.strategy"):
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
    assert cli.model.nwa_head.max_length == 32
    assert cli.model.encoder.vocabulary == 17
    assert isinstance(cli.model, EditDistanceModel)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_example_config_runs(config, here):
    main(["fit", f"--config={config}", "--trainer.fast_dev_run=true", "--trainer.enable_progress_bar=false"])


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


def test_two_processes_measure_what_one_does(reads, here):
    """Three validation groups on two processes: one of them gets a batch without pairs, and nothing counts twice."""
    options = [f"--data.data={reads}", "--data.batch_size=16", "--data.val_size=27", "--data.val_group=9", *SMALL]
    two = ["--trainer.accelerator=cpu", "--trainer.strategy=ddp", "--trainer.devices=2"]
    done = nwa("fit", *options, *two, "--trainer.max_steps=4", "--trainer.logger=false", cwd=here)
    assert done.returncode == 0, done.stderr
    checkpoint = f"--ckpt_path={here / 'checkpoints' / 'last.ckpt'}"
    tables, embeddings = [], []
    for processes, folder in (([], "one"), (two, "two")):
        done = nwa("validate", *options, *processes, checkpoint, "--trainer.logger=false", cwd=here)
        assert done.returncode == 0, done.stderr
        tables.append([line for line in done.stdout.splitlines() if "val/" in line])
        done = nwa(
            "predict",
            *options,
            *processes,
            checkpoint,
            "--trainer.logger=false",
            f"--embeddings.folder={folder}",
            cwd=here,
        )
        assert done.returncode == 0, done.stderr
        embeddings.append(np.load(here / folder / "embeddings.npy"))
    assert len(tables[0]) == 4
    assert tables[0] == tables[1]
    np.testing.assert_array_equal(*embeddings)


def test_demo_in_its_fast_version(here):
    done = nwa("demo", "--fast", "--out", "shown", "--seed", "1", cwd=here)
    assert done.returncode == 0, done.stderr
    assert "cnn_nwa" in done.stdout
    written = {path.name for path in (here / "shown").iterdir()}
    assert written == {"table.csv", "attention.png", "predictions.png", "cnn.ckpt", "cnn_nwa.ckpt"}
    assert {path.name for path in here.iterdir()} == {"shown"}, "the demo writes into its folder only"
    with (here / "shown" / "table.csv").open() as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["constant", "kmer", "cnn", "cnn_nwa"]
    assert list(rows["cnn"]) == ["model", "rmse", "rmse_homologous", "r2", "spearman", "seconds"]
    assert 5 < float(rows["constant"]["rmse"]) < 8
    assert float(rows["kmer"]["rmse"]) < 0.75 * float(rows["constant"]["rmse"])
    for name in ("cnn", "cnn_nwa"):
        assert float(rows[name]["rmse"]) < float(rows["kmer"]["rmse"])
        model = EditDistanceModel.load_from_checkpoint(here / "shown" / f"{name}.ckpt", weights_only=True)
        assert (model.nwa_head is None) == (name == "cnn")


def test_demo_on_a_file_of_ones_own(reads, here):
    main(["demo", str(reads), "--steps", "3", "--out", "mine"])
    assert len((here / "mine" / "table.csv").read_text().splitlines()) == 5


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
    assert "nwa: error: Checkpoint file not found: none.ckpt" in capsys.readouterr().err


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
