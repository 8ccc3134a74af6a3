"""EditDistanceModel: an encoder, a distance and a loss, with or without Needleman-Wunsch Attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, get_args

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from nwa_lightning.data.batch import PairBatch
from nwa_lightning.data.datamodule import NWADataModule
from nwa_lightning.data.targets import (
    TargetName,
    check_predicts_edits,
    check_same_target,
    full_scale,
    whole_scale,
)
from nwa_lightning.encoders.base import Encoder
from nwa_lightning.encoders.build import as_encoder
from nwa_lightning.encoders.checks import above_zero, at_least, at_least_one
from nwa_lightning.encoders.landmark_mds import LandmarkMDS
from nwa_lightning.encoders.landmarks import LandmarkEncoder
from nwa_lightning.errors import InputError
from nwa_lightning.landmarks.features import warn_of_foreign
from nwa_lightning.models.distances import EmbeddingDistance, as_distance, warn_of_unrelated
from nwa_lightning.models.losses import EditDistanceLoss, SquaredLoss, check_loss
from nwa_lightning.models.metrics import distance_metrics
from nwa_lightning.nwa.build import DecoderKind
from nwa_lightning.nwa.capture import captured_calls, eval_no_grad
from nwa_lightning.nwa.heads import HeadOptions
from nwa_lightning.nwa.loss import DEFAULT_EVERY
from nwa_lightning.nwa.mixin import NWAMixin
from nwa_lightning.nwa.weight import Weight
from nwa_lightning.optim.muon import Muon
from nwa_lightning.optim.schedules import ScheduleName, factor_of_run
from nwa_lightning.parts import as_part
from nwa_lightning.sequences.alphabet import SOS

#: Names by which the command line knows the optimizers.
OptimizerName = Literal["muon", "radam"]

#: Published settings that differ from the defaults of ``EditDistanceModel``.
PUBLISHED: Final[dict[str, Any]] = {
    "optimizer": "radam",
    "nwa_lr": 0.001,
    "nwa_every": 1,
    "distance": {"class_path": "nwa_lightning.HyperbolicDistance", "init_args": {"power": 1}},
}


class EditDistanceModel(NWAMixin, LightningModule):
    """Embeds sequences so that the distance between two embeddings is their edit distance over the length, or another target.

    Any distance works with any loss. Published combinations: ``HyperbolicDistance`` and ``SquaredLoss`` (NeuroSEED),
    ``SquaredEuclideanDistance`` and ``ChiSquareLoss`` (DSEE) or ``PoissonLoss`` (Wei et al., 2023), ``EuclideanDistance`` and
    ``TripletLoss`` (CNN-ED). ``ChiSquareLoss`` and ``PoissonLoss`` need the target edits.

    Logged: ``train/loss``, ``train/encoder_loss``, ``train/nwa_loss``; under ``val/`` and ``test/``, see ``distance_metrics``.

    Args:
        encoder: Maps tokens to embeddings. A checkpoint holds its ``spec`` instead, from which it is rebuilt.
        nwa_weight: lambda, the weight of the NWA term; auto keeps the term at a tenth of the encoder loss; null trains
            without it.
        nwa_temperature: Divides the scores of the Needleman-Wunsch matrix before its row softmax.
        nwa_every: k: the term is computed in every k-th step, with k times the weight.
        nwa_head_options: Sizes of the decoder, as in ``NWAHead``.
        lr: Highest learning rate of the encoder and the distance.
        nwa_lr: Highest learning rate of the NWA head; the paper uses 0.001, with RAdam.
        schedule: After the linear warm-up: cosine, which falls to 0 and needs a run with a known end, or inverse_sqrt, the
            paper's 1/sqrt.
        warmup: Fraction of all steps spent on the warm-up; of 10,000 steps if the run has no known end.
        homologous: K, the most edits between homologous sequences, for ``rmse_homologous``.
        distance: Distance between embeddings, as a fraction of the length; null means ``HyperbolicDistance()``. If most
            sequences are unrelated, such as DNA-storage strands, ``HyperbolicDistance(radius=0.98)`` lowers the error a lot.
        loss: Loss of the predicted distances; null means ``SquaredLoss()``.
        nwa_features: Dotted name of a part of the model, such as encoder.features.11. The map is drawn from its output,
            ``(U, channels, S)`` or ``(U, S, channels)``, without a decoder; null draws it from the embeddings, as published.
        nwa_channels: Number of channels of these features.
        landmarks: Number of training sequences whose edit distances are extra features. ``LandmarkEncoder`` then wraps the
            encoder, which becomes ``encoder.encoder``; null uses the encoder alone.
        optimizer: muon, which learns in fewer steps (see ``nwa_lightning.muon``), or radam, as published.
        nwa_head: decoder draws the maps from embeddings, as published; positions does so by weights whose number does not
            depend on the length (``PositionHead``).
        nwa_stride: s: with the head positions, maps have every s-th row and column of the matrix.
        length_bands: Lengths of pairs where a band ends and the next begins, such as [300, 600]; the error of each band is
            measured too. null measures none.
        target: Distance that is learnt: edits, identity (1 minus it) or score; that of the data.
        target_scale: What a vector distance of 1 stands for, in the unit of the target; null for the longest length, or 1 for
            identity. The target score needs that of its ``NWADataModule``.

    Raises:
        InputError: If a number is out of its range, there is no such distance, loss, target, schedule or optimizer, the loss
            needs edits, the encoder cannot be rebuilt, or the part of the model does not return such features.
    """

    def __init__(
        self,
        encoder: Encoder,
        nwa_weight: Weight | None = 1e-5,
        nwa_temperature: float = 1.0,
        nwa_every: int = DEFAULT_EVERY,
        nwa_head_options: HeadOptions | None = None,
        lr: float = 0.01,
        nwa_lr: float = 0.01,
        schedule: ScheduleName = "cosine",
        warmup: float = 0.1,
        homologous: int = 40,
        distance: EmbeddingDistance | None = None,
        loss: EditDistanceLoss | None = None,
        nwa_features: str | None = None,
        nwa_channels: int = 64,
        landmarks: int | None = None,
        optimizer: OptimizerName = "muon",
        nwa_head: DecoderKind = "decoder",
        nwa_stride: int = 1,
        length_bands: list[int] | None = None,
        target: TargetName = "edits",
        target_scale: float | None = None,
    ) -> None:
        for name, value, known in (
            ("schedule", schedule, get_args(ScheduleName)),
            ("optimizer", optimizer, get_args(OptimizerName)),
            ("nwa_head", nwa_head, get_args(DecoderKind)),
        ):
            if value not in known:
                raise InputError(f"{name}: expected one of {', '.join(known)}, found {value!r}; name one of them")
        at_least_one(nwa_every=nwa_every, nwa_channels=nwa_channels, nwa_stride=nwa_stride)
        at_least(0, homologous=homologous)
        above_zero(nwa_temperature=nwa_temperature, lr=lr, nwa_lr=nwa_lr)
        if not 0 <= warmup <= 1:
            raise InputError(f"warmup: expected a fraction from 0 to 1, found {warmup}; give one such as 0.1")
        encoder = as_encoder(encoder)
        distance = as_distance(distance)
        loss = SquaredLoss() if loss is None else as_part(loss, EditDistanceLoss, "loss")
        scale = full_scale(target, target_scale, encoder.max_length)
        check_loss(loss, target)
        super().__init__(
            nwa_embedding_dim=encoder.embedding_dim if nwa_features is None else nwa_channels,
            nwa_max_length=encoder.max_length,
            nwa_weight=nwa_weight,
            nwa_temperature=nwa_temperature,
            nwa_every=nwa_every,
            nwa_head_options=nwa_head_options,
            nwa_features=nwa_features,
            nwa_head=nwa_head,
            nwa_stride=nwa_stride,
        )
        # Modules have no place among plain hyper-parameters.
        self.save_hyperparameters(ignore=["encoder", "distance", "loss"])
        if "_instantiator" in self.hparams:  # the command line gives them as class paths and arguments instead
            self.save_hyperparameters()
        else:
            # Without a spec, the name of the class: loading must not fall back on the default.
            parts = {"distance": distance.spec or type(distance).__name__, "loss": loss.spec or type(loss).__name__}
            self.save_hyperparameters({"encoder": encoder.spec if isinstance(encoder, Encoder) else None, **parts})
        self.encoder = encoder if landmarks is None else LandmarkEncoder(encoder, landmarks)
        self.distance = distance
        self.loss = loss
        self.length = encoder.max_length
        self.target = target
        self.target_scale = scale
        self.lr = lr
        self.nwa_lr = nwa_lr
        self.schedule = schedule
        self.warmup = warmup
        self.optimizer = optimizer
        if nwa_features is not None:
            self._check_features(nwa_features)
        self.val_metrics = distance_metrics(homologous, length_bands or (), target).clone(prefix="val/")
        self.test_metrics = distance_metrics(homologous, length_bands or (), target).clone(prefix="test/")

    def _check_features(self, name: str) -> None:
        """Try the named part on two empty sequences, before training starts."""
        tokens = torch.full((2, 1), SOS)
        try:
            # Landmarks are not drawn yet.
            encoder = self.encoder.encoder if isinstance(self.encoder, LandmarkEncoder) else self.encoder
            with eval_no_grad(self.encoder), captured_calls(self, name) as calls:
                if encoder is not None:
                    encoder(tokens)
            if len(calls) != 1:
                raise TypeError(f"Expected {name} to return one tensor, once; name another part of the model.")
            if len(calls[0].output) != len(tokens):  # such as both strands
                raise TypeError(f"Expected {name} to return a row for each read; name another part of the model.")
            if self.nwa is not None:
                self.nwa.head(self.nwa_embeddings(calls[0].output), torch.zeros(2), torch.tensor([[0, 1]]), 1)
        except (AttributeError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"nwa_features, nwa_channels: {error}") from None

    def forward(self, tokens: Tensor) -> Tensor:
        """``(U, m)`` embeddings of ``(U, L)`` tokens."""
        return self.encode(tokens)

    def predicted_edits(self, embeddings: Tensor, pairs: Tensor) -> Tensor:
        """Predicted edit distances, in edits; see ``predicted_distances``.

        Raises:
            InputError: If the target is another.
        """
        check_predicts_edits(self)
        return self.predicted_distances(embeddings, pairs)

    def predicted_distances(self, embeddings: Tensor, pairs: Tensor) -> Tensor:
        """Predicted distances, in the unit of the target.

        Args:
            embeddings: ``(U, m)``.
            pairs: ``(P, 2)`` rows of ``embeddings``.

        Returns:
            ``(P,)``.
        """
        return self.target_scale * self._distance(embeddings, pairs)

    def _distance(self, embeddings: Tensor, pairs: Tensor) -> Tensor:
        # index_select and not indexing: its gradient adds up in a fixed order, so a run can be repeated bit for bit.
        distance: Tensor = self.distance(*(embeddings.index_select(0, side) for side in pairs.unbind(1)))
        return distance

    def setup(self, stage: str) -> None:
        """Before training and tests, make sure that the data have the target of the model."""
        super().setup(stage)
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if stage != "predict" and isinstance(data, NWADataModule):
            check_same_target(self.target, data.target)

    def on_train_batch_start(self, batch: PairBatch, batch_idx: int) -> None:
        """Before the first step, warn about a sphere that is too small for unrelated sequences."""
        if not (batch_idx or self.global_step):
            warn_of_unrelated(self.distance, batch.distance, self.target)

    def training_step(self, batch: PairBatch, batch_idx: int) -> Tensor:
        """Encoder loss plus the weighted NWA term (eq. 6 of Lee & No, 2024)."""
        embeddings, mapped = self._encode_for_map(batch.tokens)
        encoder_loss: Tensor = self.loss(self._distance(embeddings, batch.pairs), batch, self.target_scale)
        loss: Tensor = encoder_loss + self.nwa_loss(mapped, batch, encoder_loss)
        self._log_losses(encoder_loss.detach(), loss.detach(), len(batch.pairs))
        return loss

    # Lightning's logging cannot be traced by torch.compile.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _log_losses(self, encoder_loss: Tensor, loss: Tensor, pairs: int) -> None:
        self.log_dict({"train/encoder_loss": encoder_loss, "train/loss": loss}, batch_size=pairs)

    def validation_step(self, batch: PairBatch, batch_idx: int) -> None:
        """Feed the ``val/`` metrics."""
        self._evaluate(batch, "val")

    def test_step(self, batch: PairBatch, batch_idx: int) -> None:
        """Feed the ``test/`` metrics."""
        self._evaluate(batch, "test")

    def _evaluate(self, batch: PairBatch, stage: Literal["val", "test"]) -> None:
        metrics = self.val_metrics if stage == "val" else self.test_metrics
        predicted = self.predicted_distances(self.encode(batch.tokens), batch.pairs)
        whole = whole_scale(self.target, batch.longest, self.target_scale / self.length)
        metrics.update(preds=predicted, target=batch.distance.to(predicted.dtype), length=batch.longest, scale=whole)
        self.log_dict(metrics, prog_bar=stage == "val", batch_size=len(batch.pairs))

    def on_test_start(self) -> None:
        """Warn about sequences that are far from all landmarks, if the model has landmarks."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(data, NWADataModule):
            warn_of_foreign(self, data.reads.test)

    def on_predict_start(self) -> None:
        """Warn about sequences that are far from all landmarks, if the model has landmarks."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(data, NWADataModule):
            warn_of_foreign(self, data.sequences)

    def predict_step(self, batch: PairBatch, batch_idx: int) -> Tensor:
        """``(U, m)`` embeddings."""
        return self.encode(batch.tokens)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Muon or RAdam with one learning rate for the encoder and one for the head; the schedule sets both in every step."""
        groups = self.nwa_param_groups(lr=self.lr, nwa_lr=self.nwa_lr)
        # foreach takes a third of the time of the default loop over parameters, on the CPU too.
        optimizer = Muon(groups) if self.optimizer == "muon" else torch.optim.RAdam(groups, foreach=True)
        factor: Any = factor_of_run(self.schedule, self.warmup, self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}}


def predictor(model: EditDistanceModel | LandmarkMDS) -> Callable[[PairBatch], Tensor]:
    """A function that predicts the distances of a batch's pairs by a model, in the unit of its target."""
    distances = model.predicted_distances if isinstance(model, EditDistanceModel) else model.predicted_edits

    def predict(batch: PairBatch) -> Tensor:
        with torch.inference_mode():
            return distances(model(batch.tokens), batch.pairs)

    return predict
