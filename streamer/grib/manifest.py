"""The GRIB part of a bundle's manifest: grids, operators, and which messages are its parameters.

The machine room carries this part unread; here it gets its meaning.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engines.errors import BundleError
from streamer.demands import Constraints
from streamer.domain import Grid
from streamer.grib.constraints import read_constraints
from streamer.grib.plain import entry, number, numbers, text

Key = int | float | str

_GRID_KEYS = ("north", "west", "spacing_lat", "spacing_lon", "rows", "columns")
#: MIR's cubic stencil reaches over the poles and the date line, so it knows no limited area.
_GLOBAL_ONLY = ("structured-bicubic", "structured-biquasicubic")
#: MIR's mean over boxes.
BOX_AVERAGE = "grid-box-average"
#: How an input on another grid comes to the fine grid before it is resized: box averages keep
#: the amount of rain, make nothing negative, and let nothing finer than the fine grid through.
ONTO_FINE = BOX_AVERAGE


@dataclass(frozen=True, slots=True)
class Coarse:
    """The coarse grid, and MIR's name of the operator that takes finer fields to `target`.

    resized: the fine grid, where the coarse one is the fine field resized as an image and back
    (`resize.py`); None where MIR leads to the coarse grid itself.
    """

    grid: Grid
    interpolation: str
    resized: Grid | None = None

    @property
    def target(self) -> Grid:
        """The grid that MIR takes an input to."""
        return self.resized or self.grid

    @property
    def is_box_mean(self) -> bool:
        """Whether a coarse value is a mean over the fine ones around, so that it can be kept."""
        return self.resized is not None or self.interpolation == BOX_AVERAGE


@dataclass(frozen=True, slots=True)
class Identity:
    """One way a parameter is named in GRIB; `factor` takes its units to the bundle's.

    keys: further GRIB keys that must be equal, such as a vertical level, in the manifest's order.
    """

    param_id: int
    factor: float = 1.0
    keys: tuple[tuple[str, Key], ...] = ()


@dataclass(frozen=True, slots=True)
class Vector:
    """A component (`u` or `v`) of a horizontal vector whose other component is `partner`."""

    partner: str
    component: str


@dataclass(frozen=True, slots=True)
class Parameter:
    """A channel as GRIB knows it.

    low, high: sound values in `units`; outside them a message is refused.
    fill_missing: what missing values become, in `units`; None refuses messages that have any.
    accumulated: messages hold amounts since some time, and the channel is `units` an hour.
    from_minutes: the lead time from which on it exists; before, its rate is 0.
    """

    name: str
    units: str
    identities: tuple[Identity, ...]
    low: float
    high: float
    fill_missing: float | None = None
    vector: Vector | None = None
    accumulated: bool = False
    from_minutes: int = 0


@dataclass(frozen=True, slots=True)
class GribManifest:
    """What a bundle says about GRIB; `interpolation` leads from the coarse grid to `grid`.

    Where the coarse fields are resized, the way back is too: `interpolation` is "resize".
    constraints: what every draw must obey; a bundle may demand nothing.
    """

    grid: Grid
    coarse: Coarse
    interpolation: str
    parameters: tuple[Parameter, ...]
    constraints: Constraints = Constraints()

    def parameter(self, name: str) -> Parameter:
        """Return a parameter by its name; KeyError if the bundle has none such."""
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        raise KeyError(name)


def read_manifest(part: Mapping[str, Any]) -> GribManifest:
    """Read a manifest's `grib` part; raises BundleError with every fault in it at once."""
    faults: list[str] = []
    grid = _grid(part.get("grid"), "grib.grid", faults)
    coarse = _coarse(part.get("coarse"), grid, faults)
    interpolation = _interpolation(part.get("interpolation"), coarse, faults)
    if interpolation in _GLOBAL_ONLY and not is_global(coarse.grid):
        faults.append(f"grib.interpolation: {interpolation} serves global grids only")
    parameters = _parameters(part.get("parameters"), faults)
    constraints = read_constraints(
        part.get("constraints"),
        [one.name for one in parameters],
        has_boxes=coarse.is_box_mean,
        faults=faults,
    )
    if faults:
        raise BundleError("the bundle's grib part has faults: " + "; ".join(faults))
    return GribManifest(grid, coarse, interpolation, parameters, constraints)


def is_global(grid: Grid) -> bool:
    """Whether a grid goes all the way round and ends within one row of each pole."""
    last = grid.north - (grid.rows - 1) * grid.spacing_lat
    slack = grid.spacing_lat * (1 + 1e-6)
    return grid.is_periodic and grid.north + slack >= 90 and last - slack <= -90


