"""An accumulation serves two steps: its own, and the next, which may end long before or after."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from streamer.domain import Field, Origin, Rejected, StepKey, Unwanted
from streamer.intake.assembly import Assembler
from streamer.intake.events import (
    Completed,
    DuplicateField,
    EndedStep,
    ExpiredStep,
    Kept,
    LetGo,
    Outcome,
    RunEnded,
)
from streamer.intake.settings import AssemblySettings
from tests.streamer.intake.world import ACCUMULATED, START, make_field, make_rain, make_run

HOUR = timedelta(hours=1)
MINUTES = (0, 180, 360)
RUN = make_run()
FIRST, SECOND, THIRD = (StepKey(RUN, minutes) for minutes in MINUTES)
Taken = Kept | Completed | DuplicateField | Rejected | Unwanted


class Rain:
    """Feeds an assembler of 10u and tp, one record a field, and knows what holds its origins."""

    def __init__(self, *ended: EndedStep) -> None:
        settings = AssemblySettings(
            ("10u", "tp"), lambda _: MINUTES, 3 * 3600.0, accumulated=ACCUMULATED
        )
        self.assembler = Assembler(settings)
        self.assembler.restore(ended, [], [0, 1])
        self.holds: list[Origin] = []
        self.offset = -1

    def __call__(
        self,
        field: Field,
        at: timedelta = timedelta(0),
        partition: int = 0,
        offset: int | None = None,
        *,
        is_run_spread: bool = False,
    ) -> tuple[Taken, Kept | Completed | None]:
        self.offset = self.offset + 1 if offset is None else offset
        origin, time = Origin("in", partition, self.offset), START + at
        added = self.assembler.add(field, origin, time, time, is_run_spread=is_run_spread)
        lent = self.assembler.lend(field, origin, time, time)
        for one in (added, lent):
            if isinstance(one, Kept | Completed):
                self.holds.append(origin)
                for needless in one.let_go:
                    self.holds.remove(needless)
        return added, lent

    def end(self, completed: object, outcome: Outcome = Outcome.COMPLETE) -> RunEnded | None:
        assert isinstance(completed, Completed)
        for origin in completed.step.origins:
            self.holds.remove(origin)
        return self.assembler.end(completed.step.key, outcome)

    def expire(self, at: timedelta) -> list[ExpiredStep | LetGo | RunEnded]:
        endings = self.assembler.expire(0, START + at)
        for ending in endings:
            for origin in () if isinstance(ending, RunEnded) else ending.origins:
                self.holds.remove(origin)
        return endings

    @property
    def held(self) -> list[int]:
        return sorted(origin.offset for origin in self.holds)


def wind(key: StepKey) -> Field:
    return make_field(key, "10u")


def completed(taken: object) -> Completed:
    assert isinstance(taken, Completed)
    return taken


def test_a_step_before_anything_fell_needs_no_accumulation() -> None:
    rain = Rain()

    added, lent = rain(wind(FIRST))

    assert lent is None
    step = completed(added).step
    assert [field.parameter for field in step.fields] == ["10u"]
    assert step.since is None
    assert rain(make_rain(FIRST, 0)) == (Unwanted("parameter"), None)


def test_a_field_that_the_next_step_needs_outlives_its_own() -> None:
    rain = Rain()
    rain(wind(SECOND))
    added, lent = rain(make_rain(SECOND, 0))

    assert lent == Kept()
    assert completed(added).step.since == 0
    rain.end(added)
    assert rain.held == [1]
    rain(wind(THIRD))
    last = completed(rain(make_rain(THIRD, 0))[0])
    assert [origin.offset for origin in last.step.origins] == [2, 3, 1]
    assert [(f.parameter, f.key, f.message) for f in last.step.before] == [("tp", SECOND, b"")]
    assert last.step.since == 180
    rain.end(last)
    assert rain.held == []


def test_the_next_step_may_be_there_first() -> None:
    rain = Rain()
    rain(wind(THIRD))
    assert rain(make_rain(THIRD, 0)) == (Kept(), None)
    rain(wind(SECOND))

    added, lent = rain(make_rain(SECOND, 0))

    assert completed(added).step.key == SECOND
    assert completed(lent).step.key == THIRD
    rain.end(lent)
    assert rain.held == [2, 3]
    rain.end(added)
    assert rain.held == []


def test_what_is_not_needed_is_let_go_at_once() -> None:
    """A message since the last step is its step's amount by itself."""
    rain = Rain()
    assert rain(make_rain(SECOND, 0)) == (Kept(), Kept())
    assert rain.held == [0, 0]

    added, _ = rain(make_rain(THIRD, 180))

    assert added == Kept(let_go=(Origin("in", 0, 0),))
    assert rain.held == [0, 1]
    assert completed(rain(wind(THIRD))[0]).step.before == ()


