"""The NWA term of a training step: what NWAMixin and NWACallback have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor, nn

from nwa_lightning.data.batch import PairBatch
from nwa_lightning.nwa.functional import nw_target, row_jsd
from nwa_lightning.nwa.heads import FeatureHead, NWAHead
from nwa_lightning.nwa.weight import AutoWeight
from nwa_lightning.sequences.alphabet import PADDING

HEAD_NAME = "nwa_head"
AUTO_NAME = "auto_weight"

#: What draws the maps.
Head = NWAHead | FeatureHead

#: lambda: a number, or found while training.
Weight = float | Literal["auto"]


def nwa_divergence(head: Head, embeddings: Tensor, batch: PairBatch, temperature: float) -> Tensor:
    """L_nw (eq. 5 of Lee & No, 2024): the row-wise divergence of map and matrix, summed over rows, averaged over pairs.

    Args:
        head: Draws the maps.
        embeddings: ``(U, m)``, or the features that the head is for, one row per row of ``batch.tokens``.
        batch: With ``(Q, L, L)`` matrices of its first Q pairs.
        temperature: Divides the scores of the matrices before their row softmax.

    Returns:
        A scalar that depends on every parameter of the head, also for Q = 0, so that no process of a distributed run
        waits for a gradient.

    Raises:
        ValueError: If there are not as many embeddings as sequences.
    """
    pairs = batch.nw_pairs
    if len(pairs) == 0:
        touched = sum((parameter.sum() for parameter in head.parameters()), embeddings.sum())
        return touched * 0.0
    if len(embeddings) != len(batch.tokens):
        raise ValueError(
            f"Expected one embedding per row of batch.tokens ({len(batch.tokens)}) but got {len(embeddings)}; encode "
            f"batch.tokens, not each pair."
        )
    rows = rows_used(pairs, wait=pairs.device.type == "cpu")
    size = batch.tokens.shape[1]
    logits = head(embeddings[:rows], batch.lengths[:rows], pairs, size)
    inside = torch.arange(size, device=pairs.device) <= batch.lengths[:rows, None]
    scores = batch.nw
    if isinstance(head, FeatureHead):
        scores, inside = head.pooled(scores, inside, pairs, logits.shape[1])
    return row_jsd(logits, scores, inside[pairs[:, 0]], inside[pairs[:, 1]], temperature=temperature).mean()


def rows_used(pairs: Tensor, *, wait: bool) -> int:
    """N, where ``(Q, 2)`` pairs use the first N rows.

    Args:
        pairs: At least one.
        wait: Whether to look at their values, for which a GPU would have to catch up. Without it, N (N - 1) / 2 pairs
            are taken to be all pairs of N rows, as ``NWADataModule`` makes them.

    Raises:
        RuntimeError: Without ``wait``, if they are not; on a GPU when it gets there.
    """
    rows = (1 + math.isqrt(1 + 8 * len(pairs))) // 2
    if wait or rows * (rows - 1) // 2 != len(pairs):
        return int(pairs.max()) + 1
    torch._assert_async(
        pairs.max() < rows, f"Expected {len(pairs)} pairs with matrices to be those of the first {rows} sequences."
    )
    return rows


def call_step(step: Callable[..., Any], batch: Any, *args: Any, **kwargs: Any) -> Any:
    """Call somebody's ``training_step``, which may or may not want ``batch_idx`` besides the batch."""
    wants_more = is_param_in_hook_signature(step, "batch_idx", min_args=2)
    return step(batch, *args, **kwargs) if wants_more else step(batch)


def nwa_term(
    module: LightningModule,
    head: Head,
    embeddings: Tensor,
    batch: PairBatch,
    *,
    weight: Weight,
    temperature: float,
    encoder_loss: Tensor | None,
) -> Tensor:
    """The weighted term, ready to add to a loss; in training L_nw, and a lambda that finds itself, are logged.

    Args:
        module: The model, which logs.
        head: Draws the maps.
        embeddings: ``(U, m)``, one row per row of ``batch.tokens``.
        batch: With ``(Q, L, L)`` matrices of its first Q pairs.
        weight: lambda.
        temperature: Divides the scores of the matrices before their row softmax.
        encoder_loss: The loss that the term will be added to; needed where lambda finds itself.
    """
    divergence = nwa_divergence(head, embeddings, batch, temperature)
    found = find_weight(head, weight, divergence, encoder_loss)
    if module._trainer is not None and module.trainer.training:
        module.log("train/nwa_loss", divergence.detach(), batch_size=max(1, len(batch.nw_pairs)))
        if weight == "auto":
            module.log("train/nwa_weight", found)
    return found * divergence


def get_loss(result: Any) -> Tensor:
    """The loss in what a ``training_step`` returned: a tensor, or a dict with "loss"."""
    loss = result.get("loss") if isinstance(result, dict) else result
    if not isinstance(loss, Tensor):
        raise TypeError(
            f'Expected training_step to return a loss or a dict with "loss" but got {type(result).__name__}.'
        )
    return loss


def add_term(result: Any, term: Tensor) -> Any:
    """Add the term to the loss in what a ``training_step`` returned."""
    loss = get_loss(result) + term
    return {**result, "loss": loss} if isinstance(result, dict) else loss


def build_head(embedding_dim: int, max_length: int, weight: Weight, features: str | None) -> Head:
    """The head, for embeddings or for features, with its running ratio where lambda finds itself."""
    if isinstance(weight, str) and weight != "auto":
        raise ValueError(f"Expected nwa_weight to be a number, 'auto' or None but got {weight!r}.")
    head: Head = NWAHead(embedding_dim, max_length) if features is None else FeatureHead(embedding_dim, max_length)
    if weight == "auto":
        head.add_module(AUTO_NAME, AutoWeight())
    return head


