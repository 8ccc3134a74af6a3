"""LightningCLI with the defaults of ``nwa fit``."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from typing import Any

import yaml
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback, _InstantiatorFn

from nwa_lightning.callbacks.embedding_writer import EmbeddingWriter
from nwa_lightning.data.datamodule import NWADataModule
from nwa_lightning.encoders.neuroseed import NeuroSEEDCNN
from nwa_lightning.models.edit_distance import EditDistanceModel


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
                    "class_path": f"{EditDistanceModel.__module__}.EditDistanceModel",
                    "init_args": {"encoder": {"class_path": f"{NeuroSEEDCNN.__module__}.NeuroSEEDCNN"}},
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