def test_the_last_steps_field_is_needed_by_no_other() -> None:
    rain = Rain()

    assert rain(make_rain(THIRD, 180)) == (Kept(), None)


def test_a_missing_predecessor_is_named() -> None:
    rain = Rain()
    rain(wind(THIRD))
    rain(make_rain(THIRD, 0))

    (step, *_) = rain.expire(3 * HOUR)

    assert isinstance(step, ExpiredStep)
    assert step.key == THIRD
    assert step.missing == ("tp@+3h",)


def test_an_expired_steps_field_still_serves_the_next() -> None:
    rain = Rain()
    rain(make_rain(SECOND, 0))
    rain(wind(FIRST), 2 * HOUR)
    endings = rain.expire(3 * HOUR)
    assert [(e.key, e.missing) for e in endings if isinstance(e, ExpiredStep)] == [
        (SECOND, ("10u",))
    ]
    assert rain.held == [0, 1]

    rain(wind(THIRD), 3 * HOUR)
    last = completed(rain(make_rain(THIRD, 0), 3 * HOUR)[0])

    assert [field.key for field in last.step.before] == [SECOND]


def test_a_late_duplicate_of_an_ended_step_serves_the_next_only_if_it_must() -> None:
    over = EndedStep(SECOND, Outcome.COMPLETE, 0, START)
    rain = Rain(over)

    first, again = rain(make_rain(SECOND, 0)), rain(make_rain(SECOND, 0))

    assert first == (DuplicateField(Origin("in", 0, 0), None), Kept())
    assert again == (DuplicateField(Origin("in", 0, 1), None), None)
    rain = Rain(over, EndedStep(THIRD, Outcome.COMPLETE, 0, START))
    assert rain(make_rain(SECOND, 0))[1] is None


def test_after_a_restart_what_an_expired_step_listed_does_not_serve_it() -> None:
    """Its offset is open for its own step: the next has had it, and has ended without."""
    listed = frozenset({(0, 7)})
    rain = Rain(EndedStep(THIRD, Outcome.EXPIRED, 0, START, listed))

    assert rain(make_rain(SECOND, 0), offset=7) == (Kept(), None)
    assert rain(make_rain(SECOND, 0), offset=8)[1] == Kept()


def test_a_step_that_expired_reopens_by_its_own_fields_alone() -> None:
    rain = Rain(
        EndedStep(SECOND, Outcome.COMPLETE, 0, START), EndedStep(THIRD, Outcome.EXPIRED, 0, START)
    )
    rain(make_rain(SECOND, 0))

    given_back = [e for e in rain.expire(3 * HOUR) if isinstance(e, LetGo)]
    assert given_back == [LetGo(THIRD, 0, (Origin("in", 0, 0),))]
    rain(make_rain(SECOND, 0), 3 * HOUR)
    added, _ = rain(wind(THIRD), 3 * HOUR)
    assert added == Kept(reopened=True)
    last, _ = rain(make_rain(THIRD, 0), 3 * HOUR)
    assert [origin.offset for origin in completed(last).step.origins] == [2, 3, 1]


def test_what_a_run_that_falls_silent_had_lent_goes_with_it() -> None:
    rain = Rain()
    rain.end(rain(wind(FIRST))[0])
    rain(wind(SECOND))
    rain.end(rain(make_rain(SECOND, 0))[0])

    step, run = rain.expire(3 * HOUR)

    assert isinstance(step, ExpiredStep)
    assert (step.key, step.missing) == (THIRD, ("10u", "tp"))
    assert step.seen == (Origin("in", 0, 2),)
    assert isinstance(run, RunEnded)
    assert rain.held == []
    assert rain.assembler.open_count == rain.assembler.open_bytes == 0


