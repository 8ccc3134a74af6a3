"""Learning-rate factors, by step."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Final, Literal

from nwa_lightning.errors import InputError

#: Names by which the command line knows the schedules.
ScheduleName = Literal["cosine", "inverse_sqrt"]

#: The warm-up is a fraction of this many steps if a run has no known end.
STEPS_WITHOUT_END: Final = 10_000


def factor_of_run(schedule: ScheduleName, warmup: float, total: float) -> Callable[[int], float]:
    """The learning-rate factor of a run, by step.

    Args:
        schedule: Schedule after the warm-up.
        warmup: Fraction of the steps that are spent on the warm-up.
        total: Steps of the run, as Lightning estimates them; infinite or below 0 if they are not known.

    Raises:
        InputError: If the schedule is a cosine and the run has no known end.
    """
    known = 0 <= total < math.inf
    if not known and schedule == "cosine":
        found = "neither max_steps nor max_epochs; set one of them"
        if total < 0:  # Lightning's value for epochs of a loader of unknown length
            found = "epochs of unknown length; set max_steps"
        raise InputError(
            f"schedule: expected a run with an end for the cosine, found {found} (--trainer.max_steps) or choose inverse_sqrt"
        )
    steps = int(total) if known else STEPS_WITHOUT_END
    first = max(1, round(warmup * steps))
    if schedule == "cosine":
        return partial(cosine_factor, warmup=first, total=steps)
    return partial(inverse_sqrt_factor, warmup=first)


def inverse_sqrt_factor(step: int, *, warmup: int) -> float:
    """Learning-rate factor of Lee & No (2024): linear warm-up to 1, then 1/sqrt.

    Args:
        step: Number of the step, from 0.
        warmup: Steps of the warm-up, at least 1; the first step has factor 1/warmup, so that it is not wasted.

    Returns:
        A factor in (0, 1].
    """
    return min((step + 1) / warmup, math.sqrt(warmup / (step + 1)))


def cosine_factor(step: int, *, warmup: int, total: int) -> float:
    """Learning-rate factor that warms up linearly to 1, then falls to 0 along half a cosine.

    Args:
        step: Number of the step, from 0.
        warmup: Steps of the warm-up, at least 1; the first step has factor 1/warmup.
        total: Steps of the whole run; after them the factor is 0.

    Returns:
        A factor in [0, 1].
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return 0.5 * (1.0 + math.cos(math.pi * progress))
