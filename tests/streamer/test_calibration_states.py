"""Days are parted, and a network is shown just what it will have to draw."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.bundle import Bundle, open_manifest
from engines.errors import UsageError
from streamer.archive import StateKey
from streamer.calibration_states import labels_of, pairs_of, split_days
from streamer.downscale.products import physical
from streamer.skill import trial_from
from tests.wind import SMALL

DAYS = tuple(date(2018, 10, 6) + timedelta(days=i) for i in range(6))


def test_fits_never_see_the_days_that_are_measured() -> None:
    found = split_days(DAYS, 2)

    assert found.measure == DAYS[4:]
    assert found.choose == DAYS[3:4]
    assert found.fit == DAYS[:3]


def test_fewer_days_may_be_fitted_on() -> None:
    assert split_days(DAYS, 2, 3).fit == DAYS[1:3]


def test_a_single_day_left_is_fitted_and_chosen_on() -> None:
    found = split_days(DAYS[:2], 1)

    assert found.fit == found.choose == DAYS[:1]


@pytest.mark.parametrize(("days", "hold_back"), [(1, 1), (2, 2), (0, 1)])
def test_too_few_days_are_told(days: int, hold_back: int) -> None:
    with pytest.raises(UsageError, match=rf"states of {days} day.*besides the {hold_back}"):
        split_days(DAYS[:days], hold_back)


def bundle_of(folder: Path, **changes: Any) -> Bundle:
    return open_manifest(SMALL.write_bundle(folder / "bundle", **changes))


def test_what_is_fitted_on_is_what_draws_add_to_the_coarse_field(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path)
    rng = np.random.default_rng(0)
    truth = rng.normal(2.0, 8.0, (2, 2, *bundle.shape)).astype(np.float32)
    keys = tuple(StateKey(datetime(2018, 10, d, tzinfo=UTC), "0", 0) for d in (6, 7))
    trial = trial_from(keys, truth, bundle)

    pairs = pairs_of(trial, bundle)

    for state in range(2):
        back = physical(pairs.residual[state][None].copy(), trial.condition[state].copy(), bundle)
        np.testing.assert_allclose(back[0], truth[state], atol=1e-4)
    assert pairs.row_weights.mean() == pytest.approx(1.0)
    assert pairs.row_weights[0] < pairs.row_weights[9]
    assert labels_of(trial, bundle) is None


def test_networks_with_labels_are_told_the_valid_times(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, labels=["hour_sin", "hour_cos"])
    keys = tuple(StateKey(datetime(2018, 10, 6, h, tzinfo=UTC), "0", 0) for h in (6, 12))
    trial = trial_from(keys, np.zeros((2, 2, *bundle.shape), np.float32), bundle)

    found = labels_of(trial, bundle)

    assert found is not None
    np.testing.assert_allclose(found, [[1, 0], [0, -1]], atol=1e-6)
