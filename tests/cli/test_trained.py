"""A checkpoint knows its model and its data; commands take both from there, and refuse what contradicts them."""

import csv
import json
import re

import numpy as np
import pytest
import torch
from quiet import QUIET, inside

from nwa_lightning import EditDistanceModel, NWADataModule
from nwa_lightning.cli.main import main
from nwa_lightning.sequences.content import content_hashes
from nwa_lightning.sequences.packed import Packed

#: Of a run that goes on where its checkpoints are.
pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory", "ignore:The dirpath has changed")

#: Of nothing and of ACGT, by an independent program: printf '' | b2sum -l 64; printf '\002\003\004\005' | b2sum -l 64.
HASHES = [int.from_bytes(bytes.fromhex(digest), "little") for digest in ("e4a6a0577479b2b4", "642946093952b86f")]
SMALL = ["--model.encoder.layers=2", "--model.encoder.channels=8", "--data.batch_size=16"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, reads):
    """A folder with mine.txt, a checkpoint of a model that was trained on it, and what its test gave at the end."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "mine.txt").write_text(reads.read_text())
    with inside(folder):
        main(["fit", "mine.txt", *SMALL, *QUIET, "--trainer.max_steps=12"])
    return folder


def measured(capsys, *args):
    """The table of a test."""
    capsys.readouterr()
    main(["test", *args, *QUIET])
    table = dict(re.findall(r"(test/\w+) +│ +(\S+)", capsys.readouterr().out))
    assert len(table) == 4
    return table


def test_a_checkpoint_is_tested_on_its_own_file(folder, capsys, monkeypatch):
    model = EditDistanceModel.load_from_checkpoint("checkpoints/last.ckpt", weights_only=True).eval()
    data = NWADataModule("mine.txt", batch_size=16)
    with torch.inference_mode():
        for batch in data.test_dataloader():
            model.test_metrics.update(
                preds=model.predicted_edits(model.encode(batch.tokens), batch.pairs),
                target=batch.distance.float(),
                length=batch.longest,
            )
    expected = {name: float(value) for name, value in model.test_metrics.compute().items()}
    monkeypatch.chdir("/")  # the checkpoint says where the file is
    table = measured(capsys, str(folder / "checkpoints" / "last.ckpt"))
    assert {name: float(value) for name, value in table.items()} == pytest.approx(expected, rel=1e-4)


def test_the_state_is_plain(folder):
    state = torch.load("checkpoints/last.ckpt", weights_only=True)["NWADataModule"]["trained_on"]
    assert json.loads(json.dumps(state)) == state
    assert state["model"] == "nwa_lightning.models.edit_distance.EditDistanceModel"
    assert state["arguments"]["data"].endswith("mine.txt")
    assert state["arguments"]["max_length"] == 32
    assert sum(state["split"][name] for name in ("train", "val", "test")) == state["reads"]["count"] == 120
    assert set(state["versions"]) == {"nwa-lightning", "torch", "lightning", "numpy"}


def test_no_read_that_was_trained_on_is_ever_measured(folder, capsys):
    lines = (folder / "mine.txt").read_text().split()
    trained_on = set(NWADataModule("mine.txt").split.train.hashes.tolist())
    before = measured(capsys, "checkpoints/last.ckpt")
    generator = np.random.default_rng(0)
    more = ["".join(row) for row in generator.choice(list("ACGT"), (60, 30))]
    for name, changed in (
        ("reordered", lines[::-1]),
        ("copied", [*lines, *lines[:50]]),
        ("appended", [*more, *lines]),
    ):
        (folder / f"{name}.txt").write_text("\n".join(changed) + "\n")
        table = measured(capsys, "checkpoints/last.ckpt", f"--data.data={name}.txt")
        if name != "appended":
            assert table == before
        data = NWADataModule(f"{name}.txt")
        data.load_state_dict(torch.load("checkpoints/last.ckpt", weights_only=True)["NWADataModule"])
        assert not trained_on & set(data.split.test.hashes.tolist())
        assert not trained_on & set(data.split.val.hashes.tolist())


def test_all_of_another_file_is_tested(trained, folder, capsys):
    lines = (folder / "mine.txt").read_text().split()
    (folder / "other.txt").write_text("\n".join(line[:19] for line in lines[:40]) + "\n")
    with_name = measured(capsys, "checkpoints/last.ckpt", "other.txt")
    (trained / "mine.txt").rename(trained / "elsewhere.txt")  # not needed
    try:
        by_option = measured(capsys, "--ckpt_path=checkpoints/last.ckpt", "--data.test_data=other.txt")
    finally:
        (trained / "elsewhere.txt").rename(trained / "mine.txt")
    assert with_name == by_option


def test_reads_that_were_trained_on_are_counted(folder, capsys):
    data = NWADataModule("mine.txt")
    some = [*data.split.train.to_strings()[:7], *data.split.test.to_strings()[:5]]
    (folder / "mixed.txt").write_text("\n".join(some) + "\n")
    with pytest.warns(UserWarning, match="mixed.txt: 7 of 12 reads were trained on"):
        measured(capsys, "checkpoints/last.ckpt", "mixed.txt")


@pytest.mark.parametrize(
    ("command", "args", "message"),
    [
        ("test", ["--data.seed=1"], r"--data.seed: expected 0, with which the checkpoint was trained, found 1"),
        ("validate", ["--data.test_size=9"], r"--data.test_size: expected None, .* found 9"),
        ("test", ["--data.alphabet=iupac"], r"--data.alphabet: expected dna, .* found iupac"),
        ("predict", ["--data.alphabet=iupac"], r"--data.alphabet: expected dna, .* found iupac"),
        ("predict", ["--data.max_length=40"], r"--data.max_length: expected 32, .* found 40"),
        (
            "test",
            ["--data.data=other.txt"],
            r"expected the reads of .*mine.txt that .*, found others .*give it as --data.test_",
        ),
        ("test", ["--data.data=half.txt"], r"half.txt: 60 distinct reads, 120 when .* are there"),
        ("fit", ["--data.data=half.txt"], r"half.txt: 60 distinct reads, 120 when"),
        ("fit", ["--data.match=2"], r"--data.match: expected 1, .* found 2"),
        ("test", ["--model.encoder.layers=3"], r"--model.encoder.layers: expected 2, .* found 3"),
        (
            "test",
            ["--model.distance=EuclideanDistance"],
            r"--model.distance: expected .*HyperbolicDistance, .* found .*EuclideanDistance",
        ),
        (
            "predict",
            ["--model.encoder=GRUEncoder", "--model.encoder.max_length=32"],
            r"--model.encoder: expected .*CNN",
        ),
        (
            "test",
            ["--data.test_data=long.txt"],
            r"long.txt: expected at most 32 bases .*, found 2 longer .*, the first 3 of 36",
        ),
        ("predict", ["--data.data=long.txt"], r"long.txt: expected at most 32 bases"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_contradicts_the_checkpoint_is_an_error(folder, refused, command, args, message):
    lines = (folder / "mine.txt").read_text().split()
    (folder / "half.txt").write_text("\n".join(lines[:60]) + "\n")
    (folder / "other.txt").write_text("\n".join(line[::-1] for line in lines) + "\n")
    (folder / "long.txt").write_text("\n".join(["ACGT", "ACGTA", "ACGT" * 9, "CCGT" * 9]) + "\n")
    assert re.search(message, refused(command, "--ckpt_path=checkpoints/last.ckpt", *args, *QUIET))


def test_longer_reads_are_cut_if_asked(folder):
    (folder / "long.txt").write_text("\n".join(["ACGT", "ACGTA", "ACGT" * 9, "CCGT" * 9]) + "\n")
    with pytest.warns(UserWarning, match="cut 2 of 4 sequences to 32 bases, the first 3"):
        main(["predict", "checkpoints/last.ckpt", "long.txt", "--data.on_long=cut", *QUIET])
    assert np.load("embeddings/embeddings.npy").shape == (4, 128)


@pytest.mark.parametrize("encoder", ["KmerEncoder", "GRUEncoder", "ResidualCNN"])
def test_shorter_reads_are_measured_as_they_were_trained(here, reads, capsys, encoder):
    """Weights of these do not depend on the length; the scale of their distances does."""
    main(["fit", str(reads), f"--model.encoder={encoder}", "--model.nwa_weight=null", *QUIET, "--trainer.max_steps=3"])
    model = EditDistanceModel.load_from_checkpoint("checkpoints/last.ckpt", weights_only=True)
    (here / "short.txt").write_text("\n".join(line[:19] for line in reads.read_text().split()[:30]) + "\n")
    table = measured(capsys, "checkpoints/last.ckpt", "short.txt")
    assert model.length == 32
    predicted = NWADataModule("short.txt", max_length=32)
    batch = predicted._fixed(predicted.sequences.unique(), 30).dataset[0]
    with torch.inference_mode():
        edits = model.eval().predicted_edits(model.encode(batch.tokens), batch.pairs)
    error = 100 * ((edits - batch.distance) / batch.longest).square().mean().sqrt()
    assert float(table["test/rmse"]) == pytest.approx(float(error), rel=1e-4)


def test_resuming_takes_all_from_the_checkpoint(folder):
    main(["fit", "--ckpt_path=checkpoints/last.ckpt", *QUIET, "--trainer.max_steps=20"])
    states = [torch.load(path, weights_only=True) for path in folder.glob("checkpoints/*.ckpt")]
    resumed = max(states, key=lambda state: state["global_step"])
    assert resumed["global_step"] == 20
    assert resumed["NWADataModule"]["trained_on"]["batches"]["batch_size"] == 16
    assert resumed["hyper_parameters"]["encoder"]["init_args"]["channels"] == 8


def test_the_same_in_python(folder):
    model = EditDistanceModel.load_from_checkpoint("checkpoints/last.ckpt", weights_only=True)
    state = torch.load("checkpoints/last.ckpt", weights_only=True)["NWADataModule"]
    with pytest.raises(ValueError, match=r"seed: expected 0, with which the checkpoint was trained, found 3"):
        NWADataModule("mine.txt", seed=3).load_state_dict(state)
    data = NWADataModule("mine.txt")
    data.load_state_dict(state)
    assert data.max_length == model.encoder.max_length == 32


def test_a_test_file_is_left_out_of_training(here, reads):
    lines = reads.read_text().split()
    (here / "held_out.txt").write_text("\n".join([*lines[:30], "ACGTACGTACGTACGTACGTAACC"]) + "\n")
    data = NWADataModule(str(reads), test_data="held_out.txt")
    train, val, test = data.split
    assert (len(test), len(train) + len(val)) == (31, 90)
    assert not set(test.to_strings()) & set(train.to_strings() + val.to_strings())
    assert data.test_dataloader().dataset[0].tokens.shape[0] == 31


def test_hashes_of_different_runs_agree():
    """They are written into checkpoints, so they must not depend on the process (PYTHONHASHSEED) or the machine."""
    assert content_hashes(Packed.of([b"", b"\x02\x03\x04\x05"])).tolist() == HASHES


def test_metrics_of_a_run_end_in_its_log(folder):
    assert not list(folder.glob("**/*.csv"))
    main(["test", "checkpoints/best.ckpt", "--trainer.logger=CSVLogger", "--trainer.logger.save_dir=.", QUIET[1]])
    with next(folder.glob("**/metrics.csv")).open() as file:
        assert {"test/rmse", "test/r2"} <= set(next(csv.reader(file)))
