"""MARS step lists, as the config writes them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.steps import StepsError, parse_list, parse_steps

MIDNIGHT = datetime(2018, 10, 8, 0, tzinfo=UTC)


def hours(*steps: float) -> tuple[int, ...]:
    return tuple(round(60 * step) for step in steps)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0/to/12/by/3", hours(0, 3, 6, 9, 12)),
        ("0/3/6", hours(0, 3, 6)),
        ("6", hours(6)),
        (6, hours(6)),
        ([0, "3/6", "9/to/15/by/6"], hours(0, 3, 6, 9, 15)),
        ("0/to/2/by/1/5/to/8/by/3", hours(0, 1, 2, 5, 8)),
        ("0/to/2/by/30m", hours(0, 0.5, 1, 1.5, 2)),
        ("15m/1h/1h30m", hours(0.25, 1, 1.5)),
        (" 0 / TO / 6 / By / 6 ", hours(0, 6)),
        ("0/to/10/by/4", hours(0, 4, 8)),
        ("6/3/3/0/to/6/by/3", hours(0, 3, 6)),
    ],
)
def test_a_list_of_steps_is_read_as_mars_reads_it(text: object, wanted: tuple[int, ...]) -> None:
    assert parse_list(text) == wanted


@given(st.integers(0, 200), st.integers(0, 200), st.integers(1, 24), st.integers(201, 400))
def test_ranges_join_like_sets(first: int, length: int, width: int, single: int) -> None:
    text = f"{first}/to/{first + length}/by/{width}/{single}"

    found = parse_list(text)

    hours_wanted = {*range(first, first + length + 1, width), single}
    assert found == tuple(60 * hour for hour in sorted(hours_wanted))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty step"),
        ("0//6", "empty step"),
        ([], "not a list of steps"),
        (None, "not a list of steps"),
        (True, "not a list of steps"),
        (1.5, "not a list of steps"),
        ("0/to/120", "not a whole range"),
        ("0/to/120/by", "not a whole range"),
        ("0/to/120/3", "not a whole range"),
        ("0/to/120/by/0", "goes by 0"),
        ("120/to/0/by/3", "runs backwards"),
        ("0/to/six/by/3", "'six' is not a step"),
        ("-3", "'-3' is not a step"),
        ("by/3", "'by' is not a step"),
        ("0/to/99999999/by/1m", "more than 10000 steps"),
        ({0: "0/to/x/by/3"}, "reference hour 0"),
        ({24: "0"}, "24 is not a reference hour"),
        ({"noon": "0"}, "'noon' is not a reference hour"),
        ({6: "0", "06": "3"}, "reference hour 6 is named twice"),
        ({}, "mapping of steps is empty"),
    ],
)
def test_a_list_that_is_no_list_is_refused_with_what_was_found(
    text: object, complaint: str
) -> None:
    with pytest.raises(StepsError, match=complaint):
        parse_steps(text)


def test_a_mapping_gives_each_reference_hour_its_own_steps() -> None:
    steps = parse_steps({0: "0/to/6/by/3", 6: "0/3"})

    assert steps.of(MIDNIGHT) == hours(0, 3, 6)
    assert steps.of(MIDNIGHT.replace(hour=6)) == hours(0, 3)
    assert steps.of(MIDNIGHT.replace(hour=12)) == ()


def test_one_list_holds_for_every_reference_hour() -> None:
    steps = parse_steps("0/3")

    assert steps.of(MIDNIGHT) == steps.of(MIDNIGHT.replace(hour=18)) == hours(0, 3)
