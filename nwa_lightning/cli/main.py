"""The command line: ``nwa fit | validate | test | predict`` is a LightningCLI; ``nwa demo`` shows it all at once.

``nwa export`` writes a trained encoder for use elsewhere.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nwa_lightning import __version__
from nwa_lightning.cli.lightning_cli import NWACLI
from nwa_lightning.errors import InputError
from nwa_lightning.models.export import export_checkpoint

COMMANDS = {
    "fit": "train a model; without arguments a NeuroSEED-CNN with NWA on human16s",
    "validate": "measure a checkpoint on the validation set",
    "test": "measure a checkpoint on the test set",
    "predict": "write the embeddings of every sequence of a file",
    "export": "write the encoder of a checkpoint for use without a trainer: safetensors, JSON, torch.export program",
    "demo": "train the published encoder without and with NWA, and a better one; print and draw how they compare",
}


def main(args: Sequence[str] | None = None) -> None:
    """Run a command; user errors print one line and exit with status 2."""
    parser = argparse.ArgumentParser(
        prog="nwa",
        description="Needleman-Wunsch Attention for any Lightning model that embeds sequences.",
        epilog="`nwa COMMAND --help` lists the options of a command; `nwa fit --print_config` prints them as YAML.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nwa-lightning {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text, add_help=name in OWN_ARGUMENTS)
        if name in OWN_ARGUMENTS:
            OWN_ARGUMENTS[name](command)
    # A model in the current folder is found by the installed program, too, not by `python -m nwa_lightning` alone.
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, folder)
    chosen, rest = parser.parse_known_args(args)
    if rest and chosen.command in OWN_ARGUMENTS:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        if chosen.command == "export":
            export_checkpoint(chosen.ckpt_path, chosen.to, version=__version__)
        elif chosen.command == "demo":
            from nwa_lightning.cli.demo import run_demo

            run_demo(chosen.reads, out=chosen.out, seed=chosen.seed, steps=chosen.steps, fast=chosen.fast)
        else:
            NWACLI([chosen.command, *rest])
    except (ValueError, FileNotFoundError) as error:
        # jsonargparse wraps what the __init__ of a model or an encoder raises.
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, (InputError, FileNotFoundError)):
            cause = cause.__cause__
        if cause is None:
            raise
        print(f"nwa: error: {cause}", file=sys.stderr)
        sys.exit(2)


def _add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "reads",
        nargs="?",
        default="human16s",
        help="FASTA, FASTQ or one read per line, or a set by name: human16s, tree, storage (human16s)",
    )
    parser.add_argument("--out", type=Path, default=Path("nwa_demo"), help="folder for what it writes (nwa_demo)")
    parser.add_argument("--seed", type=int, default=0, help="of the split, the batches and the weights (0)")
    parser.add_argument("--steps", type=int, help="training steps of each model (2000; with --fast 150)")
    parser.add_argument("--fast", action="store_true", help="the one-minute version: few steps, a rough table")


def _add_export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Write the encoder of a checkpoint, without the NWA head: encoder.safetensors (weights; "
        "nwa_lightning.load_encoder reads the folder), config.json (its class and arguments, the codes of the letters, "
        "the learnt distance) and encoder.pt2 (torch.export.load runs it without this package: int64 tokens "
        "(any number, max_length + 1), <sos> and codes and padding, to embeddings)."
    )
    parser.add_argument("--ckpt_path", type=Path, required=True, help="checkpoint that `nwa fit` wrote")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder to write into; made if missing")


OWN_ARGUMENTS = {"export": _add_export_arguments, "demo": _add_demo_arguments}
