"""The bare work of a step: what a program with ecCodes alone does with its GRIB, on one core.

Two messages are decoded, and four fields of each encoded, each from its input message: cloned, the
keys of an ensemble member and the packing set, values packed, the message taken. Nothing is
regridded, checked, read back, hashed or sent, although the daemon does all of that.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from streamer.grib.codes import Handle, Key, Values, opened
from streamer.grib.packing import AS_USUAL

DRAWS = 4


@dataclass(frozen=True, slots=True)
class Bare:
    """Seconds of one step's bare work, and of its least: with one prepared handle a parameter."""

    seconds: float
    least_seconds: float


def measure(steps: Sequence[Sequence[bytes]]) -> Bare:
    """Do the bare work of some steps, both ways, one after the other on this thread."""
    started = time.perf_counter()
    for messages in steps:
        plain(messages)
    between = time.perf_counter()
    for messages in steps:
        least(messages)
    ended = time.perf_counter()
    return Bare((between - started) / len(steps), (ended - between) / len(steps))


def plain(messages: Sequence[bytes]) -> list[bytes]:
    """Do one step's bare work, each field made from its input message."""
    made = []
    for message in messages:
        with opened(message) as handle:
            values = handle.values()
            for draw in range(DRAWS):
                with handle.clone() as copy:
                    copy.set_all(_member(draw))
                    made.append(_packed(copy, values + draw))
    return made


def least(messages: Sequence[bytes]) -> list[bytes]:
    """Do the same with one handle for all draws of a parameter: only number and values change."""
    made = []
    for message in messages:
        with opened(message) as handle:
            values = handle.values()
            handle.set_all(_member(0))
            for draw in range(DRAWS):
                handle.set("perturbationNumber", draw)
                made.append(_packed(handle, values + draw))
    return made


def _member(draw: int) -> dict[str, Key]:
    return {
        "tablesVersion": 28,
        "productDefinitionTemplateNumber": 1,
        "typeOfGeneratingProcess": 13,
        "perturbationNumber": draw,
        "numberOfForecastsInEnsemble": DRAWS,
        "packingType": AS_USUAL.type,
        "decimalScaleFactor": 0,
    }


def _packed(handle: Handle, values: Values) -> bytes:
    handle.set("bitsPerValue", AS_USUAL.bits)
    handle.set_values(values)
    return handle.message()
