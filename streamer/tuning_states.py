"""What a network is tuned on: a bundle's own residuals on states that are known."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from engines.bundle import Bundle
from engines.errors import UsageError
from engines.training.pairs_file import Lesson, material_of
from engines.training.settings import Pairs
from streamer.archive import StateKey
from streamer.calibration_states import pairs_of, trial_on
from streamer.material import mirror, row_weights
from streamer.truth_states import TruthStates

#: What residuals and conditions of the states to learn from may take, in bytes.
MOST_BYTES = 4 << 30
#: Constants of which it is known what becomes of them at the other pole.
MIRRORED = (
    "sin_latitude", "log_secant_latitude", "cos_longitude", "sin_longitude",
    "z", "z_deviation", "slope_east", "slope_north", "lsm",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TuningDays:
    """Calendar days to learn from, and those held back, on which is chosen and measured."""

    learn: tuple[date, ...]
    held_back: tuple[date, ...]


def tuning_days(days: Sequence[date], held_back: Sequence[str], last: int | None) -> TuningDays:
    """Hold back what training held back, where the truth has it; else the last days.

    days: of the truth. held_back: what the bundle's manifest names. last: how many days instead.
    Raises UsageError where nothing is left to learn from, or nothing is held back.
    """
    named = [day for day in days if str(day) in held_back]
    if last is not None or not named:
        count = 2 if last is None else last
        named = list(days[max(0, len(days) - count) :]) if count > 0 else []
    learn = tuple(day for day in days if day not in named)
    if not learn or not named:
        raise UsageError(
            f"the truth holds {len(days)} days, of which {len(named)} are held back; want at "
            "least 1 to learn from and 1 to hold back"
        )
    return TuningDays(learn, tuple(named))


def lesson_of(truth: TruthStates, days: TuningDays, bundle: Bundle) -> Lesson:
    """Return the states as pairs of the bundle's own normalisation and constants.

    As many states as memory is meant to hold, spread evenly. Raises UsageError for a network
    with labels, which differ from state to state and are not learnt from here.
    """
    if bundle.labels:
        raise UsageError(
            f"{bundle.name} takes the labels {', '.join(bundle.labels)}; only networks without "
            "labels can be tuned"
        )
    height, width = bundle.shape
    most = max(1, MOST_BYTES // (2 * 4 * len(bundle.channels) * height * width))
    learn, held_back = (
        _pairs(truth, truth.on(part, most), bundle) for part in (days.learn, days.held_back)
    )
    return Lesson(learn, held_back, material_of(learn, held_back))


def _pairs(truth: TruthStates, keys: Sequence[StateKey], bundle: Bundle) -> Pairs:
    trial = trial_on(truth, keys, bundle)
    is_known = all(name in MIRRORED for name in bundle.constant_names)
    turned = mirror(bundle.channels, bundle.normalisation, bundle.constant_names, trial.grid)
    return replace(
        pairs_of(trial, bundle),
        row_weights=row_weights(trial.grid),
        mirror=turned if is_known else None,
    )
