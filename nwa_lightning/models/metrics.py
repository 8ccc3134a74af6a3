"""Metrics of predicted against true distances, exact over batches and over processes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection, SpearmanCorrCoef
from torchmetrics.utilities import dim_zero_cat

from nwa_lightning.data.batch import PairBatch
from nwa_lightning.data.targets import TargetName, whole_scale
from nwa_lightning.errors import InputError


class _ExactMetric(Metric):
    """A metric whose sums keep their type when a model is moved to half precision."""

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> torch.nn.Module:
        def move(values: Tensor) -> Tensor:
            return values.to(fn(values).device)

        return super()._apply(move, exclude_state)


class LengthRMSE(_ExactMetric):
    r"""Root mean squared error of the edit distance, in percent of the length of the longer sequence of each pair.

    .. math:: \mathrm{RMSE\,(\%)} = 100 \sqrt{\frac1P \sum_p \left(\frac{\mathrm{ED}_p - d_p}{n_p}\right)^2}

    If all sequences have length n, this is eq. 3 of Lee & No (2024). They print a sum there, but their figures show a mean.
    For distances in another unit, a scale takes the place of the length.

    Args:
        max_distance: K, to count only homologous pairs, those with ED <= K; by default all pairs count.
        lengths: Shortest length, and the first one that is too long, of the pairs that count; None for no bound.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    squares: Tensor
    count: Tensor

    def __init__(self, max_distance: int | None = None, lengths: tuple[int | None, int | None] = (None, None)) -> None:
        super().__init__()
        self.max_distance = max_distance
        self.lengths = lengths
        self.add_state("squares", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor, length: Tensor, scale: Tensor | float | None = None) -> None:
        """Add pairs to the sums.

        Args:
            preds: ``(P,)`` predicted distances, in edits or the unit of another target.
            target: ``(P,)`` distances, in the same unit.
            length: ``(P,)`` or a scalar: bases of the longer sequence of each pair.
            scale: ``(P,)`` or a scalar: the distance that is 100 %; None for ``length`` edits.
        """
        errors = ((preds - target) / (length if scale is None else scale)).double()
        counted = torch.ones_like(errors, dtype=torch.bool)
        if self.max_distance is not None:
            counted &= target <= self.max_distance
        shortest, end = self.lengths
        if shortest is not None:
            counted &= length >= shortest
        if end is not None:
            counted &= length < end
        errors = errors[counted]
        self.squares += errors.square().sum()
        self.count += errors.numel()

    def compute(self) -> Tensor:
        """The error in percent; NaN if no pair counted."""
        return 100 * (self.squares / self.count).sqrt().float()


class UnitRMSE(LengthRMSE):
    """Root mean squared error of a distance in its own unit, not in percent."""

    def update(self, preds: Tensor, target: Tensor, length: Tensor, scale: Tensor | float | None = None) -> None:
        """See ``LengthRMSE``; the scale is unused."""
        super().update(preds, target, length, scale=1.0)

    def compute(self) -> Tensor:
        """The error in the unit of the distance; NaN if no pair counted."""
        return super().compute() / 100


class Determination(_ExactMetric):
    r"""Coefficient of determination of the distances, summed in float64.

    .. math:: R^2 = 1 - \frac{\sum_p (y_p - d_p)^2}{\sum_p (y_p - \bar y)^2}

    torchmetrics sums in float32, which at 13 million pairs is off in the third digit.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    count: Tensor
    total: Tensor
    squares: Tensor
    errors: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")
        for name in ("total", "squares", "errors"):
            self.add_state(name, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add pairs to the sums.

        Args:
            preds: ``(P,)`` predicted distances, in any unit.
            target: ``(P,)`` distances, in the same unit.
        """
        target = target.double()
        self.count += target.numel()
        self.total += target.sum()
        self.squares += target.square().sum()
        self.errors += (target - preds.double()).square().sum()

    def compute(self) -> Tensor:
        """At most 1; 0 if all distances are equal and a prediction is not; NaN for fewer than two pairs."""
        if self.count < 2:
            return torch.full_like(self.total, torch.nan).float()
        # In this order the spread of equal distances is exactly 0: sums of whole numbers are exact.
        spread = self.squares - self.total * (self.total / self.count)
        perfect = (self.errors == 0).double()
        return torch.where(spread > 0, 1 - self.errors / spread, perfect).float()


