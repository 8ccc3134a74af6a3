"""Classes by their dotted names, and the arguments they take."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any, Final

from jsonargparse import ArgumentParser

import nwa_lightning
from nwa_lightning.errors import InputError
from nwa_lightning.parts import import_class

#: What the data pass to an encoder that takes it.
_OF_ENCODER: Final = ("max_length", "vocabulary")
#: What they pass to a model that takes both: a target alone may mean something else in a model of another.
_OF_MODEL: Final = ("target", "target_scale")


def import_public() -> None:
    """Import all public classes: jsonargparse finds and lists only those that are there."""
    for name in dir(nwa_lightning):
        getattr(nwa_lightning, name)


def integers_first(function: Callable[..., object]) -> None:
    """Let the parser try int before float, so that 27 for ``int | float | None`` does not become 27.0.

    Python takes ``Optional[Union[float, int]]`` and ``Optional[Union[int, float]]`` for the same type, and gives the one that is
    in its cache for both. Lightning has both, so it depends on the order of all imports what its Trainer gets.

    Args:
        function: One with such arguments.
    """
    hints = inspect.unwrap(function).__annotations__
    hints |= {name: int | float | None for name, hint in hints.items() if hint == int | float | None}
    for clear in getattr(typing, "_cleanups", ()):
        clear()


def find_class(class_path: str) -> type | None:
    """The class, or None if there is no class of that name."""
    try:
        return import_class(class_path, "")
    except InputError:
        return None


def argument_names(class_path: str) -> set[str]:
    """Arguments of the constructor, with those that it passes on to its base classes; none for an unknown class."""
    found = find_class(class_path)
    if found is None:
        return set()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(found, fail_untyped=False)
    return set(parser.get_defaults().as_dict())


def _takes_target(model: dict[str, Any]) -> bool:
    return set(_OF_MODEL) <= argument_names(model["class_path"])


def check_linked(config: dict[str, Any]) -> None:
    """Refuse a target of the model, which would be ignored: the data pass theirs.

    Args:
        config: A configuration, before the arguments are linked, with the defaults.

    Raises:
        InputError: If the model was given another target than the data, or a scale.
    """
    model = config.get("model") or {}
    given = model.get("init_args") or {}
    unused = {"target": ("edits", (config.get("data") or {}).get("target")), "target_scale": (None,)}
    for name, harmless in unused.items():
        if name in given and given[name] not in harmless and _takes_target(model):
            raise InputError(
                f"--model.{name}: expected none, for it follows from --data.target, found {given[name]}; give --data.target"
            )


def link_data(parser: ArgumentParser, model: dict[str, Any] | None) -> None:
    """Link sizes and target of the data to the arguments of a model and its encoder, if they have such arguments.

    Args:
        parser: Parser of a command.
        model: Class of the model, and of its parts; None if it is not known.
    """
    if model is None:
        return
    for name in _OF_MODEL if _takes_target(model) else ():
        parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")
    encoder = model.get("init_args", {}).get("encoder")
    if encoder is None:
        return
    for name in sorted(set(_OF_ENCODER) & argument_names(encoder["class_path"])):
        parser.link_arguments(f"data.{name}", f"model.init_args.encoder.init_args.{name}", apply_on="instantiate")
