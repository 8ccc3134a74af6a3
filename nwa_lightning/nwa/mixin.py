"""NWAMixin: Needleman-Wunsch Attention for a LightningModule, by inheritance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from nwa_lightning.data.batch import PairBatch
from nwa_lightning.nwa.loss import (
    HEAD_NAME,
    Head,
    Weight,
    add_term,
    attention_maps,
    build_head,
    call_step,
    captured_embeddings,
    check_head_is_trained,
    get_loss,
    nwa_term,
    unique_embeddings,
)

if TYPE_CHECKING:
    _Base = LightningModule
else:
    _Base = object


class NWAMixin(_Base):
    """Adds the Needleman-Wunsch Attention loss to a LightningModule; it stands before the other base class.

    Write a model and call ``nwa_loss`` yourself::

        class Mine(NWAMixin, LightningModule):
            def __init__(self):
                super().__init__(nwa_embedding_dim=128, nwa_max_length=150)
                self.encoder = ...

            def training_step(self, batch, batch_idx):
                embeddings = self.encode(batch.tokens)
                return my_loss(embeddings, batch) + self.nwa_loss(embeddings, batch)

    Or subclass a model you have, with no other line::

        class TheirsWithNWA(NWAMixin, Theirs):
            pass

        model = TheirsWithNWA(..., nwa_embedding_dim=128, nwa_max_length=150)

    Then the term is added to the loss that their ``training_step`` returns (a tensor, or a dict with "loss"), from the
    embeddings that their encoder produced in that very step: either once for the U sequences of the batch (best), or
    for ``batch.left`` and ``batch.right``, in two calls or joined in one.

    The training batches are ``PairBatch``; ``NWADataModule`` makes them.

    Args:
        *args: Handed on to the next class.
        nwa_embedding_dim: m, the dimension of the embeddings.
        nwa_max_length: The most bases a sequence may have.
        nwa_weight: lambda, the weight of the term; "auto" keeps the term at a tenth of the loss it is added to, by a running
            ratio; None builds no head: the exact baseline.
        nwa_temperature: Divides the scores of the Needleman-Wunsch matrix before its row softmax.
        nwa_encoder: Dotted name of the submodule whose output is the ``(rows, m)`` embeddings.
        nwa_features: Dotted name of the submodule whose output, ``(rows, positions, channels)`` or ``(rows, channels,
            positions)``, the map is drawn from instead, without a decoder; ``nwa_embedding_dim`` are then its channels.
        **kwargs: Handed on to the next class.

    Raises:
        TypeError: When a subclass is defined with the bases in the wrong order.
    """

    nwa_head: Head | None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        order = cls.__mro__
        if LightningModule in order and order.index(LightningModule) < order.index(NWAMixin):
            bases = ", ".join(["NWAMixin"] + [base.__name__ for base in cls.__bases__ if base is not NWAMixin])
            raise TypeError(
                f"Expected NWAMixin before the LightningModule, or its __init__ is never called; "
                f"write `class {cls.__name__}({bases})`."
            )

    def __init__(
        self,
        *args: Any,
        nwa_embedding_dim: int,
        nwa_max_length: int,
        nwa_weight: Weight | None = 1e-5,
        nwa_temperature: float = 1.0,
        nwa_encoder: str = "encoder",
        nwa_features: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.nwa_weight = nwa_weight
        self.nwa_temperature = nwa_temperature
        self.nwa_encoder = nwa_encoder
        self.nwa_features = nwa_features
        self._nwa_called = False
        # Last in the chain, so that the encoder starts from the same random numbers with and without a head; and not in
        # setup(), which comes after the optimizer of a command line has taken its parameters.
        self.nwa_head = None
        if nwa_weight is not None:
            self.nwa_head = build_head(nwa_embedding_dim, nwa_max_length, nwa_weight, nwa_features)

    def encode(self, tokens: Tensor) -> Tensor:
        """Embed sequences; override it where the encoder wants other arguments.

        Args:
            tokens: ``(U, L)``.

        Returns:
            ``(U, m)`` embeddings.
        """
        embeddings: Tensor = self.get_submodule(self.nwa_encoder)(tokens)
        return embeddings

    def _encode_for_map(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The embeddings, and what the map is drawn from: the same, or the features."""
        if self.nwa_features is None:
            embeddings = self.encode(tokens)
            return embeddings, embeddings
        with captured_embeddings(self, self.nwa_features) as outputs:
            embeddings = self.encode(tokens)
        return embeddings, outputs[0]

    # Neither the compiled kernel nor self.log can be traced by torch.compile.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def nwa_loss(self, embeddings: Tensor, batch: PairBatch, encoder_loss: Tensor | None = None) -> Tensor:
        """The weighted term ``nwa_weight * L_nw`` (eq. 5 and 6 of the paper), ready to add to a loss.

        L_nw is the row-wise Jensen-Shannon divergence, summed over rows, averaged over pairs; its value before
        weighting is logged as ``train/nwa_loss`` during training.

        Args:
            embeddings: ``(U, m)``, one row per row of ``batch.tokens``; with ``nwa_features`` the features instead.
            batch: With ``(Q, L, L)`` matrices of its first Q pairs.
            encoder_loss: The loss that the term will be added to; needed for ``nwa_weight="auto"`` only.

        Returns:
            A scalar that depends on every parameter of the head, also for Q = 0 or weight 0, so that no process of a
            distributed run waits for a gradient; without a head, a 0 that depends on the embeddings.
        """
        self._nwa_called = True
        if self.nwa_head is None or self.nwa_weight is None:
            return embeddings.sum() * 0.0
        return nwa_term(
            self,
            self.nwa_head,
            embeddings,
            batch,
            weight=self.nwa_weight,
            temperature=self.nwa_temperature,
            encoder_loss=encoder_loss,
        )

    def training_step(self, batch: PairBatch, *args: Any, **kwargs: Any) -> Any:
        """Their step, plus the term, unless their step called ``nwa_loss`` itself."""
        self._nwa_called = False
        step = super().training_step
        if self.nwa_head is None:
            return call_step(step, batch, *args, **kwargs)
        source = self.nwa_features or self.nwa_encoder
        with captured_embeddings(self, source) as outputs:
            result = call_step(step, batch, *args, **kwargs)
        if self._nwa_called or (result is None and self.automatic_optimization):
            return result
        if not self.automatic_optimization:
            raise RuntimeError(
                "Expected automatic optimization: with manual optimization there is no loss to add to; call "
                "self.nwa_loss(embeddings, batch) before manual_backward in your training_step."
            )
        embeddings = unique_embeddings(outputs, batch, source, features=self.nwa_features is not None)
        return add_term(result, self.nwa_loss(embeddings, batch, get_loss(result)))

    def on_train_start(self) -> None:
        """Check that an optimizer trains the head."""
        super().on_train_start()
        if self.nwa_head is not None:
            remedy = (
                "in configure_optimizers use self.parameters() or self.nwa_param_groups(lr=..., nwa_lr=...), or pass "
                "nwa_weight=None to train without the head."
            )
            check_head_is_trained(self.nwa_head, self, remedy)

    def nwa_attention(self, tokens: Tensor, pairs: Tensor) -> Tensor:
        """Attention maps, for eval_no_grad at.

        Args:
            tokens: ``(U, L)``.
            pairs: ``(Q, 2)`` rows of ``tokens``: first (rows of the map), second (columns).

        Returns:
            ``(Q, L, L)`` maps whose rows sum to 1; columns after the end of the second sequence are 0.

        Raises:
            RuntimeError: If the model has no head.
        """
        if self.nwa_head is None:
            raise RuntimeError("Expected a model with a head but it was built with nwa_weight=None.")
        return attention_maps(self.nwa_head, self._encode_for_map(tokens)[1], tokens, pairs)

    def nwa_param_groups(self, *, lr: float, nwa_lr: float) -> list[dict[str, Any]]:
        """Parameter groups for an optimizer: the model at ``lr``, the head at ``nwa_lr``."""
        head = list(self.nwa_head.parameters()) if self.nwa_head is not None else []
        of_head = {id(parameter) for parameter in head}
        model = [value for value in self.parameters() if id(value) not in of_head]
        return [{"params": model, "lr": lr}, *([{"params": head, "lr": nwa_lr}] if head else [])]

    def encoder_state_dict(self) -> dict[str, Tensor]:
        """The state of the model without the head: what inference needs."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith(f"{HEAD_NAME}.")}
