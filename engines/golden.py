"""Holds an engine against what its bundle says the network must answer, before it may serve."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from engines.bundle import GOLDEN, Bundle, read_arrays
from engines.denoiser import Array, Denoiser
from engines.errors import EngineError

#: What rounding alone may cost a call of these networks: three to five times what was measured
#: (1.9e-3 for fp16, 1.6e-2 for bf16), and far below what a wrong kernel or an overflow does.
ROUNDING: Mapping[str, float] = MappingProxyType({"fp16": 1e-2, "bf16": 5e-2})


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """Cases that an engine must reproduce, computed by the network that the bundle came from.

    x, denoised: (N, C, h, w). sigma: (N,). condition: (N, C + K, h, w). labels: (N, L) or None.
    bound: largest error allowed, relative to the largest value of the answer.
    """

    x: Array
    sigma: Array
    condition: Array
    denoised: Array
    labels: Array | None
    bound: float


def read_golden(bundle: Bundle) -> Golden:
    """Read the bundle's golden vectors. Raises BundleError where they do not fit the bundle."""
    channels, constants = len(bundle.channels), len(bundle.constants)
    wanted: dict[str, tuple[int | None, ...]] = {
        "x": (None, channels, *bundle.tile),
        "sigma": (None,),
        "condition": (None, channels + constants, *bundle.tile),
        "denoised": (None, channels, *bundle.tile),
        "bound": (),
    }
    if bundle.labels:
        wanted["labels"] = (None, len(bundle.labels))
    found = read_arrays(bundle.path / GOLDEN, wanted)
    return Golden(
        x=found["x"],
        sigma=found["sigma"],
        condition=found["condition"],
        denoised=found["denoised"],
        labels=found.get("labels"),
        bound=float(found["bound"]),
    )


def check(denoiser: Denoiser, golden: Golden, where: str) -> float:
    """Return the largest relative error over all cases.

    Raises EngineError naming tensor, noise level, error and bound where one is above the bound.
    """
    worst = 0.0
    for i, sigma in enumerate(golden.sigma):
        case = slice(i, i + 1)
        labels = None if golden.labels is None else golden.labels[case]
        found = denoiser.denoise(golden.x[case], golden.sigma[case], golden.condition[case], labels)
        error = relative_error(found, golden.denoised[case])
        bound = bound_of(golden, denoiser.spec.precision)
        # Written so that an error that is not a number fails too.
        if not error <= bound:
            raise EngineError(
                f"{where}: {denoiser.spec.backend} {denoiser.spec.precision} does not reproduce "
                f"`denoised`[{i}] at sigma {sigma:g}: relative error {error:.2e}, "
                f"bound {bound:.0e}"
            )
        worst = max(worst, error)
    return worst


def bound_of(golden: Golden, precision: str) -> float:
    """Return the largest error allowed to an engine of a precision: the bundle's, or rounding's."""
    return max(golden.bound, ROUNDING.get(precision, 0.0))


def relative_error(found: Array, wanted: Array) -> float:
    """Return the largest difference over the largest value wanted."""
    return float(np.max(np.abs(found - wanted)) / np.max(np.abs(wanted)))
