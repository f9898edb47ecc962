"""What a network is tuned on: a bundle's own residuals on states that are known."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from engines.bundle import Bundle
from engines.errors import UsageError
from engines.training.pairs_file import Lesson, material_of
from engines.training.settings import Pairs
from streamer.domain import Grid
from streamer.grib.manifest import read_manifest
from streamer.material import by_area, mirror
from streamer.training_set import Making, Pair, most_states
from streamer.truth_states import TruthStates

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
    manifest = read_manifest(bundle.grib)
    most = most_states(len(bundle.channels), manifest.grid)
    known, held = (truth.read(truth.on(part, most)) for part in (days.learn, days.held_back))
    made = Making(manifest.grid, manifest.coarse, manifest.interpolation, bundle.normalisation)
    learn, held_back = (
        _pairs(bundle, manifest.grid, pair) for pair in (made.rolled(known), made.pair(held))
    )
    return Lesson(learn, held_back, material_of(learn, held_back))


def _pairs(bundle: Bundle, grid: Grid, pair: Pair) -> Pairs:
    is_known = all(name in MIRRORED for name in bundle.constant_names)
    turned = mirror(bundle.channels, bundle.normalisation, bundle.constant_names, grid)
    residual, condition = pair
    return Pairs(
        residual=residual,
        condition=condition,
        constants=bundle.constants,
        row_weights=by_area(grid),
        periodic=bundle.periodic,
        mirror=turned if is_known else None,
    )
