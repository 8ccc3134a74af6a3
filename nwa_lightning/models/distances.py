"""Distances between embeddings with a learnt scale, as modules."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Final

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from nwa_lightning.data.targets import PLURALS, TargetName
from nwa_lightning.errors import InputError
from nwa_lightning.models.functional import (
    cosine_distance,
    euclidean_distance,
    hyperbolic_distance,
    manhattan_distance,
    safe_sqrt,
    squared_euclidean_distance,
)
from nwa_lightning.parts import Part, as_part

#: Initial radius, the sigmoid of -2: the distances of related reads fill the sphere.
RADIUS: Final = 0.11920292


class EmbeddingDistance(Part):
    """A distance between embeddings times a learnt scale, in float32 even under autocast.

    If a distance grows with the dimension m of the embeddings, its subclass takes the mean over components instead of
    the sum. So a scale of 1 suits any m, and an optimizer step changes it by a small fraction. Before training, the CNN
    and the Transformer of NeuroSEED with m = 128 put pairs of 16S reads at 0.07 to 0.47; the edit distance over length
    of these pairs is 0.28. Encoders that begin with smaller differences grow them in the first steps.

    To write your own distance, subclass this class and define ``_pairwise``. Distance matrices also need ``_all_pairs``,
    search needs ``search_space``, and export needs ``formula``.

    Args:
        **learnt: Numbers to learn besides the scale, with their initial values.
    """

    #: From embeddings ``u`` and ``v`` to edits, for users of an exported encoder; says whether they have norm 1.
    formula: ClassVar[str] = "see the class"
    scale: nn.Parameter

    def __init__(self, **learnt: float) -> None:
        super().__init__()
        for name, value in {**learnt, "scale": 1.0}.items():
            self.register_parameter(name, nn.Parameter(torch.tensor(value)))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """``(P,)`` distances between ``(P, m)`` and ``(P, m)`` embeddings of any norm."""
        # The scale stays positive if an optimizer step takes the parameter below 0.
        return self.scale.abs() * self._pairwise(first.float(), second.float())

    def all_pairs(self, first: Tensor, second: Tensor) -> Tensor:
        """``(A, B)`` distances of every row of ``(A, m)`` to every row of ``(B, m)``, by one matrix product.

        Manhattan distance has no such product. For equal embeddings, rounding leaves up to 5e-4 where ``forward`` returns
        0. That is 0.08 edits in 150 bases (0.3 on a sphere of radius 0.98).
        """
        return self.scale.abs() * self._all_pairs(first.float(), second.float())

    def search_space(self, embeddings: Tensor) -> Tensor:
        """``(U, m)`` vectors whose Euclidean distances rank as this distance, for an index; same distances as before.

        Raises:
            InputError: If this distance has no such vectors.
        """
        raise InputError(
            f"{type(self).__name__}: expected a distance that ranks as a Euclidean one, which an index needs, found none; "
            f"search without embeddings (--exact), or define search_space"
        )

    def numbers(self, dim: int) -> dict[str, float]:
        """The numbers in ``formula`` by their names, for embeddings of ``dim`` dimensions."""
        return {"scale": abs(self.scale.item())}

    def _pairwise(self, first: Tensor, second: Tensor) -> Tensor:
        raise NotImplementedError

    def _all_pairs(self, first: Tensor, second: Tensor) -> Tensor:
        raise NotImplementedError


class HyperbolicDistance(EmbeddingDistance):
    """Hyperbolic distance between embeddings on a sphere of learnt radius, times a learnt scale (as in NeuroSEED).

    Corso et al., "Neural Distance Embeddings for Biological Sequences", NeurIPS 2021.

    Training changes the radius little, so its initial value matters. On a small sphere the distance is nearly Euclidean,
    and the distances between random directions vary by chance, because m is finite. With a radius near 1, all points that
    are not close have nearly the same distance, as unrelated sequences have.

    With a power above 1 the distance is no longer a metric, but the nearest neighbours stay the same. Sequences need such a
    power. Strings of n letters are corners of a cube: two of them that differ in k places are sqrt(k) apart, so only the
    squared Euclidean distance is their Hamming distance. The square needs n dimensions; fewer dimensions need a lower
    power: see ``suitable_power``.

    Args:
        radius: Initial radius. Opposite points begin at the same distance for every radius.
        power: Power of the hyperbolic distance. 1 is the published one; null chooses a value that suits the dimension: 1 up
            to 32, 1.25 for 64, 1.5 from 128 on. It is not learnt: early training would pull it below its best final value.

    Raises:
        InputError: If the radius is not between 0 and 1, or the power is less than 1.
    """

    formula = "length * scale * (2 * asinh(radius * |u - v| / (1 - radius^2)))^power; u, v: embeddings of norm 1"
    radius_logit: nn.Parameter

    def __init__(self, radius: float = RADIUS, power: float | None = None) -> None:
        if not 0 < radius < 1:
            raise InputError(f"radius: expected a number between 0 and 1, found {radius}; give one such as {RADIUS}")
        if power is not None and not 1 <= power < math.inf:
            raise InputError(f"power: expected a number of at least 1, found {power}; give one such as 1.5")
        super().__init__(radius_logit=math.log(radius / (1 - radius)))
        self.first_radius = radius
        self.power = power

    def get_extra_state(self) -> Tensor:
        """Initial radius and power, 0 for null: a checkpoint restores them with its weights."""
        return torch.tensor([self.first_radius, self.power or 0], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the initial radius and the power that belong to the weights."""
        self.first_radius, power = state.tolist()
        self.power = power or None

    @property
    def radius(self) -> Tensor:
        """Radius of the sphere, in (0, 1): the sigmoid of a parameter."""
        return torch.sigmoid(self.radius_logit)

    def numbers(self, dim: int) -> dict[str, float]:
        """The numbers in ``formula`` by their names, for embeddings of ``dim`` dimensions."""
        power = self._power(dim)
        scale = super().numbers(dim)["scale"] * self._unit(power)
        return {"radius": self.radius.item(), "power": power, "scale": scale}

    def search_space(self, embeddings: Tensor) -> Tensor:
        """Directions: on a sphere, this distance grows with the Euclidean one."""
        return nn.functional.normalize(embeddings.float(), dim=-1)

    def _power(self, dim: int) -> float:
        return suitable_power(dim) if self.power is None else float(self.power)

    def _unit(self, power: float) -> float:
        """Unit of the scale; with it, an optimizer step changes the distance by the same fraction at any radius and power."""
        return _opposite(RADIUS) / math.pow(_opposite(self.first_radius), power)

    def _pairwise(self, first: Tensor, second: Tensor) -> Tensor:
        on_sphere = [self.radius * nn.functional.normalize(side, dim=-1) for side in (first, second)]
        power = self._power(first.shape[-1])
        return self._unit(power) * hyperbolic_distance(*on_sphere) ** power

    def _all_pairs(self, first: Tensor, second: Tensor) -> Tensor:
        cosine = nn.functional.normalize(first, dim=-1) @ nn.functional.normalize(second, dim=-1).T
        # On a sphere of radius r, |u - v| = r sqrt(2 - 2 cosine), and both norms are r.
        chord = safe_sqrt((2 - 2 * cosine).clamp(min=0))
        power = self._power(first.shape[-1])
        return self._unit(power) * (2 * torch.asinh(self.radius * chord / (1 - self.radius.square()))) ** power


