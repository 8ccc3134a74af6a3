"""The command line: ``nwa fit | validate | test | predict`` is a LightningCLI; ``nwa demo`` shows it all at once."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

from nwa_lightning import __version__, encoders, model
from nwa_lightning.callbacks import EmbeddingWriter
from nwa_lightning.datamodule import NWADataModule
from nwa_lightning.errors import InputError

COMMANDS = {
    "fit": "train a model; without arguments a NeuroSEED-CNN with NWA on human16s",
    "validate": "measure a checkpoint on the validation set",
    "test": "measure a checkpoint on the test set",
    "predict": "write the embeddings of every sequence of a file",
    "demo": "train the same encoder without and with NWA, and print and draw how they compare",
}


class NWACLI(LightningCLI):
    """LightningCLI with our defaults; the length of the longest sequence flows from the data into the model."""

    def __init__(self, args: Sequence[str], *, run: bool = True) -> None:
        for harmless in (
            "LightningCLI's args parameter",  # given although sys.argv is not empty: here they come from there
            "Couldn't infer the batch indices",  # of prediction, which EmbeddingWriter does not need
            r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning 2.6 on torch 2.13
        ):
            warnings.filterwarnings("ignore", message=harmless)
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
        command = commands.add_parser(name, help=text, description=text, add_help=name == "demo")
        if name == "demo":
            _add_demo_arguments(command)
    chosen, rest = parser.parse_known_args(args)
    try:
        if chosen.command == "demo":
            from nwa_lightning.demo import run_demo

            if rest:
                parser.error(f"unrecognized arguments: {' '.join(rest)}")
            run_demo(chosen.reads, out=chosen.out, seed=chosen.seed, steps=chosen.steps, fast=chosen.fast)
        else:
            NWACLI([chosen.command, *rest])
    except (InputError, FileNotFoundError) as error:
        print(f"nwa: error: {error}", file=sys.stderr)
        sys.exit(2)


def _add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "reads", nargs="?", default="human16s", help="FASTA, FASTQ or one read per line, or a built-in set (human16s)"
    )
    parser.add_argument("--out", type=Path, default=Path("nwa_demo"), help="folder for what it writes (nwa_demo)")
    parser.add_argument("--seed", type=int, default=0, help="of the split, the batches and the weights (0)")
    parser.add_argument("--steps", type=int, help="training steps of each model (2000; with --fast 150)")
    parser.add_argument("--fast", action="store_true", help="the one-minute version: few steps, a rough table")
