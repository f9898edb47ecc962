"""Conditions that are kept: for the same numbers only, and no more of them than allowed."""

from dataclasses import replace

import numpy as np
import pytest

from streamer.domain import Array, Step
from streamer.downscale.condition import condition
from streamer.downscale.prepared import Conditions
from tests.streamer.downscale.small import bundle_of, step_key, step_of

BUNDLE = bundle_of(
    grib={
        "parameters": {
            "10u": {"vector": {"partner": "10v", "component": "u"}},
            "10v": {"vector": {"partner": "10u", "component": "v"}},
        }
    }
)
SIZE = 3 * 19 * 36 * 4


def wind(seed: int, crossed: bool = False) -> Step:
    rng = np.random.default_rng(seed)

    def field() -> Array:
        return rng.standard_normal(BUNDLE.shape).astype(np.float32)

    names = ("10u", "10v")
    values = {name: field() for name in names}
    return step_of(values, {name: field() for name in names} if crossed else None)


def again(step: Step) -> Step:
    """The same fields, fed once more under another name."""
    key = step_key(again="take two")
    fields = tuple(replace(field, key=key) for field in step.fields)
    return replace(step, key=key, fields=fields)


def test_a_step_that_is_asked_again_is_served_what_was_prepared() -> None:
    conditions = Conditions(BUNDLE, 10 * SIZE)
    first = conditions.of(wind(1))

    assert conditions.of(again(wind(1))) is first
    np.testing.assert_array_equal(first, condition(wind(1), BUNDLE))


def test_the_order_of_the_fields_does_not_matter() -> None:
    conditions = Conditions(BUNDLE, 10 * SIZE)
    step = wind(1)

    assert conditions.of(replace(step, fields=step.fields[::-1])) is conditions.of(step)


@pytest.mark.parametrize("part", ["coarse", "crossed_coarse"])
def test_one_other_number_is_another_condition(part: str) -> None:
    conditions = Conditions(BUNDLE, 10 * SIZE)
    step = wind(1, crossed=True)
    first = conditions.of(step)

    values = getattr(step.fields[0], part).copy()
    values[0, 0] += 1
    fields = (replace(step.fields[0], **{part: values}), *step.fields[1:])

    assert conditions.of(replace(step, fields=fields)) is not first


def test_values_that_changed_places_are_another_condition() -> None:
    conditions = Conditions(BUNDLE, 10 * SIZE)
    step = wind(1)
    u, v = step.fields
    swapped = (replace(u, parameter="10v"), replace(v, parameter="10u"))

    found = conditions.of(replace(step, fields=swapped))

    assert not np.array_equal(found, conditions.of(step))


def test_no_more_is_kept_than_allowed_and_the_longest_unused_goes_first() -> None:
    conditions = Conditions(BUNDLE, 2 * SIZE + 10)
    first, second = conditions.of(wind(1)), conditions.of(wind(2))
    conditions.of(wind(1))

    conditions.of(wind(3))

    assert conditions.held_bytes == 2 * SIZE
    assert conditions.of(wind(1)) is first
    assert conditions.of(wind(2)) is not second


@pytest.mark.parametrize("limit_bytes", [0, SIZE - 1])
def test_what_does_not_fit_is_not_kept(limit_bytes: int) -> None:
    conditions = Conditions(BUNDLE, limit_bytes)

    first = conditions.of(wind(1))

    assert conditions.held_bytes == 0
    assert conditions.of(wind(1)) is not first
