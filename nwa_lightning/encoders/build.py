"""Building an encoder again from what a file says of it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from nwa_lightning.encoders.base import Encoder
from nwa_lightning.errors import InputError


def build_encoder(spec: Mapping[str, Any], source: object) -> Encoder:
    """Build an encoder as its ``spec`` says, with new weights.

    Importing the class that the spec names runs its module: build what you trust. Nothing but a subclass of ``Encoder`` is
    called.

    Args:
        spec: ``class_path`` and ``init_args``, as ``Encoder.spec`` gives them.
        source: Where the spec is from, for messages.

    Raises:
        InputError: If the class cannot be imported, is no ``Encoder``, or takes other arguments.
    """
    class_path = str(spec.get("class_path"))
    found = import_class(class_path, source)
    if not issubclass(found, Encoder):
        raise InputError(
            f"{source}: expected a subclass of nwa_lightning.Encoder, found {class_path}; derive it from Encoder"
        )
    build: Callable[..., Encoder] = found  # each class has arguments of its own
    try:
        init_args = {
            name: build_encoder(value, source) if isinstance(value, Mapping) and "class_path" in value else value
            for name, value in spec.get("init_args", {}).items()
        }
        return build(**init_args)
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{source}: expected arguments of {class_path}, found others ({one_line(error)}); use the version of the class "
            f"that was trained"
        ) from None


def as_encoder(given: Any) -> Encoder:
    """The encoder of a model, which a checkpoint gives as its spec.

    Args:
        given: An ``Encoder``, any module with its ``max_length`` and ``embedding_dim``, or a spec for ``build_encoder``.

    Raises:
        InputError: If it is none of these, or the spec cannot be used.
    """
    if isinstance(given, Mapping):
        try:
            return build_encoder(given, "encoder")
        except InputError as error:
            raise InputError(f"{error}, or pass encoder=... to load_from_checkpoint") from None
    if given is None:
        raise InputError(
            "encoder: expected an encoder, found none, as a checkpoint has where the class cannot be imported or an argument "
            "is no plain value; pass encoder=... to load_from_checkpoint"
        )
    if not all(hasattr(given, name) for name in ("max_length", "embedding_dim")):
        raise InputError(
            f"encoder: expected an nwa_lightning.Encoder, found {type(given).__name__}; derive it from Encoder"
        )
    encoder: Encoder = given
    return encoder


def import_class(class_path: str, source: object) -> type:
    """Import a class by its dotted name.

    Args:
        class_path: Module and name.
        source: Where the name is from, for messages.

    Raises:
        InputError: If there is no such class.
    """
    module, _, name = class_path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        found = None
    if not isinstance(found, type):
        raise InputError(
            f"{source}: expected a class that can be imported, found {class_path}; run where its module is on the path "
            f"(PYTHONPATH)"
        )
    return found


def one_line(error: Exception) -> str:
    """The first two lines of a message as one: the first alone may only say where something failed."""
    return " ".join(line.strip() for line in str(error).strip().splitlines()[:2]) or type(error).__name__
