"""How statistics are told: by the names of ecCodes' own tables, exactly, or not at all."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import eccodes
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.errors import UsageError
from streamer.domain import Statistic
from streamer.grib import codes
from streamer.grib.statistic import (
    _scaled,
    ensemble_keys,
    mars_type,
    processed_data,
    product_template,
    refuse_unencodable,
    statistic_keys,
    tables_version,
    units_factor,
)

PLAIN = ("mean", "variance", "spread", "minimum", "maximum")
ALL = [
    *(Statistic(kind) for kind in PLAIN),  # type: ignore[arg-type]
    Statistic("quantile", 0.9),
    Statistic("above", 17.2),
    Statistic("below", 3.0),
]
#: What ecCodes' code tables 4.7 and 4.9 call what we write.
TITLES = {
    "mean": "Unweighted mean of all members",
    "variance": "Variance of all ensemble members",
    "spread": "Spread of all members",
    "minimum": "Minimum of all ensemble members",
    "maximum": "Maximum of all ensemble members",
    "above": "Probability of event above upper limit",
    "below": "Probability of event below upper limit",
}
#: What it calls the templates at a point in time and over an interval.
TEMPLATES = {
    "derived": ("Derived forecast", 2, 12),
    "quantile": ("Percentile forecast", 6, 10),
    "probability": ("Probability forecast", 5, 9),
}


def family(statistic: Statistic) -> str:
    if statistic.kind in ("above", "below"):
        return "probability"
    return "quantile" if statistic.kind == "quantile" else "derived"


def dumped(folder: Path, keys: dict[str, Any], tables: int) -> dict[str, str]:
    """What ecCodes' dump says of each key of a message: its meaning, from the code tables."""
    path = folder / "dump.txt"
    identity = eccodes.codes_grib_new_from_samples("GRIB2")
    try:
        for key, value in {"tablesVersion": tables, **keys}.items():
            if value is None:
                eccodes.codes_set_missing(identity, key)
            else:
                eccodes.codes_set(identity, key, value)
        with path.open("w") as file:
            eccodes.codes_dump(identity, file, "debug")
    finally:
        eccodes.codes_release(identity)
    lines = [line for line in path.read_text().splitlines() if " = " in line]
    return {line.split(" = ")[0].split()[-1]: line.split(" = ")[1] for line in lines}


@pytest.mark.parametrize("statistic", ALL, ids=lambda statistic: statistic.text)
@pytest.mark.parametrize("over_interval", [False, True])
def test_eccodes_own_tables_call_it_what_it_is(
    tmp_path: Path, statistic: Statistic, over_interval: bool
) -> None:
    number = product_template(statistic, over_interval=over_interval)
    keys = {
        "productDefinitionTemplateNumber": number,
        **statistic_keys(statistic, 1.0, weighted=False),
    }

    found = dumped(tmp_path, keys, max(28, tables_version(statistic)))

    title, point, interval = TEMPLATES[family(statistic)]
    assert number == (interval if over_interval else point)
    told = found["productDefinitionTemplateNumber"]
    assert title in told
    assert ("interval" in told) == over_interval
    if statistic.kind != "quantile":
        key = "derivedForecast" if family(statistic) == "derived" else "probabilityType"
        assert f"[{TITLES[statistic.kind]} " in found[key]


def test_a_variance_is_unknown_to_tables_older_than_those_it_names(tmp_path: Path) -> None:
    keys = {"productDefinitionTemplateNumber": 2, "derivedForecast": 10}
    since = tables_version(Statistic("variance"))

    assert "Variance" in dumped(tmp_path, keys, since)["derivedForecast"]
    assert "Unknown" in dumped(tmp_path, keys, since - 1)["derivedForecast"]


@pytest.mark.parametrize(
    ("statistic", "weighted", "name"),
    [
        (Statistic("mean"), False, "em"),
        (Statistic("mean"), True, "wem"),
        (Statistic("spread"), False, "es"),
        (Statistic("spread"), True, "wes"),
        (Statistic("variance"), False, "est"),
        (Statistic("minimum"), True, "est"),
        (Statistic("maximum"), False, "est"),
        (Statistic("quantile", 0.1), False, "pb"),
        (Statistic("above", 1.0), False, "ep"),
        (Statistic("below", 1.0), True, "ep"),
    ],
)
def test_mars_types_are_those_of_eccodes(statistic: Statistic, weighted: bool, name: str) -> None:
    with codes.sample("reduced_gg_pl_32_grib2") as handle:
        handle.set("marsType", mars_type(statistic, weighted=weighted))

        assert handle.text("type") == name


def test_only_a_mean_has_a_code_for_weights() -> None:
    told = {
        kind: [statistic_keys(Statistic(kind), 1.0, weighted=w) for w in (False, True)]  # type: ignore[arg-type]
        for kind in PLAIN
    }

    assert told["mean"] == [{"derivedForecast": 0}, {"derivedForecast": 1}]
    assert all(plain == weighted for kind, (plain, weighted) in told.items() if kind != "mean")


