"""Rates out of amounts: whatever the messages gather over, the same rain gives the same rates."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.domain import Array, Field, Interval, Origin, Step, StepKey
from streamer.intake.accumulation import AccumulationError, needs_before, rates, step_interval
from tests.streamer.intake.world import START, make_field, make_run

RUN = make_run()
PARAMETERS = ("2t", "tp")
SHAPE, FINE = (3, 4), (6, 8)


def amount(minutes: int, since: int, coarse: Array, rounding: float = 0.0) -> Field:
    """A message's amount; the fine values repeat the coarse ones."""
    plain = make_field(StepKey(RUN, minutes), "tp")
    interval = Interval(since, minutes)
    fine = np.repeat(np.repeat(coarse, 2, axis=0), 2, axis=1)
    return replace(plain, coarse=coarse, interpolated=fine, interval=interval, rounding=rounding)


def step_of(own: Field, before: Field | None, since: int | None) -> Step:
    return Step(
        own.key, (own,), (Origin("in", 0, 0),), START, START, (before,) if before else (), since
    )


def rate(own: Field, before: Field | None, since: int | None) -> Field:
    (found,) = rates(step_of(own, before, since), ["tp"]).fields
    return found


def packed(values: Array, bits: int) -> tuple[Array, float]:
    """Round values as packing does, and tell by how much at most."""
    step = float(2.0 ** np.ceil(np.log2(max(float(np.ptp(values)), 1e-6) / (2**bits - 1))))
    low = float(values.min())
    found = (low + step * np.round((values - low) / step)).astype(np.float32)
    return found, step / 2 + float(np.spacing(np.float32(values.max())))


@st.composite
def forecasts(draw: st.DrawFn) -> tuple[list[int], list[int], list[Array]]:
    """Steps, when each one's message begins to gather, and what fell between the steps.

    Each step's message begins with the run, with the step before, or where the message of the
    step before began: the start, the last step and buckets, mixed as they come.
    """
    hours = draw(st.lists(st.integers(1, 12), min_size=2, max_size=6))
    leads = [60 * int(lead) for lead in np.cumsum(hours)]
    begins = [0]
    for lead in leads[:-1]:
        begins.append(draw(st.sampled_from([lead, begins[-1]])))
    chance = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([1e-5, 1e-3, 0.1]))
    fallen = [
        (chance.gamma(0.3, scale, SHAPE) * (chance.random(SHAPE) < 0.7)).astype(np.float32)
        for _ in leads
    ]
    return leads, begins, fallen


@given(forecasts(), st.sampled_from([8, 12, 16, 24]))
def test_any_mixture_of_intervals_of_the_same_rain_gives_the_same_rates(
    forecast: tuple[list[int], list[int], list[Array]], bits: int
) -> None:
    leads, begins, fallen = forecast
    bounds = [0, *leads]
    before: Field | None = None
    for i, (lead, begin) in enumerate(zip(leads, begins, strict=True)):
        first = bounds.index(begin)
        total: Array = np.stack(fallen[first : i + 1]).sum(axis=0, dtype=np.float32)
        values, rounding = packed(total, bits)
        own = amount(lead, begin, values, rounding)
        since = bounds[i]

        needed = before if needs_before(Interval(begin, lead), since) else None
        found = rate(own, needed, since)

        hours = (lead - since) / 60
        allowed = rounding + (needed.rounding if needed else 0.0) + 1e-6 * float(total.max())
        assert found.coarse.dtype == found.interpolated.dtype == np.float32
        assert found.coarse.min() >= 0
        assert found.interpolated.min() >= 0
        np.testing.assert_allclose(found.coarse * hours, fallen[i], atol=allowed)
        np.testing.assert_array_equal(found.interpolated[::2, ::2], found.coarse)
        before = own


def falling(by: float) -> tuple[Field, Field]:
    """Amounts since the start of which the later is lower at one point."""
    earlier = np.full(SHAPE, 0.01, np.float32)
    later = earlier + np.float32(0.002)
    later[1, 2] = 0.01 - by
    return amount(180, 0, earlier, rounding=1e-6), amount(360, 0, later, rounding=1e-6)


