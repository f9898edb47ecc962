"""Turns a record's bytes into fields on the bundle's grids, or says why it does not.

Pure: the same bytes give the same answer. It runs in worker processes, see `workers.py`, because
a message can kill the libraries that it calls.
"""

import contextlib
import hashlib
from dataclasses import dataclass

import numpy as np

from streamer.domain import (
    Array,
    Decoded,
    Field,
    Interval,
    Reason,
    Rejected,
    StepKey,
    Unwanted,
    step_text,
)
from streamer.grib import grids, intervals, partial, regrid, wind
from streamer.grib.codes import CodesError, Handle, Values, opened
from streamer.grib.frame import split
from streamer.grib.identity import has_all, source_of, step_key
from streamer.grib.manifest import GribManifest, Identity, Parameter
from streamer.grib.onto import to_coarse
from streamer.grib.wants import Limits, Source, Wants

__all__ = ["Limits", "Source", "Wants", "decode", "prepare"]

#: What ecCodes is told to put where a value is missing: above anything that is measured.
_MISSING = 1e36


class _Refused(Exception):
    """A message that cannot be used."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Match:
    """What a message was recognised as."""

    source: str
    parameter: Parameter
    identity: Identity


def decode(value: bytes, wants: Wants, again: str) -> list[Decoded]:
    """Decode every message of a record, in order; one bad message costs only itself.

    again: the name of a repeat on purpose, part of every step's identity; "" otherwise.
    """
    return [
        piece if isinstance(piece, Rejected) else _decode_one(piece, wants, again)
        for piece in split(value, wants.limits)
    ]


def prepare(wants: Wants) -> None:
    """Make ready what the first message would wait for: operators from the fine grid and back."""
    manifest = wants.manifest
    with contextlib.suppress(regrid.RegridError):
        zeros = np.zeros(manifest.grid.shape)
        _to_fine(regrid.to_coarse(zeros, manifest.grid, manifest.coarse), manifest)


def _decode_one(message: bytes, wants: Wants, again: str) -> Decoded:
    try:
        with opened(message) as handle:
            match = _match(handle, wants)
            if isinstance(match, Unwanted):
                return match
            return _read_field(handle, message, match, wants, again)
    except _Refused as refused:
        return Rejected(refused.reason, str(refused))
    except CodesError as error:
        return Rejected(Reason.UNDECODABLE, f"ecCodes cannot read it: {error}")
    except MemoryError:
        limit = wants.limits.worker_memory_bytes
        return Rejected(Reason.TOO_LARGE, f"decoding needs more than the {limit} bytes of a worker")


def _match(handle: Handle, wants: Wants) -> _Match | Unwanted:
    source = source_of(handle, wants.sources)
    if source is None:
        return Unwanted("source")
    param_id = handle.integer("paramId")
    for parameter in wants.manifest.parameters:
        for identity in parameter.identities:
            if identity.param_id == param_id and has_all(handle, identity.keys):
                return _Match(source.name, parameter, identity)
    return Unwanted("parameter")


def _read_field(
    handle: Handle, message: bytes, match: _Match, wants: Wants, again: str
) -> Field | Unwanted:
    key = _key(handle, match.source, again)
    name = match.parameter.name
    if key.minutes < match.parameter.from_minutes:
        return Unwanted("step")
    try:
        interval, rounding = _gathered(handle, match)
        _check_points(handle, wants.limits)
        grid = grids.read_grid(handle)
        _check_grid(grid, wants)
        values = _values(handle, match, interval)
        component = None if match.parameter.vector is None else match.parameter.vector.component
        coarse, crossed = to_coarse(handle, grid, values, component, wants.manifest.coarse)
        fine = _to_fine(coarse, wants.manifest)
        crossed_fine = None if crossed is None else _to_fine(crossed, wants.manifest)
        _check_reach(fine, grid, wants)
    except _Refused as refused:
        raise _Refused(refused.reason, f"{name} at +{_lead(key)}: {refused}") from refused
    except grids.GridError as error:
        text = f"{name} at +{_lead(key)}: {error}"
        raise _Refused(Reason.UNSUPPORTED_GRID, text) from error
    except wind.AnglesUnknown as error:
        raise _Refused(Reason.GRID_RELATIVE_WIND, f"{name} at +{_lead(key)}: {error}") from error
    except regrid.NotCovered as error:
        wanted = f"the bundle needs {grids.reach(wants.manifest.coarse.target)}"
        text = f"{name} at +{_lead(key)} on {grid.words}: {error}; {wanted}"
        raise _Refused(Reason.OUTSIDE_AREA, text) from error
    except regrid.RegridError as error:
        text = f"{name} at +{_lead(key)} on {grid.words}: {error}"
        raise _Refused(Reason.UNSUPPORTED_GRID, text) from error
    digest = hashlib.sha256(message).digest()
    factor = match.identity.factor
    # A turned component needs a partner that was turned too: only such may join one step.
    words = grid.words if crossed is None else f"{grid.words}, wind relative to it"
    return Field(
        key, name, words, coarse, fine, message, digest, crossed_fine, crossed, factor,
        interval, rounding,
    )  # fmt: skip


def _gathered(handle: Handle, match: _Match) -> tuple[Interval | None, float]:
    """Return what an accumulation covers and how packing rounded it; None, 0 for all else."""
    if not match.parameter.accumulated:
        return None, 0.0
    try:
        interval = intervals.read_interval(handle)
    except intervals.NoInterval as error:
        raise _Refused(Reason.NOT_ACCUMULATED, str(error)) from error
    return interval, intervals.rounding(handle) * abs(match.identity.factor)


def _key(handle: Handle, source: str, again: str) -> StepKey:
    try:
        return step_key(handle, source, again)
    except ValueError as error:
        raise _Refused(Reason.UNDECODABLE, str(error)) from error


def _lead(key: StepKey) -> str:
    return step_text(key.minutes) + ("" if key.minutes % 60 else " h")


def _check_points(handle: Handle, limits: Limits) -> None:
    """Refuse a field that says it has too many points; a constant one costs no bytes to send."""
    counts = [handle.integer("numberOfDataPoints")]
    if handle.has("Ni") and handle.has("Nj"):
        counts.append(handle.integer("Ni") * handle.integer("Nj"))
    if max(counts) > limits.points:
        text = f"the field has {max(counts)} points, the limit is {limits.points}"
        raise _Refused(Reason.TOO_LARGE, text)


def _check_grid(grid: grids.InputGrid, wants: Wants) -> None:
    coarse = wants.manifest.coarse
    widest = max(coarse.grid.spacing_lat, coarse.grid.spacing_lon)
    if grid.spacing > widest * (1 + 1e-6):
        text = f"{grid.words} is {grid.spacing:g} degrees wide, the bundle takes at most {widest:g}"
        raise _Refused(Reason.COARSER_THAN_BUNDLE, text)
    if grid.regular is None or grids.covers(grid.regular, coarse.target):
        return
    globe = partial.globe_of(grid.regular) if coarse.target.is_periodic else None
    if wants.needed is None or globe is None:
        found, wanted = grids.reach(grid.regular), grids.reach(coarse.target)
        text = f"the field covers {found}, the bundle needs {wanted}"
        raise _Refused(Reason.OUTSIDE_AREA, text)
    points = globe.rows * globe.columns
    if points > wants.limits.points:
        text = f"its globe would have {points} points, the limit is {wants.limits.points}"
        raise _Refused(Reason.TOO_LARGE, text)


def _check_reach(fine: Array, grid: grids.InputGrid, wants: Wants) -> None:
    """Refuse a field of a part of the globe that leaves points unknown which are needed."""
    for window in wants.needed or ():
        known = fine[slice(*window.rows)].take(range(*window.columns), axis=1, mode="wrap")
        unknown = int(np.count_nonzero(np.isnan(known)))
        if unknown:
            assert grid.regular is not None
            needed = wants.manifest.grid.part(window.rows, window.columns)
            text = (
                f"the field covers {grids.reach(grid.regular)}, which leaves {unknown} points "
                f"unknown of what the products need: {grids.reach(needed)}"
            )
            raise _Refused(Reason.OUTSIDE_AREA, text)


def _values(handle: Handle, match: _Match, interval: Interval | None) -> Values:
    """Decode the values, (points,) in message order, in the bundle's units; all are sound."""
    parameter = match.parameter
    handle.set("missingValue", _MISSING)
    raw = handle.values()
    expected = handle.integer("numberOfDataPoints")
    if raw.size != expected:
        text = f"{raw.size} values were decoded for {expected} points"
        raise _Refused(Reason.UNDECODABLE, text)
    absent = raw == _MISSING
    missing = int(np.count_nonzero(absent))
    if missing and parameter.fill_missing is None:
        text = f"{missing} of {raw.size} values are missing, the bundle takes none"
        raise _Refused(Reason.MISSING_VALUES, text)
    values = raw * match.identity.factor
    if missing:
        values[absent] = parameter.fill_missing
    broken = int(np.count_nonzero(~np.isfinite(values)))
    if broken:
        text = f"{broken} of {raw.size} values are not finite"
        raise _Refused(Reason.UNDECODABLE, text)
    _check_range(values, parameter, interval)
    return values


def _check_range(values: Values, parameter: Parameter, interval: Interval | None) -> None:
    """Refuse values that cannot be true; of an amount, those that no rate in its hours gives."""
    hours = 1.0 if interval is None else interval.hours
    low, high = float(values.min()), float(values.max())
    if low < parameter.low * hours or high > parameter.high * hours:
        within = f"{parameter.low * hours:g} to {parameter.high * hours:g}"
        since = "" if interval is None else f" from {interval.text}"
        text = f"values from {low:g} to {high:g} {parameter.units}{since}, sound ones lie within "
        raise _Refused(Reason.OUT_OF_RANGE, text + within)


def _to_fine(coarse: Array, manifest: GribManifest) -> Array:
    return partial.to_fine(coarse, manifest.coarse, manifest.grid, manifest.interpolation)
