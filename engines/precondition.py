"""What surrounds a network so that it sees and gives numbers of order one at every noise level.

Plain numpy: running a bundle needs no torch, and the exported graph holds none of this. Each kind
that a manifest may name is one function of sigma, listed in `KINDS`; `direct` is a plain
regression, which knows no noise: its input is the condition alone, its output the residual.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from engines.errors import BundleError

Array = NDArray[np.float32]

#: Of vp's noise: b and d in beta(t) = b + d t, and how many steps of time it was trained with.
BETA_MIN, BETA_SLOPE, TIMES = 0.1, 19.9, 1000


class Around(Protocol):
    """What a bundle says about its preconditioning; `manifest.Preconditioning` is one."""

    @property
    def kind(self) -> str:
        """A name out of `KINDS`."""
        ...

    @property
    def sigma_data(self) -> float:
        """Deviation of the residual that the network was trained on; only edm asks."""
        ...


class Coefficients(NamedTuple):
    """The factors of D(x, s; y) = c_skip x + c_out F([c_in x, c_condition y], c_noise)."""

    c_skip: Array
    c_out: Array
    c_in: Array
    c_noise: Array
    c_condition: Array


def edm(sigma: NDArray[np.floating[Any]], sigma_data: float) -> Coefficients:
    """Return the factors of EDM for each `sigma`, (B,) above 0, computed in double precision.

    Source: Karras et al. 2022, table 1 (https://arxiv.org/abs/2206.00364).
    """
    s = np.asarray(sigma, dtype=np.float64)
    total = s**2 + sigma_data**2
    c_in = (1.0 / np.sqrt(total)).astype(np.float32)
    return Coefficients(
        c_skip=(sigma_data**2 / total).astype(np.float32),
        c_out=(s * sigma_data / np.sqrt(total)).astype(np.float32),
        c_in=c_in,
        c_noise=(np.log(s) / 4.0).astype(np.float32),
        c_condition=c_in,
    )


def corrdiff(sigma: NDArray[np.floating[Any]], sigma_data: float) -> Coefficients:
    """Return the factors of EDM with the condition as it is.

    Where nothing but noise is left of the residual, the condition is all that a network can know;
    scaled by c_in it would all but vanish there. Source: Mardani et al. 2025
    (https://arxiv.org/abs/2309.15214).
    """
    return edm(sigma, sigma_data)._replace(c_condition=np.ones(np.shape(sigma), np.float32))


def ve(sigma: NDArray[np.floating[Any]], _sigma_data: float) -> Coefficients:
    """Return the factors of the variance-exploding kind; the deviation plays no part.

    Source: Song et al. 2021 (https://arxiv.org/abs/2011.13456), in the form of Karras et al. 2022.
    """
    s = np.asarray(sigma, dtype=np.float64)
    return Coefficients(
        c_skip=np.ones(s.shape, np.float32),
        c_out=s.astype(np.float32),
        c_in=np.ones(s.shape, np.float32),
        c_noise=np.log(s / 2.0).astype(np.float32),
        c_condition=np.ones(s.shape, np.float32),
    )


def vp(sigma: NDArray[np.floating[Any]], _sigma_data: float) -> Coefficients:
    """Return the factors of the variance-preserving kind; the deviation plays no part.

    Source: as of `ve`; t(s) is what sqrt(exp(d t^2 / 2 + b t) - 1) = s gives.
    """
    s = np.asarray(sigma, dtype=np.float64)
    # In float32 and in this order, as networks of this kind were trained: at low levels the
    # difference of roots cancels, and exact times would move a network with Fourier features
    # by 5e-4. A logarithm that is rounded once is the same on every machine.
    low = np.asarray(sigma, dtype=np.float32)
    log = np.log((1 + low**2).astype(np.float64)).astype(np.float32)
    root = np.sqrt(np.float32(BETA_MIN**2) + np.float32(2 * BETA_SLOPE) * log)
    time = (root - np.float32(BETA_MIN)) / np.float32(BETA_SLOPE)
    c_in = (1.0 / np.sqrt(s**2 + 1.0)).astype(np.float32)
    return Coefficients(
        c_skip=np.ones(s.shape, np.float32),
        c_out=(-s).astype(np.float32),
        c_in=c_in,
        c_noise=(np.float32(TIMES - 1) * time).astype(np.float32),
        c_condition=c_in,
    )


def direct(sigma: NDArray[np.floating[Any]], _sigma_data: float) -> Coefficients:
    """Return the factors that leave a plain regression as it is: D = F, whatever the level."""
    one, zero = np.ones(np.shape(sigma), np.float32), np.zeros(np.shape(sigma), np.float32)
    return Coefficients(c_skip=zero, c_out=one, c_in=one, c_noise=zero, c_condition=one)


Kind = Callable[[NDArray[np.floating[Any]], float], Coefficients]

#: By name, a function of (sigma, sigma_data).
KINDS: Mapping[str, Kind] = MappingProxyType(
    {"edm": edm, "corrdiff": corrdiff, "vp": vp, "ve": ve, "direct": direct}
)

#: What levels a kind was made for; edm, corrdiff and direct take any. vp's ends are those of the
#: times 1e-5 and 1, the lower one as float32 has it (exactly it is 0.0010005).
RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "ve": (0.02, 100.0),
        "vp": (2.0**-10, math.sqrt(math.expm1(BETA_SLOPE / 2 + BETA_MIN))),
    }
)


def coefficients(kind: str, sigma: NDArray[np.floating[Any]], sigma_data: float) -> Coefficients:
    """Return the factors of a kind by its name; raises BundleError for one we do not know."""
    return _known(kind)(sigma, sigma_data)


def sigma_range(kind: str) -> tuple[float, float]:
    """Return the lowest and the highest noise level that a kind knows, for `sampler.levels`."""
    _known(kind)
    return RANGES.get(kind, (0.0, math.inf))


def network_inputs(around: Around, x: Array, sigma: Array, condition: Array) -> tuple[Array, Array]:
    """Return what a network takes at each level: its joined input and c_noise.

    x: (B, C, H, W). sigma: (B,). condition: (B, K, H, W). Gives (B, C + K, H, W), each part times
    its factor, and (B,). For `direct`: the condition itself, and zeros, for which its network has
    no use.
    """
    factors = coefficients(around.kind, sigma, around.sigma_data)
    if around.kind == "direct":
        return condition, factors.c_noise
    c_in, c_condition = (f[:, None, None, None] for f in (factors.c_in, factors.c_condition))
    joined = np.empty((len(x), x.shape[1] + condition.shape[1], *x.shape[2:]), np.float32)
    np.multiply(x, c_in, out=joined[:, : x.shape[1]])
    np.multiply(condition, c_condition, out=joined[:, x.shape[1] :])
    return joined, factors.c_noise


def network_output(around: Around, x: Array, sigma: Array, raw: Array) -> Array:
    """Return the clean residual, a fresh array, from what the network gave for `network_inputs`.

    x, raw: (B, C, H, W). sigma: (B,).
    """
    if around.kind == "direct":
        return np.array(raw, dtype=np.float32)
    factors = coefficients(around.kind, sigma, around.sigma_data)
    clean = np.multiply(raw, factors.c_out[:, None, None, None], dtype=np.float32)
    clean += factors.c_skip[:, None, None, None] * x
    return clean


def _known(kind: str) -> Kind:
    if kind not in KINDS:
        raise BundleError(f"preconditioning kind is {kind!r}, wanted one of {', '.join(KINDS)}")
    return KINDS[kind]
