"""Reads which forecast a message belongs to, from its header alone."""

from datetime import UTC, datetime

from streamer.domain import Reason, Rejected, RunKey, StepKey
from streamer.grib.codes import CodesError, Handle, opened
from streamer.grib.manifest import Key
from streamer.grib.wants import Source

_ANY = Source("-")


def identify(message: bytes, sources: tuple[Source, ...]) -> StepKey | Rejected | None:
    """Return the step that one message with a sound frame belongs to; None: no source wants it.

    Takes any parameter, since it asks no bundle.
    """
    try:
        with opened(message) as handle:
            source = source_of(handle, sources)
            return None if source is None else _whole(step_key(handle, source.name, ""), source)
    except CodesError as error:
        return Rejected(Reason.UNDECODABLE, f"ecCodes cannot read it: {error}")
    except ValueError as error:
        return Rejected(Reason.UNDECODABLE, str(error))


def _whole(key: StepKey, source: Source) -> StepKey | None:
    """Return the step of all members where the source pools them; None for a member it lacks."""
    if source.pool is None:
        return key
    return key.pooled if key.run.member in source.pool.members else None


def source_of(handle: Handle, sources: tuple[Source, ...]) -> Source | None:
    """Return the first source that matches; one named "-" takes all where none is configured."""
    if not sources:
        return _ANY
    return next((s for s in sources if has_all(handle, tuple(s.match.items()))), None)


def has_all(handle: Handle, keys: tuple[tuple[str, Key], ...]) -> bool:
    """Whether each key has the wanted value, as text or as a number; an unknown key has not."""
    for key, wanted in keys:
        if not handle.has(key):
            return False
        if handle.text(key) == str(wanted):
            continue
        try:
            if float(handle.native(key)) != float(wanted):
                return False
        except ValueError:
            return False
    return True


def step_key(handle: Handle, source: str, again: str) -> StepKey:
    """Read which step of which run this is; lead times in minutes whatever the units.

    Raises CodesError for a key that is not there, ValueError for a date that is none.
    """
    handle.set("stepUnits", "m")
    minutes = handle.integer("endStep")
    date, clock = handle.integer("dataDate"), handle.integer("dataTime")
    try:
        reference = datetime(
            date // 10000, date // 100 % 100, date % 100, clock // 100, clock % 100, tzinfo=UTC
        )
    except ValueError as error:
        raise ValueError(f"the reference time {date} {clock:04d} is none: {error}") from error
    run = RunKey(
        centre=handle.text("centre"),
        source=source,
        expver=handle.text("expver") if handle.has("expver") else "-",
        reference_time=reference,
        member=handle.integer("number") if handle.has("number") else 0,
        again=again,
    )
    return StepKey(run, minutes)
