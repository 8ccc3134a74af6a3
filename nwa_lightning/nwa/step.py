"""A training step with the NWA term: the common part of NWAMixin and NWACallback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor, nn

from nwa_lightning.data.collate import CollatedBatch
from nwa_lightning.nwa.capture import (
    REMEDY,
    Pick,
    by_tokens,
    captured_calls,
    channels_last,
    find_submodule,
    in_named_order,
    pick_tensor,
)
from nwa_lightning.nwa.loss import NWALoss, is_nw_batch
from nwa_lightning.nwa.report import Report
from nwa_lightning.nwa.sizes import find_embedding_dim, find_max_length

#: Name of the ``NWALoss`` in a model.
NAME = "nwa"


class Source(NamedTuple):
    """Where embeddings and sequences come from.

    Attributes:
        encoder: Dotted name of the submodule that returns the embeddings.
        features: Dotted name of a submodule that returns features, if the maps are drawn from these instead.
        batch: Maps a batch to one with the sequences in the order in which the step encodes them; None for a ``PairBatch``,
            whose sequences are recognised.
        embeddings: Maps the output of the submodule to the embeddings or features; None takes the only tensor that fits.
    """

    encoder: str
    features: str | None
    batch: Callable[[Any], Any] | None
    embeddings: Pick | None

    @property
    def name(self) -> str:
        """Dotted name of the submodule that the maps are drawn from."""
        return self.features or self.encoder

    def pick(self, module: nn.Module, output: Any, nwa: NWALoss | None) -> Tensor:
        """The embeddings, or the features with channels last, from the output of the submodule."""
        if self.embeddings is not None:
            return self.embeddings(output)
        tensor = pick_tensor(output, 2 if self.features is None else 3, self.name)
        if self.features is None:
            return tensor
        channels = nwa.sizes[0] if nwa is not None and nwa.sizes is not None else None
        return channels_last(tensor, find_submodule(module, self.name), channels)


def find_sizes(
    nwa_sizes: tuple[int | None, int | None], trainer: Trainer, module: LightningModule, source: Source
) -> tuple[int, int]:
    """Embedding dimension and longest length; those that are None are found."""
    embedding_dim, max_length = nwa_sizes

    def step(twin: LightningModule, batch: Any) -> Any:
        return call_step(twin.training_step, batch.batch if isinstance(batch, CollatedBatch) else batch, 0)

    def measure(twin: LightningModule, output: Any) -> int:
        return source.pick(twin, output, None).shape[-1]

    if max_length is None:
        max_length = find_max_length(trainer, module, source.encoder)
    if embedding_dim is None:
        embedding_dim = find_embedding_dim(trainer, module, source.name, step, measure)
    return embedding_dim, max_length


def call_step(step: Callable[..., Any], batch: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a user's ``training_step``, which may or may not take ``batch_idx`` besides the batch."""
    wants_more = is_param_in_hook_signature(step, "batch_idx", min_args=2)
    return step(batch, *args, **kwargs) if wants_more else step(batch)


def step_with_term(
    step: Callable[..., Any],
    module: LightningModule,
    nwa: NWALoss,
    report: Report,
    source: Source,
    batch: Any,
    *args: Any,
    called: Callable[[], bool] = lambda: False,
    **kwargs: Any,
) -> Any:
    """Run a model's own step and add the term to the loss that it returns.

    Args:
        step: The model's own step.
        module: The model.
        nwa: The loss.
        report: Times the term.
        source: Where embeddings and sequences come from.
        batch: A batch of the loader.
        *args: Passed on to the step.
        called: Whether the step called the loss itself, so that there is nothing to add.
        **kwargs: Passed on to the step.
    """
    report.begin_step()
    theirs = batch.batch if isinstance(batch, CollatedBatch) else batch
    due = nwa.due
    # In every step: torch.compile does not notice hooks that come and go.
    with captured_calls(module, source.name) as outputs:
        if source.features is None or _is_named(source, batch):
            calls = outputs
            result = call_step(step, theirs, *args, **kwargs)
        else:
            with captured_calls(module, source.encoder) as calls:
                result = call_step(step, theirs, *args, **kwargs)
    if not due:
        return result if result is None or called() else add_term(result, nwa.skip())
    if called() or (result is None and module.automatic_optimization):
        return result
    if not module.automatic_optimization:
        raise RuntimeError(
            "Expected automatic optimization: with manual optimization there is no loss to add to; use NWAMixin and call "
            "self.nwa_loss(embeddings, batch) before manual_backward in your training_step."
        )
    started = report.now(get_loss(result))
    pairs = named_batch(source, batch)
    found = [source.pick(module, call.output, nwa) for call in outputs]
    if not found:
        raise RuntimeError(f"Expected {source.name} to be called in the training step but it was not; {REMEDY}.")
    if _is_named(source, batch):
        embeddings = in_named_order(found, len(pairs.lengths), source.name)
    elif len(calls) == len(outputs):
        embeddings = by_tokens(calls, found, pairs, source.encoder)
    else:
        raise RuntimeError(
            f"Expected {source.name} to be called as often as {source.encoder}, {len(calls)} times, but it was called "
            f"{len(outputs)} times; {REMEDY}."
        )
    return add_term(result, logged_term(module, nwa, report, embeddings, pairs, get_loss(result), started))


