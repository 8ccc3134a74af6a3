"""Classes by their dotted names, and the arguments they take."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable

from jsonargparse import ArgumentParser

import nwa_lightning
from nwa_lightning.errors import InputError
from nwa_lightning.parts import import_class


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
