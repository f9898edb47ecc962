"""Takes the values of an opened message, on whatever grid, to the bundle's coarse grid."""

import math

from streamer.domain import Array, Grid
from streamer.grib import grids, partial, regrid, wind
from streamer.grib.codes import Handle, Values
from streamer.grib.manifest import Coarse, lattice


def to_coarse(
    handle: Handle, grid: grids.InputGrid, values: Values, component: str | None, coarse: Coarse
) -> tuple[Array, Array | None]:
    """Regrid a field, and if its wind is grid-relative also what it gives to its partner.

    values: (points,) in message order, none missing. component: `u` or `v` of a wind, or None.
    Raises regrid.RegridError, and wind.AnglesUnknown for a wind that cannot be turned.
    """
    angles = None
    if component and handle.has("uvRelativeToGrid") and handle.integer("uvRelativeToGrid"):
        angles = wind.grid_angles(handle)
    if angles is None or component is None:
        return _regridded(handle, grid, values, coarse), None
    turned = wind.turn(values, component, angles)
    return (
        _regridded(handle, grid, turned.own, coarse),
        _regridded(handle, grid, turned.partner, coarse),
    )


def _regridded(handle: Handle, grid: grids.InputGrid, values: Values, coarse: Coarse) -> Array:
    if grid.regular is not None:
        field = grids.oriented(values, handle)
        if not grids.covers(grid.regular, coarse.target):
            return partial.to_coarse(field, grid.regular, coarse)
        return regrid.to_coarse(field, grid.regular, coarse)
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
    """Lay a regular grid over all boxes of MIR's target, at least twice as fine as the input.

    It must not be as fine: MIR takes a rotated grid of the wanted spacing for the wanted grid.
    """
    wanted = coarse.target
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
