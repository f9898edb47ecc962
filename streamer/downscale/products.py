"""Turns residuals into physical fields, and knows which values can be true."""

from collections.abc import Mapping

import numpy as np

from engines.bundle import Bundle
from streamer.domain import Array


def physical(residual: Array, condition: Array, bundle: Bundle) -> Array:
    """Return draws in the bundle's units, (D, C, H, W) float32, written over `residual`.

    residual: (D, C, H, W), in units of its own deviation. condition: as `condition()` made it.
    f(fine) = (coarse_norm + residual * residual_std) * fine_std + fine_mean, f the channel's
    `transform`; what the inverse of log1p makes negative stays so, as its network was trained.
    """
    normals = bundle.normalisation
    scale = _column([n.residual_std * n.fine_std for n in normals])
    base = condition[: len(normals)] * _column([n.fine_std for n in normals])
    base += _column([n.fine_mean for n in normals])
    residual *= scale
    residual += base
    for i, normal in enumerate(normals):
        if normal.transform == "log1p":
            np.expm1(residual[:, i], out=residual[:, i])
    return residual


def ranges(bundle: Bundle) -> Mapping[str, tuple[float, float]]:
    """Return the lowest and highest sound value that the manifest gives each parameter."""
    parameters = bundle.grib.get("parameters", {})
    return {
        name: (float(part["range"][0]), float(part["range"][1]))
        for name, part in parameters.items()
        if part.get("range")
    }


def _column(values: list[float]) -> Array:
    return np.array(values, dtype=np.float32).reshape(-1, 1, 1)
