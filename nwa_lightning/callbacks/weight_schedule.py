"""A schedule for lambda."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from nwa_lightning.errors import InputError
from nwa_lightning.nwa.callback import find_nwa


class NWAWeightSchedule(Callback):
    """Changes lambda, the weight of the NWA term, from step to step: warm-up, hold, decay, then 0.

    It works with ``NWAMixin`` and ``NWACallback``. Lambda rises linearly to the weight that was set there, stays there, and
    falls linearly to 0. It is logged as ``train/nwa_weight``. With "auto", the schedule scales the weight that is found.

    Args:
        warmup: Optimizer steps of the linear rise.
        hold: Optimizer steps at the full weight; null holds it forever.
        decay: Optimizer steps of the linear fall.

    Raises:
        InputError: For a negative number, or a decay that is never reached.
    """

    def __init__(self, warmup: int = 0, hold: int | None = None, decay: int = 0) -> None:
        super().__init__()
        if min(warmup, hold or 0, decay) < 0:
            raise InputError(f"expected no negative steps, found warmup={warmup}, hold={hold}, decay={decay}")
        if hold is None and decay > 0:
            raise InputError(
                f"decay={decay}: expected a number of steps to hold before it, found hold=None; pass hold=0 or more"
            )
        self.warmup = warmup
        self.hold = hold
        self.decay = decay

    def factor(self, step: int) -> float:
        """Fraction of the full weight at an optimizer step, counted from 0."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        past = 0 if self.hold is None else step - self.warmup - self.hold
        if self.hold is None or past < 0:
            return 1.0
        return max(0.0, 1 - (past + 1) / (self.decay + 1))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Set lambda for the next step.

        Raises:
            RuntimeError: If the model has no head.
        """
        nwa = find_nwa(trainer, pl_module).nwa
        if nwa is None:
            raise RuntimeError(
                "Expected a model with a head but it was built with nwa_weight=None; set a weight or leave out NWAWeightSchedule."
            )
        nwa.factor = self.factor(trainer.global_step)
        if nwa.auto is None:
            pl_module.log("train/nwa_weight", nwa.factor * float(nwa.weight))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the full weight."""
        self._restore(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restore the full weight, also after an interruption."""
        self._restore(trainer, pl_module)

    def _restore(self, trainer: Trainer, pl_module: LightningModule) -> None:
        nwa = find_nwa(trainer, pl_module).nwa
        if nwa is not None:
            nwa.factor = 1.0