def _is_named(source: Source, batch: Any) -> bool:
    return source.batch is not None or isinstance(batch, CollatedBatch)


def named_batch(source: Source, batch: Any) -> Any:
    """The batch with lengths, pairs and matrices.

    Raises:
        TypeError: If the batch is not a ``PairBatch`` and ``source.batch`` is missing, or does not return one.
    """
    if isinstance(batch, CollatedBatch):
        return batch.pairs
    found = batch if source.batch is None else source.batch(batch)
    if not is_nw_batch(found):
        if source.batch is None:
            raise TypeError(
                f"Expected a PairBatch (NWADataModule makes them) but got {type(batch).__name__}; where your own loader makes "
                f"the batches, {REMEDY}."
            )
        raise TypeError(
            f"Expected nwa_batch (NWAMixin) or batch=... (NWACallback) to return a PairBatch but got {type(found).__name__}; "
            f"return pair_batch(sequences)."
        )
    return found


@torch.compiler.disable  # type: ignore[untyped-decorator]
def logged_term(
    module: LightningModule,
    nwa: NWALoss,
    report: Report,
    embeddings: Tensor,
    batch: Any,
    encoder_loss: Tensor | None,
    started: float,
) -> Tensor:
    """The weighted term; during training, L_nw and an automatic lambda are logged, and the term is timed."""
    due, training = nwa.due, module._trainer is not None and module.trainer.training
    if training and due:
        report.first_term(nwa, batch)
    term: Tensor = nwa(embeddings, batch, encoder_loss)
    if training and due and nwa.last is not None:
        module.log("train/nwa_loss", nwa.last, batch_size=max(1, len(batch.nw)))
        if nwa.auto is not None and nwa.last_weight is not None:
            module.log("train/nwa_weight", nwa.last_weight)
        report.timed(term, embeddings, started)
    return term


def get_loss(result: Any) -> Tensor:
    """The loss in the result of a ``training_step``, which is a tensor or a dict with "loss"."""
    loss = result.get("loss") if isinstance(result, dict) else result
    if not isinstance(loss, Tensor):
        raise TypeError(
            f'Expected training_step to return a loss or a dict with "loss" but got {type(result).__name__}.'
        )
    return loss


def add_term(result: Any, term: Tensor) -> Any:
    """Add the term to the loss in the result of a ``training_step``."""
    loss = get_loss(result) + term
    return {**result, "loss": loss} if isinstance(result, dict) else loss


def check_head_is_trained(nwa: nn.Module, module: LightningModule, remedy: str) -> None:
    """Make sure that every trainable parameter of the head is in an optimizer.

    Raises:
        RuntimeError: If one is not; the message ends with the remedy.
    """
    groups = [group for optimizer in module.trainer.optimizers for group in optimizer.param_groups]
    held = {id(parameter) for group in groups for parameter in group["params"]}
    trainable = {name: value for name, value in nwa.named_parameters() if value.requires_grad}
    missing = [name for name, value in trainable.items() if id(value) not in held]
    if missing:
        raise RuntimeError(
            f"Expected every parameter of {NAME} in an optimizer but {len(missing)} are in none, such as "
            f"{NAME}.{missing[0]}; {remedy}"
        )


def drop_idle_gradients(nwa: NWALoss) -> None:
    """Keep an optimizer from updating the head in a step without the term.

    With several processes, the head has zero gradients in such a step, and the optimizer's momentum would still move it.
    """
    if nwa.idle:
        for parameter in nwa.parameters():
            parameter.grad = None
    nwa.idle = True
