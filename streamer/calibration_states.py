"""Which known states a sampler is fitted on, and which ones it is measured on."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from engines.bundle import Bundle
from engines.errors import UsageError
from engines.training.settings import Pairs
from streamer.archive import StateKey
from streamer.domain import Array
from streamer.downscale.labels import labels
from streamer.skill import Trial, trial_from
from streamer.training_set import residual_of
from streamer.truth_states import TruthStates
from streamer.verify.scores import area_weights

#: What the states to fit on may take, in bytes of residual and condition, and how many at most.
FIT_BYTES, FIT_STATES = 1 << 30, 40


@dataclass(frozen=True, slots=True)
class Days:
    """Calendar days to fit on, to choose between fits on, and to measure on."""

    fit: tuple[date, ...]
    choose: tuple[date, ...]
    measure: tuple[date, ...]


def split_days(days: Sequence[date], hold_back: int, fit_days: int = 0) -> Days:
    """Measure on the last days, choose on the last one before them, fit on those before that.

    fit_days: how many days to fit and choose on, the last of what is left; 0: all of them. With
    a single day left, fits are chosen on other tiles of it. Raises UsageError where none is left.
    """
    if not 0 < hold_back < len(days):
        span = f" ({days[0]} to {days[-1]})" if days else ""
        raise UsageError(
            f"the truth holds states of {len(days)} day{'s' * (len(days) != 1)}{span}, want at "
            f"least 1 to fit on besides the {hold_back} to measure on"
        )
    left = tuple(days[: len(days) - hold_back])[-fit_days:]
    fit = left[:-1] or left
    return Days(fit, left[-1:], tuple(days[len(days) - hold_back :]))


def fit_states(truth: TruthStates, days: Sequence[date], bundle: Bundle) -> tuple[StateKey, ...]:
    """Return states of some days, spread evenly, no more than memory is meant to hold."""
    height, width = bundle.shape
    size_bytes = 2 * 4 * len(bundle.channels) * height * width
    return truth.on(days, max(1, min(FIT_STATES, FIT_BYTES // size_bytes)))


def trial_on(truth: TruthStates, keys: Sequence[StateKey], bundle: Bundle) -> Trial:
    """Return some states as a bundle meets them; UsageError for values that are missing."""
    return trial_from(tuple(keys), truth.read(keys), bundle)


def pairs_of(trial: Trial, bundle: Bundle) -> Pairs:
    """Return states as a network's residuals and conditions; rows count by their area."""
    rows = area_weights(trial.grid.latitudes)
    return Pairs(
        residual=residual_of(trial.truth, trial.condition, bundle.normalisation),
        condition=trial.condition,
        constants=bundle.constants,
        row_weights=rows / rows.mean(),
        periodic=bundle.periodic,
    )


def units_of(bundle: Bundle) -> tuple[float, ...]:
    """Return what each channel's residual is multiplied by before the coarse field is added."""
    return tuple(normal.residual_std for normal in bundle.normalisation)


def labels_of(trial: Trial, bundle: Bundle) -> Array | None:
    """Return what a network with labels is told of each state, (N, L); None without labels."""
    if not bundle.labels:
        return None
    return np.stack([labels(bundle.labels, key.valid_time) for key in trial.keys])