def find_weight(head: Head, weight: Weight, divergence: Tensor, encoder_loss: Tensor | None) -> float | Tensor:
    """Lambda of a step.

    Raises:
        ValueError: If lambda finds itself but there is no loss to measure it by.
    """
    if weight != "auto":
        return weight
    if encoder_loss is None:
        raise ValueError(
            "Expected the loss that the term is added to, because nwa_weight is 'auto'; call "
            "self.nwa_loss(embeddings, batch, encoder_loss)."
        )
    found: Tensor = head.get_submodule(AUTO_NAME)(encoder_loss, divergence)
    return found


@contextmanager
def eval_no_grad(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every submodule is back in the mode it was in."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes.items():
            part.training = training


@contextmanager
def captured_embeddings(module: LightningModule, name: str) -> Iterator[list[Tensor]]:
    """Collect what a submodule returns while a step runs.

    Args:
        module: The model.
        name: Dotted name of its submodule that returns the embeddings, or the features.

    Raises:
        AttributeError: If there is no such submodule.
    """
    outputs: list[Tensor] = []
    try:
        found = module.get_submodule(name)
    except AttributeError:
        names = [known for known, _ in module.named_modules() if known and known.split(".")[0] != HEAD_NAME]
        listed = ", ".join(names[:12]) + (" ..." if len(names) > 12 else "")
        raise AttributeError(
            f"Expected a submodule named {name!r} that returns embeddings or features but found {listed}; name it with "
            f"encoder=... or features=... (NWACallback), nwa_encoder=... or nwa_features=... (NWAMixin)."
        ) from None
    handle = found.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


def unique_embeddings(outputs: list[Tensor], batch: Any, name: str, *, features: bool = False) -> Tensor:
    """One embedding per row of ``batch.tokens`` from what the encoder returned during a step; or features, likewise.

    A step that encoded both sides of the pairs has several for most sequences: the first one counts.

    Args:
        outputs: What the encoder returned, call by call.
        batch: Of the step.
        name: Of the submodule, for messages.
        features: Whether the outputs are features.

    Raises:
        TypeError: If the batch is no ``PairBatch``, or an output is no tensor, or not ``(rows, m)``.
        RuntimeError: If the calls fit neither the sequences nor the sides of the pairs.
    """
    if not isinstance(batch, PairBatch):
        raise TypeError(f"Expected a PairBatch (NWADataModule makes them) but got {type(batch).__name__}.")
    unique, pairs = len(batch.tokens), len(batch.pairs)
    for output in outputs:
        if not isinstance(output, Tensor) or (not features and output.ndim != 2):
            found = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            wanted = "features, (rows, positions, channels)" if features else "embeddings, (rows, m)"
            raise TypeError(
                f"Expected {name} to return one tensor of {wanted}, but got {found}; name the submodule that does."
            )
    rows = [len(output) for output in outputs]
    if rows == [unique]:
        return outputs[0]
    if rows not in ([pairs, pairs], [2 * pairs]):
        raise RuntimeError(
            f"Expected {name} to be called once with {unique} rows (batch.tokens), or for both sides of the "
            f"{pairs} pairs (batch.left, batch.right), but it was called with {rows} rows; with NWAMixin, call "
            f"self.nwa_loss(embeddings, batch) in your training_step instead."
        )
    places = torch.arange(2 * pairs, device=batch.pairs.device)
    first = places.new_full((unique,), 2 * pairs).scatter_reduce(0, batch.pairs.T.reshape(-1), places, "amin")
    # A sequence in no pair has no embedding; it is in no map either, so any row will do for it.
    return torch.cat(outputs).index_select(0, first.clamp(max=2 * pairs - 1))


def check_head_is_trained(head: nn.Module, module: LightningModule, remedy: str) -> None:
    """Make sure that every trainable parameter of the head is in an optimizer.

    Raises:
        RuntimeError: With the remedy, if one is not.
    """
    groups = [group for optimizer in module.trainer.optimizers for group in optimizer.param_groups]
    held = {id(parameter) for group in groups for parameter in group["params"]}
    trainable = {name: value for name, value in head.named_parameters() if value.requires_grad}
    missing = [name for name, value in trainable.items() if id(value) not in held]
    if missing:
        raise RuntimeError(
            f"Expected every parameter of {HEAD_NAME} in an optimizer but {len(missing)} are in none, such as "
            f"{HEAD_NAME}.{missing[0]}; {remedy}"
        )


def attention_maps(head: Head, embeddings: Tensor, tokens: Tensor, pairs: Tensor) -> Tensor:
    """Attention maps, for eval_no_grad at.

    Args:
        head: Draws them.
        embeddings: ``(U, m)``.
        tokens: ``(U, L)`` tokens of the embedded sequences.
        pairs: ``(Q, 2)`` rows: first (rows of the map), second (columns).

    Returns:
        ``(Q, L, L)`` maps whose rows sum to 1; columns after the end of the second sequence are 0.
    """
    inside = tokens != PADDING
    logits = head(embeddings, inside.sum(dim=1) - 1, pairs, tokens.shape[1])
    if isinstance(head, FeatureHead):
        logits = head.spread(logits, tokens.shape[1])
    return nw_target(logits, column_mask=inside[pairs[:, 1]])
