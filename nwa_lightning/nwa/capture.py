"""Find the embeddings of a batch's sequences in what a model's encoder returned while a step ran.

The encoder's input, or the order in which the user named the sequences, says which row of the encoder's output belongs to
which sequence. The number of rows says nothing about that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nwa_lightning.sequences.alphabet import PADDING

#: Picks the embedding out of an encoder's output.
Pick = Callable[[Any], Tensor]

REMEDY = (
    "name the sequences in the order in which your step encodes them: override nwa_batch(batch) (NWAMixin) or pass batch=... "
    "(NWACallback), and return pair_batch(sequences), or the batch itself if your step encodes batch.tokens once"
)


class Call(NamedTuple):
    """One call of a submodule: its arguments, and what it returned."""

    arguments: list[Any]
    output: Any


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


def find_submodule(module: nn.Module, name: str) -> nn.Module:
    """A submodule by its dotted name.

    Raises:
        AttributeError: If there is none; the message lists the names there are.
    """
    try:
        return module.get_submodule(name)
    except AttributeError:
        names = [known for known, _ in module.named_modules() if known and known.split(".")[0] != "nwa"]
        listed = ", ".join(names[:12]) + (" ..." if len(names) > 12 else "")
        raise AttributeError(
            f"Expected a submodule named {name!r} that returns embeddings or features but found {listed}; name it with "
            f"encoder=... or features=... (NWACallback), nwa_encoder=... or nwa_features=... (NWAMixin)."
        ) from None


@contextmanager
def captured_calls(module: nn.Module, name: str) -> Iterator[list[Call]]:
    """Collect the calls of a submodule while a step runs.

    Calls under ``torch.no_grad`` (of a momentum encoder, say) are left out if gradients are on outside.

    Args:
        module: The model.
        name: Dotted name of its submodule.

    Raises:
        AttributeError: If there is no such submodule.
    """
    calls: list[Call] = []
    wanted = torch.is_grad_enabled()

    def keep(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if torch.is_grad_enabled() or not wanted:
            calls.append(Call([*args, *kwargs.values()], output))

    handle = find_submodule(module, name).register_forward_hook(keep, with_kwargs=True)
    try:
        yield calls
    finally:
        handle.remove()


def pick_tensor(output: Any, dimensions: int, name: str) -> Tensor:
    """The only tensor with this many dimensions in a module's output: itself, or in a tuple, a dict or a ``ModelOutput``.

    Args:
        output: Output of the module.
        dimensions: 2 for ``(rows, m)`` embeddings, 3 for features.
        name: Name of the module, for messages.

    Raises:
        TypeError: If there is none, or more than one.
    """
    parts: Iterable[Any]
    if isinstance(output, Tensor):
        parts = [output]
    elif isinstance(output, Mapping):
        parts = output.values()
    else:
        parts = output if isinstance(output, (tuple, list)) else []
    tensors = [part for part in parts if isinstance(part, Tensor) and part.is_floating_point()]
    shaped = [part for part in tensors if part.ndim == dimensions or (dimensions == 3 and _is_flat_image(part))]
    if len(shaped) == 1:
        return shaped[0]
    wanted = "embeddings, (rows, m)" if dimensions == 2 else "features, (rows, positions, channels)"
    found = ", ".join(str(tuple(part.shape)) for part in tensors) or "none"
    raise TypeError(
        f"Expected {name} to return one tensor of {wanted}, but got {type(output).__name__} with tensors of shape {found}; name "
        f"the submodule that does, or say which it is: override nwa_embeddings(output) (NWAMixin) or pass embeddings=... "
        f"(NWACallback)."
    )


def _is_flat_image(part: Tensor) -> bool:
    return part.ndim == 4 and part.shape[2] == 1


def channels_last(features: Tensor, module: nn.Module, channels: int | None = None) -> Tensor:
    """Features as ``(rows, positions, channels)``.

    If both dimensions could be the channels, we assume that convolutions have the channels first, and all other modules last.

    Args:
        features: ``(rows, positions, channels)``, ``(rows, channels, positions)`` or ``(rows, channels, 1, positions)``.
        module: The module that returned them.
        channels: Number of channels, if known.
    """
    if _is_flat_image(features):
        features = features.squeeze(2)
    first, last = (features.shape[1] == channels, features.shape[2] == channels)
    if first == last:
        first = any(isinstance(part, (nn.Conv1d, nn.Conv2d)) for part in module.modules())
    return features.mT if first else features


def in_named_order(outputs: list[Tensor], count: int, name: str) -> Tensor:
    """The outputs of all calls, concatenated; the sequences were named in this order.

    Raises:
        RuntimeError: If the number of rows is not the number of sequences.
    """
    rows = [len(output) for output in outputs]
    if sum(rows) != count:
        raise RuntimeError(
            f"Expected the {count} sequences that were named to be the rows that {name} returned, in {len(rows)} calls {rows}; "
            f"name each sequence that the step encodes, in that order (nwa_batch on the mixin, batch=... of the callback)."
        )
    return torch.cat(outputs) if len(outputs) > 1 else outputs[0]


def by_tokens(calls: list[Call], outputs: list[Tensor], batch: Any, name: str) -> Tensor:
    """One row per sequence of a ``PairBatch``, found by comparing the encoder's input with ``batch.tokens``.

    If a step encodes both sides of the pairs, most sequences have several rows; the first one is taken.

    Args:
        calls: Calls of the encoder.
        outputs: ``(rows, ...)`` of each call.
        batch: A batch with ``tokens``.
        name: Name of the encoder, for messages.

    Raises:
        RuntimeError: If the input is not made of the tokens, or a sequence that has a map was not encoded.
    """
    tokens: Tensor = batch.tokens
    if len(calls) == 1 and any(argument is tokens for argument in calls[0].arguments):
        return outputs[0]
    inputs = [_token_input(call, len(output)) for call, output in zip(calls, outputs, strict=True)]
    if any(given is None for given in inputs):
        shapes = [tuple(part.shape) for call in calls for part in call.arguments if isinstance(part, Tensor)]
        raise RuntimeError(
            f"Expected {name} to be called with rows of batch.tokens, by which its output is recognised, but got tensors of "
            f"shape {shapes}; {REMEDY}."
        )
    width = max(tokens.shape[1], *(given.shape[1] for given in inputs if given is not None))
    known = _padded(tokens, width)
    seen = torch.cat([_padded(given.to(tokens), width) for given in inputs if given is not None])
    order, hashes = _sorted_hashes(known)
    # On both sides, the first of several equal sequences represents all of them.
    of_known, of_seen = (order[_place(hashes, rows)] for rows in (known, seen))
    same = (known[of_seen] == seen).all(dim=1)
    places = torch.arange(len(seen), device=tokens.device)
    nowhere = len(seen)
    first = places.new_full((len(known),), nowhere)
    first = first.scatter_reduce(0, of_seen, torch.where(same, places, nowhere), "amin")[of_known]
    mapped = batch.pairs[: len(batch.nw)].reshape(-1)
    missing = int((first[mapped] == nowhere).sum())
    if missing:
        raise RuntimeError(
            f"Expected {name} to be called with the sequences of batch.tokens but {missing} of the {len(mapped)} places in the "
            f"maps have a sequence that it was not called with; {REMEDY}."
        )
    # A sequence that was not encoded is in no map, so any row will do for it.
    return torch.cat(outputs).index_select(0, first.clamp(max=nowhere - 1))


def _token_input(call: Call, rows: int) -> Tensor | None:
    for argument in call.arguments:
        if isinstance(argument, Tensor) and argument.ndim == 2 and len(argument) == rows:
            return None if argument.is_floating_point() else argument
    return None


def _padded(tokens: Tensor, width: int) -> Tensor:
    return nn.functional.pad(tokens, (0, width - tokens.shape[1]), value=PADDING)


def _hashes(tokens: Tensor) -> Tensor:
    """``(U,)`` int64 of ``(U, L)`` tokens; sums wrap around."""
    generator = torch.Generator(tokens.device).manual_seed(0)
    weights = torch.randint(-(2**62), 2**62, tokens.shape[1:], generator=generator, device=tokens.device)
    return (tokens.long() * weights).sum(dim=1)


def _sorted_hashes(tokens: Tensor) -> tuple[Tensor, Tensor]:
    hashes, order = _hashes(tokens).sort(stable=True)
    return order, hashes


def _place(hashes: Tensor, tokens: Tensor) -> Tensor:
    return torch.searchsorted(hashes, _hashes(tokens)).clamp(max=len(hashes) - 1)
