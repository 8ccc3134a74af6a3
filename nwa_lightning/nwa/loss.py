"""NWALoss: Needleman-Wunsch Attention as one ``nn.Module``, for any training loop."""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nwa_lightning.encoders.checks import at_least_one
from nwa_lightning.errors import InputError
from nwa_lightning.nwa.build import HeadKind, build_head
from nwa_lightning.nwa.functional import nw_target, row_jsd
from nwa_lightning.nwa.heads import FeatureHead, HeadOptions, NWAHead
from nwa_lightning.nwa.strides import token_count
from nwa_lightning.nwa.weight import DEFAULT_WEIGHT, AutoWeight, Weight, check_weight, scaled_gradient, scaled_value

#: k of "every k-th step": a quarter of the cost with the effect kept (``examples/study/labels.py``).
DEFAULT_EVERY = 4


class NWBatch(Protocol):
    """The fields that the loss needs of a batch of U sequences; ``PairBatch`` has them.

    Attributes:
        lengths: ``(U,)`` letters per sequence.
        pairs: ``(P, 2)`` rows of the sequences; the first Q pairs have a matrix.
        nw: ``(Q, L, L)`` Needleman-Wunsch matrices.
    """

    @property
    def lengths(self) -> Tensor:
        """``(U,)``."""

    @property
    def pairs(self) -> Tensor:
        """``(P, 2)``."""

    @property
    def nw(self) -> Tensor:
        """``(Q, L, L)``."""


