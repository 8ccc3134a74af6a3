"""LightningCLI with the defaults of ``nwa fit``, and commands that take their settings from a checkpoint."""

from __future__ import annotations

import argparse
import io
import warnings
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, Final

import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_info

from nwa_lightning import __version__
from nwa_lightning.callbacks.embedding_writer import EmbeddingWriter
from nwa_lightning.cli.classes import argument_names, check_linked, find_class, import_public, integers_first, link_data
from nwa_lightning.cli.messages import parser_message, squeezed
from nwa_lightning.cli.trained import Trained, check_model, read_trained
from nwa_lightning.data.datamodule import NWADataModule
from nwa_lightning.encoders.neuroseed import NeuroSEEDCNN
from nwa_lightning.errors import InputError
from nwa_lightning.models.distances import HyperbolicDistance
from nwa_lightning.models.edit_distance import EditDistanceModel
from nwa_lightning.models.export import export_landmark_mds
from nwa_lightning.models.landmark_mds import LandmarkMDSModel
from nwa_lightning.models.losses import SquaredLoss
from nwa_lightning.models.pretrained import PRETRAINED, read_pretrained

#: The fewest validations of a run, if an epoch is longer than a tenth of it.
VALIDATIONS: Final = 10

#: Commands that need a checkpoint.
_MEASURING: Final = ("validate", "test", "predict")

#: The model that --landmarks uses in place of a checkpoint.
_UNTRAINED: Final = {"class_path": f"{LandmarkMDSModel.__module__}.{LandmarkMDSModel.__name__}"}


