"""The input message made ready to carry fine fields: its identity kept, the rest overridden.

Done once for each parameter of a step; `encode` then only adds a draw's number and values.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import ClassVar

import numpy as np

from engines.errors import DownscaledError, UsageError
from streamer.domain import Grid, Interval, StepKey
from streamer.grib import codes
from streamer.grib.codes import CodesError, Handle
from streamer.grib.intervals import cover
from streamer.grib.packing import AS_USUAL, Packing

#: Processed forecasts and individual ensemble members need no newer WMO tables; GFS says 2.
TABLES_VERSION = 28
#: Code table 4.3: what kind of process made the field.
POST_PROCESSED_ANALYSIS, POST_PROCESSED_FORECAST = 12, 13
#: Product definition templates by that of the input: a point in time, or an interval.
MEMBER_TEMPLATES: Mapping[int, int] = {0: 1, 1: 1, 2: 1, 8: 11, 11: 11, 12: 11}
#: The MARS key names that travel as headers, where the message knows them.
MARS_KEYS = ("class", "stream", "type", "expver", "date", "time", "param", "levtype", "levelist")

Wanted = tuple[tuple[str, str | int], ...]


class EncodeError(DownscaledError):
    """A field that cannot be encoded, or that reads back as something else than was wanted."""

    reason: ClassVar[str] = "encode"


@dataclass(frozen=True, slots=True)
class Imprint:
    """Whose product it is; the config's `output.centre` and `output.generating_process`.

    None keeps what the input says: the fields are that centre's forecast, post-processed, and a
    process number means something only in its centre's own list.
    """

    centre: str | int | None = None
    generating_process: int | None = None


@dataclass(frozen=True, slots=True)
class FieldTarget:
    """What a fine field is: a parameter of a step on a grid.

    factor: takes the message's units to the bundle's, as it did when the message was decoded.
    interval: what an accumulation is to cover, whatever its message does; None for all else.
    """

    key: StepKey
    parameter: str
    grid: Grid
    factor: float = 1.0
    interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """A message ready for values. wanted: what a reader must find in what is made from it.

    members: how many forecasts the input's ensemble has, 1 if it is none.
    mars: the MARS keys that the message knows, as text.
    """

    message: bytes
    target: FieldTarget
    packing: Packing
    wanted: Wanted
    members: int
    mars: Mapping[str, str]

    @property
    def param_id(self) -> int:
        """The parameter's number in ecCodes."""
        return int(dict(self.wanted)["paramId"])


def prepare(
    message: bytes,
    target: FieldTarget,
    packing: Packing = AS_USUAL,
    imprint: Imprint = Imprint(),
) -> Template:
    """Make the template of a parameter's fine fields from its coarse message.

    Edition 1 becomes 2, any grid becomes `target.grid`, the product an ensemble member's.
    Raises EncodeError where ecCodes cannot do that, or the message is not what `target` says.
    """
    try:
        with codes.opened(message) as handle:
            wanted = _wanted(handle, target)
            members = _members(handle)
            _override(handle, target, packing, imprint)
            found = handle.message()
            signed = _signature(handle, imprint)
            mars = {key: handle.text(key) for key in MARS_KEYS if handle.has(key)}
        wanted = (*wanted, *signed)
        placed = _placed(target.grid)
        with codes.opened(found) as handle:
            every = (*wanted, *placed)
            refuse_difference(every, found_keys(handle, every), target)
            # The grid's keys are right; that they stay so, one key tells for each draw.
            wanted = (*wanted, ("md5GridSection", handle.text("md5GridSection")))
    except CodesError as error:
        raise EncodeError(
            f"{target.parameter} of {target.key.text}: ecCodes makes no GRIB 2 template of its "
            f"message: {error}"
        ) from error
    return Template(found, target, packing, wanted, members, mars)


def refuse_unknown(imprint: Imprint) -> None:
    """Raise UsageError for a centre or process number that GRIB cannot hold; before any work."""
    keys = {"centre": imprint.centre, "generatingProcessIdentifier": imprint.generating_process}
    for key, value in keys.items():
        try:
            with codes.sample("GRIB2") as handle:
                if value is not None:
                    handle.set(key, value)
        except CodesError:
            raise UsageError(
                f"output: {key} cannot be {value!r}; wanted a name or number that ecCodes knows"
                if key == "centre"
                else f"output: {key} cannot be {value!r}; wanted 0 to 255"
            ) from None


def found_keys(handle: Handle, wanted: Wanted) -> Wanted:
    """Read the wanted keys, each as the type that is wanted; changes the handle's step units."""
    handle.set("stepUnits", "m")
    return tuple(
        (key, handle.integer(key) if isinstance(value, int) else handle.text(key))
        for key, value in wanted
    )


def refuse_difference(wanted: Wanted, found: Wanted, target: FieldTarget) -> None:
    """Raise EncodeError that names every key which is not what it should be."""
    wrong = [
        f"{key} is {value}, wanted {wish}"
        for (key, value), (_, wish) in zip(found, wanted, strict=True)
        if value != wish
    ]
    if wrong:
        raise EncodeError(f"{target.parameter} of {target.key.text}: " + "; ".join(wrong))


