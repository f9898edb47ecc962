"""Whether a tuned network may serve: every rule it must keep, and its place in the table.

A network that only wins the marginal score is not worth having: few calls can please it with
draws that are wrong as pictures, or with too little spread. So gradients, patches, spectra, lags
and spread are looked at besides, each parameter by itself.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from engines.bundle import TUNED
from engines.calibration import Calibration, Row
from streamer.calibrating import BANDS_UP_TO

#: Spread over skill must reach this share of the reference's.
SPREAD_KEPT = 0.97
#: How far the power of a band may lie from the reference's or from the truth's, a fraction.
BAND = 0.10
#: How far the lag-2 correlation of anomalies may lie from the reference's or from the truth's.
LAG = 0.05
#: The profile that a network which keeps all rules serves, and that its bundle takes by itself.
FAST = "fast"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: the worst that was found, and what was wanted, in numbers and in words."""

    name: str
    found: float
    bound: float
    is_kept: bool
    words: str

    def plain(self) -> dict[str, object]:
        """Return what JSON holds."""
        return asdict(self)


def rules(tuned: Mapping[str, Any], reference: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Hold what was measured of a tuned row against its reference's, on the same states.

    Both as `calibrating.compare` makes them. The worst parameter decides each rule.
    """
    found = [
        _lower("crps", "crps_change", tuned, "CRPS"),
        _lower("gradient_crps", "gradient_crps_change", tuned, "CRPS of the gradient"),
        _lower("patch_energy", "patch_energy_change", tuned, "energy score of 8x8 patches"),
        _spread(tuned),
        _lag(tuned, reference),
    ]
    bands = _bands(tuned)
    return (*found, bands) if bands is not None else tuple(found)


def placed(
    table: Calibration | None, rows: tuple[Row, Row], told: Mapping[str, Any], *, serves: bool
) -> Calibration:
    """Return the table with a tuned row in place of an older one.

    rows: the reference that was measured beside it, which is the table where there is none, and
    the tuned row. serves: make it the profile `fast` and the default; else no profile names it.
    """
    reference, tuned = rows
    table = table or Calibration((reference,), {"reference": 0}, "reference")
    kept = [i for i, row in enumerate(table.rows) if row.network != TUNED]
    profiles = {name: table.rows[i] for name, i in table.profiles.items() if i in kept}
    default = table.default if table.default in profiles else "reference"
    if serves:
        profiles[FAST], default = tuned, FAST
    ordered = sorted((*(table.rows[i] for i in kept), tuned), key=lambda row: row.calls)
    return Calibration(
        rows=tuple(ordered),
        # Rows are compared as the very objects that they are.
        profiles={name: ordered.index(row) for name, row in profiles.items()},
        default=default,
        told={**table.told, TUNED: dict(told)},
    )


def _lower(name: str, key: str, tuned: Mapping[str, Any], what: str) -> Rule:
    """Return the rule that a score must not be above the reference's."""
    parameter, change = max(
        ((name, one[key]) for name, one in tuned["parameters"].items()), key=lambda pair: pair[1]
    )
    words = (
        f"{what} of {parameter} changes by {change:+.2%} against the reference, wanted at most 0"
    )
    return Rule(name, change, 0.0, change <= 0.0, words)


def _spread(tuned: Mapping[str, Any]) -> Rule:
    parameter, ratio = min(
        ((name, one["spread_skill_ratio"]) for name, one in tuned["parameters"].items()),
        key=lambda pair: pair[1],
    )
    words = (
        f"spread/skill of {parameter} is {ratio:.3f} of the reference's, "
        f"wanted at least {SPREAD_KEPT:g}"
    )
    return Rule("spread_skill", ratio, SPREAD_KEPT, ratio >= SPREAD_KEPT, words)


def _lag(tuned: Mapping[str, Any], reference: Mapping[str, Any]) -> Rule:
    off, parameter = max(
        (
            min(
                abs(one["lag_correlation"] - reference["parameters"][name]["lag_correlation"]),
                abs(one["lag_correlation"] - one["true_lag_correlation"]),
            ),
            name,
        )
        for name, one in tuned["parameters"].items()
    )
    words = (
        f"lag-2 correlation of the anomalies of {parameter} is {off:.3f} from the reference's "
        f"or the truth's, wanted at most {LAG:g}"
    )
    return Rule("lag_correlation", off, LAG, off <= LAG, words)


def _bands(tuned: Mapping[str, Any]) -> Rule | None:
    """Return the rule of the spectrum; None where rows do not close, so that there is none."""
    found = [
        (min(abs(ratio - 1.0), abs(true - 1.0)), name, low, high)
        for name, one in tuned["parameters"].items()
        for (low, high, ratio), (_, _, true) in zip(
            one["bands_vs_reference"], one["bands"], strict=True
        )
        if high <= BANDS_UP_TO * one["bands"][-1][1]
    ]
    if not found:
        return None
    off, parameter, low, high = max(found)
    words = (
        f"power of {parameter} at wavenumbers {low} to {high} is {off:.1%} from the reference's "
        f"or the truth's, wanted at most {BAND:.0%}"
    )
    return Rule("bands", off, BAND, off <= BAND, words)
