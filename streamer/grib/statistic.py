"""How GRIB 2 tells a statistic of an ensemble: templates, keys, units, and what it cannot tell.

Sources: WMO FM 92, product definition templates 4.2, 4.5, 4.6 (at a point in time) and 4.12, 4.9,
4.10 (over an interval), code tables 1.4, 4.7 and 4.9; MARS types from ecCodes' `type.table`.
"""

import math
from collections.abc import Mapping
from decimal import Decimal

from engines.errors import UsageError
from streamer.domain import Statistic

#: Product definition templates: at a point in time, over an interval.
_DERIVED, _PERCENTILE, _PROBABILITY = (2, 12), (6, 10), (5, 9)
#: Code table 4.7.
_DERIVED_FORECAST: Mapping[str, int] = {
    "mean": 0,
    "spread": 4,
    "minimum": 8,
    "maximum": 9,
    "variance": 10,
}
_WEIGHTED_MEAN = 1
#: Code table 4.9: above the upper limit, below the upper limit. The twins of the lower limit
#: would make ecCodes rename parameters: 2t below 273.15 becomes paramId 131073, 2tl273.
_PROBABILITY_TYPE: Mapping[str, int] = {"above": 1, "below": 4}
#: Code table 1.4: control and perturbed forecasts together; probability of an event.
_CONTROL, _PERTURBED, _CONTROL_AND_PERTURBED, _EVENT_PROBABILITY = 3, 4, 5, 8
#: MARS types, for messages with ECMWF's local section: em, wem, es, wes, pb, ep and est.
_MARS_MEAN, _MARS_SPREAD = {False: 17, True: 43}, {False: 18, True: 44}
_MARS_QUANTILE, _MARS_PROBABILITY, _MARS_OTHER = 29, 30, 95
#: Code table 4.7 knows the variance since this version, all else since older ones than we write.
_VARIANCE_SINCE = 33
#: How exactly a threshold is told; nine digits are the most that 31 bits hold of any number.
_DIGITS = 9
#: All bits of GRIB's scale factor, of which the first is the sign, mean "missing".
_MOST_SCALE = 126
#: numberOfForecastsInEnsemble has 8 bits, and all of them mean "missing".
_NOT_TOLD = 255
_PERCENT = 100.0

#: Keys in the order in which they are to be set; None is GRIB's missing.
Keys = Mapping[str, int | None]


def refuse_unencodable(statistic: Statistic) -> None:
    """Raise UsageError for a statistic that GRIB has no place for; before any work."""
    name, value = statistic.kind, statistic.value
    if name not in ("quantile", "above", "below"):
        if value is not None:
            raise UsageError(f"{name}: found the value {value:g}, wanted none")
        return
    if value is None or not math.isfinite(value):
        raise UsageError(f"{name}: found {value}, wanted a number")
    if name == "quantile":
        _percent(value)
    else:
        _scaled(value)


def product_template(statistic: Statistic, *, over_interval: bool) -> int:
    """Return the number of the product definition template that tells the statistic."""
    pair = {"quantile": _PERCENTILE, "above": _PROBABILITY, "below": _PROBABILITY}
    return pair.get(statistic.kind, _DERIVED)[over_interval]


def tables_version(statistic: Statistic) -> int:
    """Return the oldest version of the WMO's tables that knows the statistic, as far as we ask."""
    return _VARIANCE_SINCE if statistic.kind == "variance" else 0


def statistic_keys(statistic: Statistic, factor: float, *, weighted: bool) -> Keys:
    """Return the keys of section 4 that tell which statistic it is.

    factor: takes the message's units to the threshold's; GRIB tells limits in its own.
    """
    value = statistic.value
    if statistic.kind == "quantile":
        assert value is not None
        return {"percentileValue": _percent(value)}
    if statistic.kind in _PROBABILITY_TYPE:
        assert value is not None
        scale, scaled = _scaled(value / factor)
        return {
            # Each message stands for itself: the first probability of one.
            "forecastProbabilityNumber": 0,
            "totalNumberOfForecastProbabilities": 1,
            "probabilityType": _PROBABILITY_TYPE[statistic.kind],
            "scaleFactorOfLowerLimit": None,
            "scaledValueOfLowerLimit": None,
            "scaleFactorOfUpperLimit": scale,
            "scaledValueOfUpperLimit": scaled,
        }
    is_weighted_mean = weighted and statistic.kind == "mean"
    told = _WEIGHTED_MEAN if is_weighted_mean else _DERIVED_FORECAST[statistic.kind]
    return {"derivedForecast": told}


def processed_data(statistic: Statistic, of_input: int) -> int:
    """Return the type of data, code table 1.4, of a statistic of what had `of_input`."""
    if statistic.kind in _PROBABILITY_TYPE:
        return _EVENT_PROBABILITY
    return _CONTROL_AND_PERTURBED if of_input in (_CONTROL, _PERTURBED) else of_input


def mars_type(statistic: Statistic, *, weighted: bool) -> int:
    """Return MARS's number of the type: em, es, pb, ep; `est` for what has no type of its own."""
    types = {
        "mean": _MARS_MEAN[weighted],
        "spread": _MARS_SPREAD[weighted],
        "quantile": _MARS_QUANTILE,
        "above": _MARS_PROBABILITY,
        "below": _MARS_PROBABILITY,
    }
    return types.get(statistic.kind, _MARS_OTHER)


def ensemble_keys(statistic: Statistic, forecasts: int) -> Mapping[str, int]:
    """Return the keys that tell of how many forecasts it is; only derived forecasts have any."""
    if statistic.kind not in _DERIVED_FORECAST:
        return {}
    return {"numberOfForecastsInEnsemble": min(forecasts, _NOT_TOLD)}


def units_factor(statistic: Statistic | None, factor: float) -> float:
    """Return what values are divided by to be in the message's units; `factor` is the parameter's.

    A variance has their square. Probabilities, 0 to 1, leave as percent, as centres write them.
    """
    if statistic is None or statistic.kind in ("mean", "spread", "minimum", "maximum", "quantile"):
        return factor
    return factor * factor if statistic.kind == "variance" else 1 / _PERCENT


def has_parameter_units(statistic: Statistic | None) -> bool:
    """Whether the values are in the parameter's own units, so that a rounding error in them is."""
    return statistic is None or statistic.kind not in ("variance", *_PROBABILITY_TYPE)


def _percent(order: float) -> int:
    """Return a quantile's order as GRIB tells it, a whole percent."""
    percent = round(order * _PERCENT)
    if not 0 <= order <= 1 or abs(order * _PERCENT - percent) > 1e-9:
        raise UsageError(
            f"quantile: found {order:g}, wanted a whole percent from 0 to 1, such as 0.9: GRIB "
            "tells no others"
        )
    return percent


def _scaled(limit: float) -> tuple[int, int]:
    """Write a limit as GRIB does, `value * 10^-scale`: scale and value, as short as can be.

    Nine digits are kept: those of a limit that was divided, by hours say, and has noise beyond.
    """
    sign, digits, exponent = Decimal(f"{limit:.{_DIGITS}g}").normalize().as_tuple()
    if not isinstance(exponent, int) or abs(exponent) > _MOST_SCALE:
        raise UsageError(f"a threshold of {limit:g} cannot be told in GRIB")
    value = int("".join(map(str, digits)))
    if 0 < exponent <= _DIGITS - len(digits):
        exponent, value = 0, value * 10**exponent
    return -exponent, -value if sign else value
