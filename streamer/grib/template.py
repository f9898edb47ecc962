"""The input message made ready to carry fine fields: its identity kept, the rest overridden.

Done once for each parameter of a step; `encode` then only adds a draw's number and values.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import ClassVar

import numpy as np

from engines.errors import DownscaledError, UsageError
from streamer.domain import Grid, Interval, Statistic, StepKey
from streamer.grib import codes
from streamer.grib.codes import CodesError, Handle
from streamer.grib.geometry import geometry
from streamer.grib.intervals import cover
from streamer.grib.packing import AS_USUAL, Packing
from streamer.grib.param_target import ParamTarget
from streamer.grib.statistic import (
    mars_type,
    processed_data,
    product_template,
    statistic_keys,
    tables_version,
)

#: Processed forecasts and individual ensemble members need no newer WMO tables; GFS says 2.
TABLES_VERSION = 28
#: Code table 4.3: what kind of process made the field.
POST_PROCESSED_ANALYSIS, POST_PROCESSED_FORECAST = 12, 13
#: Product definition templates by that of the input: a point in time, or an interval.
MEMBER_TEMPLATES: Mapping[int, int] = {0: 1, 1: 1, 2: 1, 8: 11, 11: 11, 12: 11}
#: The template of a member over an interval.
_OVER_INTERVAL = 11
#: The MARS key names that travel as headers, where the message knows them.
MARS_KEYS = ("class", "stream", "type", "expver", "date", "time", "param", "levtype", "levelist")

Wanted = tuple[tuple[str, str | int], ...]
Kind = tuple[Hashable, ...]


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
    """What a fine field is: a parameter of a step on a grid, a draw or a statistic of draws.

    factor: takes the message's units to the bundle's, as it did when the message was decoded.
    interval: what an accumulation is to cover, whatever its message does; None for all else.
    statistic: None for draws. weighted: whether its members had weights; a mean says so.
    param: another parameter than the message's, in GRIB's own units; None for the message's own.
    """

    key: StepKey
    parameter: str
    grid: Grid
    factor: float = 1.0
    interval: Interval | None = None
    statistic: Statistic | None = None
    weighted: bool = False
    param: ParamTarget | None = None

    @property
    def text(self) -> str:
        """What it is in errors: the parameter, the step's key, and which statistic."""
        told = f"{self.parameter} of {self.key.text}"
        return told if self.statistic is None else f"{told}, {self.statistic.text}"

    @property
    def kind(self) -> "Kind":
        """All of it but the step: what two steps of a forecast have in common."""
        what = (self.parameter, self.statistic, self.weighted, self.param)
        return what, self.grid, self.factor, self.interval


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
        """The parameter's number in ecCodes; 0 where it knows none."""
        return int(dict(self.wanted)["paramId"])


def prepare(
    message: bytes,
    target: FieldTarget,
    packing: Packing = AS_USUAL,
    imprint: Imprint = Imprint(),
) -> Template:
    """Make the template of a parameter's fine fields from its coarse message.

    Edition 1 becomes 2, any grid becomes `target.grid`, the product an ensemble member's or,
    where the target asks for one, a statistic's.
    Raises EncodeError where ecCodes cannot do that, or the message is not what `target` says.
    """
    try:
        with codes.opened(message) as handle:
            wanted = _wanted(handle, target)
            members = _members(handle)
            _override(handle, target, packing, imprint)
            found = handle.message()
            signed = (*_signature(handle, imprint), *_told(handle, target))
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
            f"{target.text}: ecCodes makes no GRIB 2 template of its message: {error}"
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
        raise EncodeError(f"{target.text}: " + "; ".join(wrong))