def lattice(
    spacing_lon: float, spacing_lat: float, area: tuple[float, float, float, float] | None
) -> Grid:
    """Lay MIR's grid of a spacing: its points are multiples of the spacing from 0 N, 0 E.

    area: north, west, south, east in degrees, of which the points within are taken; None: the
    globe, from 0 E, as far to the poles as multiples reach (4 degrees: 88 N to 88 S).
    """
    north, west, south, east = area or (90.0, 0.0, -90.0, 360.0 - spacing_lon)
    top, bottom = math.floor(north / spacing_lat + 1e-9), math.ceil(south / spacing_lat - 1e-9)
    left, right = math.ceil(west / spacing_lon - 1e-9), math.floor(east / spacing_lon + 1e-9)
    return Grid(
        north=top * spacing_lat,
        west=left * spacing_lon,
        spacing_lat=spacing_lat,
        spacing_lon=spacing_lon,
        rows=top - bottom + 1,
        columns=right - left + 1,
    )


def _grid(part: object, where: str, faults: list[str]) -> Grid:
    """Read a grid; a unit grid stands in for one that has faults."""
    values: dict[str, float] = {}
    for key in _GRID_KEYS:
        values[key] = number(entry(part, key), f"{where}.{key}", faults)
    if any(not math.isfinite(v) for v in values.values()):
        return Grid(90.0, 0.0, 1.0, 1.0, 181, 360)
    grid = Grid(
        north=values["north"],
        west=values["west"],
        spacing_lat=values["spacing_lat"],
        spacing_lon=values["spacing_lon"],
        rows=int(values["rows"]),
        columns=int(values["columns"]),
    )
    if min(grid.spacing_lat, grid.spacing_lon) <= 0 or min(grid.shape) < 2:
        faults.append(f"{where}: spacings must be positive and rows, columns at least 2")
    elif grid.north > 90 + 1e-6 or grid.latitudes[-1] < -90 - 1e-6:
        faults.append(f"{where}: rows from {grid.north} to {grid.latitudes[-1]} N leave the globe")
    elif grid.columns * grid.spacing_lon > 360 + 1e-6:
        faults.append(f"{where}: {grid.columns} columns of {grid.spacing_lon} degrees overlap")
    return grid


def _interpolation(stated: object, coarse: Coarse, faults: list[str]) -> str:
    """Read the way from the coarse grid to the fine one; a resize needs no word for its own."""
    if coarse.resized is not None and stated is None:
        return "resize"
    found = text(stated, "grib.interpolation", faults)
    if coarse.resized is not None and found != "resize":
        faults.append(f"grib.interpolation is {found!r}, a coarse field resized returns by resize")
    return found


def _coarse(part: object, fine: Grid, faults: list[str]) -> Coarse:
    """Read the coarse operator; without an `area` it has the globe, or the fine grid's area."""
    if entry(part, "resize") is not None:
        return _resized(entry(part, "resize"), fine, faults)
    where = "grib.coarse"
    if entry(part, "method") != "mir":
        faults.append(f"{where}.method is {entry(part, 'method')!r}, this version knows 'mir'")
    interpolation = text(entry(part, "interpolation"), f"{where}.interpolation", faults)
    spacing = numbers(entry(part, "grid"), 2, f"{where}.grid", faults)
    if spacing is None or min(spacing) <= 0:
        faults.append(f"{where}.grid must be two positive spacings, longitude first")
        return Coarse(fine, interpolation)
    stated = entry(part, "area")
    area = None if stated is None else numbers(stated, 4, f"{where}.area", faults)
    if area is None and not is_global(fine):
        area = _around(fine, spacing[0], spacing[1])
    grid = lattice(spacing[0], spacing[1], (area[0], area[1], area[2], area[3]) if area else None)
    if min(grid.shape) < 2:
        faults.append(f"{where}: its area holds {grid.rows} rows and {grid.columns} columns")
    return Coarse(grid, interpolation)


def _resized(part: object, fine: Grid, faults: list[str]) -> Coarse:
    """Read a resize: the same area in fewer rows and columns, each the middle of its box."""
    where = "grib.coarse.resize"
    shape = {key: number(entry(part, key), f"{where}.{key}", faults) for key in ("rows", "columns")}
    limits = {"rows": fine.rows, "columns": fine.columns}
    for key, found in shape.items():
        if math.isfinite(found) and not (found == int(found) and 2 <= found <= limits[key]):
            faults.append(f"{where}.{key} is {found:g}, wanted a whole one from 2 to {limits[key]}")
    if not all(math.isfinite(found) and found >= 2 for found in shape.values()):
        return Coarse(fine, ONTO_FINE, fine)
    rows, columns = int(shape["rows"]), int(shape["columns"])
    spacing_lat = fine.spacing_lat * fine.rows / rows
    spacing_lon = fine.spacing_lon * fine.columns / columns
    grid = Grid(
        north=fine.north + (fine.spacing_lat - spacing_lat) / 2,
        west=fine.west - (fine.spacing_lon - spacing_lon) / 2,
        spacing_lat=spacing_lat,
        spacing_lon=spacing_lon,
        rows=rows,
        columns=columns,
    )
    return Coarse(grid, ONTO_FINE, fine)


