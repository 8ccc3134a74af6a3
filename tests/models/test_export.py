import io
import json
import math
import subprocess
import sys

import pytest
import torch
from lightning.pytorch import Trainer
from safetensors import safe_open
from safetensors.torch import load_file

import nwa_lightning
from nwa_lightning import (
    CNNED,
    DSEECNN,
    EINN,
    SENSE,
    AsMac,
    CosineDistance,
    EditDistanceModel,
    EuclideanDistance,
    GRUEncoder,
    HyperbolicDistance,
    InputError,
    KmerEncoder,
    LinearEncoder,
    ManhattanDistance,
    MLPEncoder,
    NeuroSEEDCNN,
    SquaredEuclideanDistance,
    load_encoder,
)
from nwa_lightning.cli.main import main
from nwa_lightning.models.export import _describe_distance, _program

ENCODERS = {
    "cnn": ["--model.encoder.layers=2", "--model.encoder.channels=8"],
    "dsee": ["--model.encoder=DSEECNN", "--model.distance=SquaredEuclideanDistance", "--model.loss=ChiSquareLoss"],
    "transformer": ["--model.encoder=NeuroSEEDTransformer", "--model.encoder.window=2"],
}

# Runs a program where this package cannot be imported.
ALONE = """
import sys

sys.modules["nwa_lightning"] = None
import torch

program, tokens, embeddings = sys.argv[1:]
found = [torch.export.load(program).module()(rows) for rows in torch.load(tokens, weights_only=True)]
assert not any(rows.requires_grad for rows in found)
torch.save(found, embeddings)
try:
    import nwa_lightning
except ImportError:
    print("alone")
"""


