"""Turns a wind that is relative to its grid to true east and north, one component at a time.

Turning is linear and its angle depends on the grid alone, so what a lone component contributes
to each true component can be made from its own message: `u` gives cos(a) u to the true u and
-sin(a) u to the true v, `v` gives cos(a) v to the true v and sin(a) v to the true u, where a is
the bearing of the grid's j direction, clockwise from true north.
"""

from dataclasses import dataclass

import numpy as np

from streamer.grib.codes import Handle, Values


class AnglesUnknown(Exception):
    """A wind relative to a grid whose angles are not known here; the text names the grid."""


@dataclass(frozen=True, slots=True, eq=False)
class Turned:
    """What one component gives to itself and to its partner, (points,) each, in message order."""

    own: Values
    partner: Values


def turn(values: Values, component: str, angle: Values) -> Turned:
    """Turn component `u` or `v` by the angles, radians, of its points."""
    sine = np.sin(angle) if component == "v" else -np.sin(angle)
    return Turned(values * np.cos(angle), values * sine)


def grid_angles(handle: Handle) -> Values | None:
    """Return the bearing of the grid's j direction at each point, radians, in message order.

    None for grids whose rows run along the parallels. Raises AnglesUnknown for a grid whose
    angles are not known here.
    """
    kind = handle.text("gridType")
    if kind in ("regular_ll", "regular_gg", "reduced_gg", "reduced_ll"):
        return None
    if kind == "rotated_ll":
        return rotated_angles(
            np.radians(handle.numbers("latitudes")),
            np.radians(handle.numbers("longitudes")),
            np.radians(handle.number("latitudeOfSouthernPoleInDegrees")),
            np.radians(handle.number("longitudeOfSouthernPoleInDegrees")),
        )
    if kind == "lambert":
        return lambert_angles(
            np.radians(handle.numbers("longitudes")),
            np.radians(handle.number("LoVInDegrees")),
            np.radians(handle.number("Latin1InDegrees")),
            np.radians(handle.number("Latin2InDegrees")),
        )
    raise AnglesUnknown(
        f"the wind is relative to its {kind} grid and cannot be turned to true north"
    )


def rotated_angles(
    latitude: Values, longitude: Values, pole_latitude: float, pole_longitude: float
) -> Values:
    """Return the bearing of a rotated grid's north at true positions; everything in radians.

    pole_*: the rotated grid's south pole. Its north pole lies opposite, and the bearing to it is
    that of the great circle. Rotation about the new axis does not change directions.
    """
    north = -pole_latitude
    ahead = pole_longitude + np.pi - longitude
    east = np.sin(ahead) * np.cos(north)
    rest = np.cos(latitude) * np.sin(north) - np.sin(latitude) * np.cos(north) * np.cos(ahead)
    return np.asarray(np.arctan2(east, rest), dtype=np.float64)


def lambert_angles(longitude: Values, central: float, first: float, second: float) -> Values:
    """Return the bearing of a Lambert conformal grid's y axis: n (longitude - central); radians.

    first, second: the parallels where the cone cuts the sphere.
    Source: Snyder 1987, Map Projections, USGS Professional Paper 1395, eqs. 14-4 and 15-3.
    """
    if abs(first - second) < 1e-9:
        cone = np.sin(first)
    else:
        ratio = np.tan(np.pi / 4 + second / 2) / np.tan(np.pi / 4 + first / 2)
        cone = np.log(np.cos(first) / np.cos(second)) / np.log(ratio)
    east = np.mod(longitude - central + np.pi, 2 * np.pi) - np.pi
    return np.asarray(cone * east, dtype=np.float64)
