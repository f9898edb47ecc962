"""The input message made ready to carry fine fields: its identity kept, the rest overridden.

Done once for each parameter of a step; `encode` then only adds a draw's number and values.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import ClassVar

import numpy as np

from engines.errors import DownscaledError
from streamer.domain import Grid
from streamer.grib import codes
from streamer.grib.codes import CodesError, Handle
from streamer.grib.geometry import geometry
from streamer.grib.imprint import AS_IT_CAME, Imprint, sign, signature
from streamer.grib.intervals import cover
from streamer.grib.packing import AS_USUAL, Packing
from streamer.grib.statistic import (
    mars_type,
    processed_data,
    product_template,
    statistic_keys,
    tables_version,
)
from streamer.grib.target import FieldTarget

#: Processed forecasts and individual ensemble members need no newer WMO tables; GFS says 2.
TABLES_VERSION = 28
#: Product definition templates by that of the input: a point in time, or an interval.
MEMBER_TEMPLATES: Mapping[int, int] = {0: 1, 1: 1, 2: 1, 8: 11, 11: 11, 12: 11}
#: The template of a member over an interval.
_OVER_INTERVAL = 11
#: The MARS key names that travel as headers, where the message knows them.
MARS_KEYS = ("class", "stream", "type", "expver", "date", "time", "param", "levtype", "levelist")

Wanted = tuple[tuple[str, str | int], ...]


class EncodeError(DownscaledError):
    """A field that cannot be encoded, or that reads back as something else than was wanted."""

    reason: ClassVar[str] = "encode"


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
    imprint: Imprint = AS_IT_CAME,
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
            told = _override(handle, target, packing, imprint)
            found = handle.message()
            signed = (*signature(handle, imprint), *told)
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


def _known(keys: Mapping[str, int | None]) -> Wanted:
    return tuple((key, value) for key, value in keys.items() if value is not None)


def _set(handle: Handle, keys: Mapping[str, int | None]) -> None:
    """Set keys in their order; None is GRIB's missing."""
    for key, value in keys.items():
        if value is None:
            handle.set_missing(key)
        else:
            handle.set(key, value)


def _override(handle: Handle, target: FieldTarget, packing: Packing, imprint: Imprint) -> Wanted:
    """Make the message a GRIB 2 field of the target's kind and grid, with all values nought.

    Returns the keys that tell what kind of product it is.
    """
    if handle.integer("edition") == 1:
        handle.set("edition", 2)
    # Before any key that older tables do not know.
    newest = max(handle.integer("tablesVersion"), TABLES_VERSION)
    if target.statistic is not None:
        newest = max(newest, tables_version(target.statistic))
    handle.set("tablesVersion", newest)
    sign(handle, imprint)
    told = _make_product(handle, target)
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
    return told


def _make_product(handle: Handle, target: FieldTarget) -> Wanted:
    """Make the product a member's or a statistic's, keeping whether it covers an interval.

    Returns the keys that say so.
    """
    number, statistic = handle.integer("productDefinitionTemplateNumber"), target.statistic
    if number not in MEMBER_TEMPLATES:
        raise EncodeError(
            f"{target.text}: productDefinitionTemplateNumber is "
            f"{number}, wanted one of {', '.join(map(str, MEMBER_TEMPLATES))}"
        )
    made = MEMBER_TEMPLATES[number]
    if statistic is not None:
        made = product_template(statistic, over_interval=made == _OVER_INTERVAL)
    if number != made:
        handle.set("productDefinitionTemplateNumber", made)
    keys: dict[str, int | None] = {}
    if statistic is not None:
        keys["typeOfProcessedData"] = processed_data(
            statistic, handle.integer("typeOfProcessedData")
        )
        if handle.has("marsType"):
            # Only the local section's own: `type` would choose template and statistic, too.
            keys["marsType"] = mars_type(statistic, weighted=target.weighted)
        keys |= statistic_keys(statistic, target.factor, weighted=target.weighted)
        _set(handle, keys)
    return ("productDefinitionTemplateNumber", made), *_known(keys)
