"""Any number of real steps: the wind of the training days under other reference times."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from streamer.bus.record import Outgoing
from streamer.domain import StepKey
from streamer.grib.codes import opened
from streamer.grib.frame import split
from streamer.grib.identity import identify
from streamer.grib.wants import Limits

#: Reference times are an hour apart from here on; every step is a run of its own.
_FIRST = datetime(2001, 1, 1, tzinfo=UTC)


def steps(folder: Path, count: int, first: int = 0) -> Iterator[list[bytes]]:
    """Yield steps of two messages each, 10u and 10v at 1 degree, about 75 KB a message.

    first: the number of the first one; equal numbers are equal steps.
    """
    found = _fields(folder)
    for number in range(first, first + count):
        reference = _FIRST + timedelta(hours=number)
        yield [_renamed(message, reference) for message in found[number % len(found)]]


def records(topic: str, messages: list[bytes]) -> list[Outgoing]:
    """Return a step's messages as `downscaled feed` sends them, each keyed by its run."""
    keyed = []
    for message in messages:
        key = identify(message, ())
        assert isinstance(key, StepKey)
        keyed.append(Outgoing(topic, key.run.text.encode(), message))
    return keyed


def _fields(folder: Path) -> list[list[bytes]]:
    paths = sorted(folder.glob("*.grib2"))
    if not paths:
        raise SystemExit(f"{folder}: no *.grib2 here, wanted a folder of global wind at 1 degree")
    pieces = (split(path.read_bytes(), Limits()) for path in paths)
    return [[piece for piece in lot if isinstance(piece, bytes)] for lot in pieces]


def _renamed(message: bytes, reference: datetime) -> bytes:
    with opened(message) as handle:
        handle.set_all({"dataDate": int(f"{reference:%Y%m%d}"), "dataTime": reference.hour * 100})
        handle.set("forecastTime", 0)
        return handle.message()
