"""A sampler of batch numbers by rank and step, and a loader that resumes in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
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


def batch_loader(dataset: Dataset[PairBatch], sampler: StepSampler, *, same: bool, num_workers: int) -> BatchLoader:
    """A loader of the batches whose numbers a sampler yields.

    Args:
        dataset: The batches.
        sampler: Their numbers.
        same: Whether every epoch has the same first batches, for an overfitting run.
        num_workers: Processes that prepare them.
    """
    # Without its own generator, a loader draws from the global one, which training uses, at every start.
    options = {"num_workers": num_workers, "persistent_workers": num_workers > 0, "generator": torch.Generator()}
    if same:
        # Lightning needs a sequential sampler for an overfitting run, so that its batches stay the same.
        first = Subset(dataset, range(len(sampler) * sampler.num_replicas))
        return BatchLoader(first, batch_size=None, sampler=SequentialSampler(first), **options)  # type: ignore[arg-type]
    return BatchLoader(dataset, batch_size=None, sampler=sampler, **options)  # type: ignore[arg-type]
