"""The command line: ``nwa fit | validate | test | predict`` is a LightningCLI; all others have a module of their own."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from nwa_lightning import __version__
from nwa_lightning.cli import cluster, demo_options, distances, embed, export, index, plot, search, tree
from nwa_lightning.cli.command import Command
from nwa_lightning.cli.messages import did_you_mean, squeezed
from nwa_lightning.errors import InputError

#: Commands of the LightningCLI.
LIGHTNING: Final = {
    "fit": "train a model; without arguments a NeuroSEED-CNN with NWA on human16s",
    "validate": "measure a checkpoint on the validation set",
    "test": "measure a checkpoint on the test set",
    "predict": "write the embeddings of every sequence of a file; with --landmarks 512 no checkpoint is needed",
}

#: All other commands.
OTHERS: Final[dict[str, Command]] = {
    "export": export.COMMAND,
    "demo": demo_options.COMMAND,
    "embed": embed.COMMAND,
    "index": index.COMMAND,
    "search": search.COMMAND,
    "cluster": cluster.COMMAND,
    "distances": distances.COMMAND,
    "tree": tree.COMMAND,
    "plot": plot.COMMAND,
}

COMMANDS: Final = [*LIGHTNING, *OTHERS]

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
    for name, text in LIGHTNING.items():
        commands.add_parser(name, help=text, description=text, add_help=False)
    for name, command in OTHERS.items():
        command.add_arguments(commands.add_parser(name, help=command.text, description=command.text))
    chosen, rest = parser.parse_known_args(args)
    if chosen.command in OTHERS:
        if rest:
            raise InputError(
                f"expected the options of nwa {chosen.command}, found {' '.join(rest)}; see `nwa {chosen.command} --help`"
            )
        OTHERS[chosen.command].run(chosen)
    else:
        _run_lightning([chosen.command, *_with_names(chosen.command, args[args.index(chosen.command) + 1 :])])


def _run_lightning(args: list[str]) -> None:
    import torch  # here, for these imports take seconds

    from nwa_lightning.cli.lightning_cli import NWACLI

    NWACLI(args)
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
    known: tuple[type[BaseException], ...] = (InputError, FileNotFoundError)
    if "lightning" in sys.modules:  # otherwise no error is Lightning's, and loading it takes seconds
        from lightning.fabric.utilities.exceptions import MisconfigurationException

        known = (*known, MisconfigurationException)
    cause: BaseException | None = error
    # jsonargparse wraps what the __init__ of a model or an encoder raises.
    while cause is not None:
        if isinstance(cause, known) or _ours(cause):
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
