"""Record time: a backlog does not expire at once, and nobody stops or hurries the clock."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from streamer.intake.clock import RecordClock

NOW = datetime(2018, 10, 8, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
Ages = st.lists(st.timedeltas(timedelta(0), timedelta(days=30)), min_size=1)


@given(Ages)
def test_in_a_backlog_it_shows_the_newest_record_in_whatever_order(ages: list[timedelta]) -> None:
    clock = RecordClock()
    for age in ages:
        clock.see(NOW - age, NOW)

    assert clock.time(NOW) == NOW - min(ages)


def test_it_shows_nothing_before_the_first_record() -> None:
    assert RecordClock().time(NOW) is None


def test_at_the_end_of_the_partition_it_is_wall_time() -> None:
    clock = RecordClock()
    clock.see(NOW - 5 * HOUR, NOW)
    clock.reach_end()

    assert clock.time(NOW) == NOW
    assert clock.time(NOW + HOUR) == NOW + HOUR


def test_a_backlog_that_shows_up_later_does_not_expire_at_once() -> None:
    clock = RecordClock()
    clock.reach_end()
    later = NOW + 10 * HOUR

    clock.see(NOW + HOUR, later)

    assert clock.time(later) == NOW + HOUR


@given(st.timedeltas(timedelta(minutes=2), timedelta(days=400)))
def test_a_producer_from_tomorrow_does_not_move_it(ahead: timedelta) -> None:
    clock = RecordClock()
    clock.see(NOW - 5 * HOUR, NOW)

    record_time = clock.see(NOW + ahead, NOW)

    assert record_time == NOW
    assert clock.time(NOW) == NOW - 5 * HOUR


def test_a_producer_whose_clock_is_seconds_ahead_moves_it_to_wall_time() -> None:
    clock = RecordClock()

    clock.see(NOW + timedelta(seconds=3), NOW)

    assert clock.time(NOW) == NOW


@given(Ages)
def test_a_crash_loop_cannot_stop_it(ages: list[timedelta]) -> None:
    shown = []
    for life in range(1, len(ages) + 1):
        clock = RecordClock()
        for age in ages[:life]:
            clock.see(NOW - age, NOW)
        shown.append(clock.time(NOW))

    assert shown == [NOW - min(ages[:life]) for life in range(1, len(ages) + 1)]


def test_a_record_without_a_timestamp_is_as_old_as_now() -> None:
    clock = RecordClock()

    assert clock.see(None, NOW) == NOW
    assert clock.time(NOW) is None
