"""``nwa embed``: reads to Parquet shards of embeddings."""

from __future__ import annotations

import argparse
from typing import Any, Final

from nwa_lightning.cli.command import Command
from nwa_lightning.cli.reads_options import READS, add_model_arguments, alphabet_of, check_model_arguments
from nwa_lightning.errors import InputError

#: Arguments of the Lightning Trainer, and their help.
_TRAINER: Final = {
    "accelerator": "cpu, gpu, auto ... (default: auto)",
    "devices": "number of devices, or their numbers: 2 or 0,1 (default: auto)",
    "num_nodes": "number of nodes that share the output folder (default: 1)",
    "strategy": "such as ddp (default: auto)",
    "precision": "such as bf16-mixed (default: 32-true)",
}


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Embed reads into a folder of Parquet shards with the columns id, sequence, size (copies) and embeddings, a manifest "
        "and the model. Copies of a read are embedded once. An interrupted run goes on by the same command."
    )
    parser.add_argument("reads", nargs="+", help=READS)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write into; created if missing")
    add_model_arguments(parser, "default: 512 landmarks without training")
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
    try:
        embed_reads(
            chosen.reads,
            chosen.out,
            chosen.ckpt_path,
            landmarks=chosen.landmarks or 512,
            alphabet=alphabet_of(chosen),
            on_invalid=chosen.on_invalid,
            trainer=trainer,
        )
    except (ValueError, TypeError) as error:
        if isinstance(error, InputError) or not trainer:
            raise
        raise InputError(f"--trainer: {' '.join(str(error).split())}") from None


COMMAND = Command("embed reads into Parquet shards, for search and other tools; resumable", _add_arguments, _run)
