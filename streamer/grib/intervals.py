"""What an accumulation covers, read and written, and how coarsely its values were packed."""

from streamer.domain import Interval
from streamer.grib.codes import Handle

#: Code table 4.10: what is done with the values of an interval.
_ACCUMULATION = 1


class NoInterval(Exception):
    """A message of an accumulated parameter that gathers nothing; the text says what it is."""


def read_interval(handle: Handle) -> Interval:
    """Return what the message accumulates over, lead times in minutes; NoInterval if nothing.

    Changes the handle's step units. ECMWF's GRIB 1 says of precipitation since the start that it
    is true at a point in time, so there an interval without length begins at the start.
    """
    kind = handle.text("stepType")
    handle.set("stepUnits", "m")
    start, end = handle.integer("startStep"), handle.integer("endStep")
    is_told = kind == "accum"
    if not is_told and handle.integer("edition") == 1 and kind == "instant":
        start, is_told = 0, True
    if not is_told or not 0 <= start < end:
        raise NoInterval(
            f"its stepType is {kind} from {start} to {end} minutes, wanted an accumulation"
        )
    return Interval(start, end)


def cover(handle: Handle, interval: Interval) -> None:
    """Let a product of an interval accumulate over another.

    It is told in hours where they are whole, since readers show it so.
    """
    # ecCodes makes means of some centres' edition 1 accumulations.
    if handle.text("stepType") != "accum":
        handle.set("typeOfStatisticalProcessing", _ACCUMULATION)
    is_whole = not (interval.start % 60 or interval.end % 60)
    handle.set("stepUnits", "h" if is_whole else "m")
    grain = 60 if is_whole else 1
    handle.set("stepRange", f"{interval.start // grain}-{interval.end // grain}")


def rounding(handle: Handle) -> float:
    """Return how far packing may have moved a value, in the message's units.

    Half a step of `(reference + n 2^E) / 10^D`, which all integer packings share; ecCodes' own
    `packingError` does not know the complex ones. 0 where values are kept as they are.
    """
    if not handle.has("binaryScaleFactor") or not handle.integer("bitsPerValue"):
        return 0.0
    step = 2.0 ** handle.integer("binaryScaleFactor")
    return float(step * 10.0 ** -handle.integer("decimalScaleFactor") / 2)
