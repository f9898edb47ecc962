"""Turns a record's bytes into fields on the bundle's grids, or says why it does not.

Pure: the same bytes give the same answer. It runs in worker processes, see `workers.py`, because
a message can kill the libraries that it calls.
"""

import contextlib
import hashlib
import math
from dataclasses import dataclass

import numpy as np

from streamer.domain import (
    Array,
    Decoded,
    Field,
    Grid,
    Reason,
    Rejected,
    StepKey,
    Unwanted,
    step_text,
)
from streamer.grib import grids, regrid, wind
from streamer.grib.codes import CodesError, Handle, Values, opened
from streamer.grib.frame import split
from streamer.grib.identity import has_all, source_of, step_key
from streamer.grib.manifest import Coarse, GribManifest, Identity, Parameter, lattice
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

    @property
    def wind_component(self) -> str | None:
        vector = self.parameter.vector
        return None if vector is None else vector.component


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
                return _Match(source, parameter, identity)
    return Unwanted("parameter")


def _read_field(
    handle: Handle, message: bytes, match: _Match, wants: Wants, again: str
) -> Field | Rejected:
    key = _key(handle, match.source, again)
    name = match.parameter.name
    try:
        _check_points(handle, wants.limits)
        grid = grids.read_grid(handle)
        _check_grid(grid, wants.manifest)
        values = _values(handle, match)
        coarse, crossed = _to_coarse(handle, grid, values, match, wants.manifest.coarse)
        fine = _to_fine(coarse, wants.manifest)
        crossed_fine = None if crossed is None else _to_fine(crossed, wants.manifest)
    except _Refused as refused:
        raise _Refused(refused.reason, f"{name} at +{_lead(key)}: {refused}") from refused
    except grids.GridError as error:
        text = f"{name} at +{_lead(key)}: {error}"
        raise _Refused(Reason.UNSUPPORTED_GRID, text) from error
    except regrid.NotCovered as error:
        wanted = f"the bundle needs {grids.reach(wants.manifest.coarse.grid)}"
        text = f"{name} at +{_lead(key)} on {grid.words}: {error}; {wanted}"
        raise _Refused(Reason.OUTSIDE_AREA, text) from error
    except regrid.RegridError as error:
        text = f"{name} at +{_lead(key)} on {grid.words}: {error}"
        raise _Refused(Reason.UNSUPPORTED_GRID, text) from error
    digest = hashlib.sha256(message).digest()
    factor = match.identity.factor
    return Field(
        key, name, grid.words, coarse, fine, message, digest, crossed_fine, crossed, factor
    )


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


def _check_grid(grid: grids.InputGrid, manifest: GribManifest) -> None:
    coarse = manifest.coarse.grid
    widest = max(coarse.spacing_lat, coarse.spacing_lon)
    if grid.spacing > widest * (1 + 1e-6):
        text = f"{grid.words} is {grid.spacing:g} degrees wide, the bundle takes at most {widest:g}"
        raise _Refused(Reason.COARSER_THAN_BUNDLE, text)
    if grid.regular is not None and not grids.covers(grid.regular, coarse):
        found, wanted = grids.reach(grid.regular), grids.reach(coarse)
        text = f"the field covers {found}, the bundle needs {wanted}"
        raise _Refused(Reason.OUTSIDE_AREA, text)


def _values(handle: Handle, match: _Match) -> Values:
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
    low, high = float(values.min()), float(values.max())
    if low < parameter.low or high > parameter.high:
        text = (
            f"values from {low:g} to {high:g} {parameter.units}, "
            f"sound ones lie within {parameter.low:g} to {parameter.high:g}"
        )
        raise _Refused(Reason.OUT_OF_RANGE, text)
    return values


def _to_coarse(
    handle: Handle, grid: grids.InputGrid, values: Values, match: _Match, coarse: Coarse
) -> tuple[Array, Array | None]:
    """Regrid a field, and if its wind is grid-relative also what it gives to its partner."""
    component = match.wind_component
    angles = None
    if component and handle.has("uvRelativeToGrid") and handle.integer("uvRelativeToGrid"):
        try:
            angles = wind.grid_angles(handle)
        except NotImplementedError as error:
            text = (
                f"the wind is relative to its {grid.kind} grid and cannot be turned to true north"
            )
            raise _Refused(Reason.GRID_RELATIVE_WIND, text) from error
    if angles is None or component is None:
        return _regridded(handle, grid, values, coarse), None
    turned = wind.turn(values, component, angles)
    return (
        _regridded(handle, grid, turned.own, coarse),
        _regridded(handle, grid, turned.partner, coarse),
    )


def _regridded(handle: Handle, grid: grids.InputGrid, values: Values, coarse: Coarse) -> Array:
    if grid.regular is not None:
        return regrid.to_coarse(grids.oriented(values, handle), grid.regular, coarse)
    message = _with_values(handle, values)
    if grid.kind in grids.DIRECT:
        return regrid.message_to_coarse(message, coarse)
    return regrid.message_to_coarse(message, coarse, via=_between(grid.spacing, coarse))


def _with_values(handle: Handle, values: Values) -> bytes:
    """Return the message with other values, for MIR's eyes only: 24 bits, nothing missing."""
    with handle.clone() as copy:
        copy.set("bitmapPresent", 0)
        copy.set("packingType", "grid_simple")
        copy.set("bitsPerValue", 24)
        copy.set_values(values)
        return copy.message()


def _between(spacing: float, coarse: Coarse) -> Grid:
    """Lay a regular grid over all boxes of the coarse grid, at least twice as fine as the input.

    It must not be as fine: MIR takes a rotated grid of the wanted spacing for the wanted grid.
    """
    wanted = coarse.grid
    lon, lat = (
        width / (2 * math.ceil(width / spacing - 1e-6))
        for width in (wanted.spacing_lon, wanted.spacing_lat)
    )
    if wanted.is_periodic:
        return lattice(lon, lat, None)
    half_lat, half_lon = wanted.spacing_lat / 2, wanted.spacing_lon / 2
    area = (
        min(90.0, wanted.north + half_lat),
        wanted.west - half_lon,
        max(-90.0, float(wanted.latitudes[-1]) - half_lat),
        float(wanted.longitudes[-1]) + half_lon,
    )
    return lattice(lon, lat, area)


def _to_fine(coarse: Array, manifest: GribManifest) -> Array:
    return regrid.to_fine(coarse, manifest.coarse, manifest.grid, manifest.interpolation)