def _wanted(handle: Handle, target: FieldTarget) -> Wanted:
    """List what must be found in the product: from the step's key and the input message."""
    time = target.key.run.reference_time.astimezone(UTC)
    identity: list[tuple[str, str | int]] = [
        ("edition", 2),
        ("dataDate", int(time.strftime("%Y%m%d"))),
        ("dataTime", time.hour * 100 + time.minute),
        ("endStep", target.key.minutes),
    ]
    if target.param is None:
        identity.append(("paramId", handle.integer("paramId")))
    if target.interval is not None:
        identity += [("startStep", target.interval.start), ("stepType", "accum")]
    else:
        with handle.clone() as copy:
            # Steps are counted in minutes here, which would change the message itself.
            identity += found_keys(copy, (("startStep", 0),))
    if target.param is not None:
        height = str(target.param.height_m)
        identity += [("paramId", target.param.param_id)]
        identity += [("typeOfLevel", "heightAboveGround"), ("level", height)]
        identity += _known(target.param.keys())
    # Edition 1 lets a paramId such as 2t stand at the surface where edition 2 gives its height.
    elif handle.integer("edition") == 2 or handle.text("typeOfLevel") != "surface":
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


def _told(handle: Handle, target: FieldTarget) -> Wanted:
    """List what tells a product's kind; what is missing there cannot be read as a number."""
    names = ["productDefinitionTemplateNumber"]
    if target.statistic is None:
        return tuple((name, handle.integer(name)) for name in names)
    if handle.has("marsType"):
        names.append("marsType")
    keys = statistic_keys(target.statistic, target.factor, weighted=target.weighted)
    kind = tuple((name, handle.integer(name)) for name in (*names, "typeOfProcessedData"))
    return (*kind, *_known(keys))


def _known(keys: Mapping[str, int | None]) -> Wanted:
    return tuple((key, value) for key, value in keys.items() if value is not None)


def _set(handle: Handle, keys: Mapping[str, int | None]) -> None:
    """Set keys in their order; None is GRIB's missing."""
    for key, value in keys.items():
        if value is None:
            handle.set_missing(key)
        else:
            handle.set(key, value)


def _override(handle: Handle, target: FieldTarget, packing: Packing, imprint: Imprint) -> None:
    """Make the message a GRIB 2 field of the target's kind and grid, with all values nought."""
    if handle.integer("edition") == 1:
        handle.set("edition", 2)
    # Before any key that older tables do not know.
    newest = max(handle.integer("tablesVersion"), TABLES_VERSION)
    if target.statistic is not None:
        newest = max(newest, tables_version(target.statistic))
    handle.set("tablesVersion", newest)
    _sign(handle, imprint)
    _make_product(handle, target)
    if target.param is not None:
        _set(handle, target.param.keys())
    if target.interval is not None:
        cover(handle, target.interval)
    handle.set("gridType", "regular_ll")
    _set(handle, geometry(target.grid))
    # No bitmap: then no value, however strange, can be read as a missing one.
    handle.set("bitmapPresent", 0)
    handle.set("packingType", packing.type)
    handle.set("decimalScaleFactor", 0)
    handle.set_values(np.zeros(target.grid.rows * target.grid.columns))


def _make_product(handle: Handle, target: FieldTarget) -> None:
    """Make the product a member's or a statistic's, keeping whether it covers an interval."""
    number = handle.integer("productDefinitionTemplateNumber")
    if number not in MEMBER_TEMPLATES:
        raise EncodeError(
            f"{target.text}: productDefinitionTemplateNumber is "
            f"{number}, wanted one of {', '.join(map(str, MEMBER_TEMPLATES))}"
        )
    made = MEMBER_TEMPLATES[number]
    if target.statistic is not None:
        made = product_template(target.statistic, over_interval=made == _OVER_INTERVAL)
    if number != made:
        handle.set("productDefinitionTemplateNumber", made)
    if target.statistic is not None:
        _tell(handle, target, target.statistic)


def _tell(handle: Handle, target: FieldTarget, statistic: Statistic) -> None:
    """Say which statistic a product is, where the WMO's keys and MARS's do."""
    kind = processed_data(statistic, handle.integer("typeOfProcessedData"))
    handle.set("typeOfProcessedData", kind)
    if handle.has("marsType"):
        # Only the local section's own: `type` would choose template and statistic, too.
        handle.set("marsType", mars_type(statistic, weighted=target.weighted))
    _set(handle, statistic_keys(statistic, target.factor, weighted=target.weighted))


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
