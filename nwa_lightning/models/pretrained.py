"""Pretrained models, which come with the package and are loaded by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import safetensors.torch

from nwa_lightning.errors import InputError
from nwa_lightning.models.edit_distance import EditDistanceModel

#: The name of each model, and the reads that it embeds.
PRETRAINED: Final = {"human16s-v4": "150 bases of the V4 region of 16S rRNA, from primer 515F on"}

MODEL: Final = "model.safetensors"
DESCRIPTION: Final = "model.json"

_FOLDER: Final = Path(__file__).parent / "weights"


def read_pretrained(name: str) -> dict[str, Any]:
    """A pretrained model in the form of a checkpoint: ``hyper_parameters``, ``state_dict`` and its training data.

    Args:
        name: One of ``PRETRAINED``.
    """
    folder = _FOLDER / name
    checkpoint: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text())
    return checkpoint | {"state_dict": safetensors.torch.load_file(folder / MODEL)}


def load_pretrained(name: str) -> EditDistanceModel:
    """A pretrained model, in evaluation mode on the CPU.

    ``human16s-v4`` embeds 150 bases of the V4 region of 16S rRNA. ``docs/guides/landmarks.md`` reports its error on unseen
    reads. For other regions, or reads that start elsewhere, train your own.

    Args:
        name: One of ``PRETRAINED``.

    Raises:
        InputError: If there is no such model.

    Example:
        >>> model = load_pretrained("human16s-v4")
        >>> batch = pair_batch(["TACGGAGGATGCGAGCGTTATCCGG", "TACGGAGGATCCGAGCGTTATCCGG"])
        >>> model.predicted_edits(model(batch.tokens), batch.pairs).shape
        torch.Size([1])
    """
    if name not in PRETRAINED:
        raise InputError(f"load_pretrained: expected one of {', '.join(PRETRAINED)}, found {name!r}")
    checkpoint = read_pretrained(name)
    model = EditDistanceModel(**checkpoint["hyper_parameters"])
    model.load_state_dict(checkpoint["state_dict"])
    return model.eval()


def save_pretrained(checkpoint: dict[str, Any], folder: Path) -> None:
    """Write a checkpoint of ``nwa fit`` for ``read_pretrained``, without the state that only training needs.

    Args:
        checkpoint: Checkpoint of an ``EditDistanceModel`` without NWA.
        folder: Where to write; created if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    hidden = {key: value for key, value in checkpoint["hyper_parameters"].items() if not key.startswith("_")}
    known = {key: value for key, value in checkpoint["NWADataModule"].items() if key == "trained_on"}
    text = json.dumps({"hyper_parameters": hidden, "NWADataModule": known}, indent=2)
    (folder / DESCRIPTION).write_text(f"{text}\n")
    safetensors.torch.save_file(checkpoint["state_dict"], folder / MODEL)
