"""How a run's store is laid out: which arrays there are before the first step is written.

One chunk a step and draw, so that steps that finish out of order, in whatever process, never
share a chunk.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.domain import Grid
from streamer.outlets.cf import (
    LATITUDE,
    LONGITUDE,
    PERIOD,
    REALIZATION,
    Attributes,
    StepData,
    Variable,
    reference_attributes,
    time_attributes,
    time_units,
)

#: Says of each step whether all its fields are there; a reader looks here first.
COMPLETE = "complete"
#: When what is accumulated by each step began to fall.
START = "accumulation_start"
#: Dimensions.
STEP, DRAW, ROW, COLUMN = "step", "realization", "latitude", "longitude"


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """An array to be made. values: what it holds from the start; None: `fill` everywhere."""

    name: str
    dimensions: tuple[str, ...]
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: str
    fill: float
    attributes: dict[str, Any]
    values: NDArray[Any] | None = None


def plan_run(data: StepData, minutes: Sequence[int]) -> list[Plan]:
    """Plan a store for a run of the given lead times, by what its first written step holds."""
    key, grid = data.key, data.grid
    hours = np.array(minutes, dtype="f8") / 60
    plans = [
        _axis(STEP, hours, PERIOD),
        _axis(ROW, grid.latitudes, LATITUDE),
        _axis(COLUMN, grid.longitudes, LONGITUDE),
        _along_steps("time", np.array(minutes, dtype="f8"), _without_axis(time_attributes(key))),
        _scalar("forecast_reference_time", 0.0, reference_attributes(key)),
        Plan(
            COMPLETE,
            (STEP,),
            (len(minutes),),
            (1,),
            "int8",
            0,
            {
                "long_name": "whether all fields of a step are there",
                "flag_values": [0, 1],
                "flag_meanings": "pending complete",
            },
        ),
    ]
    if data.draws:
        plans.append(_axis(DRAW, np.array(data.draws, dtype="i4"), REALIZATION))
    return plans + plan_step(data, minutes)


def plan_step(data: StepData, minutes: Sequence[int]) -> list[Plan]:
    """Plan what the variables of a step need; a parameter may begin with a later step."""
    plans = [_scalar(one.name, one.value, one.attributes) for one in data.levels.values()]
    if data.interval is not None:
        told = {"long_name": "start of the accumulation", "units": time_units(data.key),
                "calendar": "standard"}  # fmt: skip
        plans.append(Plan(START, (STEP,), (len(minutes),), (1,), "f8", float("nan"), told))
    return plans + [_variable(one, data.grid, len(minutes)) for one in data.variables]


def _variable(variable: Variable, grid: Grid, steps: int) -> Plan:
    draws = (len(variable.draws),) if variable.draws is not None else ()
    over = (DRAW,) if draws else ()
    aside = ["time", "forecast_reference_time"]
    aside += [variable.level.name] if variable.level else []
    aside += [START] if variable.interval else []
    return Plan(
        variable.name,
        (STEP, *over, ROW, COLUMN),
        (steps, *draws, *grid.shape),
        (1, *(1 for _ in draws), *grid.shape),
        "f4",
        float("nan"),
        {**variable.attributes, "coordinates": " ".join(aside)},
    )


def _axis(name: str, values: NDArray[Any], attributes: Attributes) -> Plan:
    return Plan(
        name, (name,), values.shape, values.shape, values.dtype.str[1:], 0, dict(attributes), values
    )


def _along_steps(name: str, values: NDArray[Any], attributes: Attributes) -> Plan:
    shape = values.shape
    return Plan(name, (STEP,), shape, shape, "f8", 0, dict(attributes), values)


def _scalar(name: str, value: float, attributes: Attributes) -> Plan:
    return Plan(name, (), (), (), "f8", 0, dict(attributes), np.array(value))


def _without_axis(attributes: Attributes) -> dict[str, str | float]:
    # The steps are the axis; the valid time runs beside it.
    return {name: value for name, value in attributes.items() if name != "axis"}
