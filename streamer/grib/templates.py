"""Remembers templates: those of two steps of a forecast differ in their times alone.

Making one costs 2.6 ms, most of it ecCodes' search for names; setting the times of an old one
nothing. Which bytes the times are is fixed by WMO FM 92: section 1, octets 13 to 19, and section 4
of the products at a point in time, octets 19 to 22.
"""

from collections import OrderedDict
from dataclasses import replace
from datetime import UTC

from streamer.grib.frame import section_offsets
from streamer.grib.imprint import Imprint
from streamer.grib.packing import Packing
from streamer.grib.target import FieldTarget, Kind
from streamer.grib.template import Template, prepare

#: Kinds of messages whose templates are kept: parameters by members, by sources, by statistics
#: and regions. Each holds no values, some hundred bytes.
_MOST = 2048
_SECTION_1 = 16
_REFERENCE_TIME, _FORECAST_TIME = slice(12, 19), slice(18, 22)
#: Product definition templates at a point in time.
_AT_A_POINT = (0, 1)

#: What stays of a message's header without its times, and the times.
_Parts = tuple[bytes, bytes, bytes]


class Templates:
    """Makes the templates of a daemon's products. May be shared by threads."""

    def __init__(self, packing: Packing, imprint: Imprint) -> None:
        self._packing = packing
        self._imprint = imprint
        self._kept: OrderedDict[tuple[bytes, Kind], Template] = OrderedDict()

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._kept)

    def prepare(self, message: bytes, target: FieldTarget) -> Template:
        """Return the template of a parameter's fine fields; see `template.prepare`.

        One that was made from an old one is not read back here: `encode` compares all its keys.
        """
        parts = _parts(message)
        if parts is None:
            return prepare(message, target, self._packing, self._imprint)
        timeless, reference, forecast = parts
        kind = (timeless, target.kind)
        known = self._kept.get(kind)
        if known is not None:
            return _at(known, target, reference, forecast)
        made = prepare(message, target, self._packing, self._imprint)
        self._kept[kind] = made
        if len(self._kept) > _MOST:
            self._kept.popitem(last=False)
        return made


def _parts(message: bytes) -> _Parts | None:
    """Take a header apart; None for one whose times may be elsewhere, too."""
    if message[7] != 2:
        return None
    sections = section_offsets(message)
    header = message[: sections[5]]
    first, product = header[sections[1] :], header[sections[4] :]
    if int.from_bytes(product[7:9]) not in _AT_A_POINT:
        return None
    reference, forecast = first[_REFERENCE_TIME], product[_FORECAST_TIME]
    timeless = _timed(header, sections, bytes(len(reference)), bytes(len(forecast)))
    # The message's length, in section 0, follows its values.
    return timeless[:8] + timeless[_SECTION_1:], reference, forecast


def _at(known: Template, target: FieldTarget, reference: bytes, forecast: bytes) -> Template:
    """Return a known template at other times."""
    time = target.key.run.reference_time.astimezone(UTC)
    date, clock = f"{time:%Y%m%d}", f"{time:%H%M}"
    told: dict[str, str | int] = {
        "dataDate": int(date),
        "dataTime": int(clock),
        "startStep": target.key.minutes,
        "endStep": target.key.minutes,
    }
    mars = {"date": date, "time": clock}
    return replace(
        known,
        message=_timed(known.message, section_offsets(known.message), reference, forecast),
        target=target,
        wanted=tuple((key, told.get(key, value)) for key, value in known.wanted),
        mars={key: mars.get(key, value) for key, value in known.mars.items()},
    )


def _timed(message: bytes, sections: dict[int, int], reference: bytes, forecast: bytes) -> bytes:
    """Return a message with other times."""
    changed = bytearray(message)
    for start, octets, value in (
        (sections[1], _REFERENCE_TIME, reference),
        (sections[4], _FORECAST_TIME, forecast),
    ):
        changed[start + octets.start : start + octets.stop] = value
    return bytes(changed)
