"""``nwa embed``: reads to Parquet shards of embeddings."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from nwa_lightning.cli.command import Command
from nwa_lightning.cli.reads_options import READS, add_model_arguments, alphabet_of, check_model_arguments
from nwa_lightning.errors import InputError

if TYPE_CHECKING:
    from nwa_lightning.search.executors import Executor

#: Arguments of the Lightning Trainer, and their help.
_TRAINER: Final = {
    "accelerator": "cpu, gpu, auto ... (default: auto)",
    "devices": "number of devices, or their numbers: 2 or 0,1 (default: auto)",
    "num_nodes": "number of nodes that share the output folder (default: 1)",
    "strategy": "such as ddp (default: auto)",
    "precision": "such as bf16-mixed (default: 32-true)",
}

#: Where a command runs.
_EXECUTORS: Final = {
    "memory": "all reads in memory",
    "shards": "one shard after the other",
    "ray": "shards side by side, on the processors of this machine or of a Ray cluster",
}


def add_executor(parser: argparse.ArgumentParser, *choices: str) -> None:
    """Add ``--executor`` and ``--ray_address``, which several commands have.

    Args:
        parser: Parser of the command.
        choices: Some of ``memory``, ``shards`` and ``ray``; the first is the default.
    """
    what = "; ".join(f"{name}: {_EXECUTORS[name]}" for name in choices)
    parser.add_argument("--executor", choices=choices, default=choices[0], help=f"{what} (default: {choices[0]})")
    parser.add_argument(
        "--ray_address",
        metavar="ADDRESS",
        help="cluster for --executor ray, such as auto on one of its nodes (default: Ray on this machine alone)",
    )


def chosen_executor(chosen: argparse.Namespace) -> AbstractContextManager[Executor]:
    """What ``--executor shards`` or ``ray`` stands for.

    Raises:
        InputError: If there is an address, but not for Ray.
    """
    from nwa_lightning.search.executors import RayExecutor, run_here

    if chosen.executor == "ray":
        return RayExecutor(chosen.ray_address, cpus=getattr(chosen, "threads", None) or 1)
    if chosen.ray_address is not None:
        raise InputError(
            f"--ray_address: expected --executor ray too, found --executor {chosen.executor}; give both or none"
        )
    return nullcontext(run_here)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Embed reads into a folder of Parquet shards with the columns id, sequence, size (copies) and embeddings, a manifest "
        "and the model. Copies of a read are embedded once. An interrupted run goes on by the same command."
    )
    parser.add_argument("reads", nargs="+", help=READS)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write into; created if missing")
    add_model_arguments(parser, "default: 512 landmarks without training")
    add_executor(parser, "shards", "ray")
    group = parser.add_argument_group("Lightning Trainer")
    for name, text in _TRAINER.items():
        group.add_argument(f"--trainer.{name}", metavar="VALUE", help=text)


def _run(chosen: argparse.Namespace) -> None:
    from nwa_lightning.search.embed import embed_reads

    check_model_arguments(chosen)
    options = {name: getattr(chosen, f"trainer.{name}") for name in _TRAINER}
    trainer: dict[str, Any] = {
        name: int(value) if value.isdecimal() else value for name, value in options.items() if value is not None
    }
    if trainer and chosen.executor == "ray":
        raise InputError(
            "--trainer: expected no options of the Trainer with --executor ray, found some; leave them out"
        )
    try:
        with chosen_executor(chosen) as executor:
            embed_reads(
                chosen.reads,
                chosen.out,
                chosen.ckpt_path,
                landmarks=chosen.landmarks or 512,
                alphabet=alphabet_of(chosen),
                on_invalid=chosen.on_invalid,
                trainer=trainer,
                executor=executor if chosen.executor == "ray" else None,
            )
    except (ValueError, TypeError) as error:
        if isinstance(error, InputError) or not trainer:
            raise
        raise InputError(f"--trainer: {' '.join(str(error).split())}") from None


COMMAND = Command("embed reads into Parquet shards, for search and other tools; resumable", _add_arguments, _run)
