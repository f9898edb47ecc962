"""A bundle's table of what fewer network calls cost: as text, and as marks of a picture."""

from collections.abc import Iterator, Mapping
from typing import Any

from engines.calibration import Calibration, Row, sampler_to_plain, solver_name
from streamer.verify.calls_picture import Mark

#: Columns after those that say what was measured: head, key of `measured`, how to write it.
_COLUMNS = (
    ("patch energy", "patch_energy_change", "percent"),
    ("spread/skill", "spread_skill", "ratio"),
    ("99.9th pct", "p99_9_ratio", "ratio"),
    ("s a tile", "seconds", "seconds"),
)


def section(table: Calibration) -> str:
    """Return the page's section on a table: who draws by default, every row, its settings."""
    head = ["profile", "sampler", "network", "calls", "CRPS", *(name for name, _, _ in _COLUMNS)]
    lines = [
        "## What network calls cost",
        f"The daemon draws by `{table.default}` unless its configuration says otherwise.",
        "CRPS and patch energy: change against the reference, with the 95 % interval over days.",
        "",
        *_tabled([head, ["---"] * len(head)]),
        *_tabled(_cells(table, i, row) for i, row in enumerate(table.rows)),
        "",
        *(f"- {name}: {_settings(table.row(name))}." for name in table.profiles),
    ]
    return "\n".join(lines)


def marks(table: Calibration) -> tuple[Mark, ...]:
    """Return what a picture shows of each row that was measured against the reference."""
    return tuple(
        Mark(
            family=solver_name(row.sampler) + (", tuned" if row.network == "tuned" else ""),
            calls=row.calls,
            change=float(row.measured["crps_change"]),
            interval=_interval(row.measured),
            seconds=_number(row.measured, "seconds"),
            label=_profiles(table, i),
        )
        for i, row in enumerate(table.rows)
        if _number(row.measured, "crps_change") is not None
    )


def _cells(table: Calibration, index: int, row: Row) -> list[str]:
    change, within = _number(row.measured, "crps_change"), _interval(row.measured)
    crps = "-" if change is None else f"{change:+.2%}"
    if within is not None:
        crps += f" ({within[0]:+.2%} to {within[1]:+.2%})"
    return [
        _profiles(table, index),
        f"{solver_name(row.sampler)}, {row.sampler.steps} levels",
        row.network,
        str(row.calls),
        crps,
        *(_written(_number(row.measured, key), kind) for _, key, kind in _COLUMNS),
    ]


def _written(found: float | None, kind: str) -> str:
    if found is None:
        return "-"
    return {"percent": f"{found:+.2%}", "ratio": f"{found:.3f}", "seconds": f"{found:.3g}"}[kind]


def _tabled(rows: Iterator[list[str]] | list[list[str]]) -> Iterator[str]:
    return (f"| {' | '.join(row)} |" for row in rows)


def _profiles(table: Calibration, index: int) -> str:
    return ", ".join(name for name, row in table.profiles.items() if row == index)


def _settings(row: Row) -> str:
    """Return a sampler's settings as the paper and the configuration name them."""
    told = {k: v for k, v in sampler_to_plain(row.sampler).items() if v not in (None, [], 0.0)}
    words = [f"{name.replace('_', ' ')} {_plain(value)}" for name, value in told.items()]
    return ", ".join(words[1:])


def _plain(value: object) -> str:
    if isinstance(value, list):
        return " ".join(_plain(one) for one in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _number(measured: Mapping[str, Any], key: str) -> float | None:
    """Return a measure that is there and a number; what a table leaves out is not an error."""
    found = measured.get(key)
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    return float(found)


def _interval(measured: Mapping[str, Any]) -> tuple[float, float] | None:
    found = measured.get("interval")
    if not isinstance(found, list | tuple) or len(found) != 2:
        return None
    ends = [_number({"end": end}, "end") for end in found]
    low, high = ends
    return None if low is None or high is None else (low, high)
