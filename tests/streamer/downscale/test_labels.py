"""The labels of a valid time, against angles that can be counted by hand."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from engines.errors import BundleError
from streamer.config import parse
from streamer.downscale.labels import labels, refuse_unknown
from streamer.model import open_model
from tests.engines import tiny

ALL = ("doy_sin", "doy_cos", "hour_sin", "hour_cos")
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def test_both_clocks_start_with_the_epoch() -> None:
    found = labels(ALL, EPOCH)

    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [0.0, 1.0, 0.0, 1.0])


def test_a_quarter_of_a_year_and_of_a_day_are_quarter_turns() -> None:
    season = labels(ALL, EPOCH + timedelta(days=365.25 / 4))
    hour = labels(ALL, EPOCH + timedelta(hours=6))

    np.testing.assert_allclose(season[:2], [1.0, 0.0], atol=1e-7)
    np.testing.assert_allclose(hour[2:], [1.0, 0.0], atol=1e-7)


@pytest.mark.parametrize("years", [-40, 4, 24, 1000])
def test_the_season_returns_after_a_julian_year_and_the_hour_after_a_day(years: int) -> None:
    time = datetime(2018, 10, 8, 9, 30, tzinfo=UTC)

    now = labels(ALL, time)
    later = labels(ALL, time + timedelta(days=365.25 * years))

    np.testing.assert_allclose(later, now, atol=1e-6)
    np.testing.assert_allclose(labels(ALL, time + timedelta(days=3))[2:], now[2:], atol=1e-6)


def test_a_day_in_october_2018_by_hand() -> None:
    """2018-10-08 09 UTC is 6855.375 days after the epoch, 18 years and 280.875 days."""
    season, hour = 2 * np.pi * 280.875 / 365.25, 2 * np.pi * 9 / 24

    found = labels(ALL, datetime(2018, 10, 8, 9, tzinfo=UTC))

    wanted = [np.sin(season), np.cos(season), np.sin(hour), np.cos(hour)]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_labels_come_in_the_bundles_order() -> None:
    time = datetime(2020, 2, 29, 17, tzinfo=UTC)

    np.testing.assert_array_equal(labels(ALL[::-1], time), labels(ALL, time)[::-1])
    assert labels((), time).shape == (0,)


def test_labels_that_nobody_knows_are_refused_by_name() -> None:
    refuse_unknown(ALL)

    with pytest.raises(BundleError, match=r"moon, tide are not known.*doy_sin"):
        refuse_unknown(("doy_sin", "moon", "tide"))
    with pytest.raises(BundleError, match="moon"):
        labels(("moon",), EPOCH)


def test_a_bundle_with_unknown_labels_does_not_open(tmp_path: Path) -> None:
    folder = tiny.write_bundle(tmp_path / "moon", labels=["hour_sin", "moon"])
    plain = {
        "bus": {"memory": True},
        "input": {"topic": "in", "steps": "0"},
        "output": {"topic": "out"},
        "model": {"bundle": str(folder)},
        "engine": {"backend": "gaussian"},
    }

    with pytest.raises(BundleError, match=r"labels moon are not known"):
        open_model(parse(plain, "a test"))
