"""Edit distances of tokens to landmarks: by the compiled kernel, or by tensors where that cannot run."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nwa_lightning.landmarks.memory import WORTH, Memory, digests
from nwa_lightning.levenshtein import take_flat
from nwa_lightning.sequences.alphabet import PADDING
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.packed import Packed

#: Distances that the kernel found before. All landmarks of a process share it: the keys tell their reads apart, so nothing has
#: to be forgotten when landmarks are drawn anew, copied or changed in place.
_MEMORY: Final = Memory()


def landmark_distances(tokens: Tensor, landmarks: Tensor, lengths: Tensor) -> Tensor:
    """Edit distances of U sequences to K landmarks.

    The CPU uses the compiled kernel, and remembers the distances of long reads (``Memory``). Other devices and programs of
    ``torch.export`` use ``tensor_distances``: a GPU then need not be waited for, and a program needs no kernel.

    Args:
        tokens: ``(U, L)``: ``<sos>``, codes, then padding.
        landmarks: ``(K, n)`` uint8 codes, then padding.
        lengths: ``(K,)`` bases of each landmark.

    Returns:
        ``(U, K)`` float32, in edits.
    """
    if tokens.device.type != "cpu" or torch.compiler.is_exporting():
        return tensor_distances(tokens, landmarks, lengths)
    found: Tensor = _by_kernel(tokens, landmarks, lengths)
    return found


def tensor_distances(tokens: Tensor, landmarks: Tensor, lengths: Tensor) -> Tensor:
    r"""``landmark_distances`` by plain tensors, for any device: a row of the table of distances is a running minimum.

    With :math:`E_{i,j} = D_{i,j} - j`, the recurrence of edit distance is
    :math:`E_{i,j} = \min(E_{i-1,j} + 1, E_{i-1,j-1} - [a_i = b_j], E_{i,j-1})`.
    """
    codes = tokens[:, 1:]
    bases = (codes != PADDING).sum(dim=1)
    targets = landmarks.to(codes.dtype)
    row = codes.new_zeros((codes.shape[0], landmarks.shape[0], landmarks.shape[1] + 1), dtype=torch.int32)
    for number in range(codes.shape[1]):
        equal = (codes[:, number, None, None] == targets).to(torch.int32)
        first = torch.full_like(row[:, :, :1], number + 1)
        others = torch.minimum(row[:, :, 1:] + 1, row[:, :, :-1] - equal)
        following = torch.cat([first, others], dim=2).cummin(dim=2).values
        row = torch.where((number < bases)[:, None, None], following, row)
    last = row.gather(2, lengths[None, :, None].expand(codes.shape[0], -1, 1))[:, :, 0]
    return (last + lengths).float()


def distance_table(rows: Sequences, columns: Sequences, *, threads: int = 1) -> NDArray[np.int32]:
    """``(R, C)`` edit distances of every sequence in ``rows`` to every sequence in ``columns``."""
    return _table(rows.bases, columns.bases, threads)


@torch.library.custom_op("nwa_lightning::landmark_distances", mutates_args=(), device_types="cpu")
def _by_kernel(tokens: Tensor, landmarks: Tensor, lengths: Tensor) -> Tensor:
    """The kernel as a custom operator, which torch.compile does not trace."""
    codes = np.ascontiguousarray(tokens[:, 1:].to(torch.uint8).numpy())
    bases = np.count_nonzero(codes != PADDING, axis=1)
    targets, sizes, threads = landmarks.numpy(), lengths.numpy(), torch.get_num_threads()

    def compute(rows: NDArray[np.int64]) -> NDArray[np.int32]:
        chosen = _packed(codes, bases).take(rows)
        return np.ascontiguousarray(_table(_packed(targets, sizes), chosen, threads).T)

    if len(targets) * bases.max(initial=0) < WORTH:
        found = compute(np.arange(len(codes)))
    else:
        found = _MEMORY.rows(digests(codes, bases, targets, sizes), len(targets), compute)
    return torch.from_numpy(found.astype(np.float32))


@_by_kernel.register_fake
def _shape(tokens: Tensor, landmarks: Tensor, lengths: Tensor) -> Tensor:
    return landmarks.new_empty((tokens.shape[0], landmarks.shape[0]), dtype=torch.float32)


def _packed(codes: NDArray[np.uint8], lengths: NDArray[np.int64]) -> Packed:
    return Packed(np.ascontiguousarray(codes).reshape(-1), np.arange(len(codes)) * codes.shape[1], lengths)


def _table(rows: Packed, columns: Packed, threads: int) -> NDArray[np.int32]:
    shared = rows.flat is columns.flat  # sequences of one collection, which may be large
    flat = rows.flat if shared else np.concatenate([rows.flat, columns.flat])
    starts = np.concatenate([rows.starts, columns.starts + (0 if shared else rows.flat.size)])
    letters = take_flat(flat, starts, np.concatenate([rows.lengths, columns.lengths]), threads=threads)
    numbers = np.arange(len(starts))
    return letters.block(numbers[: len(rows)], numbers[len(rows) :], threads=threads)
