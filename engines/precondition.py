"""What surrounds a network so that it sees and gives numbers of order one at every noise level.

Plain numpy: running a bundle needs no torch, and the exported graph holds none of this. Each kind
that a manifest may name is one function of sigma, listed in `KINDS`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engines.errors import BundleError


class Coefficients(NamedTuple):
    """The four factors of D(x, s) = c_skip x + c_out F(c_in x, c_noise), one a sigma."""

    c_skip: NDArray[np.float32]
    c_out: NDArray[np.float32]
    c_in: NDArray[np.float32]
    c_noise: NDArray[np.float32]


def edm(sigma: NDArray[np.floating[Any]], sigma_data: float) -> Coefficients:
    """Return the factors of EDM for each `sigma`, (B,) above 0, computed in double precision.

    Source: Karras et al. 2022, table 1 (https://arxiv.org/abs/2206.00364).
    """
    s = np.asarray(sigma, dtype=np.float64)
    total = s**2 + sigma_data**2
    return Coefficients(
        c_skip=(sigma_data**2 / total).astype(np.float32),
        c_out=(s * sigma_data / np.sqrt(total)).astype(np.float32),
        c_in=(1.0 / np.sqrt(total)).astype(np.float32),
        c_noise=(np.log(s) / 4.0).astype(np.float32),
    )


#: A function of (sigma, sigma_data); vp, ve and direct join here.
KINDS: Mapping[str, Callable[[NDArray[np.floating[Any]], float], Coefficients]] = MappingProxyType(
    {"edm": edm}
)


def coefficients(kind: str, sigma: NDArray[np.floating[Any]], sigma_data: float) -> Coefficients:
    """Return the factors of a kind by its name; raises BundleError for one we do not know."""
    if kind not in KINDS:
        known = ", ".join(KINDS)
        raise BundleError(f"preconditioning kind is {kind!r}, wanted one of {known}")
    return KINDS[kind](sigma, sigma_data)
