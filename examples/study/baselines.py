"""Predictors that are fitted to a few batches of a study, without training."""

from __future__ import annotations

from typing import Any, get_args

from nwa_lightning import LandmarkMDS, NWADataModule
from nwa_lightning.data.batch import PairBatch
from nwa_lightning.models.baselines import KmerBaseline, KmerDistance
from nwa_lightning.models.metrics import evaluate


def fitting_batches(data: NWADataModule) -> list[PairBatch]:
    """Twenty training batches."""
    training = data.train_dataloader().dataset
    return [training[number] for number in range(20)]


def fitted_mds(row: str, data: NWADataModule, seed: int) -> LandmarkMDS:
    """Landmark MDS of the training set, with as many landmarks as the row says: ``mds+l128``, or 512."""
    count = next((int(change[1:]) for change in row.split("+")[1:] if change[0] == "l"), 512)
    return LandmarkMDS(data.max_length, vocabulary=data.vocabulary, count=count).fit(data.split.train, seed)


def best_kmers(data: NWADataModule, k: int, **target: Any) -> KmerBaseline:
    """Counts of k-mers and the distance of counts with the least validation error; ``target`` as ``evaluate`` takes it."""
    batches = fitting_batches(data)
    fitted = [KmerBaseline(data.vocabulary, k, distance).fit(batches) for distance in get_args(KmerDistance)]
    return min(fitted, key=lambda each: evaluate(each, data.val_dataloader(), **target)["rmse"])
