"""``nwa export``: write the encoder of a checkpoint to files that need no trainer; one of them needs only torch."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from nwa_lightning.data.targets import UNITS, TargetName, full_scale
from nwa_lightning.encoders.base import Encoder
from nwa_lightning.encoders.landmark_mds import LandmarkMDS
from nwa_lightning.encoders.landmarks import LandmarkEncoder
from nwa_lightning.errors import InputError, one_line
from nwa_lightning.models.checkpoint import read_checkpoint
from nwa_lightning.models.distances import as_distance
from nwa_lightning.models.edit_distance import EditDistanceModel
from nwa_lightning.parts import Part, build_part, import_class
from nwa_lightning.sequences.alphabet import ALPHABETS, FIRST_LETTER, PADDING, SOS, Alphabet, as_alphabet

WEIGHTS: Final = "encoder.safetensors"
CONFIG: Final = "config.json"
PROGRAM: Final = "encoder.pt2"

#: The most sequences that an exported program embeds at a time.
MOST_SEQUENCES: Final = 1 << 31


def export_checkpoint(checkpoint: Path, folder: Path, *, version: str) -> None:
    """Write the encoder of a checkpoint of ``nwa fit``, without the NWA head, and print what was written.

    ``encoder.safetensors`` holds the weights. ``config.json`` holds the class of the encoder and its arguments, the codes
    of the letters, the target with its unit, the learnt distance and, if the checkpoint says so, the training data.
    ``encoder.pt2`` is a program for ``torch.export.load``, which maps ``(U, max_length + 1)`` int64 tokens, for any U, to
    ``(U, m)`` embeddings.

    An encoder without an ``Encoder.spec`` cannot be built without its model. For such an encoder ``config.json`` holds the
    hyper-parameters of the model, and there is no ``encoder.pt2``.

    Args:
        checkpoint: Path of the checkpoint; loading it runs no code.
        folder: Where to write; created if missing.
        version: Version of this package, for ``config.json``.

    Raises:
        InputError: If the checkpoint cannot be used, or the folder cannot be written.
    """
    saved = read_checkpoint(checkpoint)
    hyper_parameters, state = saved.get("hyper_parameters"), saved["state_dict"]
    if not hyper_parameters:
        raise InputError(
            f"{checkpoint}: expected the hyper-parameters of the model, found none; call self.save_hyperparameters() in its "
            f"__init__ and train again"
        )
    weights = _below("encoder", state)
    spec = hyper_parameters.get("encoder")
    known = isinstance(spec, dict) and "class_path" in spec
    if known and hyper_parameters.get("landmarks") is not None:
        spec = {
            "class_path": f"{LandmarkEncoder.__module__}.{LandmarkEncoder.__name__}",
            "init_args": {"encoder": spec, "count": hyper_parameters["landmarks"]},
        }
    if not weights and not known:  # a known encoder may have none
        raise InputError(
            f"{checkpoint}: expected the weights of a submodule named encoder, found none; give the encoder of the model "
            f"that name"
        )
    files: dict[str, bytes] = {}
    config: dict[str, Any] = {"package": "nwa-lightning", "version": version}
    trained_on = saved.get("NWADataModule", {}).get("trained_on")
    if trained_on:
        config["trained_on"] = trained_on
    missing = (
        "the checkpoint does not tell how to build its encoder: it is not an nwa_lightning.Encoder, its class cannot be "
        "imported, or one of its arguments is not a plain value"
    )
    if known:
        encoder = _trained_encoder(spec, weights, checkpoint)
        config |= _description(encoder, spec, _letters(encoder.vocabulary, trained_on))
        if _is_edit_distance_model(hyper_parameters, state, checkpoint):
            spec, target = hyper_parameters.get("distance"), hyper_parameters.get("target", "edits")
            config["target"] = {"name": target, "unit": UNITS[target]}
            scale = full_scale(target, hyper_parameters.get("target_scale"), encoder.max_length)
            config["distance"] = _describe_distance(spec, _below("distance", state), encoder, checkpoint, target, scale)
        try:
            files[PROGRAM] = _program(encoder)
        except Exception as error:  # tracing a user's forward may raise anything
            missing = f"torch.export cannot trace {type(encoder).__name__} ({one_line(error)})"
    else:
        config["hyper_parameters"] = hyper_parameters
    _write(folder, files | _config_and_weights(config, weights), "--to")
    if PROGRAM not in files:
        print(f"not written: {PROGRAM}, because {missing}")


def export_landmark_mds(encoder: LandmarkMDS, folder: Path, alphabet: Alphabet, *, version: str) -> None:
    """Write ``encoder.safetensors`` and ``config.json`` for ``load_encoder``, and print what was written.

    Args:
        encoder: A fitted encoder.
        folder: Where to write; created if missing.
        alphabet: Alphabet of the sequences to which it was fitted.
        version: Version of this package, for ``config.json``.

    Raises:
        InputError: If the folder cannot be written.
    """
    config = {
        "package": "nwa-lightning",
        "version": version,
        **_description(encoder, encoder.spec or {}, _codes_of([alphabet])),
        "distance": {"power": encoder.power.item(), "predicted_edits": "|u - v|^power; u, v: embeddings"},
    }
    _write(folder, _config_and_weights(config, encoder.state_dict()), "--embeddings.folder")


def _description(encoder: Encoder, spec: dict[str, Any], letters: dict[str, int] | None) -> dict[str, Any]:
    """How to build an encoder, and its inputs and outputs."""
    return {
        "encoder": {"class_path": spec["class_path"], "init_args": spec.get("init_args", {})},
        "max_length": encoder.max_length,
        "embedding_dim": encoder.embedding_dim,
        "tokens": {"padding": PADDING, "sos": SOS, "letters": letters},
    }


def _config_and_weights(config: dict[str, Any], weights: dict[str, Tensor]) -> dict[str, bytes]:
    return {
        CONFIG: f"{json.dumps(config, indent=2, default=str)}\n".encode(),
        WEIGHTS: safetensors.torch.save({name: value.contiguous() for name, value in weights.items()}),
    }


def _write(folder: Path, files: dict[str, bytes], option: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
    except OSError as error:
        raise InputError(f"{option} {folder}: {error.strerror}; name a folder that can be written") from None
    print(f"written: {', '.join(str(folder / name) for name in sorted(files))}")


def load_encoder(folder: str | Path) -> Encoder:
    """Rebuild the encoder that ``nwa export`` wrote, in evaluation mode on the CPU.

    This imports the class that ``config.json`` names, which runs its module: load only files that you trust.

    Args:
        folder: Folder with ``encoder.safetensors`` and ``config.json``.

    Raises:
        InputError: If a file is missing or damaged, or the class is not an ``Encoder``.
    """
    path = Path(folder) / CONFIG
    try:
        config = json.loads(path.read_text())
        weights = safetensors.torch.load_file(Path(folder) / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(
            f"{folder}: expected {CONFIG} and {WEIGHTS} as `nwa export` writes them, found neither or a damaged one "
            f"({one_line(error)}); export the checkpoint again"
        ) from None
    spec = config.get("encoder") if isinstance(config, dict) else None
    if not isinstance(spec, dict) or "class_path" not in spec:
        raise InputError(
            f"{path}: expected the class of the encoder, found none; build the encoder by your own code and load {WEIGHTS} "
            f"into it"
        )
    return _trained_encoder(spec, weights, path)


def _below(module: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The part of a state that belongs to a submodule, under the submodule's own names."""
    prefix = f"{module}."
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _trained_encoder(spec: dict[str, Any], weights: dict[str, Tensor], source: Path) -> Encoder:
    encoder = build_part(spec, Encoder, source)
    _load(encoder, weights, source)
    return encoder.eval()