def as_distance(given: Any, name: str = "distance") -> EmbeddingDistance:
    """The distance of a model, which a checkpoint stores as its spec; None stands for ``HyperbolicDistance()``.

    Args:
        given: A distance, its spec, or None.
        name: Name of the argument, for messages.

    Raises:
        InputError: If it is none of these, or the spec cannot be used.
    """
    return HyperbolicDistance() if given is None else as_part(given, EmbeddingDistance, name)


def warn_of_unrelated(distance: EmbeddingDistance, true: Tensor, target: TargetName = "edits") -> None:
    """Warn about a sphere that is too small for unrelated sequences.

    If they form groups of near copies, such as the reads of a storage strand, a small sphere has less error: then, also a pair
    that is much nearer than the others may be among the first ones, and there is no warning.

    Args:
        distance: The distance of a model, before training.
        true: ``(P,)`` distances of the first pairs.
        target: What they are.
    """
    if not isinstance(distance, HyperbolicDistance) or not len(true):
        return
    some = true[:10_000].float()  # quantile takes at most 16 million values
    low, middle, high = some.quantile(some.new_tensor([0.25, 0.5, 0.75]))
    if distance.radius < 0.9 and high - low < 0.1 * middle and some.min() > middle / 2:
        form = ".2f" if target == "identity" else ".0f"
        rank_zero_warn(
            f"Half of the first {PLURALS[target]} are {low:{form}} to {high:{form}}, so the sequences look unrelated. "
            f"With a radius of {distance.radius:.2f} the error may be larger than that of a constant prediction. Unless they "
            f"are groups of near copies, set the radius to 0.98 (--model.distance.radius 0.98)."
        )


