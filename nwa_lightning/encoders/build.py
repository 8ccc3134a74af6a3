"""The encoder of a model, from an object or from the spec in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nwa_lightning.encoders.base import Encoder
from nwa_lightning.errors import InputError
from nwa_lightning.parts import as_part


def as_encoder(given: Any) -> Encoder:
    """The encoder of a model, which is rebuilt if it is the spec from a checkpoint.

    Args:
        given: An ``Encoder``, any module with its ``max_length`` and ``embedding_dim``, or a spec for ``build_part``.

    Raises:
        InputError: If it is none of these, or the spec cannot be used.
    """
    if isinstance(given, Mapping):
        return as_part(given, Encoder, "encoder")
    if given is None:
        raise InputError(
            "encoder: expected an encoder, found none: a checkpoint cannot store one whose class cannot be imported, or with an "
            "argument that is not a plain value; pass encoder=... to load_from_checkpoint"
        )
    if not all(hasattr(given, name) for name in ("max_length", "embedding_dim")):
        raise InputError(
            f"encoder: expected an nwa_lightning.Encoder, found {type(given).__name__}; derive it from Encoder"
        )
    encoder: Encoder = given
    return encoder
