"""AttentionMapLogger: during training, attention maps beside their targets, and predicted against true distances."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.seed import isolate_rng
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from nwa_lightning.data.batch import PairBatch, chosen_pairs
from nwa_lightning.data.datamodule import NWADataModule
from nwa_lightning.data.datasets import FixedPairs
from nwa_lightning.data.targets import TargetName
from nwa_lightning.errors import InputError
from nwa_lightning.nwa.callback import find_nwa
from nwa_lightning.nwa.capture import eval_no_grad
from nwa_lightning.nwa.mixin import NWAMixin
from nwa_lightning.plots import attention_figure, prediction_figure

#: Places of the nearest and the farthest pair in the order of edit distances: related, but seldom identical.
_NEAREST, _FARTHEST = 0.05, 0.95


@runtime_checkable
class PredictsEdits(Protocol):
    """A model whose predictions can be drawn, such as ``EditDistanceModel``, which predicts other targets too."""

    def encode(self, tokens: Tensor) -> Tensor:
        """``(U, m)`` embeddings of ``(U, L)`` tokens."""

    def predicted_edits(self, embeddings: Tensor, pairs: Tensor) -> Tensor:
        """``(P,)`` predicted edit distances, in edits."""


class AttentionMapLogger(Callback):
    """Draws attention maps of the same few validation pairs at regular intervals, so that you can watch the model learn.

    Each picture shows the map, its target and the Needleman-Wunsch matrix. A model with ``encode`` and ``predicted_edits``,
    such as ``EditDistanceModel``, also gets a picture of predicted against true distances of the first validation
    batch. It works with ``NWAMixin`` and ``NWACallback``.

    Pictures go to every ``WandbLogger`` and ``TensorBoardLogger`` of the trainer, as ``val/attention_map_0``,
    ``val/attention_map_1`` and so on, and ``val/predictions``. If there is any other logger, or none, they are written as
    ``attention_maps/step=S-pair=0.png`` and ``attention_maps/step=S-predictions.png`` under ``trainer.log_dir``. In a
    ``fast_dev_run`` they are drawn but not kept. The callback does not change the training.

    Args:
        every_n_epochs: Draw at the end of every n-th validation (one validation per epoch by default), and at the end of
            training.
        pairs: Number of pairs, from the nearest to the farthest of the first validation batch.

    Raises:
        InputError: For a number below 1.
    """

    def __init__(self, every_n_epochs: int = 5, pairs: int = 2) -> None:
        super().__init__()
        for name, value in (("every_n_epochs", every_n_epochs), ("pairs", pairs)):
            if value < 1:
                raise InputError(f"{name}: expected at least 1, found {value}")
        self.every_n_epochs = every_n_epochs
        self.pairs = pairs
        self._validations = 0
        self._drawn_at = -1
        self._folder = Path()
        self._batch: PairBatch | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that there is something to draw.

        Raises:
            RuntimeError: If the model has no head, the data is not an ``NWADataModule``, or devices share the weights.
        """
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, NWADataModule):
            raise RuntimeError(
                f"Expected an NWADataModule but got {'none' if data is None else type(data).__name__}; AttentionMapLogger "
                f"takes its pairs from there: call trainer.fit(model, datamodule=NWADataModule(...)) or leave it out."
            )
        if find_nwa(trainer, pl_module).nwa is None:
            raise RuntimeError(
                "Expected a model with a head but it was built with nwa_weight=None; set a weight (0 will do) or leave out "
                "AttentionMapLogger."
            )
        if isinstance(trainer.strategy, (FSDPStrategy, ModelParallelStrategy, DeepSpeedStrategy)):
            raise RuntimeError(
                f"Expected the whole model on every device but {type(trainer.strategy).__name__} spreads it, so the first "
                f"process cannot draw alone; leave out AttentionMapLogger or use another strategy, such as ddp."
            )
        # All processes ask for log_dir here, because they wait for each other to find it.
        self._folder = Path(trainer.log_dir or trainer.default_root_dir) / "attention_maps"
        self._batch = None
        self._drawn_at = -1

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw after every n-th validation."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        self._validations += 1
        if self._validations % self.every_n_epochs == 0:
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw at the end of training, unless these weights are drawn already."""
        if self._drawn_at != trainer.global_step:
            self._draw(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """The number of validations."""
        return {"validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the number of validations."""
        self._validations = state_dict["validations"]

    def _draw(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._drawn_at = trainer.global_step
        if not trainer.is_global_zero:
            return
        data: NWADataModule = trainer.datamodule  # type: ignore[attr-defined]
        with isolate_rng(), eval_no_grad(pl_module):
            if self._batch is None:
                self._batch = FixedPairs(data.split.val, group=data.val_group, all_pairs=False, **data.labels)[0]
            for number, figure in enumerate(self._maps(trainer, pl_module, data, self._batch)):
                self._keep(trainer, f"attention_map_{number}", f"pair={number}", figure)
            if isinstance(pl_module, PredictsEdits):
                figure = _predictions(pl_module, self._batch, pl_module.device, data.target)
                self._keep(trainer, "predictions", "predictions", figure)

    def _maps(
        self, trainer: Trainer, pl_module: LightningModule, data: NWADataModule, batch: PairBatch
    ) -> Iterator[Figure]:
        """The pictures of the chosen pairs, all drawn from one call of the encoder."""
        numbers = _spread(batch.distance, self.pairs)
        shown = chosen_pairs(batch, numbers)
        holder = find_nwa(trainer, pl_module)
        nwa = holder.nwa
        assert nwa is not None
        inputs = move_data_to_device(shown, pl_module.device)
        maps = holder.nwa_attention(inputs) if isinstance(holder, NWAMixin) else holder.attention(inputs, pl_module)
        letters = [data.alphabet.decode(row) for row in shown.tokens.numpy().astype(np.uint8)]
        # The first validation batch holds the first sequences of the validation set, in its order.
        rows = batch.pairs[numbers].reshape(-1)
        names = [f"sequence {name}" for name in data.split.val.take(rows.numpy()).names]
        for number, attention in enumerate(maps.float().cpu().numpy()):
            one, two = 2 * number, 2 * number + 1
            yield attention_figure(
                attention[: len(letters[one]) + 1, : len(letters[two]) + 1],
                letters[one],
                letters[two],
                names=(names[one], names[two]),
                scores=data.scoring,
                temperature=nwa.temperature,
                kind=data.nwa_kind,
                alphabet=data.alphabet,
            )

    def _keep(self, trainer: Trainer, name: str, file: str, figure: Figure) -> None:
        """Pass a picture to the loggers that take pictures; write a file for the others."""
        image = _rendered(figure)
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        step = trainer.global_step
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image(f"val/{name}", [image], step=step)
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(f"val/{name}", np.asarray(image), step, dataformats="HWC")
        if not trainer.loggers or any(not isinstance(one, (WandbLogger, TensorBoardLogger)) for one in trainer.loggers):
            self._folder.mkdir(parents=True, exist_ok=True)
            image.save(self._folder / f"step={step}-{file}.png")


def _spread(distance: Tensor, count: int) -> list[int]:
    """Numbers of ``count`` pairs, spread over the order of their ``(P,)`` distances, nearest first."""
    order = distance.argsort(stable=True).tolist()
    if count >= len(order):
        return order
    places = np.linspace(_NEAREST, _FARTHEST, count) * (len(order) - 1)
    return [order[place] for place in places.round().astype(int).tolist()]


def _predictions(model: PredictsEdits, batch: PairBatch, device: torch.device, target: TargetName) -> Figure:
    distances = getattr(model, "predicted_distances", model.predicted_edits)
    predicted = distances(model.encode(batch.tokens.to(device)), batch.pairs.to(device)).float().cpu().numpy()
    return prediction_figure({"first validation batch": predicted}, batch.distance.numpy(), target)


def _rendered(figure: Figure) -> Image.Image:
    file = BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return Image.open(file).convert("RGB")
