"""LandmarkMDS as a model for the Trainer and the command line; it needs no training."""

from __future__ import annotations

from typing import Literal

from lightning.pytorch import LightningModule
from torch import Tensor

from nwa_lightning.data.batch import PairBatch
from nwa_lightning.data.datamodule import NWADataModule
from nwa_lightning.data.targets import check_same_target
from nwa_lightning.encoders.checks import at_least, at_least_one
from nwa_lightning.encoders.landmark_mds import LandmarkMDS
from nwa_lightning.errors import InputError
from nwa_lightning.models.metrics import distance_metrics


class LandmarkMDSModel(LightningModule):
    """Fits ``LandmarkMDS`` to the data when a test or a prediction begins, in seconds.

    To predict, it is fitted to all sequences of the file; to test and validate, to the training set.

    Args:
        count: K, number of landmarks.
        embedding_dim: m, the most dimensions of the embeddings.
        power: Power of the Euclidean distance that predicts the edit distance; null tries 1 to 2.
        homologous: K of ``rmse_homologous``, the most edits between homologous sequences.

    Raises:
        InputError: If a number is too small.
    """

    encoder: LandmarkMDS

    def __init__(
        self, count: int = 512, embedding_dim: int = 128, power: float | None = None, homologous: int = 40
    ) -> None:
        super().__init__()
        at_least_one(count=count, embedding_dim=embedding_dim)
        at_least(0, homologous=homologous)
        self.count = count
        self.embedding_dim = embedding_dim
        self.power = power
        self.val_metrics = distance_metrics(homologous).clone(prefix="val/")
        self.test_metrics = distance_metrics(homologous).clone(prefix="test/")

    def setup(self, stage: str) -> None:
        """Fit the encoder.

        Raises:
            InputError: If the data is not an ``NWADataModule``, has another target than edits, or too few sequences.
        """
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, NWADataModule):
            raise InputError(
                f"LandmarkMDSModel: expected an NWADataModule, found {'none' if data is None else type(data).__name__}; pass "
                f"datamodule=NWADataModule(...), or use LandmarkMDS(...).fit(sequences)"
            )
        if stage != "predict":
            check_same_target("edits", data.target)
        reads = data.sequences if stage == "predict" else data.split.train
        encoder = LandmarkMDS(data.max_length, self.embedding_dim, data.vocabulary, self.count, self.power)
        self.encoder = encoder.fit(reads, data.seed).to(self.device)

    def validation_step(self, batch: PairBatch, batch_idx: int) -> None:
        """Feed the ``val/`` metrics."""
        self._evaluate(batch, "val")

    def test_step(self, batch: PairBatch, batch_idx: int) -> None:
        """Feed the ``test/`` metrics."""
        self._evaluate(batch, "test")

    def _evaluate(self, batch: PairBatch, stage: Literal["val", "test"]) -> None:
        metrics = self.val_metrics if stage == "val" else self.test_metrics
        predicted = self.encoder.predicted_edits(self.encoder(batch.tokens), batch.pairs)
        metrics.update(preds=predicted, target=batch.distance.to(predicted.dtype), length=batch.longest)
        self.log_dict(metrics, batch_size=len(batch.pairs))

    def predict_step(self, batch: PairBatch, batch_idx: int) -> Tensor:
        """``(U, m)`` embeddings."""
        embeddings: Tensor = self.encoder(batch.tokens)
        return embeddings
