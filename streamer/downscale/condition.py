"""Makes what the network is told from a complete step: coarse fields and constants."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from engines.bundle import Bundle
from streamer.domain import Array, Field, Step


def condition(step: Step, bundle: Bundle) -> Array:
    """Return (C + K, H, W) float32: normalised, interpolated coarse fields, then constants.

    coarse_norm = (f(coarse) - coarse_mean) / coarse_std, f the channel's `transform`.
    The first C channels are in the bundle's order whatever the step's, and serve again when the
    residual is added (`products.physical`).
    """
    made = np.empty((len(bundle.channels) + len(bundle.constants), *bundle.shape), dtype=np.float32)
    fields = made[: len(bundle.channels)]
    _combine(step, bundle, (lambda f: f.interpolated, lambda f: f.crossed), out=fields)
    for i, normal in enumerate(bundle.normalisation):
        if normal.transform == "log1p":
            np.log1p(fields[i], out=fields[i])
        fields[i] -= np.float32(normal.coarse_mean)
        fields[i] *= np.float32(1.0 / normal.coarse_std)
    made[len(fields) :] = bundle.constants
    return made


def interpolated(step: Step, bundle: Bundle) -> Array:
    """Return the coarse fields on the fine grid, (C, H, W) in the bundle's units: the baseline."""
    made = np.empty((len(bundle.channels), *bundle.shape), dtype=np.float32)
    _combine(step, bundle, (lambda f: f.interpolated, lambda f: f.crossed), out=made)
    return made


def coarse(step: Step, bundle: Bundle) -> Array:
    """Return the coarse fields on their own grid, (C, h, w) in the bundle's units."""
    made = np.empty((len(bundle.channels), *step.fields[0].coarse.shape), dtype=np.float32)
    _combine(step, bundle, (lambda f: f.coarse, lambda f: f.crossed_coarse), out=made)
    return made


#: Takes a field's own values, and what it adds to its partner where its wind was grid-relative.
_Parts = tuple[Callable[[Field], Array], Callable[[Field], Array | None]]


def _combine(step: Step, bundle: Bundle, parts: _Parts, out: Array) -> None:
    own, crossed = parts
    partner = _partners(bundle)
    fields = {field.parameter: field for field in step.fields}
    for i, name in enumerate(bundle.channels):
        out[i] = own(fields[name])
        added = crossed(fields[partner[name]]) if name in partner else None
        if added is not None:
            out[i] += added


def _partners(bundle: Bundle) -> Mapping[str, str]:
    """Return each wind-like component's other component, as the manifest pairs them."""
    parameters: Mapping[str, Mapping[str, Any]] = bundle.grib.get("parameters", {})
    return {
        name: part["vector"]["partner"] for name, part in parameters.items() if part.get("vector")
    }