def _wanted(handle: Handle, target: FieldTarget) -> Wanted:
    """List what must be found in the product: from the step's key and the input message."""
    time = target.key.run.reference_time.astimezone(UTC)
    identity: list[tuple[str, str | int]] = [
        ("edition", 2),
        ("dataDate", int(time.strftime("%Y%m%d"))),
        ("dataTime", time.hour * 100 + time.minute),
        ("endStep", target.key.minutes),
        ("paramId", handle.integer("paramId")),
    ]
    if target.interval is not None:
        identity += [("startStep", target.interval.start), ("stepType", "accum")]
    else:
        with handle.clone() as copy:
            # Steps are counted in minutes here, which would change the message itself.
            identity += found_keys(copy, (("startStep", 0),))
    # Edition 1 lets a paramId such as 2t stand at the surface where edition 2 gives its height.
    if handle.integer("edition") == 2 or handle.text("typeOfLevel") != "surface":
        identity += [(key, handle.text(key)) for key in ("typeOfLevel", "level")]
    return tuple(identity)


def _placed(grid: Grid) -> Wanted:
    placed = geometry(grid).items()
    return (
        ("gridType", "regular_ll"),
        *((key, value) for key, value in placed if value is not None),
    )


def _members(handle: Handle) -> int:
    """How many forecasts the input's ensemble has; 1 where it is none."""
    if not handle.has("numberOfForecastsInEnsemble"):
        return 1
    return max(1, handle.integer("numberOfForecastsInEnsemble"))


def _override(handle: Handle, target: FieldTarget, packing: Packing, imprint: Imprint) -> None:
    """Make the message a member's GRIB 2 field on the target's grid, with all values nought."""
    if handle.integer("edition") == 1:
        handle.set("edition", 2)
    # Before any key that older tables do not know.
    handle.set("tablesVersion", max(handle.integer("tablesVersion"), TABLES_VERSION))
    _sign(handle, imprint)
    _make_member(handle, target)
    if target.interval is not None:
        cover(handle, target.interval)
    handle.set("gridType", "regular_ll")
    for key, value in geometry(target.grid).items():
        if value is None:
            handle.set_missing(key)
        else:
            handle.set(key, value)
    # No bitmap: then no value, however strange, can be read as a missing one.
    handle.set("bitmapPresent", 0)
    handle.set("packingType", packing.type)
    handle.set("decimalScaleFactor", 0)
    handle.set_values(np.zeros(target.grid.rows * target.grid.columns))


def _make_member(handle: Handle, target: FieldTarget) -> None:
    """Make the product that of an ensemble member, keeping whether it covers an interval."""
    number = handle.integer("productDefinitionTemplateNumber")
    if number not in MEMBER_TEMPLATES:
        raise EncodeError(
            f"{target.parameter} of {target.key.text}: productDefinitionTemplateNumber is "
            f"{number}, wanted one of {', '.join(map(str, MEMBER_TEMPLATES))}"
        )
    if number != MEMBER_TEMPLATES[number]:
        handle.set("productDefinitionTemplateNumber", MEMBER_TEMPLATES[number])


def _sign(handle: Handle, imprint: Imprint) -> None:
    """Say whose product it is, and that it was processed after the forecast or analysis."""
    if imprint.centre is not None:
        # The local section and local tables mean something only to the centre that wrote them.
        handle.set("deleteLocalDefinition", 1)
        handle.set("centre", imprint.centre)
        handle.set("subCentre", 0)
        handle.set("localTablesVersion", 0)
    if imprint.generating_process is not None:
        handle.set("generatingProcessIdentifier", imprint.generating_process)
    is_analysis = handle.integer("typeOfProcessedData") == 0
    handle.set(
        "typeOfGeneratingProcess",
        POST_PROCESSED_ANALYSIS if is_analysis else POST_PROCESSED_FORECAST,
    )


def _signature(handle: Handle, imprint: Imprint) -> Wanted:
    keys = ("centre", "generatingProcessIdentifier", "typeOfGeneratingProcess")
    signed: dict[str, str | int] = {key: handle.integer(key) for key in keys}
    if imprint.generating_process is not None:
        signed["generatingProcessIdentifier"] = imprint.generating_process
    return tuple(signed.items())


def geometry(grid: Grid) -> dict[str, int | None]:
    """Return the keys of a regular grid, north to south, west to east; None is GRIB's missing.

    Angles are millionths of a degree, GRIB 2's own grain; longitudes from 0 to 360.
    """
    east = grid.west + (grid.columns - 1) * grid.spacing_lon
    south = grid.north - (grid.rows - 1) * grid.spacing_lat
    return {
        "basicAngleOfTheInitialProductionDomain": 0,
        "subdivisionsOfBasicAngle": None,
        "Ni": grid.columns,
        "Nj": grid.rows,
        "iDirectionIncrementGiven": 1,
        "jDirectionIncrementGiven": 1,
        "uvRelativeToGrid": 0,
        "latitudeOfFirstGridPoint": round(grid.north * 1e6),
        "longitudeOfFirstGridPoint": round(grid.west % 360 * 1e6) % 360_000_000,
        "latitudeOfLastGridPoint": round(south * 1e6),
        "longitudeOfLastGridPoint": round(east % 360 * 1e6) % 360_000_000,
        "iDirectionIncrement": round(grid.spacing_lon * 1e6),
        "jDirectionIncrement": round(grid.spacing_lat * 1e6),
        "iScansNegatively": 0,
        "jScansPositively": 0,
        "jPointsAreConsecutive": 0,
        "alternativeRowScanning": 0,
    }