def test_what_packing_took_below_nought_is_nought() -> None:
    before, own = falling(by=2e-6)

    found = rate(own, before, 180)

    assert found.coarse[1, 2] == 0.0
    assert found.coarse.max() == pytest.approx(0.002 / 3, rel=1e-4)


def test_an_amount_that_truly_falls_is_no_rain() -> None:
    before, own = falling(by=0.001)

    with pytest.raises(
        AccumulationError, match=r"tp of .*/6 falls to -0.001 from \+3 to \+6 h, packing explains"
    ):
        rate(own, before, 180)


def test_an_amount_of_a_part_of_the_globe_is_judged_where_it_reaches() -> None:
    before, own = falling(by=0.001)
    for field in (before, own):
        field.coarse[0] = np.nan
    with pytest.raises(AccumulationError, match=r"falls to -0.001"):
        rate(own, before, 180)
    before, own = falling(by=2e-6)
    for field in (before, own):
        field.coarse[0] = np.nan

    found = rate(own, before, 180).coarse

    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1:]).all()


def test_a_lone_amount_must_not_be_below_nought_either() -> None:
    dry = np.zeros(SHAPE, np.float32)
    dry[0, 0] = -0.001

    with pytest.raises(AccumulationError, match=r"falls to -0.001 from \+0 to \+3 h"):
        rate(amount(180, 0, dry), None, 0)


@pytest.mark.parametrize(
    ("begin", "before", "words"),
    [
        (300, None, r"tp of .*/6 covers \+5 to \+6 h, wanted all of \+3 to \+6 h"),
        (0, 60, r"covers \+0 to \+6 h and the step before \+1 to \+3 h: their difference is not"),
        (60, 0, r"covers \+1 to \+6 h and the step before \+0 to \+3 h"),
    ],
)
def test_intervals_that_do_not_give_the_steps_own_are_named(
    begin: int, before: int | None, words: str
) -> None:
    rain = np.full(SHAPE, 0.01, np.float32)
    earlier = None if before is None else amount(180, before, rain)

    with pytest.raises(AccumulationError, match=words):
        rate(amount(360, begin, rain), earlier, 180)


def test_a_runs_first_step_covers_what_its_message_does() -> None:
    own = amount(360, 180, np.full(SHAPE, 0.03, np.float32))

    assert step_interval(own, None) == Interval(180, 360)
    np.testing.assert_allclose(rate(own, None, None).coarse, 0.01, rtol=1e-6)


def test_every_other_step_covers_the_time_since_the_one_before() -> None:
    own = amount(360, 0, np.full(SHAPE, 0.03, np.float32))

    assert step_interval(own, 180) == Interval(180, 360)
    assert step_interval(make_field(own.key, "2t"), 180) is None


def test_nothing_fell_before_the_parameter_exists() -> None:
    """The step before has no such field, so all that the message has fell since."""
    own = amount(360, 0, np.full(SHAPE, 0.03, np.float32))

    np.testing.assert_allclose(rate(own, None, 180).coarse, 0.01, rtol=1e-6)


def test_what_does_not_exist_yet_has_a_rate_of_nought_in_its_place() -> None:
    warm = replace(
        make_field(StepKey(RUN, 0), "2t"),
        coarse=np.full(SHAPE, 280.0, np.float32),
        interpolated=np.full(FINE, 280.0, np.float32),
    )
    step = Step(warm.key, (warm,), (Origin("in", 0, 0),), START, START)

    made = rates(step, ["tp", "2t"])

    assert [field.parameter for field in made.fields] == ["tp", "2t"]
    assert made.fields[0].coarse.shape == SHAPE
    assert made.fields[0].interpolated.shape == FINE
    assert not made.fields[0].coarse.any()
    assert not made.fields[0].interpolated.any()
    assert made.fields[1] is warm


def test_a_step_holds_the_memory_of_what_it_borrowed() -> None:
    own = amount(360, 0, np.zeros(SHAPE, np.float32))
    before = amount(180, 0, np.zeros(SHAPE, np.float32))

    alone, both = step_of(own, None, 180), step_of(own, before, 180)

    assert both.size_bytes - alone.size_bytes == before.size_bytes > 4 * 60