@given(
    limit=st.floats(-1e9, 1e9).filter(lambda x: x == 0 or abs(x) > 1e-9),
)
def test_a_limit_is_told_to_nine_digits_and_fits_31_bits(limit: float) -> None:
    scale, value = _scaled(limit)

    told = Fraction(value) / Fraction(10) ** scale
    assert abs(told - Fraction(limit)) <= abs(Fraction(limit)) * Fraction(5, 10**9)
    assert abs(value) < 2**31
    assert abs(scale) < 127
    # No shorter way: a trailing nought is only there to stay a whole number.
    assert value % 10 or scale == 0


@given(st.integers(-(10**6), 10**6), st.integers(0, 3), st.sampled_from([1.0, 3.0, 6.0, 24.0]))
def test_a_decimal_threshold_is_told_as_it_is_written(
    digits: int, decimals: int, hours: float
) -> None:
    threshold = float(f"{digits}e-{decimals}")

    keys = statistic_keys(Statistic("above", threshold), 1 / hours, weighted=False)

    told = Fraction(keys["scaledValueOfUpperLimit"] or 0) / Fraction(10) ** (
        keys["scaleFactorOfUpperLimit"] or 0
    )
    exact = Fraction(digits, 10**decimals) * Fraction(hours)
    assert told == exact or abs(told - exact) <= abs(exact) * Fraction(5, 10**9)
    if abs(exact) < 10**6:
        assert told == exact


@pytest.mark.parametrize(
    ("threshold", "factor", "scale", "value"),
    [
        (17.2, 1.0, 1, 172),
        (0.0, 1.0, 0, 0),
        (-12.5, 1.0, 1, -125),
        (100000.0, 1.0, 0, 100000),
        (5e12, 1.0, -12, 5),
        (1.0, 1000 / 3, 3, 3),
        (1.0, 1000 / 6, 3, 6),
        (0.2, 1 / 3, 1, 6),
        (0.3333333333, 1 / 3, 0, 1),
    ],
)
def test_limits_are_in_the_messages_units(
    threshold: float, factor: float, scale: int, value: int
) -> None:
    keys = statistic_keys(Statistic("below", threshold), factor, weighted=False)

    assert (keys["scaleFactorOfUpperLimit"], keys["scaledValueOfUpperLimit"]) == (scale, value)
    assert keys["scaleFactorOfLowerLimit"] is keys["scaledValueOfLowerLimit"] is None


@pytest.mark.parametrize("percent", [0, 1, 7, 29, 50, 57, 58, 99, 100])
def test_whole_percents_are_percentiles(percent: int) -> None:
    statistic = Statistic("quantile", percent / 100)

    refuse_unencodable(statistic)
    assert statistic_keys(statistic, 1.0, weighted=False) == {"percentileValue": percent}


@pytest.mark.parametrize("order", [0.995, 0.125, 1 / 3, -0.01, 1.01, 90.0])
def test_other_quantiles_are_refused_with_what_was_found(order: float) -> None:
    with pytest.raises(UsageError, match=f"quantile: found {order:g}, wanted a whole percent"):
        refuse_unencodable(Statistic("quantile", order))


@pytest.mark.parametrize(
    ("statistic", "told"),
    [
        (Statistic("above"), "above: found None, wanted a number"),
        (Statistic("quantile"), "quantile: found None, wanted a number"),
        (Statistic("below", float("nan")), "below: found nan, wanted a number"),
        (Statistic("above", float("inf")), "above: found inf, wanted a number"),
        (Statistic("above", 1e-200), "threshold of 1e-200 cannot be told"),
        (Statistic("mean", 0.5), "mean: found the value 0.5, wanted none"),
    ],
    ids=str,
)
def test_what_grib_has_no_place_for_is_refused(statistic: Statistic, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        refuse_unencodable(statistic)


@pytest.mark.parametrize("statistic", ALL, ids=lambda statistic: statistic.text)
def test_what_can_be_told_is_not_refused(statistic: Statistic) -> None:
    refuse_unencodable(statistic)


def test_units_are_the_parameters_or_their_square_or_percent() -> None:
    factors = {s.kind: units_factor(s, 1000.0) for s in ALL}

    assert factors == {
        **dict.fromkeys(("mean", "spread", "minimum", "maximum", "quantile"), 1000.0),
        "variance": 1e6,
        "above": 0.01,
        "below": 0.01,
    }
    assert units_factor(None, 1000.0) == 1000.0


def test_the_type_of_data_is_the_inputs_but_for_members_and_probabilities() -> None:
    mean, above = Statistic("mean"), Statistic("above", 1.0)

    assert [processed_data(mean, of) for of in (0, 1, 2, 3, 4, 5)] == [0, 1, 2, 5, 5, 5]
    assert {processed_data(above, of) for of in (0, 1, 3, 4)} == {8}


def test_a_count_that_eight_bits_do_not_hold_is_missing() -> None:
    mean = Statistic("mean")

    told = [ensemble_keys(mean, n)["numberOfForecastsInEnsemble"] for n in (2, 254, 255, 510)]

    assert told == [2, 254, 255, 255]
    assert ensemble_keys(Statistic("quantile", 0.5), 8) == {}
    assert ensemble_keys(Statistic("above", 0.5), 8) == {}
