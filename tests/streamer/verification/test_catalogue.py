"""Fields of files are listed by what they are, statistics and amounts among them."""

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.errors import UsageError
from streamer.domain import Interval, Statistic
from streamer.grib import codes
from streamer.grib.known import resized_globe
from streamer.grib.manifest import read_manifest
from streamer.verification.catalogue import catalogue
from tests.end_to_end.six import NAMES, coarse_message, ecmwf, gfs, weather
from tests.streamer.grib_files import GLOBE, fine, summary, written
from tests.wind import SMALL, wind_message

NIGHT = datetime(2018, 10, 8, tzinfo=UTC)


def values_of(message: bytes) -> np.ndarray[Any, Any]:
    with codes.opened(message) as handle:
        return handle.values().reshape(SMALL.shape)


def test_draws_are_listed_with_their_numbers_and_read_as_they_were_written(tmp_path: Path) -> None:
    draws = np.random.default_rng(0).normal(size=(3, *GLOBE.shape))
    paths = written(tmp_path, {"a.grib2": fine(wind_message("10u", 6), draws)})

    found = catalogue(paths)

    assert [one.member for one in found] == [0, 1, 2]
    assert {(one.name, one.units, one.grid) for one in found} == {("10u", "m s**-1", GLOBE)}
    moment = found[0].moment
    assert (moment.reference_time, moment.minutes, moment.duration) == (NIGHT, 360, 0)
    assert moment.valid_time == datetime(2018, 10, 8, 6, tzinfo=UTC)
    np.testing.assert_allclose(np.stack([one.values() for one in found]), draws, atol=1e-3)


@pytest.mark.parametrize(
    "statistic",
    [
        Statistic("mean"),
        Statistic("spread"),
        Statistic("quantile", 0.9),
        Statistic("above", 17.2),
        Statistic("below", 3.0),
    ],
    ids=lambda one: one.text,
)
def test_statistics_are_told_from_draws_and_probabilities_are_shares(
    tmp_path: Path, statistic: Statistic
) -> None:
    values = np.random.default_rng(0).random(GLOBE.shape)
    message = summary(wind_message("10u", 6), values, statistic, "10si")

    (found,) = catalogue(written(tmp_path, {"a.grib2": message}))

    assert found.statistic == statistic
    assert found.name == "10si"
    np.testing.assert_allclose(found.values(), values, atol=1e-3)


def test_a_parameter_without_a_name_in_eccodes_has_ours(tmp_path: Path) -> None:
    message = summary(wind_message("2t", 6), np.ones(GLOBE.shape), Statistic("mean"), "2dd")

    (found,) = catalogue(written(tmp_path, {"a.grib2": message}))

    assert found.name == "2dd"


def test_vertical_levels_are_parameters_of_their_own(tmp_path: Path) -> None:
    levels: dict[str, Any] = {"typeOfLevel": "isobaricInhPa"}
    messages = b"".join(wind_message("t", 6, **levels, level=level) for level in (500, 850))

    found = catalogue(written(tmp_path, {"a.grib2": messages}))

    assert [one.name for one in found] == ["t@500", "t@850"]


@pytest.mark.parametrize("sender", [ecmwf((37, 72)), gfs((37, 72))], ids=["ecmwf", "gfs"])
def test_amounts_know_since_when_and_a_bundle_makes_them_rates_in_its_units(
    tmp_path: Path, sender: Any
) -> None:
    manifest = read_manifest(resized_globe(NAMES, (37, 72)))
    paths = written(tmp_path, {"a.grib": coarse_message("tp", 6, sender)})
    since = 0 if sender.gathers_from_start else 3

    (found,) = catalogue(paths, manifest)
    (plain,) = catalogue(paths)

    rain = weather("tp", 6, (37, 72)) - weather("tp", since, (37, 72))
    assert (found.name, found.moment.begins, found.per_hour) == ("tp", 60 * since, True)
    assert plain.moment == found.moment
    assert not plain.per_hour
    np.testing.assert_allclose(found.values(), rain / (6 - since), atol=1e-8)


def test_an_interval_of_a_published_amount_is_kept(tmp_path: Path) -> None:
    coarse = coarse_message("tp", 6, gfs((37, 72)))
    message = fine(coarse, np.ones((1, *GLOBE.shape)), parameter="tp", interval=Interval(180, 360))

    (found,) = catalogue(written(tmp_path, {"a.grib2": message}))

    assert (found.moment.begins, found.moment.minutes) == (180, 360)


def test_what_is_no_grib_is_passed_by_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sound = wind_message("10u", 6)
    paths = written(tmp_path, {"a.txt": b"notes", "b.grib2": sound + b"??" + sound[:50]})

    with caplog.at_level(logging.WARNING):
        found = catalogue(paths)

    assert len(found) == 1
    assert "a.txt" in caplog.text
    assert "b.grib2" in caplog.text


def test_missing_values_are_refused_when_they_are_read(tmp_path: Path) -> None:
    with codes.opened(wind_message("10u", 6)) as handle:
        values = handle.values()
        values[7] = 9999.0
        handle.set_all({"bitmapPresent": 1, "missingValue": 9999.0})
        handle.set_values(values)
        broken = handle.message()

    (found,) = catalogue(written(tmp_path, {"a.grib2": broken}))

    with pytest.raises(UsageError, match=r"a\.grib2: 10u of 2018-10-08 06:00 has 1 missing"):
        found.values()


def test_a_grid_that_is_not_regular_is_listed_and_not_read(tmp_path: Path) -> None:
    with codes.sample("reduced_gg_sfc_grib2") as handle:
        handle.set("shortName", "2t")
        message = handle.message()

    (found,) = catalogue(written(tmp_path, {"a.grib2": message}))

    assert found.grid is None
    with pytest.raises(UsageError, match=r"reduced_gg N32.*wanted regular_ll"):
        found.values()
