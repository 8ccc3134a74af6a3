"""Encoder losses: how far predicted distances are from the true distances of a batch's pairs."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from nwa_lightning.data.batch import PairBatch
from nwa_lightning.data.targets import TargetName
from nwa_lightning.errors import InputError
from nwa_lightning.parts import Part

#: Predicted distance, in edits, below which the logarithm is replaced by its tangent.
_SMALLEST = 0.1


class EditDistanceLoss(Part):
    """A loss of predicted distances.

    To write your own loss, subclass this class and define ``forward``.
    """

    #: Whether it needs whole numbers of edits, as a likelihood of counts does.
    of_counts: ClassVar[bool] = False

    def forward(self, predicted: Tensor, batch: PairBatch, length: float) -> Tensor:
        """The loss of a batch.

        Args:
            predicted: ``(P,)`` vector distances of the pairs, in units of ``length``.
            batch: The batch, with ``(P,)`` distances of the pairs, in the unit of the target.
            length: n, bases of the longest sequence, or the scale of the target, in its unit.

        Returns:
            A scalar; 0 for no pairs.
        """
        raise NotImplementedError


class SquaredLoss(EditDistanceLoss):
    """Squared error as a fraction of the length: NeuroSEED. See ``edit_distance_loss``."""

    def forward(self, predicted: Tensor, batch: PairBatch, length: float) -> Tensor:
        """See ``EditDistanceLoss``."""
        return edit_distance_loss(predicted, batch.distance, length)


class AbsoluteLoss(EditDistanceLoss):
    """Absolute error as a fraction of the length. See ``absolute_loss``."""

    def forward(self, predicted: Tensor, batch: PairBatch, length: float) -> Tensor:
        """See ``EditDistanceLoss``."""
        return absolute_loss(predicted, batch.distance, length)


class ChiSquareLoss(EditDistanceLoss):
    """Chi-square regression of the edits: DSEE. See ``chi_square_loss``."""

    of_counts = True

    def forward(self, predicted: Tensor, batch: PairBatch, length: float) -> Tensor:
        """See ``EditDistanceLoss``."""
        return chi_square_loss(length * predicted, batch.distance)


class PoissonLoss(EditDistanceLoss):
    """Poisson regression of the edits: Wei et al., 2023. See ``poisson_loss``."""

    of_counts = True

    def forward(self, predicted: Tensor, batch: PairBatch, length: float) -> Tensor:
        """See ``EditDistanceLoss``."""
        return poisson_loss(length * predicted, batch.distance)


class TripletLoss(EditDistanceLoss):
    """Order of a sequence's partners plus the absolute error: CNN-ED. See ``triplet_loss``."""

    def forward(self, predicted: Tensor, batch: PairBatch, length: float) -> Tensor:
        """See ``EditDistanceLoss``."""
        return triplet_loss(predicted, batch.distance, batch.pairs, length)


def check_loss(loss: EditDistanceLoss, target: TargetName) -> None:
    """Raise an ``InputError`` for a loss that does not fit the target."""
    if loss.of_counts and target != "edits":
        raise InputError(
            f"loss: expected SquaredLoss, AbsoluteLoss or TripletLoss for the target {target}, found {type(loss).__name__}, "
            f"which needs edits; use one of them"
        )


def edit_distance_loss(predicted: Tensor, distance: Tensor, length: float) -> Tensor:
    """Mean over pairs of the squared error, as a fraction of the length (eq. 2 of Lee & No, 2024, on ED/n).

    Args:
        predicted: ``(P,)`` vector distances, in units of ``length``.
        distance: ``(P,)`` distances, in edits or the unit of another target.
        length: n, bases of the longest sequence, or the scale of the target, in its unit.

    Returns:
        A scalar; 0 for no pairs.
    """
    if distance.numel() == 0:
        return predicted.sum()
    return mse_loss(predicted, distance.to(predicted.dtype) / length)


def absolute_loss(predicted: Tensor, distance: Tensor, length: float) -> Tensor:
    """Mean over pairs of the absolute error, as a fraction of the length.

    Args:
        predicted: ``(P,)`` vector distances, in units of ``length``.
        distance: ``(P,)`` distances, in edits or the unit of another target.
        length: n, bases of the longest sequence, or the scale of the target, in its unit.

    Returns:
        A scalar; 0 for no pairs.

    Raises:
        ValueError: If the shapes differ, or ``length`` is not positive.
        TypeError: If ``predicted`` is not a floating-point tensor.

    Example:
        >>> absolute_loss(torch.tensor([0.1, 0.5]), torch.tensor([2, 2]), 10)
        tensor(0.2000)
    """
    _check_pairs(predicted, distance)
    _check_length(length)
    return _mean((predicted - distance.to(predicted.dtype) / length).abs())


def chi_square_loss(predicted: Tensor, distance: Tensor) -> Tensor:
    r"""Chi-square regression: the edit distance as the degrees of freedom of the vector distance.

    .. math:: \tfrac{y}{2} \ln 2 + \ln\Gamma(\tfrac{y}{2}) - (\tfrac{y}{2} - 1) \ln x + \tfrac{x}{2}

    is the negative log-likelihood of x under a chi-square distribution with y degrees of freedom; its minimiser is
    x = y - 2. With y < 2 it has no lower bound, so such pairs are left out. Below a tenth of an edit the logarithm is
    replaced by its tangent: value and gradient stay finite down to 0, where they push the embeddings apart.

    Guo et al., "Deep Squared Euclidean Approximation to the Levenshtein Distance for DNA Storage", ICML 2022.

    Args:
        predicted: ``(P,)`` x, vector distances, in edits.
        distance: ``(P,)`` y, edit distances, in edits.

    Returns:
        A scalar, the mean over pairs with y >= 2; 0 if there are none.

    Raises:
        ValueError: If the shapes differ.
        TypeError: If ``predicted`` is not a floating-point tensor.

    Example:
        >>> chi_square_loss(torch.tensor([2.0]), torch.tensor([4]))  # ln 2 + 1
        tensor(1.6931)
    """
    _check_pairs(predicted, distance)
    counted = distance >= 2
    half = torch.where(counted, distance, 2).to(predicted.dtype) / 2
    likelihood = half * math.log(2) + torch.lgamma(half) - (half - 1) * _finite_log(predicted) + predicted / 2
    return _mean(likelihood, counted)


