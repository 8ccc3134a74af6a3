"""What NWA says of itself: a line at the start, and one about its time after the first hundred steps."""

from __future__ import annotations

import time
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from nwa_lightning.errors import InputError
from nwa_lightning.nwa.loss import NWALoss

#: Steps that the time is taken of.
STEPS = 100


class Report:
    """Watches the first steps of a run.

    Args:
        source: Of the embeddings or features, as a user would call it.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.steps = 0
        self.seconds = 0.0
        self.started = 0.0
        self.announced = False

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def begin_step(self) -> None:
        """Note when a training step begins; after enough of them, say how much of their time was the term's."""
        if self.steps == 1:
            self.started, self.seconds = time.perf_counter(), 0.0
        if self.steps == STEPS + 1:
            percent = 100 * self.seconds / (time.perf_counter() - self.started)
            rank_zero_info(f"NWA: {percent:.0f} % of the time of the first {STEPS} steps.")
        self.steps += 1

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def now(self, near: Tensor) -> float:
        """The time, when what a GPU was given to do so far is done; 0 once no time is taken any more, so that it need not be."""
        if self.steps > STEPS:
            return 0.0
        if near.is_cuda:
            torch.cuda.synchronize(near.device)
        return time.perf_counter()

    def timed(self, term: Tensor, embeddings: Tensor, started: float) -> None:
        """Take the time of a term: since ``started``, and between its gradient and that of the embeddings."""
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
        """The line at the start, once.

        Raises:
            InputError: If the batch has nothing to learn from.
        """
        if self.announced:
            return
        count = len(batch.nw)
        if count == 0:
            raise InputError(
                "nwa_batch_size: expected Needleman-Wunsch matrices in the first batch, found none, so NWA would do nothing; set "
                "it to at least 2 (NWADataModule, pair_batch), or train without NWA (nwa_weight=None)"
            )
        self.announced = True
        assert nwa.sizes is not None
        size, longest = nwa.sizes
        weight = "found while training" if nwa.auto is not None else f"{nwa.weight:g}"
        kind = f"m = {size}" if nwa.head_kind == "decoder" else f"{size} channels"
        rank_zero_info(
            f"NWA: attention maps of {count} pairs from {self.source} ({kind}, up to {longest} letters), lambda {weight}, "
            + ("in every step." if nwa.every == 1 else f"once in {nwa.every} steps.")
        )