class NWALoss(nn.Module):
    """The weighted Needleman-Wunsch Attention term (eq. 5 and 6 of Lee & No, 2024), to add to a loss.

    In a plain loop, with any encoder::

        nwa = NWALoss(embedding_dim=128, max_length=150)
        optimizer = torch.optim.Adam([*model.parameters(), *nwa.parameters()])
        for reads, labels in loader:
            embeddings = model.encode(reads)
            loss = criterion(embeddings, labels)
            loss = loss + nwa(embeddings, pair_batch(reads))

    Lambda scales the gradient into the embeddings. The head, which draws the maps, learns from L_nw per row for any lambda,
    so it learns even if lambda is tiny. With lambda 0, it shows how much alignment the embeddings contain, without changing
    them.

    The module counts its training steps. In evaluation mode or without gradients it counts none and changes nothing.

    Args:
        embedding_dim: m, the dimension of the embeddings; with ``head="features"`` their channels.
        max_length: The most letters a sequence may have.
        weight: lambda; "auto" keeps the term at a tenth of the loss it is added to, by running means.
        temperature: Divides the scores of the Needleman-Wunsch matrix before its row softmax.
        every: k: the term is computed in every k-th training step, with k times lambda; in the others it is 0.
        head: "decoder" draws the maps from embeddings, as published (``NWAHead``); "positions" too, by weights whose number
            does not depend on the length (``PositionHead``); "features" from one vector per position (``FeatureHead``).
        head_options: Sizes of the decoder, as in ``NWAHead``.
        stride: s: with ``head="positions"``, maps have every s-th row and column; L_nw, a sum over rows, is about 1/s as large.

    Attributes:
        factor: Multiplies lambda; ``NWAWeightSchedule`` changes it.
        last: L_nw of the last training step that had the term, in nats per map; None before the first one.
        last_weight: lambda in that step, without the k of ``every``.
        idle: Whether no step has had the term since this was last set.

    Raises:
        InputError: For a number that cannot be used.
    """

    def __init__(
        self,
        embedding_dim: int | None = None,
        max_length: int | None = None,
        *,
        weight: Weight = DEFAULT_WEIGHT,
        temperature: float = 1.0,
        every: int = DEFAULT_EVERY,
        head: HeadKind = "decoder",
        head_options: HeadOptions | None = None,
        stride: int = 1,
    ) -> None:
        super().__init__()
        check_weight(weight)
        if not 0 < temperature < math.inf:
            raise InputError(f"temperature: expected a number above 0, found {temperature}; give one such as 1.0")
        if not every >= 1 or every % 1:
            raise InputError(f"every: expected at least 1 step, found {every}; give a whole number")
        at_least_one(embedding_dim=embedding_dim, max_length=max_length)
        self.weight = weight
        self.temperature = temperature
        self.every = every
        self.head_kind = head
        self.head_options = HeadOptions(**head_options) if head_options else HeadOptions()
        self.stride = stride
        self.factor = 1.0
        self.steps = 0
        self.last: Tensor | None = None
        self.last_weight: Tensor | None = None
        self.idle = True
        self.auto = AutoWeight() if weight == "auto" else None
        self.sizes: tuple[int, int] | None = None
        if embedding_dim is None or max_length is None:
            heads = self.head_options.get("heads", 4)
            with torch.random.fork_rng(devices=[]):  # its parameters are filled in later
                self.head = self._build(max(1, self.head_options.get("hidden_dim", heads)), self.stride)
        else:
            self.set_sizes(embedding_dim, max_length)

    def _build(self, embedding_dim: int, max_length: int) -> NWAHead | FeatureHead:
        return build_head(self.head_kind, embedding_dim, max_length, self.head_options, self.stride)

    def set_sizes(self, embedding_dim: int, max_length: int) -> None:
        """Set the sizes of the head. Its parameters stay the same objects, so an optimizer can already hold them."""
        head = self._build(embedding_dim, max_length)
        if hasattr(self, "head"):
            for name, parameter in self.head.named_parameters():
                owner, _, leaf = name.rpartition(".")
                parameter.data = head.get_parameter(name).data.to(parameter)
                setattr(head.get_submodule(owner), leaf, parameter)
        self.head = head
        self.sizes = (embedding_dim, max_length)

    @property
    def due(self) -> bool:
        """Whether the next call computes the term; otherwise it returns 0."""
        return not self._counts or self.steps % self.every == 0

    @property
    def _counts(self) -> bool:
        return self.training and torch.is_grad_enabled()

    # Neither the compiled kernel nor the count of steps can be traced by torch.compile.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, embeddings: Tensor, batch: NWBatch, encoder_loss: Tensor | None = None) -> Tensor:
        """The weighted term.

        Args:
            embeddings: ``(U, m)``, one row per sequence of the batch; with ``head="features"`` the features.
            batch: A ``PairBatch``, or anything with its ``lengths``, ``pairs`` and ``nw``.
            encoder_loss: The loss that the term will be added to; needed for ``weight="auto"`` only.

        Returns:
            A scalar whose value is ``weight * L_nw``, times k in every k-th training step and 0 in the others. It depends on
            every parameter of the head, even without matrices, so that no process of a distributed run waits for a gradient.

        Raises:
            TypeError: If the batch has no matrices and lengths, or the embeddings are not a tensor.
            ValueError: If there is not one embedding per sequence, or ``encoder_loss`` is missing with "auto".
        """
        if not self.due:
            zero: Tensor = self.skip() + embeddings.sum() * 0.0
            return zero
        scale = torch.ones((), device=embeddings.device)
        divergence = self.divergence(scaled_gradient(embeddings, scale), batch)
        if self._counts:
            if self.auto is not None:
                if encoder_loss is None:
                    raise ValueError(
                        "Expected the loss that the term is added to, because the weight is 'auto'; pass it as encoder_loss, "
                        "the third argument."
                    )
                self.auto.update(encoder_loss, divergence)
            self.steps += 1
            self.idle = False
            self.last = divergence.detach()
            scale.fill_(self.every)
        scale *= self.factor * (self.auto() if self.auto is not None else float(self.weight))
        if self._counts:
            self.last_weight = scale / self.every
        # Per row, the head's gradients are about as large as an encoder's; clipping by their norm leaves something of the latter.
        per_row = self.stride / token_count(batch, self.stride)
        value = scaled_value(divergence, scale.clone(), per_row)
        scale /= per_row
        return value

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def skip(self) -> Tensor:
        """Count a training step without the term.

        Returns:
            0; with several processes it depends on every parameter of the head, because each expects a gradient.
        """
        self.steps += int(self._counts)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return self._touch_head()
        return next(self.head.parameters()).new_zeros(())

    def _touch_head(self) -> Tensor:
        return 0.0 * torch.stack([parameter.sum() for parameter in self.head.parameters()]).sum()

    def divergence(self, embeddings: Tensor, batch: NWBatch) -> Tensor:
        """L_nw (eq. 5): the divergence of map and target, summed over rows, averaged over pairs, in nats; no weight.

        Args:
            embeddings: As in ``forward``.
            batch: As in ``forward``.

        Returns:
            A scalar; 0 without matrices.
        """
        nw = self._checked(embeddings, batch)
        if len(nw) == 0:
            return self._touch_head() + embeddings.sum() * 0.0
        logits, inside, pairs = self._maps(embeddings, batch, len(nw))
        if nw.shape[1] == inside.shape[1]:
            nw, inside = self.head.pooled(nw, inside, pairs, logits.shape[1])
        else:
            inside = inside[:, :: self.stride]
        return row_jsd(logits, nw, inside[pairs[:, 0]], inside[pairs[:, 1]], temperature=self.temperature).mean()

    def attention(self, embeddings: Tensor, batch: NWBatch) -> Tensor:
        """Attention maps of the pairs that have a matrix, for display.

        Args:
            embeddings: As in ``forward``.
            batch: As in ``forward``.

        Returns:
            ``(Q, R, R)`` maps as large as the matrices, whose rows sum to 1; columns after the end of the second sequence are 0.
        """
        nw = self._checked(embeddings, batch)
        logits, inside, pairs = self._maps(embeddings, batch, len(nw))
        if nw.shape[1] == inside.shape[1]:
            logits = self.head.spread(logits, inside.shape[1])
        else:
            inside = inside[:, :: self.stride]
        return nw_target(logits, column_mask=inside[pairs[:, 1]])

    def _maps(self, embeddings: Tensor, batch: NWBatch, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Map logits, ``(N, L)`` true up to the end of each sequence, and the first ``count`` pairs as rows of it."""
        rows, lengths, pairs = self._rows(embeddings, batch, count)
        size = token_count(batch, self.stride)
        inside = torch.arange(size, device=pairs.device) <= lengths[:, None]
        return self.head(rows, lengths, pairs, size), inside, pairs

    def _checked(self, embeddings: Tensor, batch: NWBatch) -> Tensor:
        """The matrices, on the device of the embeddings, after a check of both arguments."""
        if not is_nw_batch(batch):
            raise TypeError(
                f"Expected a batch with lengths, pairs and nw, such as a PairBatch, but got {type(batch).__name__}; make one "
                f"from the sequences: pair_batch(sequences)."
            )
        if self.sizes is None:
            raise InputError(
                "embedding_dim, max_length: expected numbers before the first step, found none; pass both (on the mixin "
                "nwa_embedding_dim and nwa_max_length), or train by a Trainer, which finds them"
            )
        if len(embeddings) != len(batch.lengths):
            raise ValueError(
                f"Expected one embedding per sequence of the batch ({len(batch.lengths)}) but got {len(embeddings)}; encode "
                f"each sequence once, in the order of the batch."
            )
        if isinstance(self.head, NWAHead) and embeddings.shape[1:] != self.sizes[:1]:
            raise ValueError(
                f"Expected embeddings of shape (rows, {self.sizes[0]}) but got {tuple(embeddings.shape)}; set embedding_dim "
                f"(on the mixin nwa_embedding_dim) to the dimension of your embeddings."
            )
        return batch.nw.to(embeddings.device, non_blocking=True)

    @staticmethod
    def _rows(embeddings: Tensor, batch: NWBatch, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings and lengths of the N sequences in the first ``count`` pairs, and those pairs as rows of them."""
        lengths, pairs = (
            part.to(embeddings.device, non_blocking=True) for part in (batch.lengths, batch.pairs[:count])
        )
        first = getattr(batch, "nw_rows", None)
        if first is not None:
            return embeddings[:first], lengths[:first], pairs
        # This waits for a GPU; a batch with nw_rows avoids the wait.
        used, local = torch.unique(pairs, return_inverse=True)
        return embeddings.index_select(0, used), lengths[used], local

    def get_extra_state(self) -> Tensor:
        """Steps so far, and the sizes of the head, 0 where they are not known yet."""
        return torch.tensor([self.steps, *(self.sizes or (0, 0))])

    def set_extra_state(self, state: Tensor) -> None:
        """Continue the count of a checkpoint, and take its sizes if none were given."""
        self.steps, embedding_dim, max_length = state.tolist()
        if self.sizes is None and embedding_dim:
            self.set_sizes(embedding_dim, max_length)


def is_nw_batch(batch: Any) -> bool:
    """Whether a batch has the lengths, pairs and matrices that the loss needs."""
    return all(isinstance(getattr(batch, name, None), Tensor) for name in ("lengths", "pairs", "nw"))
