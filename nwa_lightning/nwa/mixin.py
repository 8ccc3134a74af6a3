"""NWAMixin: Needleman-Wunsch Attention for a LightningModule, by inheritance."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import Optimizer

from nwa_lightning.nwa.build import DecoderKind, head_kind
from nwa_lightning.nwa.capture import captured_calls
from nwa_lightning.nwa.heads import HeadOptions
from nwa_lightning.nwa.loss import DEFAULT_EVERY, NWALoss, NWBatch
from nwa_lightning.nwa.report import Report
from nwa_lightning.nwa.step import (
    NAME,
    Source,
    call_step,
    check_head_is_trained,
    drop_idle_gradients,
    find_sizes,
    logged_term,
    named_batch,
    step_with_term,
)
from nwa_lightning.nwa.weight import DEFAULT_WEIGHT, Weight

if TYPE_CHECKING:
    _Base = LightningModule
else:
    _Base = object

#: Lightning hooks in which the mixin has work to do, whether or not a subclass calls ``super()`` in its own.
_HOOKS = {"training_step", "setup", "on_train_start", "on_before_optimizer_step"}

#: Marks, among the running hooks, a trial step, which finds the sizes of the head.
_TRIAL = "trial"


class NWAMixin(_Base):
    """Adds the Needleman-Wunsch Attention loss to a LightningModule; put it before the other base class.

    Subclass an existing model::

        class TheirsWithNWA(NWAMixin, Theirs):
            def nwa_batch(self, batch):  # finds the sequences; not needed with NWADataModule
                return pair_batch(batch["sequence"])

    The term is added to the loss that their ``training_step`` returns (a tensor, or a dict with "loss"). It is computed from
    the embeddings that their encoder returned in the same step, in one call or in several. If a step calls
    ``self.nwa_loss(embeddings, batch)`` itself, the term is not added a second time::

        class Mine(NWAMixin, LightningModule):
            def training_step(self, batch, batch_idx):
                embeddings = self.encode(batch.tokens)
                return my_loss(embeddings, batch) + self.nwa_loss(embeddings, batch)

    Args:
        *args: Passed on to the next class.
        nwa_embedding_dim: m, the dimension of the embeddings; None finds it by a trial step before training.
        nwa_max_length: The most letters a sequence may have; None takes that of the data module, encoder or model.
        nwa_weight: lambda, as in ``NWALoss``; None builds no head: the exact baseline.
        nwa_temperature: As ``temperature`` in ``NWALoss``.
        nwa_every: As ``every`` in ``NWALoss``.
        nwa_encoder: Dotted name of the submodule that returns the ``(rows, m)`` embeddings, alone or in a tuple, a dict or a
            ``ModelOutput``.
        nwa_features: Dotted name of a submodule that returns ``(rows, positions, channels)`` or ``(rows, channels, positions)``.
            The map is then drawn from its output, without a decoder, and ``nwa_embedding_dim`` is the number of channels.
        nwa_head_options: Sizes of the decoder, as in ``NWAHead``.
        nwa_head: "decoder", as published, or "positions" for reads of any length, as ``head`` in ``NWALoss``.
        nwa_stride: As ``stride`` in ``NWALoss``.
        **kwargs: Passed on to the next class.

    Attributes:
        nwa: The ``NWALoss``; None with ``nwa_weight=None``.

    Raises:
        TypeError: When a subclass is defined with the bases in the wrong order.
        InputError: For a number that cannot be used.
    """

    nwa: NWALoss | None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        order = cls.__mro__
        if LightningModule in order and order.index(LightningModule) < order.index(NWAMixin):
            bases = ", ".join(["NWAMixin"] + [base.__name__ for base in cls.__bases__ if base is not NWAMixin])
            raise TypeError(
                f"Expected NWAMixin before the LightningModule, or its __init__ is never called; "
                f"write `class {cls.__name__}({bases})`."
            )
        for name in vars(cls).keys() & _HOOKS:
            setattr(cls, name, _with_nwa(name, vars(cls)[name]))

    def __init__(
        self,
        *args: Any,
        nwa_embedding_dim: int | None = None,
        nwa_max_length: int | None = None,
        nwa_weight: Weight | None = DEFAULT_WEIGHT,
        nwa_temperature: float = 1.0,
        nwa_every: int = DEFAULT_EVERY,
        nwa_encoder: str = "encoder",
        nwa_features: str | None = None,
        nwa_head_options: HeadOptions | None = None,
        nwa_head: DecoderKind = "decoder",
        nwa_stride: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.nwa_encoder = nwa_encoder
        self.nwa_features = nwa_features
        self._nwa_sizes = (nwa_embedding_dim, nwa_max_length)
        self._nwa_running: set[str] = set()
        self._nwa_called = False
        self._nwa_report = Report(nwa_features or nwa_encoder)
        # Built last, so that the encoder starts from the same random numbers with and without a head. Not built in setup(),
        # which runs after the optimizer of a command line has taken its parameters.
        self.nwa = None
        if nwa_weight is not None:
            self.nwa = NWALoss(
                *self._nwa_sizes,
                weight=nwa_weight,
                temperature=nwa_temperature,
                every=nwa_every,
                head=head_kind(nwa_head, nwa_features),
                head_options=nwa_head_options,
                stride=nwa_stride,
            )

    def nwa_batch(self, batch: Any) -> NWBatch:
        """The sequences of a batch; override this method for batches of your own loader.

        Args:
            batch: A batch of the loader.

        Returns:
            ``pair_batch(sequences)`` with the sequences in the order in which ``training_step`` encodes them, over all its
            calls of the encoder; or the batch itself, if it is a ``PairBatch`` and the step encodes ``batch.tokens`` once. If
            the method is not overridden, the sequences of a ``PairBatch`` are recognised in the input of the encoder.
        """
        found: NWBatch = batch
        return found

    def nwa_embeddings(self, output: Any) -> Tensor:
        """The embeddings in the encoder's output; override this method if more than one tensor fits.

        Args:
            output: Output of the submodule ``nwa_encoder``, or of ``nwa_features`` if that is given.

        Returns:
            ``(rows, m)`` embeddings, or ``(rows, positions, channels)`` features.
        """
        return self._nwa_source()._replace(embeddings=None).pick(self, output, self.nwa)

    def _nwa_source(self) -> Source:
        return Source(
            encoder=self.nwa_encoder,
            features=self.nwa_features,
            batch=None if type(self).nwa_batch is NWAMixin.nwa_batch else self.nwa_batch,
            embeddings=self.nwa_embeddings,
        )

    def encode(self, tokens: Tensor) -> Tensor:
        """Embed sequences; override this method if the encoder takes other arguments.

        Args:
            tokens: ``(U, L)``.

        Returns:
            ``(U, m)`` embeddings.
        """
        output = self.get_submodule(self.nwa_encoder)(tokens)
        embeddings: Tensor = output if self.nwa_features is not None else self.nwa_embeddings(output)
        return embeddings

    def _encode_for_map(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The embeddings, and the input of the head: the embeddings or the features."""
        if self.nwa_features is None:
            embeddings = self.encode(tokens)
            return embeddings, embeddings
        with captured_calls(self, self.nwa_features) as calls:
            embeddings = self.encode(tokens)
        return embeddings, self.nwa_embeddings(calls[0].output)

    # Neither the compiled kernel nor self.log can be traced by torch.compile.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def nwa_loss(self, embeddings: Tensor, batch: Any, encoder_loss: Tensor | None = None) -> Tensor:
        """The weighted term, ready to add to a loss; during training L_nw is logged as ``train/nwa_loss``.

        Args:
            embeddings: ``(U, m)``, one row per sequence of the batch; with ``nwa_features`` the features instead.
            batch: A ``PairBatch``, or a batch that ``nwa_batch`` turns into one.
            encoder_loss: The loss that the term will be added to; needed for ``nwa_weight="auto"`` only.

        Returns:
            As ``NWALoss.forward``; without a head, a 0 that depends on the embeddings.
        """
        self._nwa_called = True
        if self.nwa is None or _TRIAL in self._nwa_running:
            return embeddings.sum() * 0.0
        if not self.nwa.due:
            term: Tensor = self.nwa.skip() + embeddings.sum() * 0.0
            return term
        started = self._nwa_report.now(embeddings)
        pairs = named_batch(self._nwa_source(), batch)
        term = logged_term(self, self.nwa, self._nwa_report, embeddings, pairs, encoder_loss, started)
        return term

    def training_step(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
        """The model's own step plus the term, unless that step called ``nwa_loss`` itself."""
        return self._nwa_around("training_step", super().training_step, batch, *args, **kwargs)

    def setup(self, stage: str) -> None:
        """Find the sizes of the head, if they were not given."""
        self._nwa_around("setup", super().setup, stage)

    def on_train_start(self) -> None:
        """Check that an optimizer trains the head."""
        self._nwa_around("on_train_start", super().on_train_start)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Keep the optimizer from updating the head in a step without the term."""
        self._nwa_around("on_before_optimizer_step", super().on_before_optimizer_step, optimizer)

    def _nwa_around(self, name: str, hook: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a hook. If hooks call one another by ``super()``, do the work of the mixin once, around the outermost."""
        if name in self._nwa_running or self.nwa is None:
            return call_step(hook, *args, **kwargs) if name == "training_step" else hook(*args, **kwargs)
        self._nwa_running.add(name)
        try:
            if name == "training_step":
                return self._nwa_step(hook, *args, **kwargs)
            result = hook(*args, **kwargs)
            if name == "setup" and self.nwa.sizes is None and "fit" in (*args, *kwargs.values()):
                self._nwa_find_sizes(self.nwa)
            if name == "on_train_start":
                remedy = (
                    "in configure_optimizers use self.parameters() or self.nwa_param_groups(lr=..., nwa_lr=...), or pass "
                    "nwa_weight=None to train without the head."
                )
                check_head_is_trained(self.nwa, self, remedy)
            if name == "on_before_optimizer_step":
                drop_idle_gradients(self.nwa)
            return result
        finally:
            self._nwa_running.discard(name)

    def _nwa_find_sizes(self, nwa: NWALoss) -> None:
        # The trial copy of the model runs only its own step, without the term.
        self._nwa_running |= {"training_step", _TRIAL}
        try:
            nwa.set_sizes(*find_sizes(self._nwa_sizes, self.trainer, self, self._nwa_source()))
        finally:
            self._nwa_running -= {"training_step", _TRIAL}

    def _nwa_step(self, step: Callable[..., Any], batch: Any, *args: Any, **kwargs: Any) -> Any:
        assert self.nwa is not None
        self._nwa_called = False
        source, called = self._nwa_source(), lambda: self._nwa_called
        return step_with_term(step, self, self.nwa, self._nwa_report, source, batch, *args, called=called, **kwargs)

    def nwa_attention(self, batch: Any) -> Tensor:
        """Attention maps of the pairs of a ``PairBatch`` that have a matrix, for display; encodes ``batch.tokens``.

        Returns:
            ``(Q, L, L)`` maps whose rows sum to 1; columns after the end of the second sequence are 0.

        Raises:
            RuntimeError: If the model has no head.
        """
        if self.nwa is None:
            raise RuntimeError("Expected a model with a head but it was built with nwa_weight=None.")
        return self.nwa.attention(self._encode_for_map(batch.tokens)[1], batch)

    def nwa_param_groups(self, *, lr: float, nwa_lr: float) -> list[dict[str, Any]]:
        """Parameter groups for an optimizer: the model at ``lr``, the head at ``nwa_lr``."""
        head = list(self.nwa.parameters()) if self.nwa is not None else []
        of_head = {id(parameter) for parameter in head}
        model = [value for value in self.parameters() if id(value) not in of_head]
        return [{"params": model, "lr": lr}, *([{"params": head, "lr": nwa_lr}] if head else [])]

    def encoder_state_dict(self) -> dict[str, Tensor]:
        """The state of the model without the head, for inference."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith(f"{NAME}.")}


def _with_nwa(name: str, hook: Callable[..., Any]) -> Callable[..., Any]:
    """A subclass's own hook, with the work of the mixin around it."""

    @wraps(hook)
    def wrapped(self: NWAMixin, *args: Any, **kwargs: Any) -> Any:
        return self._nwa_around(name, hook.__get__(self), *args, **kwargs)

    return wrapped
