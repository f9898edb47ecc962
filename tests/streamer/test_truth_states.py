"""Truth is found by its headers, on a larger grid too, and read in the bundle's units."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.errors import UsageError
from streamer.domain import Grid
from streamer.grib import codes
from streamer.grib.known import resized_globe
from streamer.grib.manifest import GribManifest, read_manifest
from streamer.truth_states import find_truth
from tests.end_to_end.six import NAMES, coarse_message, ecmwf, gfs, weather
from tests.wind import SMALL, wind_message

WINDS = ("10u", "10v")


@pytest.fixture
def manifest() -> GribManifest:
    return read_manifest(SMALL.grib)


def written(folder: Path, *messages: bytes) -> list[Path]:
    path = folder / f"{len(list(folder.iterdir()))}.grib"
    path.write_bytes(b"".join(messages))
    return [path]


def winds(step: int, **keys: Any) -> list[bytes]:
    return [wind_message(name, step, **keys) for name in WINDS]


def decoded(message: bytes) -> np.ndarray[Any, Any]:
    with codes.opened(message) as handle:
        return handle.values().reshape(SMALL.shape)


def test_states_come_by_valid_time_with_parameters_in_the_bundles_order(
    tmp_path: Path, manifest: GribManifest
) -> None:
    paths = written(tmp_path, *winds(30), wind_message("10v", 6), wind_message("10u", 6))
    paths += written(tmp_path, b"not GRIB at all", wind_message("2t", 6))

    truth = find_truth(paths, manifest, WINDS)

    assert [key.valid_time.isoformat() for key in truth.keys] == [
        "2018-10-08T06:00:00+00:00",
        "2018-10-09T06:00:00+00:00",
    ]
    assert truth.days() == (date(2018, 10, 8), date(2018, 10, 9))
    found = truth.read(truth.keys)
    assert found.shape == (2, 2, *SMALL.shape)
    for channel, name in enumerate(WINDS):
        np.testing.assert_allclose(found[0, channel], decoded(wind_message(name, 6)), atol=1e-4)


def test_of_two_forecasts_for_one_time_the_younger_counts(
    tmp_path: Path, manifest: GribManifest
) -> None:
    old, young = winds(30), winds(6, dataDate=20181009)

    truth = find_truth(written(tmp_path, *young, *old), manifest, WINDS)

    (key,) = truth.keys
    assert key.step == "6"
    np.testing.assert_allclose(truth.read([key])[0, 0], decoded(young[0]), atol=1e-4)


def test_members_are_states_of_their_own(tmp_path: Path, manifest: GribManifest) -> None:
    messages = [wind_message(name, 6, member) for name in WINDS for member in (1, 2)]

    assert [key.member for key in find_truth(written(tmp_path, *messages), manifest, WINDS).keys
            ] == [1, 2]  # fmt: skip


def test_states_that_lack_a_parameter_are_left_out_and_none_at_all_is_told(
    tmp_path: Path, manifest: GribManifest
) -> None:
    paths = written(tmp_path, *winds(6), wind_message("10u", 12))
    assert len(find_truth(paths, manifest, WINDS).keys) == 1

    with pytest.raises(UsageError, match="1 files of truth hold no 10v"):
        find_truth(written(tmp_path, wind_message("10u", 6)), manifest, WINDS)
    apart = written(tmp_path, wind_message("10u", 6), wind_message("10v", 12))
    with pytest.raises(UsageError, match="at no time do the files of truth hold all of 10u, 10v"):
        find_truth(apart, manifest, WINDS)


def test_another_grid_is_told_with_both(tmp_path: Path, manifest: GribManifest) -> None:
    other = replace(manifest, grid=Grid(90.0, 0.0, 5.0, 5.0, 37, 72))

    with pytest.raises(UsageError, match=r"0\.grib, message 1: 10u is on regular_ll 19x36.*37x72"):
        find_truth(written(tmp_path, *winds(6)), other, WINDS)


def test_a_smaller_area_is_cut_out_over_the_first_column_too(
    tmp_path: Path, manifest: GribManifest
) -> None:
    area = replace(manifest, grid=Grid(70.0, -30.0, 10.0, 10.0, 4, 6))

    truth = find_truth(written(tmp_path, *winds(6)), area, WINDS)

    whole = decoded(wind_message("10u", 6))
    wanted = np.roll(whole, 3, axis=1)[2:6, :6]
    np.testing.assert_allclose(truth.read(truth.keys)[0, 0], wanted, atol=1e-4)


def test_an_area_that_the_truth_does_not_reach_is_refused(
    tmp_path: Path, manifest: GribManifest
) -> None:
    half = replace(manifest, grid=Grid(75.0, 0.0, 10.0, 10.0, 4, 6))

    with pytest.raises(UsageError, match="wanted the bundle's fine grid"):
        find_truth(written(tmp_path, *winds(6)), half, WINDS)


def test_missing_values_are_told_when_they_are_read(tmp_path: Path, manifest: GribManifest) -> None:
    with codes.opened(wind_message("10u", 6)) as handle:
        values = handle.values()
        values[7] = 9999.0
        handle.set_all({"bitmapPresent": 1, "missingValue": 9999.0})
        handle.set_values(values)
        broken = handle.message()
    paths = written(tmp_path, broken, wind_message("10v", 6))

    truth = find_truth(paths, manifest, WINDS)

    with pytest.raises(UsageError, match=r"message 1: 10u has 1 of 684 values missing"):
        truth.read(truth.keys)
    filled = replace(
        manifest, parameters=tuple(replace(p, fill_missing=0.5) for p in manifest.parameters)
    )
    again = find_truth(paths, filled, WINDS)
    assert again.read(again.keys)[0, 0].ravel()[7] == 0.5


@pytest.mark.parametrize("sender", [ecmwf((37, 72)), gfs((37, 72))], ids=["ecmwf", "gfs"])
def test_amounts_become_rates_in_the_bundles_units_whoever_sends_them(
    tmp_path: Path, sender: Any
) -> None:
    manifest = read_manifest(resized_globe(NAMES, (37, 72)))
    messages = [coarse_message(name, 6, sender) for name in NAMES]

    truth = find_truth(written(tmp_path, *messages), manifest, NAMES)

    found = truth.read(truth.keys)[0]
    since = 0 if sender.gathers_from_start else 3
    rain = (weather("tp", 6, (37, 72)) - weather("tp", since, (37, 72))) / (6 - since)
    np.testing.assert_allclose(found[NAMES.index("tp")], rain, atol=1e-8)
    np.testing.assert_allclose(found[0], weather("2t", 6, (37, 72)), rtol=1e-4)
    np.testing.assert_allclose(found[5], weather("skt", 6, (37, 72)), rtol=1e-4)


def test_states_of_some_days_are_spread_over_them(tmp_path: Path, manifest: GribManifest) -> None:
    messages = [message for step in range(0, 60, 6) for message in winds(step)]
    truth = find_truth(written(tmp_path, *messages), manifest, WINDS)
    days = truth.days()

    assert len(truth.on(days, 99)) == 10
    assert [key.valid_time.day for key in truth.on(days, 3)] == [8, 9, 10]
    assert {key.valid_time.day for key in truth.on(days[-1:], 5)} == {10}
