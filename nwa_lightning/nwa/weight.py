"""Lambda, the weight of the NWA term: how it scales gradients, and how "auto" finds it from the losses."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nwa_lightning.errors import InputError

#: lambda: a number, or "auto", which finds it during training.
Weight = float | Literal["auto"]

#: For losses of about 1: the largest weight that did not harm a model's own task (``examples/study/labels.py``).
DEFAULT_WEIGHT = 0.03


def check_weight(weight: Any) -> None:
    """Check lambda.

    Raises:
        InputError: If it is neither "auto" nor a number of at least 0.
    """
    number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
    if weight != "auto" and not (number and 0 <= weight < math.inf):
        raise InputError(
            f"weight: expected a number of at least 0, 'auto' or None, found {weight!r}; give one such as {DEFAULT_WEIGHT}"
        )


class _ScaledGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Tensor) -> Tensor:
        ctx.scale = scale  # not saved as a tensor: it is filled in later
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return grad_outputs[0] * ctx.scale.to(grad_outputs[0].dtype), None


class _ScaledValue(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, scale: Tensor, gradient_scale: float) -> Tensor:
        ctx.gradient_scale = gradient_scale
        return value * scale

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        return grad_outputs[0] * ctx.gradient_scale, None, None


def scaled_gradient(values: Tensor, scale: Tensor) -> Tensor:
    """The values, unchanged; the backward pass multiplies their gradient by the value that ``scale`` has at that time."""
    scaled: Tensor = _ScaledGradient.apply(values, scale)  # type: ignore[no-untyped-call]
    return scaled


def scaled_value(value: Tensor, scale: Tensor, gradient_scale: float) -> Tensor:
    """The value times ``scale``, with the gradient of the value times ``gradient_scale``."""
    scaled: Tensor = _ScaledValue.apply(value, scale, gradient_scale)  # type: ignore[no-untyped-call]
    return scaled


class AutoWeight(nn.Module):
    """A lambda that keeps ``lambda * L_nw`` at a fixed ratio to the encoder loss, by running means of the two.

    With the published lambda, the term is about a tenth of the converged encoder loss (Lee & No, 2024). The running means
    are the same on all processes of a distributed run.

    Args:
        ratio: Ratio of the term to the encoder loss.
        decay: Decay of the running means per step with the term; 0.99 averages over about a hundred of them.
    """

    def __init__(self, ratio: float = 0.1, decay: float = 0.99) -> None:
        super().__init__()
        self.ratio = ratio
        self.decay = decay
        self.running: Tensor
        self.register_buffer("running", torch.zeros(2))

    def update(self, encoder_loss: Tensor, divergence: Tensor) -> None:
        """Update the means with the encoder loss and L_nw of a training step, both scalars."""
        now = torch.stack([encoder_loss.detach(), divergence.detach()]).to(self.running.dtype).abs()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(now)
        # Both means start from 0; this bias cancels in their ratio.
        self.running.lerp_(now, 1 - self.decay)

    def forward(self) -> Tensor:
        """The current lambda, a scalar; 0 before the first update."""
        means = self.running.clone()
        return self.ratio * means[0] / means[1].clamp_min(torch.finfo(means.dtype).tiny)
