"""The command line: ``nwa fit | validate | test | predict`` is a LightningCLI; ``nwa demo`` compares models in one run.

``nwa export`` writes a trained encoder for use elsewhere.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from nwa_lightning import __version__
from nwa_lightning.cli.lightning_cli import NWACLI
from nwa_lightning.cli.messages import did_you_mean, squeezed
from nwa_lightning.errors import InputError
from nwa_lightning.models.export import export_checkpoint

COMMANDS = {
    "fit": "train a model; without arguments a NeuroSEED-CNN with NWA on human16s",
    "validate": "measure a checkpoint on the validation set",
    "test": "measure a checkpoint on the test set",
    "predict": "write the embeddings of every sequence of a file; with --landmarks 512 no checkpoint is needed",
    "export": "write the encoder of a checkpoint for use without a trainer: safetensors, JSON, torch.export program",
    "demo": "train the published encoder without and with NWA, and a better one; compare them in a table and in pictures",
}


#: Options that arguments without a name stand for, by their place after the command.
POSITIONALS = {
    "fit": ("--data.data",),
    "validate": ("--ckpt_path",),
    "test": ("--ckpt_path", "--data.test_data"),
    "predict": ("--ckpt_path", "--data.data"),
}


class _Parser(argparse.ArgumentParser):
    """A parser that raises its errors, so that they are printed in one line."""

    def error(self, message: str) -> NoReturn:
        """Raise an error that names the problem and where to find help."""
        unknown = re.search(r"invalid choice: '([^']*)'", message)
        if unknown and "COMMAND" in message:
            near = did_you_mean(unknown[1], COMMANDS)
            message = f"expected a command ({', '.join(COMMANDS)}), found {unknown[1]}{near}"
        raise InputError(f"{message}; see `{self.prog} --help`")


def main(args: Sequence[str] | None = None) -> None:
    """Run a command; user errors print one line and exit with status 2."""
    # Models in the current folder are found. It comes last, so that no file there hides a package.
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.append(folder)
    try:
        _run(sys.argv[1:] if args is None else list(args))
    except Exception as error:
        message = _user_error(error)
        if message is None:
            raise
        print(f"nwa: error: {message}", file=sys.stderr)
        sys.exit(2)


def _run(args: list[str]) -> None:
    parser = _Parser(
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
    chosen, rest = parser.parse_known_args(args)
    if rest and chosen.command in OWN_ARGUMENTS:
        raise InputError(
            f"expected the options of nwa {chosen.command}, found {' '.join(rest)}; see `nwa {chosen.command} --help`"
        )
    if chosen.command == "export":
        export_checkpoint(chosen.ckpt_path, chosen.to, version=__version__)
    elif chosen.command == "demo":
        from nwa_lightning.cli.demo import run_demo

        run_demo(chosen.reads, out=chosen.out, seed=chosen.seed, steps=chosen.steps, fast=chosen.fast)
    else:
        NWACLI([chosen.command, *_with_names(chosen.command, args[args.index(chosen.command) + 1 :])])
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # Otherwise a thread of gloo may outlive the interpreter, and the process aborts (pytorch issue 190489).
            torch.distributed.destroy_process_group()


def _with_names(command: str, rest: list[str]) -> list[str]:
    """The arguments, with names added to the leading ones that have none."""
    untrained = any(argument.partition("=")[0] == "--landmarks" for argument in rest)
    places = ("--data.data",) if untrained else POSITIONALS[command]
    count = next((number for number, argument in enumerate(rest) if argument.startswith("-")), len(rest))
    if count > len(places):
        raise InputError(
            f"nwa {command}: expected at most {len(places)} arguments without a name ({', '.join(places)}), found {count}: "
            f"{' '.join(rest[:count])}"
        )
    named = [f"{place}={value}" for place, value in zip(places, rest[:count], strict=False)]
    for number, argument in enumerate(rest):
        value = argument.partition("=")[2] or (rest[number + 1] if number + 1 < len(rest) else "")
        if argument.partition("=")[0] == "--data" and not value.endswith((".yaml", ".yml", ".json")):
            raise InputError(
                f"--data: expected a YAML file of settings, found {value}; for reads write --data.data {value}"
            )
    return [*named, *rest[count:]]


def _user_error(error: BaseException) -> str | None:
    """The line to print; None for an error that the user cannot mend."""
    cause: BaseException | None = error
    # jsonargparse wraps what the __init__ of a model or an encoder raises.
    while cause is not None:
        if isinstance(cause, (InputError, FileNotFoundError, MisconfigurationException)) or _ours(cause):
            return squeezed(cause)
        cause = cause.__cause__
    return None


def _ours(error: BaseException) -> bool:
    """Whether this package raised it on purpose, for a model or a batch that it cannot work with."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    name = "" if place is None else str(place.tb_frame.f_globals.get("__name__"))
    return name.startswith("nwa_lightning.") and str(error).startswith("Expected ")


def _add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "reads",
        nargs="?",
        default="human16s",
        help="file in FASTA, FASTQ or one read per line, or name of a set: human16s, tree, storage (default: human16s)",
    )
    parser.add_argument("--out", type=Path, default=Path("nwa_demo"), help="output folder (default: nwa_demo)")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the split, the batches and the weights (default: 0)"
    )
    parser.add_argument("--steps", type=int, help="training steps of each model (default: 2000; with --fast 150)")
    parser.add_argument("--fast", action="store_true", help="the one-minute version: few steps, a rough table")


def _add_export_arguments(parser: argparse.ArgumentParser) -> None:
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


OWN_ARGUMENTS = {"export": _add_export_arguments, "demo": _add_demo_arguments}
