"""What fewer network calls cost in skill, measured: the part `calibration` of a manifest.

A table of samplers with what was measured of each, and which rows the profiles name. A bundle
without it is sound; so is a reader that passes it over, since Heun's eight stand beside it.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engines.errors import UsageError
from engines.multistep import MultistepSettings
from engines.sampler import Sampler, SamplerSettings, calls, levels

#: The profiles that a table may name, the cheapest first.
PROFILES = ("fast", "standard", "reference")
#: A bundle's networks: the one it was trained as, and one tuned through its own few calls.
NETWORKS = ("denoiser", "tuned")
#: By solver, the settings it takes; `solver` tells them apart in a file.
SOLVERS: Mapping[str, type[SamplerSettings] | type[MultistepSettings]] = {
    "heun": SamplerSettings,
    "multistep": MultistepSettings,
}


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A sampler and what was measured of it.

    calls: of the network, for a draw of one tile. network: out of `NETWORKS`. measured: JSON
    values over all parameters, and under `parameters` the same by parameter. The pages look for
    `crps`, `crps_change` (a fraction of the reference's) with `interval` [low, high], and for
    `patch_energy_change`, `spread_skill`, `p99_9_ratio`, `seconds` (a draw of one tile).
    """

    sampler: Sampler
    calls: int
    network: str = "denoiser"
    measured: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """A bundle's table.

    profiles: index of the row by name; one that no row qualified for is missing. default: the
    profile of whoever names none. told: days, states, draws, command; for people.
    """

    rows: tuple[Row, ...]
    profiles: Mapping[str, int]
    default: str
    told: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def row(self, profile: str) -> Row:
        """Return the row that a profile names; KeyError for one that none qualified for."""
        return self.rows[self.profiles[profile]]


def solver_name(sampler: Sampler) -> str:
    """Return `heun` or `multistep`."""
    return next(name for name, kind in SOLVERS.items() if isinstance(sampler, kind))


def sampler_to_plain(sampler: Sampler) -> dict[str, Any]:
    """Return a sampler as JSON values: `solver`, then its settings; infinity is null."""
    plain = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(sampler).items()
    }
    told = {k: None if v == math.inf else v for k, v in plain.items()}
    return {"solver": solver_name(sampler), **told}


def sampler_from_plain(plain: object) -> Sampler:
    """Return the sampler of JSON values. Raises UsageError with what was found and wanted."""
    if not isinstance(plain, Mapping):
        raise UsageError(f"sampler is {plain!r}, wanted an object")
    part = dict(plain)
    solver = part.pop("solver", "heun")
    if not isinstance(solver, str) or solver not in SOLVERS:
        raise UsageError(f"solver is {solver!r}, wanted one of {', '.join(SOLVERS)}")
    kind = SOLVERS[solver]
    known = [field.name for field in dataclasses.fields(kind)]
    if unknown := [str(name) for name in part if name not in known]:
        raise UsageError(f"{solver} has no {', '.join(unknown)}; it has {', '.join(known)}")
    # JSON has no infinity, which is what no upper limit of churn means, and no tuples.
    if part.get("s_max", 0) is None:
        part["s_max"] = math.inf
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in part.items()}
    try:
        return kind(**given)
    except TypeError as error:
        raise UsageError(f"{solver}: {error}") from None


def parse_calibration(plain: object, faults: list[str]) -> Calibration | None:
    """Return the table of JSON values, or None with what is wrong added to `faults`."""
    before = len(faults)
    if not isinstance(plain, Mapping):
        faults.append(f"calibration is {plain!r}, wanted an object")
        return None
    stated = plain.get("rows")
    if not isinstance(stated, list) or not stated:
        faults.append("calibration.rows holds none, wanted a list of at least one")
        return None
    rows = [_row(one, f"calibration.rows[{i}]", faults) for i, one in enumerate(stated)]
    profiles = _mapping(plain, "profiles", faults)
    for name, index in profiles.items():
        if name not in PROFILES:
            faults.append(
                f"calibration.profiles.{name}: unknown, wanted one of {', '.join(PROFILES)}"
            )
        if type(index) is not int or not 0 <= index < len(rows):
            faults.append(
                f"calibration.profiles.{name} is {index!r}, wanted a row, 0 to {len(rows) - 1}"
            )
    default = plain.get("default")
    if not isinstance(default, str) or default not in profiles:
        faults.append(f"calibration.default is {default!r}, wanted one of {_names(profiles)}")
    told = _mapping(plain, "told", faults)
    if len(faults) > before:
        return None
    sound = tuple(row for row in rows if row is not None)
    return Calibration(sound, dict(profiles), str(default), dict(told))


def unknown_levels(table: Calibration | None, within: tuple[float, float]) -> list[str]:
    """Name the rows of a table whose levels leave what the network knows, `within`."""
    faults = []
    for i, row in enumerate(table.rows if table else ()):
        try:
            levels(row.sampler, within)
        except UsageError as error:
            faults.append(f"calibration.rows[{i}]: {error}")
    return faults


def to_plain(calibration: Calibration) -> dict[str, Any]:
    """Return a table as JSON values, which `parse_calibration` reads."""
    return {
        "default": calibration.default,
        "profiles": dict(calibration.profiles),
        "rows": [
            {
                "sampler": sampler_to_plain(row.sampler),
                "calls": row.calls,
                "network": row.network,
                "measured": dict(row.measured),
            }
            for row in calibration.rows
        ],
        "told": dict(calibration.told),
    }


def _row(plain: object, where: str, faults: list[str]) -> Row | None:
    if not isinstance(plain, Mapping):
        faults.append(f"{where} is {plain!r}, wanted an object")
        return None
    try:
        sampler = sampler_from_plain(plain.get("sampler"))
    except UsageError as error:
        faults.append(f"{where}: {error}")
        return None
    cost, network = plain.get("calls"), plain.get("network", "denoiser")
    if type(cost) is not int or cost != calls(sampler):
        faults.append(f"{where}.calls is {cost!r}, but its sampler makes {calls(sampler)}")
    if network not in NETWORKS:
        faults.append(f"{where}.network is {network!r}, wanted one of {', '.join(NETWORKS)}")
    measured = plain.get("measured", {})
    if not isinstance(measured, Mapping):
        faults.append(f"{where}.measured is {measured!r}, wanted an object")
        measured = {}
    return Row(sampler, calls(sampler), str(network), measured)


def _mapping(plain: Mapping[str, Any], key: str, faults: list[str]) -> Mapping[str, Any]:
    found = plain.get(key, {})
    if isinstance(found, Mapping):
        return found
    faults.append(f"calibration.{key} is {found!r}, wanted an object")
    return {}


def _names(profiles: Mapping[str, int]) -> str:
    return ", ".join(profiles) or "its profiles, of which it has none"
