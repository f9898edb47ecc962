"""Derived products: what a forecaster reads off a draw that the network does not give by name.

They are made draw by draw, before any statistic: the mean of speeds is not the speed of the mean.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engines.errors import UsageError
from streamer.domain import Array, Statistic

#: Over water: e(t) = 6.112 hPa exp(17.62 t / (243.12 + t)), t in degrees Celsius, to 0.3 % from -65
#: to 60. Source: WMO-No. 8, Guide to Instruments and Methods of Observation, volume I, annex 4.B,
#: after Sonntag 1990.
_FACTOR, _OFFSET_C = 17.62, 243.12
_ZERO_C_IN_K = 273.15


@dataclass(frozen=True, slots=True)
class Derived:
    """A parameter that is computed from others; `grib.param_target` knows its numbers.

    inputs: parameters, in the order in which the formula takes them. is_angle: degrees that go
    round, so that no mean, order or threshold of them makes sense.
    """

    name: str
    title: str
    units: str
    inputs: tuple[str, str]
    is_angle: bool = False


DERIVED: Mapping[str, Derived] = {
    one.name: one
    for one in (
        Derived("10si", "10 metre wind speed", "m s**-1", ("10u", "10v")),
        Derived("10wdir", "10 metre wind direction", "degrees", ("10u", "10v"), is_angle=True),
        Derived("2r", "2 metre relative humidity", "%", ("2t", "2d")),
        Derived("2dd", "2 metre dew-point depression", "K", ("2t", "2d")),
    )
}


def derive(names: Sequence[str], channels: Sequence[str], values: Array) -> Array:
    """Return parameters, (..., K, H, W) float32, from fields of channels, (..., C, H, W).

    names: in the order wanted; a channel's is the channel itself, and where all are channels in
    their order `values` comes back as it is. NaN stays NaN. Raises UsageError as `refuse_unknown`.
    """
    refuse_unknown(names, channels)
    if tuple(names) == tuple(channels):
        return values
    made = np.empty((*values.shape[:-3], len(names), *values.shape[-2:]), dtype=np.float32)
    for i, name in enumerate(names):
        if name in channels:
            made[..., i, :, :] = values[..., channels.index(name), :, :]
            continue
        inputs = [values[..., channels.index(one), :, :] for one in DERIVED[name].inputs]
        made[..., i, :, :] = _FORMULAS[name](*inputs)
    return made


def refuse_unknown(names: Sequence[str], channels: Sequence[str]) -> None:
    """Raise UsageError for parameters that neither are channels nor can be made from them."""
    for name in names:
        if name in channels:
            continue
        if name not in DERIVED:
            known = [*channels, *(one for one in DERIVED if one not in channels)]
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise UsageError(f"no parameter {name}; {hint}")
        lacking = [one for one in DERIVED[name].inputs if one not in channels]
        if lacking:
            raise UsageError(
                f"{name} is made from {' and '.join(DERIVED[name].inputs)}, but the bundle has no "
                f"{' and no '.join(lacking)}; it has {', '.join(channels)}"
            )


def refuse_statistic(name: str, statistic: Statistic) -> None:
    """Raise UsageError for a statistic of an angle: 350 and 10 degrees have a mean of 180."""
    if name in DERIVED and DERIVED[name].is_angle:
        raise UsageError(
            f"{statistic.text} of {name} means nothing, since degrees go round; "
            f"{name} comes as draws only"
        )


def wind_speed(u: Array, v: Array) -> Array:
    """Return the speed of a wind, in the units of its components."""
    return np.sqrt(u * u + v * v)


def wind_direction(u: Array, v: Array) -> Array:
    """Return where a wind blows from, clockwise from north, above 0 to 360 degrees; 0 in a calm.

    As observers code it, north is 360, so that 0 says calm and nothing else. Source: WMO-No. 306,
    code table 0877.
    """
    degrees = np.degrees(np.arctan2(u, v)) + np.float32(180.0)
    # arctan2 gives -180 for a wind from the north whose u is -0.
    degrees[degrees == 0.0] = 360.0
    degrees[(u == 0.0) & (v == 0.0)] = 0.0
    return degrees


def relative_humidity(temperature: Array, dew_point: Array) -> Array:
    """Return e(dew point) / e(temperature) over water, in percent; both in K.

    Exactly 100 where both are equal, and above 100 where the dew point is above the temperature.
    """
    # ln e is 17.62 - 17.62 * 243.12 / (243.12 + t) plus a constant: written so, rounding cannot
    # make a dew point below the temperature give more than 100.
    slope = np.float32(_FACTOR * _OFFSET_C)
    pole_k = np.float32(_ZERO_C_IN_K - _OFFSET_C)
    ratio = np.exp(slope / (temperature - pole_k) - slope / (dew_point - pole_k))
    return ratio * np.float32(100.0)


def dew_point_depression(temperature: Array, dew_point: Array) -> Array:
    """Return how far the dew point is below the temperature, in K."""
    return temperature - dew_point


_FORMULAS: Mapping[str, Callable[[Array, Array], Array]] = {
    "10si": wind_speed,
    "10wdir": wind_direction,
    "2r": relative_humidity,
    "2dd": dew_point_depression,
}
