"""Runs of other targets than edits: the checkpoint knows the target and its scores, and commands take both from there."""

import re
import shutil
import sys

import numpy as np
import pytest
import torch
from quiet import QUIET, inside

from nwa_lightning import EditDistanceModel, NWADataModule
from nwa_lightning.cli.lightning_cli import NWACLI
from nwa_lightning.cli.main import main

#: Of a run that goes on where its checkpoints are.
pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory", "ignore:The dirpath has changed")

TARGET = ["--data.target", "score", "--data.substitution", "BLOSUM62", "--data.gap", "-11", "--data.gap_extend", "-1"]
SMALL = ["--model.encoder.layers=2", "--model.encoder.channels=8", "--data.batch_size=16", "--data.nwa_batch_size=4"]


THEIRS = """
from lightning.pytorch import LightningModule


class Aimed(LightningModule):
    def __init__(self, target: str = "moon"):
        super().__init__()
        self.save_hyperparameters()
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory, proteins):
    """A folder with proteins.fasta and checkpoints of a model of the target score."""
    folder = tmp_path_factory.mktemp("targets")
    shutil.copy(proteins, folder / "proteins.fasta")
    with inside(folder):
        main(["fit", "proteins.fasta", "--data.alphabet", "protein", *TARGET, *SMALL, *QUIET, "--trainer.max_steps=4"])
    return folder


def test_a_test_takes_the_target_from_the_checkpoint(folder, capsys):
    model = EditDistanceModel.load_from_checkpoint("checkpoints/best.ckpt", weights_only=True).eval()
    data = NWADataModule(
        "proteins.fasta", alphabet="protein", target="score", substitution="BLOSUM62", gap=-11, gap_extend=-1
    )
    assert model.target_scale == data.target_scale > 4 * data.max_length
    batch = next(iter(data.test_dataloader()))
    with torch.inference_mode():
        errors = (model.predicted_distances(model(batch.tokens), batch.pairs) - batch.distance).numpy()
    percent = 100 * errors / (batch.longest.numpy() * model.target_scale / data.max_length)

    capsys.readouterr()
    main(["test", "checkpoints/best.ckpt", *QUIET])
    table = dict(re.findall(r"(test/\w+) +│ +(\S+)", capsys.readouterr().out))
    assert set(table) == {"test/rmse", "test/rmse_score", "test/r2", "test/spearman"}
    assert float(table["test/rmse_score"]) == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-4)
    assert float(table["test/rmse"]) == pytest.approx(np.sqrt(np.mean(percent**2)), rel=1e-4)


def test_a_run_goes_on_with_its_target(folder):
    main(["fit", "--ckpt_path=checkpoints/last.ckpt", *QUIET, "--trainer.max_steps=6"])
    states = [torch.load(path, weights_only=True) for path in folder.glob("checkpoints/*.ckpt")]
    resumed = max(states, key=lambda state: state["global_step"])
    assert resumed["global_step"] == 6
    assert resumed["hyper_parameters"]["target"] == "score"
    known = resumed["NWADataModule"]["trained_on"]["batches"]
    names = ("target", "substitution", "gap", "gap_extend")
    assert [known[name] for name in names] == ["score", "BLOSUM62", -11, -1]


@pytest.mark.parametrize("given", [[], ["--model.target=mars"]])
def test_a_target_of_another_model_is_its_own(here, proteins, given):
    (here / "theirs_of_targets.py").write_text(THEIRS)
    sys.path.append(str(here))
    try:
        cli = NWACLI(
            [f"--data.data={proteins}", "--data.alphabet=protein", "--model=theirs_of_targets.Aimed", *given], run=False
        )
    finally:
        sys.modules.pop("theirs_of_targets", None)
    assert cli.model.hparams["target"] == ("mars" if given else "moon")


def test_embeddings_need_no_target(folder):
    main(["predict", "checkpoints/best.ckpt", *QUIET])
    assert np.load("embeddings/embeddings.npy").shape == (80, 128)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["fit", "--ckpt_path=checkpoints/last.ckpt", "--data.target=identity"],
            r"data\.target: expected score, .* identity",
        ),
        (["test", "checkpoints/last.ckpt", "--data.target=edits"], r"data\.target: expected score, .* found edits"),
        (["test", "checkpoints/last.ckpt", "--data.gap=-5"], r"--data\.gap: expected -11, .* found -5"),
        (
            ["fit", "proteins.fasta", "--data.alphabet=protein", "--model.target=score"],
            r"--model\.target: expected none, for it follows from --data\.target, found score; give --data\.target",
        ),
        (
            ["fit", "proteins.fasta", "--data.alphabet=protein", *TARGET, "--model.target_scale=9"],
            r"--model\.target_scale: expected none, for it follows from --data\.target, found 9",
        ),
        (
            [
                "fit",
                "proteins.fasta",
                "--data.alphabet=protein",
                "--data.target=identity",
                "--model.loss=ChiSquareLoss",
            ],
            "loss: expected SquaredLoss, AbsoluteLoss or TripletLoss for the target identity, found ChiSquareLoss",
        ),
        (
            ["fit", "proteins.fasta", "--data.alphabet=protein", "--data.target=length"],
            r"--data\.target: expected one of 'edits', 'identity', 'score', found length",
        ),
        (
            ["fit", "proteins.fasta", "--data.alphabet=protein", "--data.substitution=BLOSUM"],
            r"substitution: BLOSUM: expected one of .*BLOSUM62",
        ),
        (
            ["distances", "proteins.fasta", "--ckpt_path=checkpoints/best.ckpt", "--out=d.npy"],
            "model: expected one that predicts edit distances, found one of the target score",
        ),
        (
            ["tree", "proteins.fasta", "--ckpt_path=checkpoints/best.ckpt", "--out=tree.nwk"],
            "model: expected one that predicts edit distances, found one of the target score",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_contradicts_a_target_is_one_line(folder, refused, args, message):
    quiet = QUIET if args[0] in ("fit", "test") else []
    assert re.search(message, refused(*args, *quiet))
    assert not list(folder.glob("*.np*")) + list(folder.glob("*.nwk"))
