"""The settings that the command line takes from a checkpoint: the model and its training data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from nwa_lightning.cli.classes import argument_names, find_class
from nwa_lightning.data.trained_on import target_arguments
from nwa_lightning.errors import InputError
from nwa_lightning.models.checkpoint import read_checkpoint

#: Arguments of a model that only affect how it is evaluated.
_OF_MEASURING: Final = frozenset({"homologous"})


class Trained(NamedTuple):
    """What a checkpoint says about its training.

    Attributes:
        model: ``class_path`` and ``init_args``; None if the checkpoint does not know its class.
        data: Arguments of the data module that choose the reads; empty if the reads came from another data module.
        batches: Arguments of the data module that determine the training batches.
    """

    model: dict[str, Any] | None
    data: dict[str, Any]
    batches: dict[str, Any]

    def arguments(self, command: str) -> dict[str, Any]:
        """Arguments of the data module for a command: training needs all, a test the target, a prediction only the reads."""
        if command == "fit":
            return self.data | self.batches
        return self.data if command == "predict" else self.data | target_arguments(self.batches)


@dataclass(frozen=True)
class _Class:
    """A class that equals itself under both names: of its module and of its package. An unknown class is its name."""

    name: str = field(compare=False)
    found: type | str

    def __str__(self) -> str:
        return self.name


def read_trained(path: Path) -> Trained:
    """Read a checkpoint without running code from it.

    Raises:
        InputError: If the file is not a checkpoint.
    """
    checkpoint = read_checkpoint(path)
    known = checkpoint.get("NWADataModule", {}).get("trained_on", {})
    arguments = dict(checkpoint.get("hyper_parameters", {}))
    class_path = arguments.get("_class_path") or known.get("model")
    model = None
    if class_path is not None and find_class(class_path) is not None:
        names = argument_names(class_path)
        model = {"class_path": class_path, "init_args": {key: arguments[key] for key in sorted(names & set(arguments))}}
    return Trained(model, known.get("arguments", {}), known.get("batches", {}))


def check_model(trained: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Compare a model that was asked for with the one of the checkpoint.

    Args:
        trained: ``class_path`` and ``init_args`` of the checkpoint.
        found: Those of the command line and its configuration files.

    Raises:
        InputError: At the first difference; the message names both sides.
    """
    ours, theirs = dict(_flat(trained, "")), dict(_flat(found, ""))
    for key, value in ours.items():
        if key in theirs and theirs[key] != value and key not in _OF_MEASURING:
            option = f"--model.{key}" if key else "--model"
            raise InputError(
                f"{option}: expected {value}, with which the checkpoint was trained, found {theirs[key]}; leave it out, or train "
                f"again"
            )


def _flat(spec: Mapping[str, Any], name: str) -> Iterator[tuple[str, Any]]:
    """Options by their names on the command line, with their values; a class comes first."""
    class_path = spec["class_path"]
    yield name, _Class(class_path, find_class(class_path) or class_path)
    for key, value in spec.get("init_args", {}).items():
        option = f"{name}.{key}" if name else key
        if isinstance(value, Mapping) and "class_path" in value:
            yield from _flat(value, option)
        else:
            yield option, value