def _around(fine: Grid, spacing_lon: float, spacing_lat: float) -> tuple[float, ...]:
    """Return the area of the coarse points that surround a limited fine grid."""
    north = math.ceil(fine.north / spacing_lat - 1e-9) * spacing_lat
    south = math.floor(float(fine.latitudes[-1]) / spacing_lat + 1e-9) * spacing_lat
    west = math.floor(fine.west / spacing_lon + 1e-9) * spacing_lon
    east = math.ceil(float(fine.longitudes[-1]) / spacing_lon - 1e-9) * spacing_lon
    return min(north, 90.0), west, max(south, -90.0), east


def _parameters(part: object, faults: list[str]) -> tuple[Parameter, ...]:
    if not isinstance(part, Mapping) or not part:
        faults.append("grib.parameters names no parameter")
        return ()
    parameters = tuple(_parameter(str(name), body, faults) for name, body in part.items())
    by_name = {parameter.name: parameter for parameter in parameters}
    for one in parameters:
        where = f"grib.parameters.{one.name}.vector"
        if one.vector is None:
            continue
        other = by_name.get(one.vector.partner)
        if other is None or other.vector is None or other.vector.partner != one.name:
            faults.append(f"{where}: {one.vector.partner} does not name {one.name} as its partner")
        elif {one.vector.component, other.vector.component} != {"u", "v"}:
            faults.append(f"{where}: the pair must have one component u and one v")
    return parameters


def _parameter(name: str, body: object, faults: list[str]) -> Parameter:
    where = f"grib.parameters.{name}"
    stated = entry(body, "identities")
    if not isinstance(stated, Sequence) or isinstance(stated, str) or not stated:
        faults.append(f"{where}.identities must be a list with at least one paramId")
        stated = ()
    limits = numbers(entry(body, "range"), 2, f"{where}.range", faults) or (0.0, 1.0)
    if not limits[0] < limits[1]:
        faults.append(f"{where}.range: {limits[0]} is not below {limits[1]}")
    fill, vector = entry(body, "fill_missing"), entry(body, "vector")
    accumulation = entry(body, "accumulation")
    return Parameter(
        name=name,
        units=text(entry(body, "units"), f"{where}.units", faults),
        identities=tuple(
            _identity(one, f"{where}.identities[{i}]", faults) for i, one in enumerate(stated)
        ),
        low=limits[0],
        high=limits[1],
        fill_missing=None if fill is None else number(fill, f"{where}.fill_missing", faults),
        vector=None if vector is None else _vector(vector, f"{where}.vector", faults),
        accumulated=_accumulated(accumulation, f"{where}.accumulation", faults),
        from_minutes=_from_minutes(accumulation, f"{where}.accumulation", faults),
    )


def _accumulated(body: object, where: str, faults: list[str]) -> bool:
    if body is None:
        return False
    if entry(body, "per") != "hour":
        faults.append(f"{where} is {body!r}, this version knows {{'per': 'hour'}}")
    return True


def _from_minutes(body: object, where: str, faults: list[str]) -> int:
    """Read from which step on an accumulation exists, in hours; nothing has gathered at step 0."""
    if body is None:
        return 0
    stated = entry(body, "from_step")
    hours = 1 / 60 if stated is None else number(stated, f"{where}.from_step", faults)
    if not hours > 0:
        faults.append(f"{where}.from_step is {stated!r}, wanted hours above 0")
        return 1
    return max(1, round(hours * 60))


def _identity(body: object, where: str, faults: list[str]) -> Identity:
    found = number(entry(body, "paramId"), f"{where}.paramId", faults)
    stated = entry(body, "factor")
    factor = 1.0 if stated is None else number(stated, f"{where}.factor", faults)
    others = body.items() if isinstance(body, Mapping) else ()
    keys: list[tuple[str, Key]] = []
    for key, value in others:
        if key in ("paramId", "factor"):
            continue
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            faults.append(f"{where}.{key}: {value!r} is neither a number nor text")
            continue
        keys.append((str(key), value))
    return Identity(int(found) if math.isfinite(found) else 0, factor, tuple(keys))


def _vector(body: object, where: str, faults: list[str]) -> Vector:
    component = text(entry(body, "component"), f"{where}.component", faults)
    if component not in ("u", "v", ""):
        faults.append(f"{where}.component is {component!r}, not u or v")
    return Vector(text(entry(body, "partner"), f"{where}.partner", faults), component)
