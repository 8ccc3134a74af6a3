"""What a checkpoint says about its training data, and whether the current data are the same."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NoReturn

from nwa_lightning.errors import InputError
from nwa_lightning.sequences.catalog import BUILT_IN, SIMULATED
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.content import fingerprint, still_there

_PACKAGES: Final = ("nwa-lightning", "torch", "lightning", "numpy")

#: Arguments of the data module that decide which reads are in which set, and for which reads a model is built.
DATA_ARGUMENTS: Final = (
    "data",
    "test_data",
    "alphabet",
    "max_length",
    "seed",
    "train_size",
    "val_size",
    "test_size",
    "split_by",
    "split_identity",
)

#: Arguments that must also stay the same when a run resumes: others would change what the term teaches.
MATRIX_ARGUMENTS: Final = ("match", "mismatch", "gap", "nwa_kind")


def package_versions() -> dict[str, str]:
    """Versions of this package and of the packages that influence its numbers."""
    return {name: version(name) for name in _PACKAGES}


def absolute(source: str) -> str:
    """The source by a name that works from any folder: the name of a set, or an absolute path."""
    if source.partition(":")[0] in (*BUILT_IN, *SIMULATED):
        return source
    return str(Path(source).resolve())


def check_arguments(known: Mapping[str, Any], found: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """Compare arguments with those of the training run.

    Raises:
        InputError: At the first that differs; the message has both values.
    """
    for name in names:
        if name in known and known[name] != found[name]:
            raise InputError(
                f"--data.{name}: expected {known[name]}, with which the checkpoint was trained, found {found[name]}; leave out "
                f"--data.{name}, or train again"
            )


def check_sequences(known: Mapping[str, Any], sequences: Sequences, source: str, *, exactly: bool) -> str | None:
    """Compare sequences with those of the training run; their order and the number of their copies don't matter.

    Args:
        known: ``fingerprint`` of the training file, and its ``source``.
        sequences: The current sequences.
        source: Where they are from.
        exactly: Whether even added sequences would change the split.

    Returns:
        A remark if sequences were added.

    Raises:
        InputError: If sequences are missing, or the split would change.
    """
    found = fingerprint(sequences.hashes)
    if found["hash"] == known["hash"]:
        return None
    there = still_there(dict(known), sequences.hashes)
    remark = f"{source}: {found['count']:,} distinct reads, {known['count']:,} when the checkpoint was trained"
    if there == 1 and found["count"] > known["count"] and not exactly:
        return f"{remark}; the added ones are split like the others, and none of those trained on is tested"
    if there == 1 and found["count"] > known["count"]:
        _other(f"{remark}; by clusters or a column, added reads may move others between the sets", known)
    _other(f"{remark}; of {len(known['sketch'])} of them that were looked for, {there:.0%} are there", known)


def _other(reason: str, known: Mapping[str, Any]) -> NoReturn:
    raise InputError(
        f"--data.data: expected the reads of {known['source']} that the checkpoint was trained on, found others ({reason}); to "
        f"measure all of another file give it as --data.test_data"
    )
