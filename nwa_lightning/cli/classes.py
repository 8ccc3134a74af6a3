"""Classes by their dotted names, and the arguments they take."""

from __future__ import annotations

from jsonargparse import ArgumentParser

from nwa_lightning.errors import InputError
from nwa_lightning.parts import import_class


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
