"""Lambda over time."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from nwa_lightning.errors import InputError
from nwa_lightning.nwa.callback import find_nwa
from nwa_lightning.nwa.loss import Weight


class NWAWeightSchedule(Callback):
    """Changes lambda, the weight of the NWA term, from step to step: warm-up, hold, decay, then 0.

    It works with a ``NWAMixin`` and beside a ``NWACallback``. Lambda climbs linearly to the weight that was set there,
    stays, and falls linearly to 0. It is logged as ``train/nwa_weight``.

    Args:
        warmup: Optimizer steps of the climb.
        hold: Optimizer steps at the full weight; null for ever.
        decay: Optimizer steps of the fall.

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
        self._full: Weight | None = None

    def factor(self, step: int) -> float:
        """Share of the full weight at an optimizer step, from 0 on."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        past = 0 if self.hold is None else step - self.warmup - self.hold
        if self.hold is None or past < 0:
            return 1.0
        return max(0.0, 1 - (past + 1) / (self.decay + 1))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Set lambda for the coming step."""
        holder = find_nwa(trainer, pl_module)
        if self._full is None:
            self._full = holder.nwa_weight
        if self._full is None or self._full == "auto":
            raise RuntimeError(
                f"Expected a number that NWAWeightSchedule can scale but nwa_weight is {self._full!r}; set one or leave out "
                f"NWAWeightSchedule."
            )
        holder.nwa_weight = self._full * self.factor(trainer.global_step)
        pl_module.log("train/nwa_weight", holder.nwa_weight)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the full weight back."""
        find_nwa(trainer, pl_module).nwa_weight = self._full

    def state_dict(self) -> dict[str, Any]:
        """The full weight."""
        return {"full": self._full}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the full weight."""
        self._full = state_dict["full"]