def suitable_power(dim: int) -> float:
    """Power of the hyperbolic distance for embeddings of ``dim`` dimensions: 1 up to 32, 1.25 for 64, 1.5 from 128 on.

    These powers had the lowest error on related reads of 150 bases: ``docs/results/what_pays.md``.
    """
    return min(1.5, max(1.0, 1 + math.log2(dim / 32) / 4))


def _opposite(radius: float) -> float:
    """Hyperbolic distance between opposite points of a sphere."""
    return 2 * math.asinh(2 * radius / (1 - radius**2))


def _all_squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """``(A, B)`` squared Euclidean distances of ``(A, m)`` to ``(B, m)``, by one matrix product."""
    # Distances don't depend on the origin; an origin near the embeddings reduces cancellation.
    origin = second.mean(dim=0).detach()
    first, second = first - origin, second - origin
    squares = first.square().sum(dim=-1)[:, None] + second.square().sum(dim=-1)
    return (squares - 2 * first @ second.T).clamp(min=0)


class EuclideanDistance(EmbeddingDistance):
    """Root mean squared difference of the components, times a learnt scale."""

    formula = "length * scale * sqrt(mean((u - v)^2)); u, v: embeddings"

    def search_space(self, embeddings: Tensor) -> Tensor:
        """The embeddings themselves."""
        return embeddings

    def _pairwise(self, first: Tensor, second: Tensor) -> Tensor:
        return euclidean_distance(first, second) / math.sqrt(first.shape[-1])

    def _all_pairs(self, first: Tensor, second: Tensor) -> Tensor:
        return safe_sqrt(_all_squared_distances(first, second)) / math.sqrt(first.shape[-1])


class SquaredEuclideanDistance(EmbeddingDistance):
    """Mean squared difference of the components, times a learnt scale: the distance of DSEE (Guo et al., ICML 2022)."""

    formula = "length * scale * mean((u - v)^2); u, v: embeddings"

    def search_space(self, embeddings: Tensor) -> Tensor:
        """The embeddings themselves."""
        return embeddings

    def _pairwise(self, first: Tensor, second: Tensor) -> Tensor:
        return squared_euclidean_distance(first, second) / first.shape[-1]

    def _all_pairs(self, first: Tensor, second: Tensor) -> Tensor:
        return _all_squared_distances(first, second) / first.shape[-1]


class CosineDistance(EmbeddingDistance):
    """One minus the cosine of the angle between embeddings, times a learnt scale."""

    formula = "length * scale * |u - v|^2 / 2; u, v: embeddings of norm 1"

    def search_space(self, embeddings: Tensor) -> Tensor:
        """Directions: this distance grows with the Euclidean one."""
        return nn.functional.normalize(embeddings.float(), dim=-1)

    def _pairwise(self, first: Tensor, second: Tensor) -> Tensor:
        return cosine_distance(first, second)

    def _all_pairs(self, first: Tensor, second: Tensor) -> Tensor:
        directions = [nn.functional.normalize(side, dim=-1) for side in (first, second)]
        norms = [side.square().sum(dim=-1) for side in directions]  # 1, or 0 where there is no direction
        return (((norms[0][:, None] + norms[1]) / 2) - directions[0] @ directions[1].T).clamp(min=0)


class ManhattanDistance(EmbeddingDistance):
    """Mean absolute difference of the components, times a learnt scale."""

    formula = "length * scale * mean(|u - v|); u, v: embeddings"

    def _pairwise(self, first: Tensor, second: Tensor) -> Tensor:
        return manhattan_distance(first, second) / first.shape[-1]

    def _all_pairs(self, first: Tensor, second: Tensor) -> Tensor:
        return torch.cdist(first, second, p=1.0) / first.shape[-1]
