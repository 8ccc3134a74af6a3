"""A sampler of batch numbers by rank and step, and a loader that resumes in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, Dataset, SequentialSampler, Subset
from torch.utils.data.distributed import DistributedSampler

from nwa_lightning.data.batch import PairBatch


class StepSampler(DistributedSampler[PairBatch]):
    """Yields the batch numbers of one process of a distributed run: its rank, its rank + world size, and so on.

    It is a ``DistributedSampler`` because Lightning wraps any other sampler in one of its own, which would hide
    ``set_epoch`` and shorten the epoch.

    Args:
        steps: Steps of an epoch, the same on every rank.
        world_size: Number of processes.
        rank: Rank of this process.
        first: Called when the first batch of an epoch is asked for. It maps the number of steps of all epochs so far to the
            number of the first step. By default every epoch has the same batches.
    """

    def __init__(
        self, steps: int, *, world_size: int = 1, rank: int = 0, first: Callable[[int], int] | None = None
    ) -> None:
        super().__init__(range(steps * world_size), num_replicas=world_size, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self.first = first

    def __iter__(self) -> Iterator[int]:  # type: ignore[override]
        first = self.first(self.epoch * len(self)) if self.first is not None else 0
        for step in range(first, first + len(self)):
            yield step * self.num_replicas + self.rank


class BatchLoader(DataLoader[PairBatch]):
    """A loader that tells Lightning that a run can resume in the middle of an epoch.

    The sampler's ``first`` knows which batch comes next, so the loader has no state of its own.
    """

    def state_dict(self) -> dict[str, int]:
        """Nothing."""
        return {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Nothing."""


def batch_loader(
    dataset: Dataset[PairBatch],
    steps: int,
    trainer: Trainer | None = None,
    *,
    first: Callable[[int], int] | None = None,
    num_workers: int = 0,
) -> BatchLoader:
    """A loader of the batches of this process.

    Args:
        dataset: The batches.
        steps: Steps of an epoch, the same in every process.
        trainer: Knows the processes, and whether every epoch has the same first batches, for an overfitting run.
        first: As in ``StepSampler``.
        num_workers: Processes that prepare the batches.
    """
    processes, rank = (1, 0) if trainer is None else (trainer.world_size, trainer.global_rank)
    sampler = StepSampler(steps, world_size=processes, rank=rank, first=first)
    # Without its own generator, a loader draws from the global one, which training uses, at every start.
    options = {"num_workers": num_workers, "persistent_workers": num_workers > 0, "generator": torch.Generator()}
    if trainer is not None and trainer.overfit_batches > 0:  # type: ignore[attr-defined]
        # Lightning needs a sequential sampler for an overfitting run, so that its batches stay the same.
        same = Subset(dataset, range(len(sampler) * sampler.num_replicas))
        return BatchLoader(same, batch_size=None, sampler=SequentialSampler(same), **options)  # type: ignore[arg-type]
    return BatchLoader(dataset, batch_size=None, sampler=sampler, **options)  # type: ignore[arg-type]
