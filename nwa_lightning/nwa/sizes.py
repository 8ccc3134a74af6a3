"""Find the sizes of the head: the maximum length from the data or the model, the embedding dimension by a trial step."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng

from nwa_lightning.errors import InputError
from nwa_lightning.nwa.capture import captured_calls, eval_no_grad

#: From a model, what its step gives and a batch, to the shape of one embedding or of one position's features.
Measure = Callable[[Any, Any], int]


def find_max_length(trainer: Trainer, module: LightningModule, encoder: str) -> int:
    """The most letters a sequence may have: ``max_length`` of the data module, the encoder or the model.

    Raises:
        InputError: If none of them has it.
    """
    part = dict(module.named_modules()).get(encoder)
    data = trainer.datamodule  # type: ignore[attr-defined]
    for holder in (data, part, module, getattr(module, "hparams", None)):
        found = getattr(holder, "max_length", None)
        if isinstance(found, int) and found > 0:
            return found
    raise InputError(
        "max_length: expected the most letters a sequence may have, found none in the data module, the encoder or the model; "
        "pass max_length=... (NWACallback) or nwa_max_length=... (NWAMixin)"
    )


def find_embedding_dim(
    trainer: Trainer,
    module: LightningModule,
    source: str,
    step: Callable[[LightningModule, Any], Any],
    measure: Measure,
) -> int:
    """The size of what a submodule returns, found by one step of a copy of the model, without gradients or side effects.

    Args:
        trainer: The trainer, which has the training data.
        module: The model.
        source: Dotted name of the submodule.
        step: Runs the model's own training step.
        measure: Returns the size of what the submodule returned.

    Raises:
        InputError: If the step cannot be tried; the message says why.
    """
    try:
        twin = copy.deepcopy(module)
        with isolate_rng(), warnings.catch_warnings(), eval_no_grad(twin), captured_calls(twin, source) as calls:
            warnings.simplefilter("ignore")
            step(twin, first_batch(trainer))
        return measure(twin, calls[0].output)
    except IndexError:
        reason = f"{source} was not called"
    except Exception as error:  # without a trainer, a user's step may raise anything
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    raise InputError(
        f"embedding_dim: expected to find the size of what {source} returns by a trial step, found that it cannot run before "
        f"training ({reason}); pass embedding_dim=... (NWACallback) or nwa_embedding_dim=... (NWAMixin)"
    ) from None


def first_batch(trainer: Trainer) -> Any:
    """A training batch; the loader's own random numbers are left as they were."""
    loader = trainer.fit_loop._data_source.dataloader()
    generators = [getattr(part, "generator", None) for part in (loader, getattr(loader, "sampler", None))]
    states = [(one, one.get_state()) for one in generators if isinstance(one, torch.Generator)]
    try:
        return next(iter(loader))
    finally:
        for generator, state in states:
            generator.set_state(state)
