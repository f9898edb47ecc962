"""A small statistical weather generator: synthetic coarse weather that moves like the real one.

Weather is a mean and some leading patterns (empirical orthogonal functions). The patterns'
amplitudes are independent standard normals; from one moment to the next they turn into each other
by a rotation, which carries systems along, and forget a little. Mean, variances and the rotation
are fitted to real analyses, see `fit.py`. Nothing it makes ever happened.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from engines.errors import UsageError
from streamer.domain import Array, Grid
from streamer.grib.manifest import lattice

Array64 = NDArray[np.float64]

#: The generator that ships.
SHIPPED = Path(__file__).with_name("weather.npz")


@dataclass(frozen=True, slots=True, eq=False)
class Generator:
    """A fitted generator; C parameters on a coarse grid of (h, w), K patterns.

    mean: (C, h, w) in the parameters' units. patterns: (K, C, h, w), what one standard deviation
    of an amplitude adds. rotation: (K, K), orthogonal, carries amplitudes `interval_h` ahead.
    memory: the share, 0 to 1, of an amplitude that stays after an interval.
    """

    parameters: tuple[str, ...]
    spacing_deg: float
    mean: Array
    patterns: Array
    rotation: Array64
    memory: float
    interval_h: int
    attribution: str

    @property
    def grid(self) -> Grid:
        """The global grid that the weather is on."""
        return lattice(self.spacing_deg, self.spacing_deg, None)

    def fields(self, amplitudes: Array64) -> Array:
        """Return the weather of some amplitudes, (K,): (C, h, w) float32."""
        anomaly = np.tensordot(amplitudes, self.patterns.astype(np.float64), axes=1)
        return np.asarray(self.mean + anomaly, dtype=np.float32)


def amplitudes(generator: Generator, seed: int, steps_h: Sequence[int]) -> list[Array64]:
    """Draw one forecast's amplitudes: (K,) for each lead time.

    steps_h: rising multiples of the generator's interval. Each is standard normal; with z the
    amplitudes and n new chance, z' = memory * rotation z + sqrt(1 - memory^2) n.
    Raises UsageError for lead times between the intervals.
    """
    between = [h for h in steps_h if h % generator.interval_h or h < 0]
    if between:
        raise UsageError(
            f"lead times {between} h: the weather generator makes multiples of "
            f"{generator.interval_h} h"
        )
    rng = np.random.Generator(np.random.Philox(seed))
    count = len(generator.patterns)
    wanted = set(steps_h)
    state = rng.standard_normal(count)
    found = []
    for hour in range(0, max(steps_h) + 1, generator.interval_h):
        if hour:
            new = np.sqrt(1 - generator.memory**2) * rng.standard_normal(count)
            state = generator.memory * generator.rotation @ state + new
        if hour in wanted:
            found.append(state)
    return found


def save(generator: Generator, path: Path) -> None:
    """Write a generator as arrays; patterns to half precision, 0.1 % of their size."""
    np.savez_compressed(
        path,
        parameters=np.array(generator.parameters),
        spacing_deg=np.array(generator.spacing_deg),
        mean=generator.mean.astype(np.float16),
        patterns=generator.patterns.astype(np.float16),
        rotation=generator.rotation,
        memory=np.array(generator.memory),
        interval_h=np.array(generator.interval_h),
        attribution=np.array(generator.attribution),
    )


def load(path: Path = SHIPPED) -> Generator:
    """Read a generator. Raises UsageError for a file that is none."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return Generator(
                parameters=tuple(str(name) for name in file["parameters"]),
                spacing_deg=float(file["spacing_deg"]),
                mean=file["mean"].astype(np.float32),
                patterns=file["patterns"].astype(np.float32),
                rotation=file["rotation"].astype(np.float64),
                memory=float(file["memory"]),
                interval_h=int(file["interval_h"]),
                attribution=str(file["attribution"]),
            )
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise UsageError(f"{path} is no weather generator: {error}") from error
