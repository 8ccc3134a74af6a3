"""Parts of a model that record how they were built, so that a checkpoint can rebuild them."""

from __future__ import annotations

import copy
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from torch import nn

from nwa_lightning.errors import InputError, one_line

if TYPE_CHECKING:
    from typing_extensions import Self

P = TypeVar("P", bound="Part")


class Part(nn.Module):
    """A module that records the arguments it was built with: see ``spec``."""

    _spec: dict[str, Any] | None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Record the arguments; a copy is made without arguments and keeps the record of the original."""
        part = super().__new__(cls)
        part._spec = _call_as_spec(cls, args, kwargs)
        return part

    @property
    def spec(self) -> dict[str, Any] | None:
        """How to rebuild this part: ``class_path`` and ``init_args``, which are plain values only.

        An argument that is a ``Part`` is replaced by its own spec. The spec is None if an argument is neither plain nor a
        ``Part``, or if the class cannot be imported because it is defined inside a function or another class.
        """
        return copy.deepcopy(self._spec)


def build_part(spec: Mapping[str, Any], kind: type[P], source: object) -> P:
    """Build a part from its ``spec``, with new weights.

    This imports the class that the spec names, which runs its module: build only specs that you trust. Only a subclass of
    ``kind`` is called.

    Args:
        spec: ``class_path`` and ``init_args``, as ``Part.spec`` returns them.
        kind: What the part has to be, such as ``Encoder``.
        source: Where the spec is from, for messages.

    Raises:
        InputError: If the class cannot be imported, is not of that kind, or takes other arguments.
    """
    class_path = str(spec.get("class_path"))
    found = import_class(class_path, source)
    if not issubclass(found, kind):
        raise InputError(
            f"{source}: expected a subclass of nwa_lightning.{kind.__name__}, found {class_path}; derive it from "
            f"{kind.__name__}"
        )
    build: Callable[..., P] = found  # each class has its own arguments
    try:
        init_args = {
            name: build_part(value, Part, source) if isinstance(value, Mapping) and "class_path" in value else value
            for name, value in (spec.get("init_args") or {}).items()
        }
        return build(**init_args)
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{source}: expected arguments of {class_path}, found others ({one_line(error)}); use the version of the class "
            f"that was trained"
        ) from None


def as_part(given: Any, kind: type[P], name: str) -> P:
    """A part of a model, which is rebuilt if it is the spec from a checkpoint.

    Args:
        given: A part of that kind, or a spec for ``build_part``.
        kind: What the part has to be.
        name: Name of the argument, for messages.

    Raises:
        InputError: If it is neither, or the spec cannot be used.
    """
    if isinstance(given, Mapping):
        try:
            return build_part(given, kind, name)
        except InputError as error:
            raise InputError(f"{error}, or pass {name}=... to load_from_checkpoint") from None
    if not isinstance(given, kind):
        found = repr(given) if isinstance(given, (str, int, float)) else type(given).__name__
        raise InputError(
            f"{name}: expected an object of a subclass of nwa_lightning.{kind.__name__}, found {found}; pass one, also to "
            f"load_from_checkpoint"
        )
    return given


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


def _call_as_spec(cls: type[Part], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """The call ``cls(*args, **kwargs)``, including defaults, in the form of ``Part.spec``."""
    signature = inspect.signature(cls.__init__)
    try:
        given = signature.bind(None, *args, **kwargs).arguments
    except TypeError:  # __init__ raises it again
        return None
    if "." in cls.__qualname__:
        return None
    init_args: dict[str, Any] = {}
    for name, parameter in list(signature.parameters.items())[1:]:
        value = given.get(name, parameter.default)
        if value is parameter.empty:  # no further arguments, positional or by name
            continue
        try:
            plain = _plain(value)
        except TypeError:
            if name in given:
                return None
            continue  # rebuilding uses this default again
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            return None
        init_args |= plain if parameter.kind is parameter.VAR_KEYWORD else {name: plain}
    return {"class_path": f"{cls.__module__}.{cls.__qualname__}", "init_args": init_args}


def _plain(value: Any) -> Any:
    """The value with parts replaced by their specs; a TypeError if anything else in it is not plain."""
    if isinstance(value, Part) and value.spec is not None:
        return value.spec
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) in (list, tuple):
        return type(value)(_plain(part) for part in value)
    if type(value) is dict and all(type(name) is str for name in value) and "class_path" not in value:
        return {name: _plain(part) for name, part in value.items()}
    raise TypeError(f"Expected plain values but got {type(value).__name__}.")
