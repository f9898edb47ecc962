"""Published messages back to fields: values, grid, and what a reader of files wants to know.

The names come from ecCodes' own tables; CF standard names that those lack stand below.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from streamer.domain import Array, Grid, Interval
from streamer.grib import codes
from streamer.grib.codes import CodesError, Handle
from streamer.grib.grids import GridError, oriented, read_grid
from streamer.outlets.outlet import OutletError, Piece
from streamer.records import FieldNames

#: Source: CF standard name table, version 90 and later.
_STANDARD_NAMES: Mapping[tuple[str, str], str] = {
    ("2d", "K"): "dew_point_temperature",
    ("2dd", "K"): "dew_point_depression",
    ("10si", "m s-1"): "wind_speed",
    ("10wdir", "degree"): "wind_from_direction",
    ("skt", "K"): "surface_temperature",
    ("tp", "kg m-2"): "precipitation_amount",
    ("tp", "m"): "lwe_thickness_of_precipitation_amount",
}
#: Units that UDUNITS does not know under ecCodes' names.
_UNITS = {"Degree true": "degree", "(0 - 1)": "1", "~": "1"}
#: What ecCodes has no name for in edition 2.
_NAMELESS = {"2dd": ("dd2m", "2 metre dewpoint depression", "K")}
_PERCENT = "%"
_MINUTES = "m"


@dataclass(frozen=True, slots=True, eq=False)
class FineField:
    """One published field as it stands in files; its values are decoded when they are written.

    variable: a name that CF allows, without its statistic: `u10`. units: as UDUNITS reads them,
    of the values; parameter_units: of the parameter, which a threshold is in.
    level: the vertical level's kind and height or pressure; None where it has none.
    interval: what an accumulation covers; None for a field at a point in time.
    limit: the threshold of a probability, in the parameter's units.
    """

    names: FieldNames
    message: bytes
    grid: Grid
    variable: str
    standard_name: str
    long_name: str
    units: str
    parameter_units: str
    level: tuple[str, float] | None
    interval: Interval | None
    limit: float | None

    @property
    def kind(self) -> str:
        """The statistic's kind: `mean`, `quantile`, `above`; "" for a draw."""
        return (self.names.statistic or "").partition("-")[0]

    def values(self) -> Array:
        """Decode the values: (H, W) float32, rows north to south, in `units`."""
        with _read(self.names.parameter, self.message) as handle:
            return oriented(handle.values(), handle).astype("float32")


def read_field(piece: Piece) -> FineField:
    """Read what a published message is; raises OutletError where it is not on a regular grid."""
    names = piece.entry.names
    with _read(names.parameter, piece.message) as handle:
        grid = read_grid(handle).regular
        if grid is None:
            raise OutletError(f"{names.parameter} is on a {handle.text('gridType')} grid")
        return _field(handle, piece, grid)


@contextmanager
def _read(parameter: str, message: bytes) -> Iterator[Handle]:
    try:
        with codes.opened(message) as handle:
            yield handle
    except (CodesError, GridError) as error:
        raise OutletError(f"{parameter} cannot be read: {error}") from error


def _field(handle: Handle, piece: Piece, grid: Grid) -> FineField:
    names = piece.entry.names
    variable, long_name, units = _NAMELESS.get(names.parameter) or (
        handle.text("cfVarName"),
        handle.text("name"),
        _udunits(handle.text("units")),
    )
    kind = (names.statistic or "").partition("-")[0]
    is_chance = kind in ("above", "below")
    return FineField(
        names=names,
        message=piece.message,
        grid=grid,
        variable=_identifier(variable if variable != "unknown" else names.parameter),
        standard_name="" if is_chance else _standard_name(handle, names.parameter, units),
        long_name=long_name if long_name != "unknown" else names.parameter,
        units=_PERCENT if is_chance else squared(units) if kind == "variance" else units,
        parameter_units=units,
        level=_level(handle),
        interval=_interval(handle),
        limit=handle.number("upperLimit") if is_chance and handle.has("upperLimit") else None,
    )


def squared(units: str) -> str:
    """Return the square of units: `m2 s-2` of `m s-1`."""
    factors = re.findall(r"([A-Za-z%]+)(-?\d+)?", units)
    return " ".join(f"{name}{2 * int(power or 1)}" for name, power in factors) or units


def _standard_name(handle: Handle, parameter: str, units: str) -> str:
    ours = _STANDARD_NAMES.get((parameter, units))
    known = handle.text("cfName") if handle.has("cfName") else "unknown"
    return ours or ("" if known == "unknown" else known)


def _udunits(units: str) -> str:
    if units in _UNITS:
        return _UNITS[units]
    return "1" if units.startswith("(Code") else units.replace("**", "")


def _identifier(name: str) -> str:
    """Return a name that CF allows: letters, digits and underscores, a letter first."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII)
    return plain if plain[:1].isalpha() else f"v{plain}"


def _level(handle: Handle) -> tuple[str, float] | None:
    kind = handle.text("typeOfLevel")
    if kind in ("heightAboveGround", "isobaricInhPa"):
        return kind, handle.number("level")
    return None


def _interval(handle: Handle) -> Interval | None:
    if handle.text("stepType") == "instant":
        return None
    handle.set("stepUnits", _MINUTES)
    return Interval(handle.integer("startStep"), handle.integer("endStep"))
