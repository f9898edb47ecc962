"""Tells a network the season and the hour of the valid time, by the names its bundle gives."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from engines.errors import BundleError
from streamer.domain import Array

#: The networks of IPSL-AID count their days from here, and a year of so many.
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_DAYS_A_YEAR = 365.25
_SECONDS_A_DAY = 86_400.0


def labels(names: Sequence[str], valid_time: datetime) -> Array:
    """Return the named labels of a valid time, (L,) float32, each within -1 to 1.

    doy: days since 2000-01-01 00 UTC over 365.25. hour: hours of the day over 24. Both with their
    fraction, as sine and cosine. Raises BundleError for a name that is not known.
    """
    refuse_unknown(names)
    return np.array([_LABELS[name](valid_time) for name in names], dtype=np.float32)


def refuse_unknown(names: Sequence[str]) -> None:
    """Raise BundleError for labels that nobody here can tell a network; before any work."""
    unknown = [name for name in names if name not in _LABELS]
    if unknown:
        raise BundleError(
            f"the bundle's labels {', '.join(unknown)} are not known, "
            f"this version knows {', '.join(_LABELS)}"
        )


def _season(valid_time: datetime) -> float:
    """Return the angle that grows by a turn a year."""
    days = (valid_time - _EPOCH).total_seconds() / _SECONDS_A_DAY
    return math.tau * days / _DAYS_A_YEAR


def _hour(valid_time: datetime) -> float:
    """Return the angle that grows by a turn a day."""
    return math.tau * (valid_time - _EPOCH).total_seconds() / _SECONDS_A_DAY % math.tau


_LABELS: Mapping[str, Callable[[datetime], float]] = {
    "doy_sin": lambda valid_time: math.sin(_season(valid_time)),
    "doy_cos": lambda valid_time: math.cos(_season(valid_time)),
    "hour_sin": lambda valid_time: math.sin(_hour(valid_time)),
    "hour_cos": lambda valid_time: math.cos(_hour(valid_time)),
}
