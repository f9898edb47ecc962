"""How fast a fit learns when, and how the averaged networks remember.

Both follow the share of the fit that is done, so that a fit by the clock needs no number of steps.
"""

from dataclasses import dataclass

import numpy as np

from engines.training.settings import TrainingSettings


@dataclass(frozen=True, slots=True)
class Course:
    """When the rate starts to fall, and over which share of the fit it falls to 0."""

    falls_from: float
    falls_over: float

    @property
    def end(self) -> float:
        """The share of the fit at which nothing is left to learn."""
        return self.falls_from + self.falls_over


def planned(settings: TrainingSettings) -> Course:
    """Return the course of a fit that improves to its end."""
    return Course(1.0 - settings.decay, settings.decay)


def cut_short(share: float, best: float, settings: TrainingSettings) -> Course:
    """Return the course of a fit that stopped improving at `best`: the fall starts at `share`.

    It is to the way to the best network what the planned fall is to the planned plateau.
    """
    wanted = best * settings.decay / max(1e-6, 1.0 - settings.decay)
    return Course(share, min(wanted, settings.decay, 1.0 - share))


def rate(step: int, share: float, course: Course, settings: TrainingSettings) -> float:
    """Return the learning rate as a share of its peak: a warm-up, a plateau, a line to 0."""
    rising = min(1.0, (step + 1) / max(1, settings.warmup))
    if share <= course.falls_from:
        return rising
    return rising * max(0.0, (course.end - share) / course.falls_over)


def exponent(width: float) -> float:
    """Return the exponent g of an average whose weights grow as step^g and deviate by `width`.

    width: the weights' deviation as a share of the steps so far, below 0.28 (all count alike).
    Source: Karras et al. 2024, section 3.1 (https://arxiv.org/abs/2312.02696): the deviation is
    sqrt(g + 1) / ((g + 2) sqrt(g + 3)).
    """
    t = width**-2
    roots = np.roots([1.0, 7.0, 16.0 - t, 12.0 - t])
    return float(roots.real.max())


def keep(step: int, width: float) -> float:
    """Return how much of the average stays at `step`, counted from 1."""
    return float((1.0 - 1.0 / step) ** (exponent(width) + 1.0))
