"""Reading a Lightning checkpoint without running what is in it."""

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

    Tensors are read when they are first used, so the state of the optimizer costs nothing where nobody asks for it.

    Args:
        path: Of a file, or the name of a model in the box.

    Returns:
        What the checkpoint holds; ``state_dict`` among it.

    Raises:
        InputError: If there is no such file, or it is no checkpoint.
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
        with warnings.catch_warnings():  # of a TorchScript file, which is refused all the same
            warnings.simplefilter("ignore")
            # Files of before torch 1.6 are no archives and cannot be mapped into memory.
            checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except OSError as error:
        raise InputError(f"{path}: expected a checkpoint, found {error.strerror}; name one that can be read") from None
    except Exception:  # torch.load raises what the bytes lead to; its hints to load unsafely are of no use here
        raise InputError(
            f"{path}: expected a Lightning checkpoint of tensors and plain values, found a damaged or foreign file, or "
            f"one with other objects; name one that `nwa fit` wrote"
        ) from None
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise InputError(f"{path}: expected a Lightning checkpoint, found no state_dict; name one that `nwa fit` wrote")
    return checkpoint
