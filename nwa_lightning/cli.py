"""The command line: ``nwa fit | validate | test | predict`` is a LightningCLI; ``nwa demo`` shows it all at once.

``nwa export`` writes a trained encoder for use elsewhere.
"""

from __future__ import annotations

import argparse
import io
import sys
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback, _InstantiatorFn

from nwa_lightning import __version__, encoders, model
from nwa_lightning.callbacks import EmbeddingWriter
from nwa_lightning.datamodule import NWADataModule
from nwa_lightning.errors import InputError
from nwa_lightning.export import export_checkpoint

COMMANDS = {
    "fit": "train a model; without arguments a NeuroSEED-CNN with NWA on human16s",
    "validate": "measure a checkpoint on the validation set",
    "test": "measure a checkpoint on the test set",
    "predict": "write the embeddings of every sequence of a file",
    "export": "write the encoder of a checkpoint for use without a trainer: safetensors, JSON, torch.export program",
    "demo": "train the published encoder without and with NWA, and a better one; print and draw how they compare",
}


class NWACLI(LightningCLI):
    """LightningCLI with our defaults; the length of the longest sequence flows from the data into the model."""

    def __init__(self, args: Sequence[str], *, run: bool = True) -> None:
        for harmless in (
            "LightningCLI's args parameter",  # given although sys.argv is not empty: here they come from there
            "Couldn't infer the batch indices",  # of prediction, which EmbeddingWriter does not need
            "`.*configure_optimizers` will be overridden",  # just what --optimizer asks for
            r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning 2.6 on torch 2.13
        ):
            warnings.filterwarnings("ignore", message=harmless)
        self._command_parsers: list[LightningArgumentParser] = []
        super().__init__(
            LightningModule,
            NWADataModule,
            subclass_mode_model=True,
            seed_everything_default=0,
            trainer_defaults={"max_steps": 2000, "max_epochs": -1},
            save_config_kwargs={"overwrite": True},
            save_config_callback=SaveConfigCallback if run else None,
            args=list(args),
            run=run,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the checkpoint, the defaults of the model, and the links from the data to the model."""
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.add_lightning_class_args(EmbeddingWriter, "embeddings")
        parser.set_defaults(
            {
                "checkpoint.monitor": "val/rmse",
                "checkpoint.filename": "best",
                "checkpoint.save_last": True,
                "model": {
                    "class_path": f"{model.__name__}.EditDistanceModel",
                    "init_args": {"encoder": {"class_path": f"{encoders.__name__}.NeuroSEEDCNN"}},
                },
            }
        )
        for name in ("max_length", "vocabulary"):
            target = f"model.init_args.encoder.init_args.{name}"
            parser.link_arguments(f"data.{name}", target, apply_on="instantiate")
        self._command_parsers.append(parser)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse with the defaults of the model and the encoder that the arguments name.

        jsonargparse would hand the defaults of ours, such as ``lr`` and ``layers``, on to another class that has an
        argument of the same name.
        """
        printed = io.StringIO()
        with redirect_stdout(printed), redirect_stderr(io.StringIO()), suppress(SystemExit):
            parser.parse_args([*args, "--print_config"])
        # What was printed may be help, or nothing after an error; the error comes again below.
        with suppress(yaml.YAMLError, TypeError, KeyError, AttributeError):
            named = yaml.safe_load(printed.getvalue())["model"]
            classes: dict[str, Any] = {"class_path": named["class_path"]}
            encoder = named.get("init_args", {}).get("encoder")
            if isinstance(encoder, dict):
                classes["init_args"] = {"encoder": {"class_path": encoder["class_path"]}}
            for command in self._command_parsers:
                command.set_defaults({"model": classes})
        super().parse_arguments(parser, args)

    def before_instantiate_classes(self) -> None:
        """Let a model whose encoder takes no such argument, or that takes no encoder, do without the links."""
        config = self.config[self.subcommand] if self.subcommand else self.config
        build = _InstantiatorFn(cli=self, key="model")

        def instantiate(
            class_type: type[LightningModule], *args: Any, applied_instantiation_links: dict[str, Any], **kwargs: Any
        ) -> LightningModule:
            # jsonargparse lists a link whose target does not exist as applied, and Lightning would look for it.
            taken = {target: value for target, value in applied_instantiation_links.items() if target in config}
            return build(class_type, *args, applied_instantiation_links=taken, **kwargs)

        self.parser.add_instantiator(instantiate, LightningModule, subclasses=True, prepend=True)


def main(args: Sequence[str] | None = None) -> None:
    """Run a command; what the user can mend ends in one line and status 2."""
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
            from nwa_lightning.demo import run_demo

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
