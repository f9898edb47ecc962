"""What the house asks of a network: a denoiser, and one with a closed-form answer."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineError

if TYPE_CHECKING:
    from engines.sampler import Sampler

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What an engine is, for logs, the step's record and the metric `engine_info`.

    batch: tiles in one call that pay off; 1 on a CPU, where batching gains nothing.
    buckets: the numbers of tiles that the engine has a shape for, rising, `batch` the last. Any
    other number is computed as the next bucket, or as several; a tile's last bits depend on
    nothing but the bucket.
    """

    backend: str
    precision: str
    device: str
    version: str
    batch: int
    buckets: tuple[int, ...] = (1,)


class Denoiser(Protocol):
    """A callable network with its preconditioning: noisy residual in, clean residual out."""

    @property
    def spec(self) -> EngineSpec:
        """What this engine is."""
        ...

    def denoise(
        self, x: Array, sigma: Array, condition: Array, labels: Array | None = None
    ) -> Array:
        """Return the clean residual D(x, sigma; condition), (B, C, H, W) float32.

        x: (B, C, H, W). sigma: (B,), above 0, may differ from tile to tile.
        condition: (B, K, H, W). labels: (B, L), or None for a network without labels.
        Raises EngineError when the runtime fails, OutOfMemory when half the tiles may fit.
        """
        ...


@runtime_checkable
class Sampling(Protocol):
    """What a denoiser may offer besides: whole runs of the sampler without leaving the device."""

    def sample(
        self,
        noise: Array,
        settings: "Sampler",
        condition: Array,
        labels: Array | None = None,
    ) -> Array:
        """Return the clean residual of each tile, (B, C, H, W) float32.

        Equal to `engines.sampler.solver` driven with this denoiser, to rounding.
        noise: (M, B, C, H, W), standard normal: the first one starts, noise[i + 1] churns level
        i; M is `engines.sampler.noises` of the settings. condition: (B, K, H, W).
        labels: (B, L) or None. Raises as `Denoiser.denoise` does.
        """
        ...


class GaussianDenoiser:
    """The exact denoiser of a residual that is N(mean, deviation^2) at every point.

    D(x, s) = (deviation^2 x + s^2 mean) / (deviation^2 + s^2)
    Source: Karras et al. 2022, equation 57 for a single Gaussian (https://arxiv.org/abs/2206.00364).
    """

    def __init__(self, mean: float = 0.0, deviation: float = 1.0) -> None:
        self._mean = mean
        self._variance = deviation**2

    @property
    def spec(self) -> EngineSpec:
        """The closed form has no runtime; it calls itself `gaussian`."""
        return EngineSpec("gaussian", "f32", "cpu", "1", batch=1)

    def denoise(
        self, x: Array, sigma: Array, condition: Array, labels: Array | None = None
    ) -> Array:
        """Return the posterior mean given `x`; condition and labels play no part."""
        if sigma.shape != x.shape[:1] or not np.all(sigma > 0.0):
            raise EngineError(f"sigma is {sigma}, wanted one above 0 for each of {len(x)} tiles")
        s2 = np.square(sigma, dtype=np.float32).reshape(-1, 1, 1, 1)
        shrunk = np.float32(self._variance) * x + s2 * np.float32(self._mean)
        return np.asarray(shrunk / (np.float32(self._variance) + s2), dtype=np.float32)
