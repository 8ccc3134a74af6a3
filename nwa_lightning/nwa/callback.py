"""Callbacks for the Trainer: NWA for a model that is left as it is, its weight over time, and embeddings on disk."""

from __future__ import annotations

from functools import wraps
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

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
from nwa_lightning.nwa.mixin import NWAMixin


class NWACallback(Callback):
    """Adds the Needleman-Wunsch Attention loss to a model whose code is not touched.

    During ``fit`` the head is a submodule of the model, so that its optimizer and the strategy see it, and the term is
    added to the loss of its ``training_step``; afterwards both are taken away again. Checkpoints hold the head among the
    states of the callbacks, so their ``state_dict`` is that of the plain model and loads without this package::

        trainer = Trainer(callbacks=[NWACallback(embedding_dim=128, max_length=150)])
        trainer.fit(model, NWADataModule())

    Args:
        embedding_dim: m, the dimension of the embeddings.
        max_length: The most bases a sequence may have.
        encoder: Dotted name of the submodule whose output is the ``(rows, m)`` embeddings: of the U sequences of the
            batch (best), or of ``batch.left`` and ``batch.right``, in two calls or joined in one.
        weight: lambda, the weight of the term; "auto" keeps the term at a tenth of the loss it is added to, by a running ratio.
        temperature: Divides the scores of the Needleman-Wunsch matrix before its row softmax.
        features: Dotted name of the submodule whose output, ``(rows, positions, channels)`` or ``(rows, channels,
            positions)``, the map is drawn from instead, without a decoder; ``embedding_dim`` are then its channels.

    Attributes:
        nwa_head: The head; None before the first ``fit``.
        nwa_weight: lambda, which may be changed while training.
        nwa_temperature: Divides the scores of the matrix before its row softmax.
    """

    def __init__(
        self,
        embedding_dim: int,
        max_length: int,
        encoder: str = "encoder",
        weight: Weight = 1e-5,
        temperature: float = 1.0,
        features: str | None = None,
    ) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        self.max_length = max_length
        self.encoder = encoder
        self.features = features
        self.nwa_weight: Weight = weight
        self.nwa_temperature = temperature
        self.nwa_head: Head | None = None
        self._own_step: Any = None
        self._hooks: list[RemovableHandle] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Add the head to the model and wrap its ``training_step``: before its optimizers are made.

        Raises:
            RuntimeError: If the model has a head already, or optimizes manually.
        """
        if stage != "fit":
            return
        if isinstance(pl_module, NWAMixin) or hasattr(pl_module, HEAD_NAME):
            raise RuntimeError(
                f"Expected a model without NWA but {type(pl_module).__name__} has it already; leave out one of NWAMixin and "
                f"NWACallback."
            )
        if not pl_module.automatic_optimization:
            raise RuntimeError(
                "Expected automatic optimization: with manual optimization there is no loss to add to; use NWAMixin and "
                "call self.nwa_loss(embeddings, batch) before manual_backward in your training_step."
            )
        if self.nwa_head is None:
            self.nwa_head = build_head(self.embedding_dim, self.max_length, self.nwa_weight, self.features)
        pl_module.add_module(HEAD_NAME, self.nwa_head)
        self._hooks = [
            pl_module.register_state_dict_post_hook(_drop_head),  # type: ignore[no-untyped-call]
            pl_module.register_load_state_dict_pre_hook(_fill_in_head),  # type: ignore[no-untyped-call]
        ]
        self._own_step = vars(pl_module).get("training_step")
        pl_module.training_step = self._with_term(pl_module)  # type: ignore[method-assign]

    def _with_term(self, pl_module: LightningModule) -> Any:
        step = pl_module.training_step
        source = self.features or self.encoder

        # Only the model's own step is compiled where torch.compile was asked for.
        @wraps(step)
        def training_step(batch: Any, *args: Any, **kwargs: Any) -> Any:
            with captured_embeddings(pl_module, source) as outputs:
                result = call_step(step, batch, *args, **kwargs)
            if result is None:
                return None
            embeddings = unique_embeddings(outputs, batch, source, features=self.features is not None)
            head: Head = pl_module.get_submodule(HEAD_NAME)  # type: ignore[assignment]
            term = nwa_term(
                pl_module,
                head,
                embeddings,
                batch,
                weight=self.nwa_weight,
                temperature=self.nwa_temperature,
                encoder_loss=get_loss(result),
            )
            return add_term(result, term)

        return training_step

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that an optimizer trains the head."""
        remedy = (
            "in configure_optimizers use self.parameters(); an optimizer that a command line made before fit cannot hold "
            "it: there, use NWAMixin."
        )
        check_head_is_trained(pl_module.get_submodule(HEAD_NAME), pl_module, remedy)

    def attention(self, tokens: Tensor, pairs: Tensor, pl_module: LightningModule) -> Tensor:
        """``(Q, L, L)`` attention maps of ``(U, L)`` tokens and ``(Q, 2)`` pairs, as ``NWAMixin.nwa_attention``.

        Raises:
            RuntimeError: Before the first ``fit``.
        """
        if self.nwa_head is None:
            raise RuntimeError("Expected a head but there is none before the first fit.")
        with captured_embeddings(pl_module, self.features or self.encoder) as outputs:
            pl_module.get_submodule(self.encoder)(tokens)
        return attention_maps(self.nwa_head, outputs[0], tokens, pairs)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the model as it was found."""
        self._detach(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the model as it was found, also when the run fails: ``teardown`` is not called then."""
        self._detach(pl_module)

    def _detach(self, pl_module: LightningModule) -> None:
        if not self._hooks:
            return
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        delattr(pl_module, HEAD_NAME)
        del pl_module.training_step
        if self._own_step is not None:
            pl_module.training_step = self._own_step  # type: ignore[method-assign]

    def state_dict(self) -> dict[str, Any]:
        """The head's weights and lambda."""
        return {"head": self.nwa_head.state_dict() if self.nwa_head is not None else None, "weight": self.nwa_weight}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the head's weights and lambda."""
        self.nwa_weight = state_dict["weight"]
        if state_dict["head"] is not None:
            if self.nwa_head is None:
                self.nwa_head = build_head(self.embedding_dim, self.max_length, self.nwa_weight, self.features)
            self.nwa_head.load_state_dict(state_dict["head"])


# Not methods: a model that is copied (by StochasticWeightAveraging, say) takes its hooks along.
def _drop_head(_module: nn.Module, state: dict[str, Any], prefix: str, _metadata: dict[str, Any]) -> None:
    for name in [name for name in state if name.startswith(f"{prefix}{HEAD_NAME}.")]:
        del state[name]


def _fill_in_head(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    head = module.get_submodule(HEAD_NAME)
    for name, value in head.state_dict(prefix=f"{prefix}{HEAD_NAME}.").items():
        state.setdefault(name, value)


def find_nwa(trainer: Trainer, pl_module: LightningModule) -> NWAMixin | NWACallback:
    """What holds lambda and the head: the model, or the callback of a plain one.

    Raises:
        RuntimeError: If there is neither.
    """
    if isinstance(pl_module, NWAMixin):
        return pl_module
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, NWACallback):
            return callback
    raise RuntimeError(
        f"Expected a model with NWA but {type(pl_module).__name__} is no NWAMixin and there is no NWACallback; add one."
    )