def fit(folder, reads, *args):
    options = [f"--data.data={reads}", "--data.batch_size=16", "--trainer.max_steps=3", "--trainer.logger=false"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(["fit", *options, *args, "--checkpoint.monitor=null", "--trainer.enable_progress_bar=false"])
    return folder / "checkpoints" / "last.ckpt"


@pytest.fixture(scope="module", params=sorted(ENCODERS))
def exported(request, reads, tmp_path_factory):
    """A trained model, and the folder with its encoder."""
    folder = tmp_path_factory.mktemp(request.param)
    checkpoint = fit(folder, reads, *ENCODERS[request.param])
    main(["export", f"--ckpt_path={checkpoint}", f"--to={folder / 'new' / 'encoder'}"])
    model = EditDistanceModel.load_from_checkpoint(checkpoint, weights_only=True).eval()
    return model, folder / "new" / "encoder"


@pytest.fixture(scope="module")
def checkpoint(reads, tmp_path_factory):
    """A checkpoint to damage."""
    return fit(tmp_path_factory.mktemp("checkpoint"), reads, *ENCODERS["cnn"])


def random_tokens(rows, max_length):
    tokens = torch.randint(2, 6, (rows, max_length + 1), generator=torch.Generator().manual_seed(rows))
    tokens[:, 0] = 1
    tokens[0, max_length // 2 :] = 0
    return tokens


def test_the_encoder_is_rebuilt(exported):
    model, folder = exported
    encoder = load_encoder(str(folder))
    assert type(encoder) is type(model.encoder)
    assert not encoder.training
    for rows in (1, 5):
        tokens = random_tokens(rows, 32)
        torch.testing.assert_close(encoder(tokens), model.encode(tokens))
        torch.testing.assert_close(encoder(tokens[:1, :17]), model.encode(tokens[:1]))


def test_the_program_runs_without_this_package(exported, tmp_path):
    model, folder = exported
    batches = [random_tokens(rows, 32) for rows in (1, 5)]
    torch.save(batches, tmp_path / "tokens")
    command = [
        sys.executable,
        "-I",
        "-c",
        ALONE,
        *(str(path) for path in (folder / "encoder.pt2", tmp_path / "tokens")),
    ]
    done = subprocess.run([*command, str(tmp_path / "found")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "alone"
    for tokens, found in zip(batches, torch.load(tmp_path / "found", weights_only=True), strict=True):
        torch.testing.assert_close(found, model.encode(tokens).detach())


def test_the_files_hold_the_encoder_alone(exported):
    model, folder = exported
    assert {path.name for path in folder.iterdir()} == {"config.json", "encoder.pt2", "encoder.safetensors"}
    with safe_open(folder / "encoder.safetensors", "pt") as file:
        assert set(file.keys()) == set(model.encoder.state_dict())
    for name, value in load_file(folder / "encoder.safetensors").items():
        assert torch.equal(value, model.encoder.state_dict()[name])
    program = torch.export.load(folder / "encoder.pt2")
    assert set(program.state_dict) <= set(model.encoder.state_dict())


def test_the_config_predicts_edits(exported):
    model, folder = exported
    config = json.loads((folder / "config.json").read_text())
    assert config["package"] == "nwa-lightning"
    assert config["version"] == nwa_lightning.__version__
    assert (config["max_length"], config["embedding_dim"]) == (32, 128)
    assert config["encoder"]["class_path"].endswith(type(model.encoder).__name__)
    uracil = {} if "trained_on" in config else {"U": 5}
    assert config["tokens"] == {"padding": 0, "sos": 1, "letters": {"A": 2, "C": 3, "G": 4, "T": 5, **uracil}}
    found = config["distance"]
    assert type(model.distance).__name__ == found["name"]
    embeddings = model.encode(random_tokens(2, 32)).detach()
    expected = model.predicted_edits(embeddings, torch.tensor([[0, 1]])).item()
    assert edits_by_hand(found, *embeddings.tolist()) == pytest.approx(expected, rel=1e-4)


def edits_by_hand(distance, first, second):
    """What a reader of ``config.json`` would write."""
    if distance["name"] in ("HyperbolicDistance", "CosineDistance"):
        first, second = ([value / math.hypot(*side) for value in side] for side in (first, second))
    differences = [one - two for one, two in zip(first, second, strict=True)]
    unit = distance["length"] * distance["scale"]
    if distance["name"] == "HyperbolicDistance":
        radius = distance["radius"]
        return unit * (2 * math.asinh(radius * math.hypot(*differences) / (1 - radius**2))) ** distance["power"]
    if distance["name"] == "CosineDistance":
        return unit * math.hypot(*differences) ** 2 / 2
    if distance["name"] == "ManhattanDistance":
        return unit * sum(abs(value) for value in differences) / len(differences)
    mean = sum(value**2 for value in differences) / len(differences)
    return unit * {"EuclideanDistance": math.sqrt(mean), "SquaredEuclideanDistance": mean}[distance["name"]]


@pytest.mark.parametrize(
    "kind", [HyperbolicDistance, EuclideanDistance, SquaredEuclideanDistance, CosineDistance, ManhattanDistance]
)
def test_every_distance_is_described(kind, tmp_path):
    torch.manual_seed(0)
    module, encoder = kind(), NeuroSEEDCNN(150, 24)
    for parameter in module.parameters():
        parameter.data.sub_(0.3)
    found = json.loads(json.dumps(_describe_distance(module.spec, module.state_dict(), encoder, tmp_path)))
    assert found["name"] == kind.__name__
    for number in found:
        assert number in ("name", "predicted_edits") or number in found["predicted_edits"]
    first, second = torch.randn(2, 1, 24)
    expected = 150 * module(first, second).item()
    assert edits_by_hand(found, *first.tolist(), *second.tolist()) == pytest.approx(expected, rel=1e-5)


# torch 2.13 says so of its own GRU, whose weights are parameters all the same.
@pytest.mark.filterwarnings("ignore:The tensor attributes self.features._flat_weights")
@pytest.mark.parametrize(
    "encoder",
    [
        CNNED(40),
        DSEECNN(40),
        SENSE(40),
        AsMac(40, template_length=5),
        EINN(40, references=8, reference_length=12),
        GRUEncoder(40, layers=2),
        MLPEncoder(40),
        LinearEncoder(40),
        KmerEncoder(40),
        KmerEncoder(40, None, k=2),
    ],
    ids=lambda encoder: type(encoder).__name__,
)
def test_every_encoder_becomes_a_program(encoder):
    encoder.eval()
    program = torch.export.load(io.BytesIO(_program(encoder))).module()
    for rows in (1, 2, 7):
        tokens = random_tokens(rows, 40)
        torch.testing.assert_close(program(tokens), encoder(tokens))


def test_help_suffices(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["export", "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for word in ("--ckpt_path", "--to", "encoder.safetensors", "config.json", "encoder.pt2"):
        assert word in shown
    with pytest.raises(SystemExit) as stop:
        main(["export"])
    assert stop.value.code == 2
    assert "required: --ckpt_path, --to" in capsys.readouterr().err


def error_of(capsys, checkpoint, to):
    with pytest.raises(SystemExit) as stop:
        main(["export", f"--ckpt_path={checkpoint}", f"--to={to}"])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("nwa: error: ")
    return line


@pytest.mark.parametrize("content", [b"", b"no checkpoint\n", b"PK\x03\x04 cut off", b"\x80\x02csubprocess\ncall\n."])
def test_a_file_that_is_no_checkpoint(tmp_path, capsys, content):
    (tmp_path / "file").write_bytes(content)
    line = error_of(capsys, tmp_path / "file", tmp_path)
    assert "file: expected a Lightning checkpoint of tensors and plain values, found a damaged or foreign file" in line
    for hint in ("weights_only", "torch.load", "arbitrary", "trust", "safe"):
        assert hint not in line


def test_a_missing_checkpoint(tmp_path, capsys):
    for path, found in ((tmp_path / "none.ckpt", "no such file"), (tmp_path, "a folder")):
        assert f"{path}: expected a checkpoint, found {found}" in error_of(capsys, path, tmp_path / "to")
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("state_dict"), "expected a Lightning checkpoint, found no state_dict"),
        (lambda content: content.pop("hyper_parameters"), "expected the hyper-parameters of the model, found none"),
        (
            lambda content: content["state_dict"].clear(),
            "found others (Error(s) in loading state_dict for NeuroSEEDCNN: Missing key(s) in state_dict",
        ),
        (
            lambda content: content["hyper_parameters"]["encoder"].update(class_path="torch.nn.Linear"),
            "expected a subclass of nwa_lightning.Encoder, found torch.nn.Linear",
        ),
        (
            lambda content: content["hyper_parameters"]["encoder"].update(class_path="nowhere.Encoder"),
            "expected a class that can be imported, found nowhere.Encoder",
        ),
        (
            lambda content: content["hyper_parameters"].update(distance="chord"),
            "distance: expected an object of a subclass of nwa_lightning.EmbeddingDistance, found 'chord'",
        ),
        (
            lambda content: content["hyper_parameters"]["encoder"]["init_args"].update(channels=4),
            "found others (Error(s) in loading state_dict for NeuroSEEDCNN: size mismatch for",
        ),
        (
            lambda content: content["hyper_parameters"]["encoder"]["init_args"].update(colour=4),
            "found others (NeuroSEEDCNN.__init__() got an unexpected keyword argument 'colour')",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit(checkpoint, tmp_path, capsys, change, message):
    content = torch.load(checkpoint, weights_only=True)
    change(content)
    torch.save(content, tmp_path / "changed.ckpt")
    assert message in error_of(capsys, tmp_path / "changed.ckpt", tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_a_folder_that_cannot_be_written(checkpoint, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for to in (tmp_path / "file", tmp_path / "file" / "below"):
        assert f"--to {to}: " in (line := error_of(capsys, checkpoint, to))
        assert line.endswith("; name a folder that can be written")


def trained(encoder, data, path, **options):
    """A model made in Python, and its checkpoint."""
    torch.manual_seed(0)
    model = EditDistanceModel(encoder, **options)
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_steps=2,
        limit_val_batches=0,
    )
    trainer.fit(model, data)
    trainer.save_checkpoint(path)
    return model.eval()


@pytest.mark.parametrize(
    ("encoder", "options"),
    [
        (NeuroSEEDCNN(32, 16, channels=8, layers=2), {}),
        (KmerEncoder(32, None, k=2), {"distance": EuclideanDistance(), "nwa_weight": None}),  # without weights
    ],
    ids=["cnn", "kmer"],
)
def test_a_model_made_in_python_is_exported_whole(data, tmp_path, capsys, encoder, options):
    model = trained(encoder, data, tmp_path / "model.ckpt", **options)
    main(["export", f"--ckpt_path={tmp_path / 'model.ckpt'}", f"--to={tmp_path / 'to'}"])
    assert "not written" not in capsys.readouterr().out
    tokens = random_tokens(3, 32)
    expected = model.encode(tokens).detach()
    torch.testing.assert_close(load_encoder(tmp_path / "to")(tokens), expected)
    torch.testing.assert_close(torch.export.load(tmp_path / "to" / "encoder.pt2").module()(tokens), expected)
    config = json.loads((tmp_path / "to" / "config.json").read_text())
    assert config["encoder"] == encoder.spec
    edits = edits_by_hand(config["distance"], *expected[:2].tolist())
    assert edits == pytest.approx(model.predicted_edits(expected, torch.tensor([[0, 1]])).item(), rel=1e-4)


def test_a_model_with_an_encoder_that_cannot_be_built_again(data, tmp_path, capsys):
    class Local(NeuroSEEDCNN):
        pass

    model = trained(Local(32, 16, channels=8, layers=2), data, tmp_path / "model.ckpt")
    main(["export", f"--ckpt_path={tmp_path / 'model.ckpt'}", f"--to={tmp_path / 'to'}"])
    assert "not written: encoder.pt2, because the checkpoint does not tell how" in capsys.readouterr().out
    found = load_file(tmp_path / "to" / "encoder.safetensors")
    assert found.keys() == model.encoder.state_dict().keys()


@pytest.mark.parametrize(
    ("trained_on", "letters"),
    [
        ({"arguments": {"alphabet": "rna", "max_length": 32, "data": "reads.txt"}}, {"A": 2, "C": 3, "G": 4, "U": 5}),
        ({"arguments": {"alphabet": "mine"}}, {"A": 2, "C": 3, "G": 4, "T": 5, "U": 5}),
        (None, {"A": 2, "C": 3, "G": 4, "T": 5, "U": 5}),
    ],
)
def test_what_it_was_trained_on(checkpoint, tmp_path, trained_on, letters):
    content = torch.load(checkpoint, weights_only=True)
    content["NWADataModule"] = {"trained_on": trained_on} if trained_on else {}
    torch.save(content, tmp_path / "changed.ckpt")
    main(["export", f"--ckpt_path={tmp_path / 'changed.ckpt'}", f"--to={tmp_path / 'to'}"])
    config = json.loads((tmp_path / "to" / "config.json").read_text())
    assert config["tokens"]["letters"] == letters
    assert config.get("trained_on") == trained_on


def test_a_model_of_ones_own(checkpoint, tmp_path, capsys):
    """Its encoder cannot be built without it: the weights and the hyper-parameters are all there is."""
    weight = torch.arange(6.0).reshape(2, 3)
    content = {
        "state_dict": {"encoder.weight": weight, "nwa.head.merge": weight},
        "hyper_parameters": {"_class_path": "theirs.Model", "width": 3},
    }
    torch.save(content, tmp_path / "theirs.ckpt")
    main(["export", f"--ckpt_path={tmp_path / 'theirs.ckpt'}", f"--to={tmp_path / 'to'}"])
    assert "not written: encoder.pt2, because the checkpoint does not tell" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "to").iterdir()} == {"config.json", "encoder.safetensors"}
    config = json.loads((tmp_path / "to" / "config.json").read_text())
    assert config["hyper_parameters"] == {"_class_path": "theirs.Model", "width": 3}
    found = load_file(tmp_path / "to" / "encoder.safetensors")
    assert list(found) == ["weight"]
    assert torch.equal(found["weight"], weight)
    with pytest.raises(InputError, match="expected the class of the encoder, found none"):
        load_encoder(tmp_path / "to")
    torch.save({**content, "state_dict": {"body.weight": weight}}, tmp_path / "theirs.ckpt")
    line = error_of(capsys, tmp_path / "theirs.ckpt", tmp_path / "to")
    assert "expected the weights of a submodule named encoder, found none" in line


class CannotBeTraced(NeuroSEEDCNN):
    def forward(self, tokens):
        return super().forward(tokens) * (1 if tokens.sum().item() > 0 else 2)


def test_an_encoder_that_cannot_be_traced(checkpoint, tmp_path, capsys):
    content = torch.load(checkpoint, weights_only=True)
    content["hyper_parameters"]["encoder"]["class_path"] = f"{__name__}.CannotBeTraced"
    torch.save(content, tmp_path / "changed.ckpt")
    main(["export", f"--ckpt_path={tmp_path / 'changed.ckpt'}", f"--to={tmp_path / 'to'}"])
    assert "not written: encoder.pt2, because torch.export cannot trace CannotBeTraced" in capsys.readouterr().out
    assert isinstance(load_encoder(tmp_path / "to"), CannotBeTraced)


def test_folders_that_cannot_be_loaded(exported, tmp_path):
    _, folder = exported
    with pytest.raises(InputError, match=r"expected config.json and encoder.safetensors as `nwa export` writes them"):
        load_encoder(tmp_path)
    (tmp_path / "encoder.safetensors").write_bytes((folder / "encoder.safetensors").read_bytes()[:-8])
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(InputError, match="found neither or a damaged one"):
        load_encoder(tmp_path)
    (tmp_path / "encoder.safetensors").write_bytes((folder / "encoder.safetensors").read_bytes())
    config = json.loads((folder / "config.json").read_text())
    for class_path, message in (
        ("nwa_lightning.HyperbolicDistance", "expected a subclass of nwa_lightning.Encoder, found nwa_lightning.Hyper"),
        ("nwa_lightning.none", "expected a class that can be imported, found nwa_lightning.none"),
        ("nodots", "expected a class that can be imported, found nodots"),
    ):
        config["encoder"]["class_path"] = class_path
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(InputError, match=message):
            load_encoder(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(InputError, match="expected the class of the encoder, found none"):
        load_encoder(tmp_path)
