"""A step's fields as the CF conventions describe them; what NetCDF and Zarr files share.

Source: NetCDF Climate and Forecast Metadata Conventions, version 1.11.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from streamer.domain import Array, Grid, Interval, StepKey
from streamer.outlets.outlet import OutletError
from streamer.outlets.weather import FineField
from streamer.records import StepRecord, time_text

CONVENTIONS = "CF-1.11"

Attributes = Mapping[str, str | float]

LATITUDE: Attributes = {
    "standard_name": "latitude", "long_name": "latitude", "units": "degrees_north", "axis": "Y",
}  # fmt: skip
LONGITUDE: Attributes = {
    "standard_name": "longitude", "long_name": "longitude", "units": "degrees_east", "axis": "X",
}  # fmt: skip
REALIZATION: Attributes = {
    "standard_name": "realization", "long_name": "draw of the sampler", "units": "1",
}  # fmt: skip
PERIOD: Attributes = {
    "standard_name": "forecast_period", "long_name": "lead time", "units": "hours",
}  # fmt: skip

#: Levels of GRIB as scalar coordinates: name, units and attributes.
_LEVELS: Mapping[str, tuple[str, str, Attributes]] = {
    "heightAboveGround": (
        "height", "m", {"standard_name": "height", "long_name": "height above ground", "units": "m",
                        "positive": "up", "axis": "Z"},
    ),
    "isobaricInhPa": (
        "pressure", "hPa", {"standard_name": "air_pressure", "long_name": "pressure",
                            "units": "hPa", "positive": "down", "axis": "Z"},
    ),
}  # fmt: skip
_METHODS = {
    "": "",
    "mean": "realization: mean",
    "variance": "realization: variance",
    "spread": "realization: standard_deviation",
    "minimum": "realization: minimum",
    "maximum": "realization: maximum",
}


@dataclass(frozen=True, slots=True)
class Scalar:
    """A coordinate of one value."""

    name: str
    value: float
    attributes: Attributes


@dataclass(frozen=True, slots=True, eq=False)
class Variable:
    """One data variable of a step.

    draws: the numbers of its draws, in the order of `fields`; None for a statistic, which is
    one field.
    """

    name: str
    attributes: Attributes
    draws: tuple[int, ...] | None
    fields: tuple[FineField, ...]
    level: Scalar | None
    interval: Interval | None

    def values(self) -> Iterator[tuple[tuple[int, ...], Array]]:
        """Yield where each field lies among the draws, (d,) or (), and its (H, W) values.

        One after the other: a large ensemble need not be in memory at once.
        """
        for at, field in enumerate(self.fields):
            yield (() if self.draws is None else (at,)), field.values()


@dataclass(frozen=True, slots=True, eq=False)
class StepData:
    """A product's step: one grid, one set of draws, one interval for all that accumulates."""

    key: StepKey
    grid: Grid
    draws: tuple[int, ...]
    variables: tuple[Variable, ...]
    interval: Interval | None

    @property
    def levels(self) -> dict[str, Scalar]:
        """The vertical levels of its variables, by name."""
        return {v.level.name: v.level for v in self.variables if v.level is not None}


def step_data(record: StepRecord, fields: Sequence[FineField]) -> StepData:
    """Arrange the fields of one product; raises OutletError where they do not fit one file."""
    grids = {field.grid for field in fields}
    intervals = {field.interval for field in fields if field.interval is not None}
    if len(grids) != 1 or len(intervals) > 1:
        what = f"{len(grids)} grids" if len(grids) != 1 else f"{len(intervals)} intervals"
        raise OutletError(f"{record.key.text}: {what} in one product, wanted one")
    (grid,) = grids
    grouped: dict[tuple[str, str | None], list[FineField]] = {}
    for field in fields:
        grouped.setdefault((field.names.parameter, field.names.statistic), []).append(field)
    variables = tuple(_variable(group) for group in grouped.values())
    draws = sorted({draw for variable in variables for draw in variable.draws or ()})
    _refuse_twins(record.key, variables, draws)
    return StepData(record.key, grid, tuple(draws), variables, next(iter(intervals), None))