def test_a_step_of_which_nothing_came_waits_as_long_as_its_run() -> None:
    """The step before was early, and others of the run still come."""
    rain = Rain()
    rain(wind(SECOND))
    rain.end(rain(make_rain(SECOND, 0))[0])
    rain.end(rain(wind(FIRST), 2 * HOUR)[0])

    assert rain.expire(4 * HOUR) == []
    assert rain.held == [1]


def test_where_no_run_ends_what_was_lent_is_let_go_in_time() -> None:
    """Keys that name the step spread a run over partitions: others may have the next step."""
    rain = Rain()
    rain(wind(SECOND), is_run_spread=True)
    rain.end(rain(make_rain(SECOND, 0), is_run_spread=True)[0])

    assert rain.expire(2 * HOUR) == []
    assert rain.expire(3 * HOUR) == [LetGo(THIRD, 0, (Origin("in", 0, 1),))]
    assert rain.held == []


def test_a_step_takes_nothing_from_another_partition() -> None:
    rain = Rain()
    rain(wind(THIRD), partition=1)
    rain(make_rain(THIRD, 0), partition=1)

    assert rain(make_rain(SECOND, 0), partition=0)[1] is None


def test_a_step_that_begins_in_another_partition_lets_go_of_what_was_lent() -> None:
    rain = Rain()
    rain(make_rain(SECOND, 0), partition=0)

    added, _ = rain(wind(THIRD), partition=1)

    assert added == Kept(let_go=(Origin("in", 0, 0),))


def test_another_grid_is_refused_by_its_own_step_and_serves_the_next() -> None:
    """Both come to the bundle's grid before they are subtracted."""
    rain = Rain()
    rain(wind(SECOND))

    added, lent = rain(make_rain(SECOND, 0, grid="2x2"))

    assert isinstance(added, Rejected)
    assert lent == Kept()


def test_what_is_lent_counts_as_open_and_can_be_given_up() -> None:
    rain = Rain()
    rain(wind(SECOND))
    rain.end(rain(make_rain(SECOND, 0))[0])

    assert rain.assembler.open_count == 1
    assert rain.assembler.open_bytes > 0
    assert rain.assembler.expire_oldest(0) == [LetGo(THIRD, 0, (Origin("in", 0, 1),))]
    assert rain.assembler.open_bytes == 0
    assert rain.assembler.expire_oldest(0) == []


def test_what_was_lent_is_forgotten_with_its_partition() -> None:
    rain = Rain()
    rain(make_rain(SECOND, 0))

    rain.assembler.abandon(0)

    assert rain.assembler.open_count == 0


def test_the_end_of_the_input_ends_all() -> None:
    rain = Rain()
    rain(wind(SECOND))
    rain.end(rain(make_rain(SECOND, 0))[0])

    endings = rain.assembler.finish()

    assert [(e.key, e.origins) for e in endings if isinstance(e, ExpiredStep)] == [
        (FIRST, ()),
        (THIRD, (Origin("in", 0, 1),)),
    ]
    assert rain.assembler.open_count == 0


@given(
    st.permutations(["first", "second", "third", "rain 3", "rain 6"]),
    st.booleans(),
    st.lists(st.integers(0, 4), max_size=3),
)
def test_any_order_gives_the_same_steps_and_gives_all_back(
    order: list[str], is_since_start: bool, again: list[int]
) -> None:
    fields = {
        "first": wind(FIRST),
        "second": wind(SECOND),
        "third": wind(THIRD),
        "rain 3": make_rain(SECOND, 0),
        "rain 6": make_rain(THIRD, 0 if is_since_start else 180),
    }
    rain, steps = Rain(), {}
    for name in [*order, *(order[i] for i in again)]:
        for taken in rain(fields[name]):
            if isinstance(taken, Completed):
                steps[taken.step.key] = taken.step
                rain.end(taken)

    assert set(steps) == {FIRST, SECOND, THIRD}
    assert [f.parameter for f in steps[THIRD].fields] == ["10u", "tp"]
    assert [f.key for f in steps[THIRD].before] == ([SECOND] if is_since_start else [])
    assert rain.held == []
    assert rain.assembler.open_count == rain.assembler.open_run_count == 0
