"""Fields to steps, steps to runs, whatever the order they come in."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.domain import Field, Origin, Reason, Rejected, RunKey, StepKey, Unwanted
from streamer.intake.assembly import Assembler, AssemblyError
from streamer.intake.events import (
    Added,
    Completed,
    DuplicateField,
    EndedRun,
    EndedStep,
    ExpiredStep,
    Kept,
    Outcome,
    RunEnded,
)
from streamer.intake.runs import names_step
from streamer.intake.settings import AssemblySettings
from tests.streamer.intake.world import PARAMETERS, START, make_field, make_run

HOUR = timedelta(hours=1)
MINUTES = (0, 180)
RUN = make_run()
STEP = StepKey(RUN, 180)


def make_assembler(
    expected: Callable[[RunKey], tuple[int, ...]] = lambda _: MINUTES,
    max_age_h: float | None = None,
) -> Assembler:
    settings = AssemblySettings(
        PARAMETERS, expected, expire_after_s=3 * 3600, repeat_horizon_h=48, max_age_h=max_age_h
    )
    assembler = Assembler(settings)
    assembler.restore([], [], [0, 1])
    return assembler


class Feeder:
    """Feeds an assembler with one record a field."""

    def __init__(self, assembler: Assembler) -> None:
        self.assembler = assembler
        self.offset = -1

    def __call__(
        self,
        field: Field,
        *,
        at: timedelta = timedelta(0),
        partition: int = 0,
        is_run_spread: bool = False,
    ) -> Added:
        self.offset += 1
        origin = Origin("in", partition, self.offset)
        time = START + at
        return self.assembler.add(field, origin, time, time, is_run_spread=is_run_spread)

    def complete(self, key: StepKey, at: timedelta = timedelta(0)) -> RunEnded | None:
        for parameter in PARAMETERS:
            self(make_field(key, parameter), at=at)
        return self.assembler.end(key, Outcome.COMPLETE)


def expired(events: object) -> list[ExpiredStep]:
    assert isinstance(events, list)
    return [event for event in events if isinstance(event, ExpiredStep)]


KEYS = [StepKey(make_run(member, hour), minutes) for member in range(2) for hour in (0, 6)
        for minutes in MINUTES]  # fmt: skip
ALL = [(key, parameter) for key in KEYS for parameter in PARAMETERS]


@given(st.permutations(ALL), st.lists(st.sampled_from(ALL), max_size=12), st.randoms())
def test_any_order_with_any_duplicates_gives_the_same_steps_and_runs(
    order: list[tuple[StepKey, str]], again: list[tuple[StepKey, str]], chance: object
) -> None:
    feed = Feeder(make_assembler())
    results: Counter[object] = Counter()
    for key, parameter in [*order, *again]:
        added = feed(make_field(key, parameter))
        if isinstance(added, Completed):
            assert [f.parameter for f in added.step.fields] == list(PARAMETERS)
            assert all(f.key == key for f in added.step.fields)
            run = feed.assembler.end(key, Outcome.COMPLETE)
            results[key] += 1
            if run:
                results[run.key] += 1
                assert run.outcomes == tuple((m, Outcome.COMPLETE) for m in MINUTES)

    assert results == Counter([*KEYS, *{key.run for key in KEYS}])
    assert feed.assembler.open_count == feed.assembler.open_run_count == 0


@given(st.lists(st.sampled_from(ALL), max_size=20))
def test_every_origin_is_given_back_once(fed: list[tuple[StepKey, str]]) -> None:
    feed = Feeder(make_assembler())
    back: list[Origin] = []
    for key, parameter in fed:
        match feed(make_field(key, parameter)):
            case Completed(step=step):
                feed.assembler.end(step.key, Outcome.COMPLETE)
                back += step.origins
            case DuplicateField(origin=origin):
                back.append(origin)
    back += [origin for event in expired(feed.assembler.finish()) for origin in event.origins]

    assert sorted(origin.offset for origin in back) == list(range(len(fed)))


def test_a_duplicate_says_whether_its_bytes_are_the_same() -> None:
    feed = Feeder(make_assembler())
    feed(make_field(STEP, "10u"))

    same = feed(make_field(STEP, "10u"))
    other = feed(make_field(STEP, "10u", digest=b"other"))
    done = feed(make_field(STEP, "10v"))
    flying = feed(make_field(STEP, "10v", digest=b"other"))

    assert same == DuplicateField(Origin("in", 0, 1), same_bytes=True)
    assert other == DuplicateField(Origin("in", 0, 2), same_bytes=False)
    assert isinstance(done, Completed)
    assert done.step.fields[0].digest == b"first"
    assert flying == DuplicateField(Origin("in", 0, 4), same_bytes=False)


@pytest.mark.parametrize("outcome", [Outcome.COMPLETE, Outcome.FAILED, Outcome.DROPPED])
def test_a_late_duplicate_does_not_reopen_a_step_that_ended(outcome: Outcome) -> None:
    feed = Feeder(make_assembler())
    for parameter in PARAMETERS:
        feed(make_field(STEP, parameter))
    feed.assembler.end(STEP, outcome)

    late = feed(make_field(STEP, "10u"), at=47 * HOUR)

    assert late == DuplicateField(Origin("in", 0, 2), same_bytes=None)


def test_beyond_the_repeat_horizon_a_feed_is_a_new_forecast() -> None:
    feed = Feeder(make_assembler())
    feed.complete(STEP)
    feed.assembler.expire(0, START + 49 * HOUR)

    assert feed(make_field(STEP, "10u"), at=49 * HOUR) == Kept()


def test_another_partitions_clock_forgets_nothing_of_ours() -> None:
    feed = Feeder(make_assembler())
    feed.complete(STEP)
    feed.assembler.expire(1, START + 90 * HOUR)

    assert isinstance(feed(make_field(STEP, "10u")), DuplicateField)


def test_a_field_on_another_grid_never_joins_a_step() -> None:
    feed = Feeder(make_assembler())
    feed(make_field(STEP, "10u", grid="1x1"))

    refused = feed(make_field(STEP, "10v", grid="2x2"))
    done = feed(make_field(STEP, "10v", grid="1x1"))

    assert isinstance(refused, Rejected)
    assert refused.reason is Reason.GRID_MISMATCH
    assert "10v of kwbc/gfs/-/201810080000/0/3 is on grid 2x2" in refused.text
    assert isinstance(done, Completed)
    assert done.rejected == (Origin("in", 0, 1),)


def test_the_later_half_of_a_step_from_two_partitions_is_split() -> None:
    feed = Feeder(make_assembler())
    feed(make_field(STEP, "10u"), partition=0)

    refused = feed(make_field(STEP, "10v"), partition=1)

    assert isinstance(refused, Rejected)
    assert refused.reason is Reason.SPLIT
    assert "partition 1" in refused.text


def test_what_nobody_asked_for_is_unwanted() -> None:
    feed = Feeder(make_assembler(max_age_h=24))

    assert feed(make_field(STEP, "msl")) == Unwanted("parameter")
    assert feed(make_field(StepKey(RUN, 60), "10u")) == Unwanted("step")
    assert feed(make_field(STEP, "10u"), at=25 * HOUR) == Unwanted("old")
    assert feed.assembler.open_run_count == 0


def test_a_step_that_is_open_is_never_too_old() -> None:
    feed = Feeder(make_assembler(max_age_h=24))
    feed(make_field(STEP, "10u"), at=23 * HOUR)

    assert isinstance(feed(make_field(STEP, "10v"), at=25 * HOUR), Completed)


def test_a_step_expires_after_its_newest_record_naming_what_is_missing() -> None:
    feed = Feeder(make_assembler())
    feed(make_field(STEP, "10v"))
    feed(make_field(STEP, "10v"), at=HOUR)

    assert feed.assembler.expire(0, START + 3 * HOUR - timedelta(seconds=1)) == []
    assert feed.assembler.expire(0, None) == []
    assert feed.assembler.expire(1, START + 30 * HOUR) == []
    step, *_ = expired(feed.assembler.expire(0, START + 3 * HOUR))
    assert (step.key, step.missing) == (STEP, ("10u",))
    assert step.origins == (Origin("in", 0, 0),)
    assert step.newest_record_time == START


def test_a_step_that_expired_reopens_by_a_new_record_and_may_complete() -> None:
    feed = Feeder(make_assembler())
    feed(make_field(STEP, "10u"))
    feed.assembler.expire(0, START + 3 * HOUR)

    assert feed(make_field(STEP, "10u"), at=4 * HOUR) == Kept(reopened=True)
    assert isinstance(feed(make_field(STEP, "10v"), at=4 * HOUR), Completed)


def test_a_record_that_an_expired_step_has_seen_does_not_reopen_it_after_a_restart() -> None:
    assembler = make_assembler()
    ended = EndedStep(STEP, Outcome.EXPIRED, 0, START, frozenset({(0, 7)}))
    assembler.restore([ended], [], [0, 1])
    field = make_field(STEP, "10u")

    seen = assembler.add(field, Origin("in", 0, 7, message=1), START, START)
    fresh = assembler.add(field, Origin("in", 0, 8), START, START)

    assert seen == DuplicateField(Origin("in", 0, 7, message=1), same_bytes=None)
    assert fresh == Kept(reopened=True)


def test_a_run_ends_once_with_the_outcome_of_every_step() -> None:
    feed = Feeder(make_assembler())

    assert feed.complete(StepKey(RUN, 180)) is None
    ended = feed.complete(StepKey(RUN, 0), at=HOUR)

    outcomes = ((0, Outcome.COMPLETE), (180, Outcome.COMPLETE))
    assert ended == RunEnded(RUN, 0, outcomes, START + HOUR)


def test_a_run_that_falls_silent_ends_with_its_unseen_steps_expired() -> None:
    feed = Feeder(make_assembler())
    feed.complete(StepKey(RUN, 0))

    assert feed.assembler.expire(0, START + 2 * HOUR) == []
    unseen, run = feed.assembler.expire(0, START + 3 * HOUR)
    assert unseen == ExpiredStep(STEP, 0, PARAMETERS, (), START)
    assert run == RunEnded(RUN, 0, ((0, Outcome.COMPLETE), (180, Outcome.EXPIRED)), START)
    assert feed.assembler.expire(0, START + 4 * HOUR) == []


def test_a_run_waits_for_its_steps_in_flight() -> None:
    feed = Feeder(make_assembler())
    for parameter in PARAMETERS:
        feed(make_field(STEP, parameter))

    assert feed.assembler.expire(0, START + 30 * HOUR) == []
    assert feed.assembler.in_flight_count(0) == 1
    assert feed.assembler.end(STEP, Outcome.COMPLETE) is None
    assert [type(e) for e in feed.assembler.expire(0, START + 30 * HOUR)] == [ExpiredStep, RunEnded]


def test_a_reopened_run_ends_again_when_the_late_step_does() -> None:
    feed = Feeder(make_assembler())
    feed.complete(StepKey(RUN, 0))
    feed.assembler.expire(0, START + 3 * HOUR)

    ended = feed.complete(STEP, at=4 * HOUR)

    assert ended is not None
    assert ended.outcomes == ((0, Outcome.COMPLETE), (180, Outcome.COMPLETE))


@pytest.mark.parametrize("by", ["key", "partition"])
def test_a_run_that_may_lie_in_several_partitions_never_ends(by: str) -> None:
    feed = Feeder(make_assembler())
    feed(make_field(StepKey(RUN, 0), "10u"), is_run_spread=by == "key")
    feed(make_field(STEP, "10u"), partition=1 if by == "partition" else 0)

    endings = feed.assembler.expire(0, START + 30 * HOUR)
    endings += feed.assembler.expire(1, START + 30 * HOUR)

    assert [type(ending) for ending in endings] == [ExpiredStep, ExpiredStep]
    assert feed.assembler.is_run_spread(RUN)


def test_which_runs_are_open_is_rebuilt_from_what_was_published() -> None:
    other = make_run(member=1)
    steps = [EndedStep(StepKey(run, 0), Outcome.COMPLETE, 0, START) for run in (RUN, other)]
    assembler = make_assembler()

    assembler.restore(steps, [EndedRun(other, 0, START)], [0, 1])
    unseen, run = assembler.expire(0, START + 3 * HOUR)

    assert isinstance(unseen, ExpiredStep)
    assert unseen.key == STEP
    assert isinstance(run, RunEnded)
    assert run.key == RUN


def test_a_run_of_a_partition_that_is_not_ours_is_not_ended_here() -> None:
    assembler = make_assembler()

    assembler.restore([EndedStep(STEP, Outcome.COMPLETE, 5, START)], [], [0, 1])

    assert assembler.open_run_count == 0
    late = assembler.add(make_field(STEP, "10u"), Origin("in", 0, 3), START, START)
    assert isinstance(late, DuplicateField)


def test_reading_back_after_a_rebalance_leaves_the_partitions_that_stayed_alone() -> None:
    feed = Feeder(make_assembler())
    feed.complete(StepKey(RUN, 0))
    feed.complete(STEP)

    # The run's own record is on its way out and cannot be read back yet.
    back = [EndedStep(StepKey(RUN, 0), Outcome.COMPLETE, 0, START)]
    feed.assembler.restore(back, [], [2])

    assert feed.assembler.open_run_count == 0


def test_an_abandoned_partition_leaves_nothing_behind() -> None:
    feed = Feeder(make_assembler())
    feed.complete(StepKey(RUN, 0))
    feed(make_field(STEP, "10u"))

    feed.assembler.abandon(0)

    assert feed.assembler.open_count == feed.assembler.open_run_count == 0
    assert feed.assembler.expire(0, START + 30 * HOUR) == []
    assert feed(make_field(StepKey(RUN, 0), "10u")) == Kept()


def test_a_step_that_is_not_in_flight_cannot_end() -> None:
    with pytest.raises(AssemblyError, match="not in flight"):
        make_assembler().end(STEP, Outcome.COMPLETE)


def test_the_oldest_step_can_be_given_up_before_its_time() -> None:
    feed = Feeder(make_assembler())
    feed(make_field(STEP, "10u"), at=HOUR)
    feed(make_field(StepKey(RUN, 0), "10u"))
    size = feed.assembler.open_bytes

    of_partition = expired(feed.assembler.expire_oldest(0))

    assert [step.key for step in of_partition] == [STEP]
    assert feed.assembler.open_bytes == size // 2
    assert feed.assembler.expire_oldest(1) == []
    assert [s.key for s in expired(feed.assembler.expire_oldest())] == [StepKey(RUN, 0)]


def test_the_end_of_the_input_ends_what_is_incomplete_and_only_the_steps_expected() -> None:
    feed = Feeder(make_assembler(expected=lambda run: (0, 180) if run == RUN else (0,)))
    other = make_run(member=1)
    feed(make_field(STEP, "10u"))
    feed(make_field(StepKey(other, 0), "10u"))

    endings = feed.assembler.finish()

    assert {e.key for e in expired(endings)} == {STEP, StepKey(RUN, 0), StepKey(other, 0)}
    assert {e.key for e in endings if isinstance(e, RunEnded)} == {RUN, other}


def test_what_is_remembered_stays_bounded() -> None:
    feed = Feeder(make_assembler(expected=lambda _: (0,)))
    for hour in range(0, 24 * 60, 6):
        feed.complete(StepKey(make_run(hour=hour), 0), at=hour * HOUR)
        feed.assembler.expire(0, START + hour * HOUR)

    assert len(feed.assembler._ended) <= 10
    assert len(feed.assembler._runs._ended) <= 10
    assert feed.assembler.open_run_count == 0


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        (b"kwbc/gfs/-/201810080000/0/3", True),
        (b"kwbc/gfs/-/201810080000/0/30m", True),
        (b"kwbc/gfs/-/201810080000/0", False),
        (b"gfs", False),
        (None, False),
    ],
)
def test_a_key_of_six_parts_names_the_step(key: bytes | None, wanted: bool) -> None:
    assert names_step(key) is wanted


def test_what_another_partition_split_off_is_none_of_the_steps_dead_letters() -> None:
    feed = Feeder(make_assembler())
    feed(make_field(STEP, "10u"), partition=0)
    feed(make_field(STEP, "10v"), partition=1)

    done = feed(make_field(STEP, "10v"), partition=0)

    assert isinstance(done, Completed)
    assert done.rejected == ()
