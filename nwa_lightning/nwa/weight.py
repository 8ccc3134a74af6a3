"""Lambda, the weight of the NWA term: a number, or found from the losses while training."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AutoWeight(nn.Module):
    """A lambda that keeps ``lambda * L_nw`` at a share of the encoder loss, by a running ratio of the two.

    The published lambda is such that the term is about a tenth of the converged encoder loss (Lee & No, 2024). The running
    means are the same on all processes of a distributed run.

    Args:
        share: What the term is to be, as a share of the encoder loss.
        decay: Of the running means, per step: 0.99 looks back over about a hundred steps.
    """

    def __init__(self, share: float = 0.1, decay: float = 0.99) -> None:
        super().__init__()
        self.share = share
        self.decay = decay
        self.running: Tensor
        self.register_buffer("running", torch.zeros(2))

    def forward(self, encoder_loss: Tensor, divergence: Tensor) -> Tensor:
        """Lambda for a step, from the step's encoder loss and L_nw; all three are scalars."""
        now = torch.stack([encoder_loss.detach(), divergence.detach()]).to(self.running.dtype).abs()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(now)
        # Both means start from 0, so what each lacks at first cancels in their ratio.
        self.running.lerp_(now, 1 - self.decay)
        means = self.running.clone()
        return self.share * means[0] / means[1].clamp_min(torch.finfo(means.dtype).tiny)