def _load(part: Part, weights: dict[str, Tensor], source: Path) -> None:
    try:
        part.load_state_dict(weights)
    except RuntimeError as error:
        class_path = f"{type(part).__module__}.{type(part).__qualname__}"
        raise InputError(
            f"{source}: expected weights of {class_path}, found others ({one_line(error)}); use the version of the "
            f"class that was trained"
        ) from None


def _is_edit_distance_model(hyper_parameters: dict[str, Any], state: dict[str, Tensor], source: Path) -> bool:
    """Whether the model has one of our distances; a model that was made in Python does not record its class."""
    class_path = hyper_parameters.get("_class_path")
    if class_path is None:
        return "distance" in hyper_parameters and "distance.scale" in state
    return issubclass(import_class(str(class_path), source), EditDistanceModel)


def _letters(vocabulary: int, trained_on: dict[str, Any] | None) -> dict[str, int] | None:
    """Codes of the letters of the alphabet that the model was trained with.

    If the checkpoint names none that is known, the codes of all alphabets of that size (T and U share a code); None without any.
    """
    trained = (trained_on or {}).get("arguments", {}).get("alphabet")
    with suppress(InputError):
        if trained is not None:
            return _codes_of([as_alphabet(trained)])
    return _codes_of([alphabet for alphabet in ALPHABETS.values() if alphabet.size == vocabulary]) or None


def _codes_of(alphabets: list[Alphabet]) -> dict[str, int]:
    return {letter: code for each in alphabets for code, letter in enumerate(each.letters, FIRST_LETTER)}


def _describe_distance(
    spec: Any,
    state: dict[str, Tensor],
    encoder: Encoder,
    source: Path,
    target: TargetName = "edits",
    scale: float | None = None,
) -> dict[str, Any]:
    """Name, formula and learnt numbers of the distance; its length is the scale of the target."""
    distance = as_distance(spec, f"{source}: distance")
    _load(distance, state, source)
    name, numbers = type(distance).__name__, distance.numbers(encoder.embedding_dim)
    predicted = "predicted_edits" if target == "edits" else f"predicted_{target}"
    return {"name": name, **numbers, "length": scale or encoder.max_length, predicted: distance.formula}


def _program(encoder: Encoder) -> bytes:
    """The encoder as a saved ``torch.export`` program."""
    tokens = torch.full((2, encoder.max_length + 1), PADDING)
    tokens[:, 0] = SOS
    # Torch 2.7 needs an upper bound for the number of sequences.
    batch = torch.export.Dim("batch", max=MOST_SEQUENCES)
    # Without gradients, so that a caller may turn the embeddings into an array.
    program = torch.export.export(encoder.requires_grad_(False), (tokens,), dynamic_shapes=({0: batch},))
    file = io.BytesIO()
    torch.export.save(program, file)
    return file.getvalue()
