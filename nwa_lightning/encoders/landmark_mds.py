"""An embedding without training: multidimensional scaling of edit distances to landmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.optimize import nnls
from torch import Tensor

from nwa_lightning.alignment import edit_distances
from nwa_lightning.encoders.base import Encoder
from nwa_lightning.encoders.checks import above_zero
from nwa_lightning.landmarks.distances import distance_table
from nwa_lightning.landmarks.features import Landmarks
from nwa_lightning.sequences.alphabet import DNA
from nwa_lightning.sequences.collection import Sequences

if TYPE_CHECKING:
    from typing_extensions import Self

#: Powers that are tried if none is given.
POWERS: Final = (1.0, 1.25, 1.5, 1.75, 2.0)

#: Number of sequences, and of pairs of them, from which the scale of each component is fitted.
SAMPLE: Final = 4000
PAIRS: Final = 10_000


class LandmarkMDS(Encoder):
    r"""Landmark multidimensional scaling, fitted in a second or two, without gradients.

    Edit distances d to the landmarks, raised to 2 / p, are treated as squared Euclidean distances. Classical scaling turns
    the distances between the landmarks into coordinates, and any other sequence is placed by its distances to the landmarks
    (de Silva and Tenenbaum, "Sparse multidimensional scaling using landmark points", 2004). For p = 2, strings that differ
    in separate places lie on corners of a cube. Then non-negative least squares (Lawson and Hanson, 1974) scales each
    coordinate, so that :math:`|u - v|^p` fits the edit distances of some pairs of sequences, in edits. This scaling is our
    addition, and so is the choice of p by the error on these pairs.

    Args:
        max_length: The most bases a sequence may have.
        embedding_dim: m, the most dimensions of the embeddings; unused dimensions stay 0.
        vocabulary: Number of token values, padding and ``<sos>`` included.
        count: K, number of landmarks; ``fit`` needs at least this many distinct sequences.
        power: p; null tries 1 to 2.

    Attributes:
        weight: ``(K, m)``.
        offset: ``(m,)``.
        power: p, power of the Euclidean distance that predicts the edit distance.

    Raises:
        InputError: If a number is too small.

    Example:
        >>> reads = load_sequences("human16s")
        >>> mds = LandmarkMDS(reads.max_length, count=512).fit(reads)
    """

    weight: Tensor
    offset: Tensor
    power: Tensor

    def __init__(
        self,
        max_length: int,
        embedding_dim: int = 128,
        vocabulary: int = DNA.size,
        count: int = 512,
        power: float | None = None,
    ) -> None:
        super().__init__(max_length, embedding_dim, vocabulary)
        if power is not None:
            above_zero(power=power)
        self.tried = POWERS if power is None else (power,)
        self.landmarks = Landmarks(count, max_length)
        self.register_buffer("weight", torch.zeros(count, embedding_dim))
        self.register_buffer("offset", torch.zeros(embedding_dim))
        self.register_buffer("power", torch.tensor(float(self.tried[0])))

    def fit(self, sequences: Sequences, seed: int = 0) -> Self:
        """Draw the landmarks and compute the layout.

        Args:
            sequences: The sequences to embed, or a training set.
            seed: Seed of all draws.

        Returns:
            This encoder.

        Raises:
            InputError: If there are fewer distinct sequences than landmarks.
        """
        self.landmarks.draw(sequences, seed)
        landmarks = self.landmarks.sequences
        generator = np.random.default_rng((seed, 1))
        sample = sequences.take(generator.permutation(len(sequences))[:SAMPLE])
        threads = torch.get_num_threads()
        pairs = generator.integers(len(sample), size=(PAIRS, 2))
        seen = Seen(
            distance_table(landmarks, landmarks, threads=threads).astype(np.float64),
            distance_table(sample, landmarks, threads=threads).astype(np.float64),
            pairs,
            edit_distances(sample.bytes_of(np.arange(len(sample))), pairs, workers=threads).astype(np.float64),
        )
        found = [_laid_out(seen, power, self.embedding_dim) for power in self.tried]
        best = min(range(len(found)), key=lambda number: found[number].error)
        self.weight.copy_(torch.from_numpy(found[best].weight))
        self.offset.copy_(torch.from_numpy(found[best].offset))
        self.power.fill_(self.tried[best])
        return self

    def forward(self, tokens: Tensor) -> Tensor:
        """``(U, m)`` embeddings of ``(U, L)`` tokens; see ``Encoder``."""
        squared = self.landmarks.distances(tokens) ** (2 / self.power)
        return squared.to(self.weight.dtype) @ self.weight - self.offset

    def predicted_edits(self, embeddings: Tensor, pairs: Tensor) -> Tensor:
        """``(P,)`` edit distances, in edits, of ``(P, 2)`` rows of ``(U, m)`` embeddings."""
        first, second = embeddings[pairs].unbind(1)
        return (first - second).square().sum(dim=1) ** (self.power / 2)


class Seen(NamedTuple):
    """Edit distances that the layout is fitted to.

    Attributes:
        table: ``(K, K)`` distances between the landmarks.
        sample: ``(S, K)`` distances of some sequences to the landmarks.
        pairs: ``(P, 2)`` rows of these sequences.
        edits: ``(P,)`` distances of these pairs.
    """

    table: NDArray[np.float64]
    sample: NDArray[np.float64]
    pairs: NDArray[np.int64]
    edits: NDArray[np.float64]


class _Layout(NamedTuple):
    weight: NDArray[np.float64]
    offset: NDArray[np.float64]
    error: float


def _laid_out(seen: Seen, power: float, dim: int) -> _Layout:
    """Weights, offset, and the mean squared error on the pairs."""
    exponent, count = 2 / power, len(seen.table)
    squared = seen.table**exponent
    means = squared.mean(axis=0)
    inner = (means[:, None] + means - squared - squared.mean()) / 2  # products of the centred coordinates
    most = min(count, 2 * dim)
    values, vectors = eigh(inner, subset_by_index=(count - most, count - 1))
    real = values > 1e-6 * max(values[-1], 1e-12)
    if not real.any():  # all landmarks are the same sequence; nnls cannot take a matrix without columns
        return _Layout(np.zeros((count, dim)), np.zeros(dim), float(np.square(seen.edits).mean()))
    weight = -vectors[:, real] / (2 * np.sqrt(values[real]))
    coordinates = (seen.sample**exponent - means) @ weight
    apart = (coordinates[seen.pairs[:, 0]] - coordinates[seen.pairs[:, 1]]) ** 2
    # Each error of the squared distance is weighted by its size in edits.
    per_edit = np.maximum(seen.edits, 1)[:, None] ** (1 - exponent)
    target = seen.edits**exponent * per_edit[:, 0]
    stretch, _ = nnls(apart * per_edit, target)
    if (stretch > 0).sum() > dim:
        kept = np.sort(np.argsort(-stretch * apart.mean(axis=0), kind="stable")[:dim])
        weight, apart = weight[:, kept], apart[:, kept]
        stretch, _ = nnls(apart * per_edit, target)
    used = stretch > 0
    error = float(np.square((apart @ stretch) ** (power / 2) - seen.edits).mean())
    padded = np.zeros((count, dim))
    padded[:, : used.sum()] = weight[:, used] * np.sqrt(stretch[used])
    return _Layout(padded, means @ padded, error)