class NWACLI(LightningCLI):
    """LightningCLI with our defaults; the data pass the length of the longest sequence to the model.

    ``validate``, ``test`` and ``predict`` take model and data from the checkpoint; ``fit`` with a checkpoint resumes.
    """

    def __init__(self, args: Sequence[str], *, run: bool = True) -> None:
        import_public()
        integers_first(Trainer.__init__)
        for harmless in (
            "LightningCLI's args parameter",  # we pass args although sys.argv is not empty: they come from it
            "Couldn't infer the batch indices",  # of prediction, which EmbeddingWriter does not need
            "`.*configure_optimizers` will be overridden",  # this is the purpose of --optimizer
            "Be aware that when using `ckpt_path`",  # a test does not need the callbacks of the training
            r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning 2.6 on torch 2.13
        ):
            warnings.filterwarnings("ignore", message=harmless)
        self._command = args[0] if run else "fit"
        self._command_parsers: list[LightningArgumentParser] = []
        self._named: dict[str, Any] | None = None
        self._checkpoint: str | None = None
        # Errors are raised, not printed.
        raising: dict[str, Any] = {"exit_on_error": False}
        super().__init__(
            LightningModule,
            NWADataModule,
            subclass_mode_model=True,
            seed_everything_default=0,
            trainer_defaults={"max_steps": 2000, "max_epochs": -1},
            save_config_kwargs={"overwrite": True},
            save_config_callback=SaveConfigCallback if run else None,
            parser_kwargs={**raising, **{command: dict(raising) for command in self.subcommands()}} if run else raising,
            args=list(args),
            run=run,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the checkpoint, the embeddings, and the defaults of the model."""
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.add_lightning_class_args(EmbeddingWriter, "embeddings")
        if self._command in _MEASURING:
            parser.add_argument(
                "--landmarks",
                type=int | None,
                help="Without a checkpoint and without training: embed by edit distances to this many reads of the file, see "
                "LandmarkMDS; combine with --model.embedding_dim and --model.power. (type: int | None, default: null)",
            )
        classes = _defaults()
        if self._command in _MEASURING:  # a placeholder: the first pass does not know the checkpoint yet
            classes["init_args"]["encoder"]["init_args"] = {"max_length": 1}
        parser.set_defaults({"checkpoint.filename": "best", "checkpoint.save_last": True, "model": classes})
        self._command_parsers.append(parser)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, then parse again with the defaults that follow from the first pass.

        These are the defaults of the named model and its parts; the settings of a checkpoint; and no limit of the steps if
        there is a limit of the epochs. Without the second pass, jsonargparse would pass the defaults of our classes, such as
        ``lr`` and ``layers``, on to another class that has an argument of the same name.
        """
        trained = self._read_checkpoint(_value_of("--ckpt_path", args))
        landmarks = _value_of("--landmarks", args) is not None
        ours = trained.model if trained is not None else _UNTRAINED if landmarks else None
        if ours is not None:  # its options are those of the model
            for command in self._command_parsers:
                command.set_defaults({"model": ours})
        first = self._first_pass(parser, args)
        if trained is None:  # it may be named in a configuration file
            trained = self._read_checkpoint(first.get("ckpt_path"))
        if landmarks and trained is not None:
            raise InputError(
                f"--landmarks: expected no checkpoint, found {first.get('ckpt_path')}; leave one of them out"
            )
        if first and trained is None and not landmarks and self._command in _MEASURING:
            raise InputError(
                f"--ckpt_path: expected a checkpoint, found none; give one that `nwa fit` wrote (nwa {self._command} best.ckpt), "
                f"or only the reads and --landmarks 512, which needs no training"
            )
        defaults: dict[str, Any] = {}
        if trained is not None:
            defaults = {f"data.{name}": value for name, value in trained.arguments(self._command).items()}
        self._named = trained.model if trained is not None and trained.model is not None else _named_classes(first)
        model = self._named
        if model is not None:
            defaults["model"] = model
        if first.get("trainer", {}).get("max_epochs", -1) not in (None, -1):
            defaults["trainer.max_steps"] = -1
        for command in self._command_parsers:
            command.set_defaults(defaults)
            if self._command == "fit" and not (trained is not None and trained.model is not None):
                check_linked(first)
                link_data(command, model)
        try:
            super().parse_arguments(parser, args)
        except argparse.ArgumentError as error:
            message = parser_message(str(error), self._options_of, f"`nwa {self._command} --help`")
            raise InputError(message) from None
        config = self._config
        if landmarks:
            config["model"]["init_args"]["count"] = config["landmarks"]
        seed = config["seed_everything"]
        if not 0 <= seed < 1 << 32:
            raise InputError(
                f"--seed_everything: expected a number from 0 to {(1 << 32) - 1}, found {seed}; give another"
            )
        if trained is not None and trained.model is not None:
            check_model(trained.model, config["model"].as_dict())
        if self._command in _MEASURING:
            # Lightning would read the checkpoint too, and silently use its settings.
            self._checkpoint, config["ckpt_path"] = config["ckpt_path"], None

    @property
    def _config(self) -> Any:
        """The configuration of the command."""
        command = self.config.get("subcommand")
        return self.config[command] if command else self.config

    def _first_pass(self, parser: LightningArgumentParser, args: Any) -> dict[str, Any]:
        """The arguments as plain values; none for help, or for an error, which the second pass reports."""
        printed = io.StringIO()
        with redirect_stdout(printed), redirect_stderr(io.StringIO()), suppress(SystemExit, argparse.ArgumentError):
            parser.parse_args([*args, "--print_config"])
        with suppress(yaml.YAMLError):
            found = yaml.safe_load(printed.getvalue())
            if isinstance(found, dict):
                return found
        return {}

    def _read_checkpoint(self, path: str | None) -> Trained | None:
        if path is None:
            return None
        if self._command == "fit" and path in ("last", "hpc"):  # Lightning looks for these
            return None
        return read_trained(Path(path))

    def _options_of(self, key: str) -> Iterable[str]:
        """Names of the options directly below a key, such as those of ``model.encoder``."""
        classes: dict[str, Any] = self._named or _defaults()
        if key == "model":
            return argument_names(classes["class_path"])
        parts: dict[str, Any] = classes.get("init_args", {})
        part = parts.get(key.removeprefix("model."))
        if isinstance(part, dict) and "class_path" in part:
            return argument_names(part["class_path"])
        below = f"{key}." if key else ""
        names = self._command_parsers[0].get_defaults().keys()
        return {name.removeprefix(below).partition(".")[0] for name in names if name.startswith(below)}

    def before_instantiate_classes(self) -> None:
        """Choose which checkpoints training keeps, and which callbacks the command uses."""
        config = self._config
        unused = {"checkpoint", "embeddings"}
        if self._command == "fit" and config["trainer"]["enable_checkpointing"] is not False:
            unused.remove("checkpoint")
        if self._command == "predict":
            unused.remove("embeddings")
        for parser in self._command_parsers:
            parser.callback_keys = [key for key in parser.callback_keys if key not in unused]
        found = find_class(config["model"]["class_path"])
        if config["checkpoint"]["monitor"] is None:
            if (
                found is not None
                and issubclass(found, EditDistanceModel)
                and config["trainer"]["limit_val_batches"] != 0
            ):
                config["checkpoint"]["monitor"] = "val/rmse"
            else:
                config["checkpoint"]["save_top_k"] = 0  # without a metric for the best one: only last.ckpt

    def instantiate_classes(self) -> None:
        """Build data, model and trainer, and pass the checkpoint to the command."""
        super().instantiate_classes()
        if self._checkpoint in PRETRAINED and not Path(self._checkpoint).exists():  # no file for Lightning to load
            checkpoint = read_pretrained(self._checkpoint)
            self.model.load_state_dict(checkpoint["state_dict"])
            known = checkpoint["NWADataModule"]["trained_on"]
            self.datamodule.reads = self.datamodule.reads.adopt(known, self._command)
        elif self._checkpoint is not None:
            self.config_init[self._command]["ckpt_path"] = self._checkpoint

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer.

        Raises:
            InputError: If it cannot be built with these arguments.
        """
        try:
            return super().instantiate_trainer(**kwargs)
        except (ValueError, TypeError, MisconfigurationException) as error:
            raise InputError(f"--trainer: {squeezed(error)}") from None

    def before_fit(self) -> None:
        """Validate at least ten times in a run, even if an epoch is long; print how the reads are split."""
        trainer, data = self.trainer, self.datamodule
        rank_zero_info(data.reads.summary())
        config = self._config["trainer"]
        if config["val_check_interval"] is not None or config["check_val_every_n_epoch"] != 1 or config["fast_dev_run"]:
            return
        epoch = max(1, data.steps_per_epoch // trainer.world_size)
        limits = [trainer.max_steps * trainer.accumulate_grad_batches] if trainer.max_steps > 0 else []
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            limits.append(trainer.max_epochs * epoch)
        if limits and min(limits) < VALIDATIONS * epoch:
            trainer.val_check_interval = max(1, min(limits) // VALIDATIONS)
            trainer.check_val_every_n_epoch = None

    def predict(self, model: LightningModule, **options: Any) -> None:
        """Write the embeddings without keeping them in memory. Also write an encoder that is in no checkpoint."""
        self.trainer.predict(model, **{**options, "return_predictions": False})
        if isinstance(model, LandmarkMDSModel) and self.trainer.is_global_zero:
            folder = Path(self._config["embeddings"]["folder"])
            export_landmark_mds(model.encoder, folder, self.datamodule.alphabet, version=__version__)


def _value_of(option: str, args: Sequence[str]) -> str | None:
    """The value of one option, regardless of all others; None if it is not given."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument(option, dest="value")
    with suppress(argparse.ArgumentError):
        found: str | None = parser.parse_known_args(args)[0].value
        return found
    return None


def _defaults() -> dict[str, Any]:
    """The model of ``nwa fit``, and the classes of its parts."""
    parts = {"encoder": NeuroSEEDCNN, "distance": HyperbolicDistance, "loss": SquaredLoss}
    return {
        "class_path": f"{EditDistanceModel.__module__}.{EditDistanceModel.__name__}",
        "init_args": {name: {"class_path": f"{part.__module__}.{part.__name__}"} for name, part in parts.items()},
    }


def _named_classes(config: dict[str, Any]) -> dict[str, Any] | None:
    """The classes of a model and of its parts in a configuration, without their arguments."""
    model = config.get("model")
    if not isinstance(model, dict) or "class_path" not in model:
        return None
    classes: dict[str, Any] = {"class_path": model["class_path"]}
    parts = {name: value for name, value in (model.get("init_args") or {}).items() if isinstance(value, dict)}
    named = {name: {"class_path": value["class_path"]} for name, value in parts.items() if "class_path" in value}
    return {**classes, "init_args": named} if named else classes