class RankCorrelation(_ExactMetric, SpearmanCorrCoef):
    """Spearman's rank correlation of all pairs; 0 if one side is constant, NaN for fewer than two pairs.

    torchmetrics 1.9 adds up the ranks of equal values in int32, which overflows with 15,000 equal edit distances among
    220,000 pairs. So this class computes the ranks itself.
    """

    def compute(self) -> Tensor:
        """The correlation, -1 to 1."""
        if sum(map(len, self.preds)) < 2 if isinstance(self.preds, list) else len(self.preds) < 2:
            return torch.tensor(torch.nan, device=self.device)
        one, two = (_centred_ranks(dim_zero_cat(side)) for side in (self.preds, self.target))
        product = one.norm() * two.norm()
        return ((one @ two) / torch.where(product > 0, product, 1.0)).float()


def _centred_ranks(values: Tensor) -> Tensor:
    """Ranks in float64 minus their mean; equal values share their mean rank."""
    _, group, count = torch.unique(values, return_inverse=True, return_counts=True)
    last = count.cumsum(0).double()
    ranks: Tensor = (last - (count - 1) / 2)[group]
    return ranks - (len(values) + 1) / 2


def distance_metrics(
    homologous: int = 40, length_bands: Sequence[int] = (), target: TargetName = "edits"
) -> MetricCollection:
    """The columns of every table: ``rmse``, ``rmse_homologous``, ``r2``, ``spearman``; and the error of each band of lengths.

    Update it with keyword arguments ``preds``, ``target``, ``length`` and ``scale``, as ``LengthRMSE`` takes them. Targets other
    than edits have no ``rmse_homologous``; the target score has ``rmse_score``, the error in units of the score.

    Args:
        homologous: K, the most edits between homologous sequences.
        length_bands: Lengths where a band ends and the next begins, ascending: (300, 600) adds ``rmse_below_300``,
            ``rmse_300_to_599`` and ``rmse_from_600``. The length of a pair is that of its longer sequence.
        target: What is predicted.

    Raises:
        InputError: If they do not ascend, or one is below 1.
    """
    # No compute groups: they would merge the two errors whenever all pairs of the first batch are homologous.
    with warnings.catch_warnings():  # Spearman has to keep all pairs
        warnings.filterwarnings("ignore", message="Metric `SpearmanCorrcoef` will save all")
        spearman = RankCorrelation()
    return MetricCollection(
        {
            "rmse": LengthRMSE(),
            **({"rmse_homologous": LengthRMSE(homologous)} if target == "edits" else {}),
            **({"rmse_score": UnitRMSE()} if target == "score" else {}),
            "r2": Determination(),
            "spearman": spearman,
            **_length_bands(length_bands),
        },
        compute_groups=False,
    )


def _length_bands(ends: Sequence[int]) -> dict[str, Metric]:
    if not ends:
        return {}
    ascending = all(isinstance(end, int) and end > before for before, end in pairwise([0, *ends]))
    if not ascending:
        raise InputError(
            f"length_bands: expected ascending lengths, found {list(ends)}; give such as [300, 600] for three bands"
        )
    inner = {f"rmse_{first}_to_{end - 1}": (first, end) for first, end in pairwise(ends)}
    bands = {f"rmse_below_{ends[0]}": (None, ends[0]), **inner, f"rmse_from_{ends[-1]}": (ends[-1], None)}
    return {name: LengthRMSE(lengths=band) for name, band in bands.items()}


def evaluate(
    predict: Callable[[PairBatch], Tensor],
    batches: Iterable[PairBatch],
    homologous: int = 40,
    length_bands: Sequence[int] = (),
    target: TargetName = "edits",
    scale: float | None = None,
) -> dict[str, float]:
    """Measure any predictor, learnt or not, by the same metrics.

    Args:
        predict: Maps a batch to ``(P,)`` predicted distances, in the unit of the target.
        batches: Batches to predict.
        homologous: K, the most edits between homologous sequences.
        length_bands: As in ``distance_metrics``.
        target: What is predicted; that of the batches.
        scale: For the target score, the mean score of a letter beside itself: ``rmse`` is in percent of as many times the longer
            length.

    Returns:
        The values of ``distance_metrics``; NaN where there is nothing to measure, such as no homologous pair.
    """
    metrics = distance_metrics(homologous, length_bands, target)
    nothing = torch.empty(0)
    metrics.update(preds=nothing, target=nothing, length=torch.tensor(1))  # avoids a warning if there are no batches
    for batch in batches:
        preds = predict(batch).detach().float().cpu()
        hundred = whole_scale(target, batch.longest, scale)
        metrics.update(preds=preds, target=batch.distance.float(), length=batch.longest, scale=hundred)
    return {name: float(value) for name, value in metrics.compute().items()}
