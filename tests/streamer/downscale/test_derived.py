"""Derived products: closed forms, and an independent library's answers."""

import warnings

import numpy as np
import pytest
from earthkit.meteo import thermo, wind
from hypothesis import given
from hypothesis import strategies as st

from engines.errors import UsageError
from streamer.domain import Array, Statistic
from streamer.downscale.derived import (
    DERIVED,
    derive,
    refuse_statistic,
    refuse_unknown,
    relative_humidity,
    wind_direction,
    wind_speed,
)
from streamer.grib.param_target import PARAM_TARGETS

SIX = ("2t", "10u", "10v", "tp", "2d", "skt")


def row(*values: float) -> Array:
    return np.array([values], dtype=np.float32)


def weather(draws: int = 3) -> Array:
    """Return (D, C, H, W) of the six, as wide as the globe's."""
    rng = np.random.default_rng(5)
    found = rng.standard_normal((draws, 6, 30, 40)).astype(np.float32) * 8.0
    found[:, 0] = found[:, 0] * 3.0 + 280.0
    found[:, 4] = found[:, 0] - np.abs(found[:, 4])
    return found


def test_a_wind_of_three_and_four_blows_at_five() -> None:
    np.testing.assert_array_equal(wind_speed(row(3, -3, 0), row(4, -4, 0)), row(5, 5, 0))


def test_direction_is_where_the_wind_comes_from_and_calm_is_nought() -> None:
    # From south, west, north, east, south-west, north-west, and no wind with either nought.
    u = row(0, 1, 0, -1, 1, 1, 0, -0.0, -0.0)
    v = row(1, 0, -1, 0, 1, -1, 0, -0.0, -1)

    found = wind_direction(u, v)

    np.testing.assert_allclose(found, row(180, 270, 360, 90, 225, 315, 0, 0, 360), rtol=1e-6)


@given(st.floats(-80, 80, width=32), st.floats(-80, 80, width=32))
def test_only_a_calm_has_no_direction(u: float, v: float) -> None:
    (found,) = wind_direction(row(u), row(v))[0]

    assert (found == 0.0) == (u == v == 0.0)
    assert 0.0 <= found <= 360.0


def test_speed_and_direction_give_the_wind_back() -> None:
    draws = weather()
    u, v = draws[:, 1], draws[:, 2]

    speed, angle = wind_speed(u, v), np.radians(wind_direction(u, v).astype(np.float64))

    np.testing.assert_allclose(-speed * np.sin(angle), u, atol=2e-5)
    np.testing.assert_allclose(-speed * np.cos(angle), v, atol=2e-5)


def test_another_library_finds_the_same_winds() -> None:
    draws = weather()
    u, v = draws[:, 1].astype(np.float64), draws[:, 2].astype(np.float64)

    found = derive(["10si", "10wdir"], SIX, draws)

    np.testing.assert_allclose(found[:, 0], wind.speed(u, v), rtol=1e-6)
    apart = (found[:, 1] - wind.direction(u, v) + 180.0) % 360.0 - 180.0
    assert np.abs(apart).max() < 1e-3


def test_saturation_pressures_are_those_of_the_table() -> None:
    """Goff and Gratch's, in hPa: 6.1078 at 0, 12.272 at 10, 23.373 at 20, 42.430 at 30 degrees."""
    celsius = row(10.0, 20.0, 30.0)

    ratio = relative_humidity(np.full_like(celsius, 273.15), celsius + np.float32(273.15))

    # Within the formula's own 0.3 %.
    np.testing.assert_allclose(ratio / 100.0, row(12.272, 23.373, 42.430) / 6.1078, rtol=3e-3)


def test_another_library_finds_nearly_the_same_humidity() -> None:
    """It takes Tetens' formula with the IFS's constants, which differs more in the cold."""
    draws = weather()
    is_mild = draws[:, 4] > 243.0
    theirs = thermo.relative_humidity_from_dewpoint(
        draws[:, 0].astype(np.float64), draws[:, 4].astype(np.float64)
    )

    found = derive(["2r"], SIX, draws)[:, 0]

    np.testing.assert_allclose(found[is_mild], theirs[is_mild], atol=0.3, rtol=0.0)
    assert theirs[is_mild].min() < 20.0
    assert theirs[is_mild].max() > 99.0


def test_each_derived_parameter_has_its_numbers_in_grib() -> None:
    assert set(DERIVED) == set(PARAM_TARGETS)


@given(st.floats(180, 330, width=32), st.floats(0, 60, width=32))
def test_air_is_saturated_at_its_dew_point_and_never_above_below_it(
    temperature: float, depression: float
) -> None:
    dew_point = np.float32(temperature) - np.float32(depression)

    saturated = relative_humidity(row(temperature), row(temperature))
    found = relative_humidity(row(temperature), row(float(dew_point)))

    assert saturated == 100.0
    assert 0.0 < float(found[0, 0]) <= 100.0
    nearest = np.nextafter(np.float32(temperature), np.float32(0))
    assert relative_humidity(row(temperature), row(float(nearest))) <= 100.0


def test_the_depression_is_the_difference() -> None:
    draws = weather()

    found = derive(["2dd"], SIX, draws)

    np.testing.assert_array_equal(found[:, 0], draws[:, 0] - draws[:, 4])


def test_parameters_come_in_the_order_asked_with_channels_among_them() -> None:
    draws = weather()
    kept = draws.copy()

    found = derive(["2r", "10v", "10si", "10v"], SIX, draws)

    assert found.shape == (3, 4, 30, 40)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[:, 1], draws[:, 2])
    np.testing.assert_array_equal(found[:, 3], draws[:, 2])
    np.testing.assert_array_equal(found[:, 2], wind_speed(draws[:, 1], draws[:, 2]))
    np.testing.assert_array_equal(draws, kept)


def test_a_single_draw_is_derived_as_all_of_them_are() -> None:
    draws = weather()
    names = ["10si", "10wdir", "2r", "2dd"]

    together = derive(names, SIX, draws)

    for draw, wanted in zip(draws, together, strict=True):
        np.testing.assert_array_equal(derive(names, SIX, draw), wanted)


def test_the_channels_themselves_are_not_copied() -> None:
    draws = weather()

    assert derive(SIX, SIX, draws) is draws


def test_points_without_values_have_none_afterwards_without_a_word() -> None:
    draws = weather()
    draws[..., 0, 0] = np.nan

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = derive(list(DERIVED), SIX, draws)

    assert np.isnan(found[..., 0, 0]).all()
    assert np.isfinite(found[..., 1:, 1:]).all()


@pytest.mark.parametrize(
    ("name", "channels", "said"),
    [
        ("10wd", SIX, "no parameter 10wd; did you mean 10wdir"),
        ("geopotential", ("2t",), "known are 2t, 10si, 10wdir, 2r, 2dd"),
        ("10si", ("2t", "10u"), "10si is made from 10u and 10v, but the bundle has no 10v; it has"),
        ("2r", ("10u", "10v"), "has no 2t and no 2d; it has 10u, 10v"),
    ],
)
def test_what_cannot_be_made_is_refused(name: str, channels: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        refuse_unknown([channels[0], name], channels)


def test_directions_have_no_mean() -> None:
    refuse_statistic("10si", Statistic("mean"))
    with pytest.raises(UsageError, match="mean of 10wdir means nothing"):
        refuse_statistic("10wdir", Statistic("mean"))
