"""``nwa export``: the encoder of a checkpoint, for use without a trainer."""

from __future__ import annotations

import argparse
from pathlib import Path

from nwa_lightning import __version__
from nwa_lightning.cli.command import Command


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Write the encoder of a checkpoint, without the NWA head: encoder.safetensors (weights; "
        "nwa_lightning.load_encoder reads the folder), config.json (its class and arguments, the codes of the letters, "
        "the learnt distance) and encoder.pt2 (torch.export.load runs it without this package; it maps int64 tokens "
        "of shape (any number, max_length + 1), which are <sos>, codes and padding, to embeddings)."
    )
    parser.add_argument("--ckpt_path", type=Path, required=True, help="checkpoint that `nwa fit` wrote")
    parser.add_argument(
        "--to", type=Path, required=True, metavar="DIR", help="folder to write into; created if missing"
    )


def _run(chosen: argparse.Namespace) -> None:
    from nwa_lightning.models.export import export_checkpoint

    export_checkpoint(chosen.ckpt_path, chosen.to, version=__version__)


COMMAND = Command(
    "write the encoder of a checkpoint for use without a trainer: safetensors, JSON, torch.export program",
    _add_arguments,
    _run,
)
