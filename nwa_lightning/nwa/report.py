"""Messages about NWA: one line at the start, and one about its time after the first hundred steps."""

from __future__ import annotations

import time
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from nwa_lightning.errors import InputError
from nwa_lightning.nwa.loss import NWALoss

#: Number of steps that are timed.
STEPS = 100


class Report:
    """Watches the first steps of a run.

    Args:
        source: Submodule of the embeddings or features, by the name that the user gave.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.steps = 0
        self.seconds = 0.0
        self.started = 0.0
        self.announced = False

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def begin_step(self) -> None:
        """Note the start of a training step; after enough steps, print how much of their time the term took."""
        if self.steps == 1:
            self.started, self.seconds = time.perf_counter(), 0.0
        if self.steps == STEPS + 1:
            percent = 100 * self.seconds / (time.perf_counter() - self.started)
            rank_zero_info(f"NWA: {percent:.0f} % of the time of the first {STEPS} steps.")
        self.steps += 1

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def now(self, near: Tensor) -> float:
        """The time after a GPU has finished its queued work; 0 without waiting, once all timed steps are over."""
        if self.steps > STEPS:
            return 0.0
        if near.is_cuda:
            torch.cuda.synchronize(near.device)
        return time.perf_counter()

    def timed(self, term: Tensor, embeddings: Tensor, started: float) -> None:
        """Time a term: forward since ``started``, and backward from its gradient to that of the embeddings."""
        if self.steps > STEPS:
            return
        self.seconds += self.now(term) - started
        marks: list[float] = []
        if term.requires_grad and embeddings.requires_grad:
            term.register_hook(lambda _: marks.append(self.now(term)))  # type: ignore[no-untyped-call]
            embeddings.register_hook(lambda _: self._add(marks, embeddings))  # type: ignore[no-untyped-call]

    def _add(self, marks: list[float], embeddings: Tensor) -> None:
        if marks:
            self.seconds += self.now(embeddings) - marks.pop()

    def first_term(self, nwa: NWALoss, batch: Any) -> None:
        """Print the line at the start, once.

        Raises:
            InputError: If the batch has no matrices to learn from.
        """
        if self.announced:
            return
        count = len(batch.nw)
        if count == 0:
            raise InputError(
                "nwa_batch_size: expected Needleman-Wunsch matrices in the first batch, found none, so NWA would do nothing; set "
                "it to at least 2 (NWADataModule, pair_batch; both_strands makes none), or train without NWA (nwa_weight=None)"
            )
        self.announced = True
        assert nwa.sizes is not None
        size, longest = nwa.sizes
        weight = "found while training" if nwa.auto is not None else f"{nwa.weight:g}"
        kind = f"{size} channels" if nwa.head_kind == "features" else f"m = {size}"
        rank_zero_info(
            f"NWA: attention maps of {count} pairs from {self.source} ({kind}, up to {longest} letters), lambda {weight}, "
            + ("in every step." if nwa.every == 1 else f"once in {nwa.every} steps.")
        )