def time_units(key: StepKey) -> str:
    """Return the units of times: minutes since the reference time."""
    return f"minutes since {key.run.reference_time:%Y-%m-%d %H:%M:%S}"


def time_attributes(key: StepKey) -> Attributes:
    """Return what describes the valid time."""
    return {"standard_name": "time", "long_name": "valid time", **_clock(key), "axis": "T"}


def reference_attributes(key: StepKey) -> Attributes:
    """Return what describes the reference time."""
    return {
        "standard_name": "forecast_reference_time", "long_name": "reference time", **_clock(key),
    }  # fmt: skip


def file_attributes(record: StepRecord, product: str) -> dict[str, str]:
    """Return a file's own attributes; no clock time, so that a repeat is the same bytes."""
    run = record.key.run
    reference = time_text(run.reference_time)
    return {
        "Conventions": CONVENTIONS,
        "title": f"{product}: downscaled forecast of {reference}, member {run.member_text}",
        "institution": run.centre,
        "source": f"bundle {record.bundle} on {record.engine}",
        "history": f"{reference} forecast by {run.centre}, then downscaled",
    }


def _clock(key: StepKey) -> dict[str, str]:
    return {
        "units": time_units(key),
        "calendar": "standard",
        "units_metadata": "leap_seconds: none",
    }


def _variable(group: Sequence[FineField]) -> Variable:
    first = group[0]
    is_draws = first.names.draw is not None
    ordered = sorted(group, key=lambda field: field.names.draw or 0)
    if len({field.names.draw for field in ordered}) != len(ordered):
        raise OutletError(f"{first.names.parameter}: a draw is there twice")
    suffix = "" if is_draws else f"_{first.names.statistic}".replace("-", "_").replace(".", "_")
    return Variable(
        name=f"{first.variable}{suffix}",
        attributes=_attributes(first),
        draws=tuple(field.names.draw or 0 for field in ordered) if is_draws else None,
        fields=tuple(ordered),
        level=_scalar(first.level),
        interval=first.interval,
    )


def _attributes(field: FineField) -> dict[str, str | float]:
    names = field.names
    told: dict[str, str | float] = {"long_name": _long_name(field), "units": field.units}
    if field.standard_name and field.kind != "variance":
        told["standard_name"] = field.standard_name
    over_time = "time: sum" if field.interval else "time: point"
    over_draws = _METHODS.get(field.kind, "")
    told["cell_methods"] = f"{over_time} {over_draws}".strip()
    if field.units == "K":
        is_difference = field.kind == "spread" or field.standard_name == "dew_point_depression"
        told["units_metadata"] = f"temperature: {'difference' if is_difference else 'on_scale'}"
    told["parameter"] = names.parameter
    if names.statistic is not None:
        told["statistic"] = names.statistic
    if field.limit is not None:
        told["threshold"] = field.limit
        told["threshold_units"] = field.parameter_units
    return told


def _long_name(field: FineField) -> str:
    _, _, value = (field.names.statistic or "").partition("-")
    if field.kind in ("above", "below"):
        limit = f"{value}" if field.limit is None else f"{field.limit:g} {field.parameter_units}"
        return f"probability of {field.long_name} {field.kind} {limit}"
    if field.kind == "quantile":
        return f"quantile {value} of {field.long_name}"
    return f"{field.kind} of {field.long_name}" if field.kind else field.long_name


def _scalar(level: tuple[str, float] | None) -> Scalar | None:
    if level is None:
        return None
    name, units, attributes = _LEVELS[level[0]]
    return Scalar(f"{name}_{level[1]:g}{units}".replace(".", "_"), level[1], attributes)


def _refuse_twins(key: StepKey, variables: Sequence[Variable], draws: Sequence[int]) -> None:
    names = [variable.name for variable in variables]
    if len(set(names)) < len(names):
        raise OutletError(f"{key.text}: two fields are called the same: {', '.join(sorted(names))}")
    for variable in variables:
        if variable.draws is not None and list(variable.draws) != list(draws):
            raise OutletError(
                f"{key.text}: {variable.name} has draws {list(variable.draws)}, others "
                f"{list(draws)}"
            )
