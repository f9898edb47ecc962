"""What a network is tuned on: the bundle's own residuals, split by the days of its training."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from engines.bundle import Bundle, open_manifest
from engines.denoiser import Array
from engines.errors import UsageError
from streamer.archive import StateKey
from streamer.downscale.products import physical
from streamer.grib.manifest import read_manifest
from streamer.skill import trial_from
from streamer.truth_states import TruthStates
from streamer.tuning_states import TuningDays, lesson_of, tuning_days

DAYS = tuple(date(2018, 10, day) for day in (6, 7, 8, 9))


@pytest.fixture
def bundle(small_wind_bundle: Path) -> Bundle:
    return open_manifest(small_wind_bundle)


class Known(TruthStates):
    """States that no file holds: two a day, their values from their number."""

    def read(self, keys: object) -> Array:
        assert isinstance(keys, tuple)
        found = [
            np.random.default_rng(key.valid_time.day * 24 + key.valid_time.hour) for key in keys
        ]
        shape = (len(self.names), *self.manifest.grid.shape)
        return np.stack([rng.normal(2.0, 8.0, shape) for rng in found]).astype(np.float32)


def known(bundle: Bundle) -> Known:
    start = datetime(2018, 10, 6, tzinfo=UTC)
    keys = [StateKey(start + timedelta(hours=12 * i), "0", 0) for i in range(8)]
    return Known(read_manifest(bundle.grib), bundle.channels, {key: {} for key in keys})


def test_the_days_that_training_held_back_are_held_back_again() -> None:
    found = tuning_days(DAYS, ["2018-10-07", "2018-11-01"], None)

    assert found == TuningDays((DAYS[0], DAYS[2], DAYS[3]), (DAYS[1],))


def test_the_last_days_are_held_back_where_training_names_none_or_a_number_is_given() -> None:
    assert tuning_days(DAYS, [], None).held_back == DAYS[2:]
    assert tuning_days(DAYS, ["2018-10-07"], 1).held_back == DAYS[3:]


@pytest.mark.parametrize("last", [0, 4, 9])
def test_days_must_be_left_on_both_sides(last: int) -> None:
    with pytest.raises(UsageError, match="at least 1 to learn from and 1 to hold back"):
        tuning_days(DAYS, [], last)


def test_a_lesson_holds_residuals_that_give_the_truth_back(bundle: Bundle) -> None:
    truth, days = known(bundle), TuningDays(DAYS[:3], DAYS[3:])

    lesson = lesson_of(truth, days, bundle)

    assert len(lesson.held_back.residual) == 2
    state = truth.read(truth.keys[6:7])[0]
    given = np.concatenate([lesson.held_back.condition[0], bundle.constants])
    found = physical(lesson.held_back.residual[:1], given, bundle)
    np.testing.assert_allclose(found[0], state, atol=1e-3)
    assert np.array_equal(lesson.learn.constants, bundle.constants)


def test_a_globe_is_learnt_once_for_every_place_of_its_boxes(bundle: Bundle) -> None:
    truth, days = known(bundle), TuningDays(DAYS[:3], DAYS[3:])

    learn = lesson_of(truth, days, bundle).learn

    # Boxes are two columns wide.
    assert len(learn.residual) == 2 * 6
    state = truth.read(truth.keys[:1])[0]
    for roll in range(2):
        of_state = slice(6 * roll, 6 * roll + 1)
        given = np.concatenate([learn.condition[of_state][0], bundle.constants])
        found = physical(learn.residual[of_state], given, bundle)
        np.testing.assert_allclose(found[0], state, atol=1e-3)
    apart = learn.condition[0] - learn.condition[6]
    assert np.abs(apart).mean() > 0.1 * np.abs(learn.condition[0]).mean()
    # Two columns further boxes hold the same points again.
    rolled = np.roll(truth.read(truth.keys[:6]), 2, axis=-1)
    again = np.roll(trial_from(truth.keys[:6], rolled, bundle).condition, -2, axis=-1)
    np.testing.assert_allclose(again, learn.condition[:6], atol=1e-5)


def test_a_globe_is_mirrored_only_where_all_its_constants_are_known(bundle: Bundle) -> None:
    truth, days = known(bundle), TuningDays(DAYS[:3], DAYS[3:])
    plain = replace(bundle, constant_names=("sin_latitude", "z", "lsm"))
    strange = replace(bundle, constant_names=("sin_latitude", "z", "wind farms"))

    assert lesson_of(truth, days, plain).learn.mirror is not None
    assert lesson_of(truth, days, strange).learn.mirror is None


def test_a_network_with_labels_is_not_tuned(bundle: Bundle) -> None:
    labelled = replace(bundle, labels=("day of year",))

    with pytest.raises(UsageError, match="takes the labels day of year"):
        lesson_of(known(bundle), TuningDays(DAYS[:3], DAYS[3:]), labelled)
