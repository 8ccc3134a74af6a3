"""Matrices made in the processes of a data loader, for loaders that feed GPUs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch.utils.data import default_collate

from nwa_lightning.data.batch import PairBatch, pair_batch


class CollatedBatch(NamedTuple):
    """A batch of your own loader, and its sequences for the NWA term.

    ``NWAMixin`` and ``NWACallback`` pass only ``batch`` to the model's own ``training_step``, which stays unchanged.

    Attributes:
        batch: The result of your collate function.
        pairs: Its sequences, in the order in which the step encodes them.
    """

    batch: Any
    pairs: PairBatch


class NWACollate:
    """A ``collate_fn`` that also makes the Needleman-Wunsch matrices of a batch, in the loader's own processes.

    Use it for the training loader alone::

        loader = DataLoader(reads, 64, collate_fn=NWACollate(lambda samples: [read for read, label in samples]), num_workers=4)

    Args:
        sequences: Maps the samples of a batch to its sequences, in the order in which the step encodes them.
        collate: Makes the batch; by default as ``DataLoader`` does.
        **options: Passed on to ``pair_batch``.
    """

    def __init__(
        self,
        sequences: Callable[[list[Any]], Sequence[Any]],
        collate: Callable[[list[Any]], Any] = default_collate,
        **options: Any,
    ) -> None:
        self.sequences = sequences
        self.collate = collate
        self.options = options

    def __call__(self, samples: list[Any]) -> CollatedBatch:
        """The batch and its pairs."""
        return CollatedBatch(self.collate(samples), pair_batch(self.sequences(samples), **self.options))