def poisson_loss(predicted: Tensor, distance: Tensor) -> Tensor:
    r"""Poisson regression: the vector distance as the mean of the edit distance.

    .. math:: x - y \ln x + \ln\Gamma(y + 1)

    is the negative log-likelihood of y under a Poisson distribution with mean x; its minimiser is x = y. Below a tenth
    of an edit the logarithm is replaced by its tangent: value and gradient stay finite down to 0.

    Wei et al., "Levenshtein Distance Embedding with Poisson Regression for DNA Storage", AAAI 2024 (preprint 2023).

    Args:
        predicted: ``(P,)`` x, vector distances, in edits.
        distance: ``(P,)`` y, edit distances, in edits.

    Returns:
        A scalar, the mean over pairs; 0 for no pairs.

    Raises:
        ValueError: If the shapes differ.
        TypeError: If ``predicted`` is not a floating-point tensor.

    Example:
        >>> poisson_loss(torch.tensor([1.0, 1.0]), torch.tensor([0, 2]))  # (1 + 1 + ln 2) / 2
        tensor(1.3466)
    """
    _check_pairs(predicted, distance)
    edits = distance.to(predicted.dtype)
    return _mean(predicted - edits * _finite_log(predicted) + torch.lgamma(edits + 1))


def triplet_loss(predicted: Tensor, distance: Tensor, pairs: Tensor, length: float) -> Tensor:
    r"""Order of the partners of a sequence, plus the absolute error of every pair.

    .. math:: \mathrm{mean}_{(a, p, q)} \max\left(0,\; d(a, p) - d(a, q) + \frac{y(a, q) - y(a, p)}{n}\right)
              + \mathrm{mean}_{(a, p)} \left| d(a, p) - \frac{y(a, p)}{n} \right|

    where p is nearer to the anchor a than q, by the distances y. Every sequence is an anchor. Its partners are taken
    in the order of ``pairs``, beginning with the pairs in which it comes first. Each partner makes a triplet with the next
    one, unless both are equally far. So k partners make up to k - 1 triplets, and P pairs of U sequences up to 2P - U.

    Dai et al., "Convolutional Embedding for Edit Distance" (CNN-ED), SIGIR 2020. They draw an anchor and its two partners,
    and weight the two parts by a table over epochs.

    Args:
        predicted: ``(P,)`` d, vector distances, in units of ``length``.
        distance: ``(P,)`` y, distances, in edits or the unit of another target.
        pairs: ``(P, 2)`` rows of the sequences.
        length: n, bases of the longest sequence, or the scale of the target, in its unit.

    Returns:
        A scalar; 0 for no pairs.

    Raises:
        ValueError: If the shapes differ, or ``length`` is not positive.
        TypeError: If ``predicted`` is not a floating-point tensor.

    Example:
        >>> pairs = torch.tensor([[0, 1], [0, 2]])
        >>> triplet_loss(torch.tensor([0.3, 0.3]), torch.tensor([2, 4]), pairs, 10)  # 0.2 + (0.1 + 0.1) / 2
        tensor(0.3000)
    """
    if pairs.shape != (*predicted.shape, 2):
        raise ValueError(
            f"Expected pairs of shape {(*predicted.shape, 2)}, one for each prediction, but got {tuple(pairs.shape)}."
        )
    approximation = absolute_loss(predicted, distance, length)
    # Each pair is listed under both of its sequences; a stable sort groups the pairs of each sequence.
    ends = pairs.T.reshape(-1)
    order = ends.argsort(stable=True)
    pair = order % max(1, len(pairs))
    anchor, true, error = ends[order], distance[pair], (predicted - distance.to(predicted.dtype) / length)[pair]
    counted = (anchor[1:] == anchor[:-1]) & (true[1:] != true[:-1])
    # d(a, p) - d(a, q) + (y(a, q) - y(a, p)) / n is the error of the nearer partner minus that of the farther one.
    nearer_first = torch.where(true[:-1] < true[1:], 1, -1)
    return _mean(torch.relu(nearer_first * (error[:-1] - error[1:])), counted) + approximation


def _check_pairs(predicted: Tensor, distance: Tensor) -> None:
    if predicted.ndim != 1 or predicted.shape != distance.shape:
        raise ValueError(
            f"Expected (P,) predicted and edit distances but got shapes {tuple(predicted.shape)} and "
            f"{tuple(distance.shape)}."
        )
    if not predicted.is_floating_point():
        raise TypeError(f"Expected predicted distances of a floating-point type but got {predicted.dtype}.")


def _check_length(length: float) -> None:
    if length <= 0:
        raise ValueError(f"Expected length to be positive but got {length}.")


def _finite_log(value: Tensor) -> Tensor:
    """Logarithm, replaced by its tangent below ``_SMALLEST``."""
    inside = value.clamp(min=_SMALLEST)
    return inside.log() + (value - inside) / _SMALLEST


def _mean(values: Tensor, counted: Tensor | None = None) -> Tensor:
    """Mean of the values that count; 0, with a gradient of 0, if there are none."""
    if counted is None:
        return values.sum() / max(1, values.numel())
    return (values * counted).sum() / counted.sum().clamp(min=1)
