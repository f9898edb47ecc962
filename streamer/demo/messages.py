"""The demo's GRIB: coarse messages made from weather or from real fields, and a rough journey."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from engines.bundle import Bundle
from streamer.bus.record import Outgoing
from streamer.demo.weather import Array64, Generator
from streamer.domain import Array, Grid, Step
from streamer.downscale.condition import coarse
from streamer.grib import codes
from streamer.grib.codes import Key
from streamer.grib.geometry import geometry

#: A time of day that is nobody's: no archive holds it, and xarray's nanoseconds still reach it.
REFERENCE_TIME = datetime(2222, 10, 15, tzinfo=UTC)

#: How GRIB says that nobody's forecast it is: research products (code table 1.3), of no centre,
#: by no known process. The product definition of instantaneous 10 m wind is 4.0.
SYNTHETIC: dict[str, Key] = {
    "productionStatusOfProcessedData": 2,
    "centre": 255,
    "subCentre": 0,
    "generatingProcessIdentifier": 255,
    "typeOfGeneratingProcess": 2,
    "typeOfProcessedData": 1,
    "significanceOfReferenceTime": 1,
    "shapeOfTheEarth": 6,
}

#: The demo's parameters as ecCodes' sample needs to be told of them.
_WIND: dict[str, Key] = {
    "discipline": 0,
    "parameterCategory": 2,
    "typeOfFirstFixedSurface": 103,
    "scaleFactorOfFirstFixedSurface": 0,
    "scaledValueOfFirstFixedSurface": 10,
}
_NUMBERS = {"10u": 2, "10v": 3}


def synthetic_step(generator: Generator, amplitudes: Array64, step_h: int) -> tuple[bytes, ...]:
    """Encode the weather of one lead time, a message a parameter."""
    fields = generator.fields(amplitudes)
    names = zip(generator.parameters, fields, strict=True)
    return tuple(_synthetic_message(name, values, generator.grid, step_h) for name, values in names)


def coarse_step(step: Step, bundle: Bundle, grid: Grid) -> tuple[bytes, ...]:
    """Return a real step's messages with the coarse fields in place of their own."""
    fields = {field.parameter: field for field in step.fields}
    messages = []
    for name, values in zip(bundle.channels, coarse(step, bundle), strict=True):
        with codes.opened(fields[name].message) as handle:
            messages.append(_on_grid(handle, values / fields[name].factor, grid))
    return tuple(messages)


def _synthetic_message(parameter: str, values: Array, grid: Grid, step_h: int) -> bytes:
    time = REFERENCE_TIME
    told: dict[str, Key] = {
        **SYNTHETIC,
        "dataDate": int(time.strftime("%Y%m%d")),
        "dataTime": int(time.strftime("%H%M")),
        **_WIND,
        "parameterNumber": _NUMBERS[parameter],
        "indicatorOfUnitOfTimeRange": 1,
        "forecastTime": step_h,
    }
    with codes.sample("regular_ll_sfc_grib2") as handle:
        for key, value in told.items():
            handle.set(key, value)
        return _on_grid(handle, values, grid)


def _on_grid(handle: codes.Handle, values: Array, grid: Grid) -> bytes:
    """Give a message another grid and its values, (h, w), packed in 16 bits."""
    if handle.integer("edition") == 1:
        handle.set("edition", 2)
    handle.set("gridType", "regular_ll")
    for key, value in geometry(grid).items():
        if value is None:
            handle.set_missing(key)
        else:
            handle.set(key, value)
    handle.set("bitmapPresent", 0)
    handle.set("packingType", "grid_simple")
    handle.set("decimalScaleFactor", 0)
    handle.set("bitsPerValue", 16)
    handle.set_values(values.astype(np.float64).ravel())
    return handle.message()


@dataclass(frozen=True, slots=True)
class Journey:
    """Records as they reach a daemon on a bad day, and how many messages they began as."""

    records: tuple[Outgoing, ...]
    messages: int


def rough_journey(messages: Sequence[tuple[bytes, bytes]], topic: str, seed: int) -> Journey:
    """Send (key, message) pairs out of order, one of them twice, and one of them torn in half too.

    Nothing is lost: each message arrives whole at least once.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    order = list(rng.permutation(len(messages)))
    records = [Outgoing(topic, *messages[i]) for i in order]
    key, message = messages[order[0]]
    torn = Outgoing(topic, key, message[: len(message) // 2])
    # The repeat comes while its step may still be open, the torn one in the middle of it all.
    records.insert(len(records) // 2, torn)
    records.insert(min(2, len(records)), Outgoing(topic, key, message))
    return Journey(tuple(records), len(messages))
