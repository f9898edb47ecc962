"""Precipitation as centres send it: made from ecCodes' own samples."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from streamer.domain import Array
from streamer.grib import codes

#: What the values of a message stand on; the sample's own grid.
SHAPE = (31, 16)


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a centre writes precipitation. per_metre: its units in a metre of water."""

    edition: int
    centre: str
    keys: Mapping[str, str | int]
    per_metre: float

    @property
    def text(self) -> str:
        """Name it in a test's id."""
        return f"{self.centre} {self.edition}"


_ACCUM: Mapping[str, str | int] = {"stepType": "accum"}
_GFS: Mapping[str, str | int] = {
    "tablesVersion": 2,
    "productDefinitionTemplateNumber": 8,
    "typeOfStatisticalProcessing": 1,
    "parameterCategory": 1,
    "parameterNumber": 8,
    "typeOfFirstFixedSurface": 1,
}
SPELLINGS = (
    Spelling(2, "ecmf", {"paramId": 228}, 1.0),
    Spelling(2, "kwbc", _GFS, 1000.0),
    Spelling(2, "edzw", {"paramId": 228228}, 1000.0),
    Spelling(1, "ecmf", {**_ACCUM, "paramId": 228}, 1.0),
    Spelling(
        1,
        "kwbc",
        {**_ACCUM, "table2Version": 2, "indicatorOfParameter": 61, "indicatorOfTypeOfLevel": 1},
        1000.0,
    ),
)


def rain(
    spelling: Spelling,
    metres: Array,
    steps: str,
    units: str = "h",
    more: Mapping[str, str | int] | None = None,
) -> bytes:
    """Encode an amount, (31, 16) in metres, that gathered over `steps`, such as `3-6`."""
    with codes.sample(f"regular_ll_sfc_grib{spelling.edition}") as handle:
        time = {"dataDate": 20181008, "dataTime": 0}
        for key, value in {"centre": spelling.centre, **time, **spelling.keys}.items():
            handle.set(key, value)
        handle.set("stepUnits", units)
        handle.set("stepRange", steps)
        for key, value in (more or {}).items():
            handle.set(key, value)
        handle.set("bitsPerValue", 16)
        handle.set_values(metres.ravel().astype(np.float64) * spelling.per_metre)
        return handle.message()
