"""What the parameters of known model families are in GRIB, as a bundle's manifest says it.

An importer of foreign weights has no such part to read, so it takes it from here.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from engines.errors import BundleError

#: Rows and columns of the globe that IPSL-AID's networks learned from, and of its coarse image.
IPSL_AID_FINE, IPSL_AID_COARSE = (721, 1440), (80, 128)

#: By name: the body of `grib.parameters.<name>`. Units of the network; factors take GRIB's to
#: them. A level is named only where the paramId leaves it open. Precipitation is metres to ECMWF
#: and kg m-2 to others; the skin's temperature is `t` at the surface to GFS, and T_G to DWD.
PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "2t": {"units": "K", "identities": [{"paramId": 167}], "range": [150.0, 350.0]},
    "10u": {
        "units": "m s**-1",
        "identities": [{"paramId": 165}],
        "range": [-150.0, 150.0],
        "vector": {"partner": "10v", "component": "u"},
    },
    "10v": {
        "units": "m s**-1",
        "identities": [{"paramId": 166}],
        "range": [-150.0, 150.0],
        "vector": {"partner": "10u", "component": "v"},
    },
    "tp": {
        "units": "m",
        "identities": [{"paramId": 228}, {"paramId": 228228, "factor": 0.001}],
        # A difference of two packed amounts may fall below 0 by what packing rounds away.
        "range": [-0.001, 0.5],
        "accumulation": {"per": "hour"},
    },
    "2d": {"units": "K", "identities": [{"paramId": 168}], "range": [120.0, 330.0]},
    "skt": {
        "units": "K",
        "identities": [
            {"paramId": 235},
            {"paramId": 130, "typeOfLevel": "surface"},
            {"paramId": 500010},
        ],
        "range": [130.0, 380.0],
    },
}


#: What no weather breaks, and those networks do now and then: their rain falls below nought, where
#: the inverse of log1p ends, and their dew point exceeds the temperature.
BOUNDS: Mapping[str, tuple[float | None, float | None]] = {"tp": (0.0, None)}
RELATIONS: Sequence[Mapping[str, str]] = ({"below": "2d", "above": "2t"},)


def constraints(names: Sequence[str]) -> dict[str, Any]:
    """Return the `grib.constraints` part for channels.

    Nothing is conserved, in so many words: what it does to a network's skill is to be measured
    before it is switched on.
    """
    return {
        "bounds": {name: list(BOUNDS[name]) for name in names if name in BOUNDS},
        "relations": [dict(one) for one in RELATIONS if set(one.values()) <= set(names)],
        "conservation": dict.fromkeys(names, "none"),
    }


def parameters(names: Sequence[str]) -> dict[str, Any]:
    """Return the `grib.parameters` part for channels; BundleError for one that is not known.

    A wind component whose partner is no channel comes without its `vector`.
    """
    unknown = [name for name in names if name not in PARAMETERS]
    if unknown:
        raise BundleError(
            f"no GRIB identity is known for {', '.join(unknown)}; known are {', '.join(PARAMETERS)}"
        )
    found = {name: copy.deepcopy(dict(PARAMETERS[name])) for name in names}
    for body in found.values():
        if body.get("vector", {}).get("partner") not in (None, *names):
            del body["vector"]
    return found


def resized_globe(
    names: Sequence[str],
    shape: tuple[int, int] = IPSL_AID_FINE,
    coarse: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Return the whole `grib` part of a global network that learned from resized coarse fields.

    names: its channels. shape: of the fine grid, 90 N to 90 S, eastward from 0 E. coarse: of the
    coarse fields; None makes them as many times smaller than `shape` as IPSL-AID does.
    """
    if coarse is None:
        rows, columns = (
            max(2, round(n * small / large))
            for n, small, large in zip(shape, IPSL_AID_COARSE, IPSL_AID_FINE, strict=True)
        )
        coarse = rows, columns
    return {
        "grid": {
            "north": 90.0,
            "west": 0.0,
            "spacing_lat": 180.0 / (shape[0] - 1),
            "spacing_lon": 360.0 / shape[1],
            "rows": shape[0],
            "columns": shape[1],
        },
        "coarse": {"resize": {"rows": coarse[0], "columns": coarse[1]}},
        "parameters": parameters(names),
        "constraints": constraints(names),
    }
