"""Read a Lightning checkpoint without running code from it."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from nwa_lightning.errors import InputError
from nwa_lightning.models.pretrained import PRETRAINED, read_pretrained


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a Lightning checkpoint: tensors, on the CPU, and plain values.

    Tensors are read when they are first used, so an unused optimizer state costs nothing.

    Args:
        path: Path of a file, or the name of a pretrained model.

    Returns:
        The contents of the checkpoint, including ``state_dict``.

    Raises:
        InputError: If there is no such file, or it is not a checkpoint.
    """
    if path.is_dir():
        raise InputError(
            f"{path}: expected a checkpoint, found a folder; name a file in it, such as {path / 'last.ckpt'}"
        )
    if str(path) in PRETRAINED and not path.exists():
        return read_pretrained(str(path))
    if not path.is_file():
        raise InputError(f"{path}: expected a checkpoint, found no such file; name one that `nwa fit` wrote")
    try:
        with warnings.catch_warnings():  # about a TorchScript file, which is refused anyway
            warnings.simplefilter("ignore")
            # Files from before torch 1.6 are not zip archives and cannot be mapped into memory.
            checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except OSError as error:
        raise InputError(f"{path}: expected a checkpoint, found {error.strerror}; name one that can be read") from None
    except Exception:  # torch.load may raise anything; its hints to load unsafely are not for our users
        raise InputError(
            f"{path}: expected a Lightning checkpoint of tensors and plain values, found a damaged or foreign file, or "
            f"one with other objects; name one that `nwa fit` wrote"
        ) from None
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise InputError(f"{path}: expected a Lightning checkpoint, found no state_dict; name one that `nwa fit` wrote")
    return checkpoint
