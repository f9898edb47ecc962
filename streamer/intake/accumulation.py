"""What fell over a step's own interval, an hour: rates out of amounts that gather since a while.

A message accumulates since the start of its run, since the step before, or in buckets of some
hours. Where its interval begins with the step's, it is the amount; where it begins earlier, the
accumulation of the step before must begin there, too, and the difference is.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

import numpy as np

from engines.errors import DownscaledError
from streamer.domain import Array, Field, Interval, Step

#: Values may have been packed more coarsely before they were packed as they came: centres use
#: 12 bits and more, and half such a step is this part of the largest amount.
_PACKED_BEFORE = 2.0**-13


class AccumulationError(DownscaledError):
    """Accumulations that do not give the amount of a step: another interval, or a fall."""

    reason: ClassVar[str] = "accumulation"


def needs_before(interval: Interval, since: int | None) -> bool:
    """Whether an amount since `since`, in minutes, takes the accumulation up to then, too."""
    return since is not None and interval.start < since


def step_interval(field: Field, since: int | None) -> Interval | None:
    """Return what a step's amount covers: from the step before, or as a run's first message has it.

    None for a field that is no accumulation.
    """
    if field.interval is None or since is None:
        return field.interval
    return Interval(since, field.interval.end)


def rates(step: Step, parameters: Iterable[str]) -> Step:
    """Return a step with a field for each parameter, accumulations as rates an hour.

    Nothing had fallen by the lead time where a parameter begins to exist: without a field its
    rate is 0, and so is the amount before, where that step has no such field. Rates are never
    below 0. Raises AccumulationError, naming intervals or amounts.
    """
    own = {field.parameter: field for field in step.fields}
    before = {field.parameter: field for field in step.before}
    fields = tuple(
        _rate(own[name], before.get(name), step.since) if name in own else _none_yet(step, name)
        for name in parameters
    )
    return replace(step, fields=fields)


def _rate(own: Field, before: Field | None, since: int | None) -> Field:
    if own.interval is None:
        return own
    interval = step_interval(own, since)
    assert interval is not None
    _refuse_other_interval(own, before, interval)
    subtracted = before if needs_before(own.interval, since) else None
    hours = np.float32(interval.hours)
    coarse, interpolated = own.coarse, own.interpolated
    if subtracted is not None:
        coarse = coarse - subtracted.coarse
        interpolated = interpolated - subtracted.interpolated
    _refuse_fall(own, subtracted, coarse, interval)
    return replace(
        own,
        coarse=_never_below_nought(coarse) / hours,
        interpolated=_never_below_nought(interpolated) / hours,
    )


def _never_below_nought(amount: Array) -> Array:
    return np.maximum(amount, np.float32(0), dtype=np.float32)


def _refuse_other_interval(own: Field, before: Field | None, wanted: Interval) -> None:
    assert own.interval is not None
    where = f"{own.parameter} of {own.key.text} covers {own.interval.text}"
    if own.interval.start > wanted.start:
        raise AccumulationError(f"{where}, wanted all of {wanted.text}, the step's interval")
    if own.interval.start == wanted.start or before is None:
        return
    assert before.interval is not None
    if before.interval.start != own.interval.start:
        raise AccumulationError(
            f"{where} and the step before {before.interval.text}: their difference is not "
            f"{wanted.text}, the step's interval"
        )


def _refuse_fall(own: Field, before: Field | None, amount: Array, interval: Interval) -> None:
    """Raise AccumulationError where an amount is further below 0 than packing explains.

    A field of a part of the globe is NaN where it does not reach.
    """
    least = float(np.nanmin(amount))
    if least >= 0:
        return
    largest, rounding = float(np.nanmax(np.abs(own.coarse))), own.rounding
    if before is not None:
        largest = max(largest, float(np.nanmax(np.abs(before.coarse))))
        rounding += before.rounding
    allowed = 2 * (rounding + _PACKED_BEFORE * largest)
    if least < -allowed:
        raise AccumulationError(
            f"{own.parameter} of {own.key.text} falls to {least:g} from {interval.text}, "
            f"packing explains {-allowed:g} at most"
        )


def _none_yet(step: Step, parameter: str) -> Field:
    """Return a rate of 0 for a parameter that does not exist at this step."""
    like = step.fields[0]
    return Field(
        step.key,
        parameter,
        like.grid,
        np.zeros_like(like.coarse),
        np.zeros_like(like.interpolated),
        message=b"",
        digest=b"",
    )
