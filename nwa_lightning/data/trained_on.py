"""What a checkpoint says about its training data, and whether the current data are the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
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

#: Scores of alignments.
_SCORES: Final = ("match", "mismatch", "gap", "substitution", "gap_extend")

#: Arguments that must also stay the same when a run resumes: others would change what the model or the term learns.
MATRIX_ARGUMENTS: Final = ("target", "both_strands", *_SCORES, "nwa_kind")

#: Arguments of the training batches that are plain values themselves.
_BATCHES: Final = (
    *("batch_size", "pairs", "nwa_batch_size", "nwa_kind", "nwa_stride", "fixed_width", "max_padding"),
    *("target", "both_strands", "substitution", "gap_extend"),
)

#: What the arguments are in checkpoints from before there were such arguments.
_BEFORE: Final = {"target": "edits", "both_strands": False, "substitution": None, "gap_extend": None}


def batch_arguments(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the training batches, as plain values, from the attributes of a data module."""
    parts = {name: attributes[name] for name in ("augment", "near")}
    recorded = {name: None if part is None else asdict(part) for name, part in parts.items()}
    return {**{name: attributes[name] for name in _BATCHES}, **attributes["scores"]._asdict(), **recorded}


def target_arguments(batches: Mapping[str, Any]) -> dict[str, Any]:
    """The recorded arguments of the training batches that decide what a model predicts, so also what a test measures."""
    names = ("target", "both_strands", *(_SCORES if batches.get("target") == "score" else ()))
    return {name: batches[name] for name in names if name in batches}


def check_batches(known: Mapping[str, Any], found: Mapping[str, Any], *, training: bool) -> None:
    """Compare the target and the scores with those of the training run.

    Args:
        known: The arguments of the batches in the checkpoint.
        found: The current ones.
        training: Whether a run resumes; otherwise, scores count only for the target score.

    Raises:
        InputError: At the first that differs; the message has both values.
    """
    known = {**_BEFORE, **known}
    check_arguments(known, found, MATRIX_ARGUMENTS if training else tuple(target_arguments(known)))


def package_versions() -> dict[str, str]:
    """Versions of this package and of the packages that influence its numbers."""
    return {name: version(name) for name in _PACKAGES}


def absolute(source: str) -> str:
    """The source by a name that works from any folder: the name of a set, or an absolute path."""
    if source.partition(":")[0] in (*BUILT_IN, *SIMULATED):
        return source
    return str(Path(source).resolve())


def absolute_table(substitution: str | None) -> str | None:
    """The same for a substitution matrix: a published name in upper case, or an absolute path."""
    if substitution is None:
        return None
    path = Path(substitution)
    return str(path.resolve()) if path.is_file() else substitution.upper()


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
