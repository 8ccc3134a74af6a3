"""NWACallback: Needleman-Wunsch Attention for a model without changing its code."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from nwa_lightning.nwa.build import DecoderKind, head_kind
from nwa_lightning.nwa.capture import Pick, captured_calls
from nwa_lightning.nwa.heads import HeadOptions
from nwa_lightning.nwa.loss import DEFAULT_EVERY, NWALoss
from nwa_lightning.nwa.mixin import NWAMixin
from nwa_lightning.nwa.report import Report
from nwa_lightning.nwa.step import NAME, Source, check_head_is_trained, drop_idle_gradients, find_sizes, step_with_term
from nwa_lightning.nwa.weight import DEFAULT_WEIGHT, Weight


class NWACallback(Callback):
    """Adds the Needleman-Wunsch Attention loss to a model without changing its code.

    During ``fit`` the head is a submodule of the model, so the optimizer and the strategy see it, and the term is added to
    the loss of the model's ``training_step``. After ``fit`` both are removed. Checkpoints hold the head among the states of
    the callbacks, so their ``state_dict`` is that of the plain model and loads without this package::

        trainer = Trainer(callbacks=[NWACallback()])
        trainer.fit(model, NWADataModule())

    With your own loader, ``batch`` finds the sequences of a batch::

        NWACallback(batch=lambda batch: pair_batch(batch["sequence"]), max_length=150)

    Args:
        encoder: Dotted name of the submodule that returns the ``(rows, m)`` embeddings, alone or in a tuple, a dict or a
            ``ModelOutput``.
        embedding_dim: m, the dimension of the embeddings; None finds it by a trial step before training.
        max_length: The most letters a sequence may have; None takes ``max_length`` of the data module, the encoder or the
            model.
        weight: lambda, as in ``NWALoss``.
        temperature: As in ``NWALoss``.
        every: As in ``NWALoss``.
        features: Dotted name of a submodule that returns ``(rows, positions, channels)`` or ``(rows, channels, positions)``.
            The map is then drawn from its output, without a decoder, and ``embedding_dim`` is the number of channels.
        head_options: Sizes of the decoder, as in ``NWAHead``.
        batch: Maps a batch of the loader to ``pair_batch(sequences)``, with the sequences in the order in which the step
            encodes them, over all its calls of the encoder. None for a ``PairBatch``, whose sequences are recognised in the
            input of the encoder.
        embeddings: Maps the output of the submodule to the ``(rows, m)`` embeddings, or to the ``(rows, positions,
            channels)`` features; None takes the only tensor that fits.
        head: "decoder", as published, or "positions" for reads of any length, as in ``NWALoss``.
        stride: As in ``NWALoss``.

    Attributes:
        nwa: The ``NWALoss``; None before the first ``fit``.

    Raises:
        InputError: For a number that cannot be used.
    """

    def __init__(
        self,
        encoder: str = "encoder",
        embedding_dim: int | None = None,
        max_length: int | None = None,
        weight: Weight = DEFAULT_WEIGHT,
        temperature: float = 1.0,
        every: int = DEFAULT_EVERY,
        features: str | None = None,
        head_options: HeadOptions | None = None,
        batch: Callable[[Any], Any] | None = None,
        embeddings: Pick | None = None,
        head: DecoderKind = "decoder",
        stride: int = 1,
    ) -> None:
        super().__init__()
        self.source = Source(encoder, features, batch, embeddings)
        self.sizes = (embedding_dim, max_length)
        self.options: dict[str, Any] = {
            "weight": weight,
            "temperature": temperature,
            "every": every,
            "head": head_kind(head, features),
            "head_options": head_options,
            "stride": stride,
        }
        NWALoss(**self.options)  # raises errors about the options here, not in fit
        self.nwa: NWALoss | None = None
        self._own_step: Any = None
        self._hooks: list[RemovableHandle] = []

    def _build(self) -> NWALoss:
        return NWALoss(*self.sizes, **self.options)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Add the head to the model and wrap its ``training_step``, before the optimizers are made.

        Raises:
            RuntimeError: If the model has a head already, or optimizes manually.
            InputError: If the sizes of the head cannot be found.
        """
        if stage != "fit":
            return
        if isinstance(pl_module, NWAMixin) or hasattr(pl_module, NAME):
            raise RuntimeError(
                f"Expected a model without NWA but {type(pl_module).__name__} has it already; leave out one of NWAMixin and "
                f"NWACallback."
            )
        if not pl_module.automatic_optimization:
            raise RuntimeError(
                "Expected automatic optimization: with manual optimization there is no loss to add to; use NWAMixin and "
                "call self.nwa_loss(embeddings, batch) before manual_backward in your training_step."
            )
        if self.nwa is None:
            # Find the sizes first: the trial step restores the random state, from which the head is then built.
            self.sizes = find_sizes(self.sizes, trainer, pl_module, self.source)
            self.nwa = self._build()
        pl_module.add_module(NAME, self.nwa)
        self._hooks = [
            pl_module.register_state_dict_post_hook(_drop_head),  # type: ignore[no-untyped-call]
            pl_module.register_load_state_dict_pre_hook(_fill_in_head),  # type: ignore[no-untyped-call]
        ]
        self._own_step = vars(pl_module).get("training_step")
        pl_module.training_step = self._with_term(pl_module)  # type: ignore[method-assign]

    def _with_term(self, pl_module: LightningModule) -> Any:
        step, report = pl_module.training_step, Report(self.source.name)

        # With torch.compile, only the model's own step is compiled.
        @wraps(step)
        def training_step(batch: Any, *args: Any, **kwargs: Any) -> Any:
            nwa: NWALoss = pl_module.get_submodule(NAME)  # type: ignore[assignment]
            return step_with_term(step, pl_module, nwa, report, self.source, batch, *args, **kwargs)

        return training_step

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that an optimizer trains the head."""
        remedy = (
            "in configure_optimizers use self.parameters(); an optimizer that a command line made before fit cannot hold "
            "it: there, use NWAMixin."
        )
        check_head_is_trained(pl_module.get_submodule(NAME), pl_module, remedy)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Keep the optimizer from updating the head in a step without the term."""
        if self.nwa is not None:
            drop_idle_gradients(self.nwa)

    def attention(self, batch: Any, pl_module: LightningModule) -> Tensor:
        """``(Q, L, L)`` attention maps of the pairs of a ``PairBatch`` that have a matrix, as ``NWAMixin.nwa_attention``.

        Raises:
            RuntimeError: Before the first ``fit``.
        """
        if self.nwa is None:
            raise RuntimeError("Expected a head but there is none before the first fit.")
        with captured_calls(pl_module, self.source.name) as calls:
            pl_module.get_submodule(self.source.encoder)(batch.tokens)
        return self.nwa.attention(self.source.pick(pl_module, calls[0].output, self.nwa), batch)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the original model."""
        self._detach(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restore the original model when a run fails: Lightning does not call ``teardown`` then."""
        self._detach(pl_module)

    def _detach(self, pl_module: LightningModule) -> None:
        if not self._hooks:
            return
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        delattr(pl_module, NAME)
        del pl_module.training_step
        if self._own_step is not None:
            pl_module.training_step = self._own_step  # type: ignore[method-assign]

    def state_dict(self) -> dict[str, Any]:
        """The weights of the head and its number of steps."""
        return {NAME: self.nwa.state_dict() if self.nwa is not None else None}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore them."""
        if state_dict[NAME] is not None:
            if self.nwa is None:
                self.nwa = self._build()
            self.nwa.load_state_dict(state_dict[NAME])


# Functions, not methods: a copy of the model (by StochasticWeightAveraging, say) keeps its hooks.
def _drop_head(_module: nn.Module, state: dict[str, Any], prefix: str, _metadata: dict[str, Any]) -> None:
    for name in [name for name in state if name.startswith(f"{prefix}{NAME}.")]:
        del state[name]


def _fill_in_head(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    head = module.get_submodule(NAME)
    for name, value in head.state_dict(prefix=f"{prefix}{NAME}.").items():
        state.setdefault(name, value)


def find_nwa(trainer: Trainer, pl_module: LightningModule) -> NWAMixin | NWACallback:
    """The owner of the ``NWALoss``: the model, or the callback of a plain model.

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
