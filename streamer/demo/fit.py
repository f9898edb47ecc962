"""Fits the weather generator to a folder of analyses: `python -m streamer.demo.fit FOLDER FILE`.

Amplitudes of the leading patterns are whitened, then the rotation is the orthogonal matrix that
comes nearest to carrying each state into the one three hours later (orthogonal Procrustes,
Schönemann 1966, https://doi.org/10.1007/BF02289451). Being orthogonal it keeps all variances, so
a forecast neither fades nor grows; a plain regression (a linear inverse model) would fade.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np

from streamer.archive import Archive, read_archive
from streamer.demo.weather import Array64, Generator, save
from streamer.domain import Array
from streamer.grib.manifest import Coarse, lattice
from streamer.grib.regrid import to_coarse
from streamer.verify.scores import area_weights

#: Sixteen patterns hold 94 % of the variance of ten days on 4 degrees, and fit into 300 kB.
_PATTERNS, _SPACING_DEG, _INTERVAL_H = 16, 4.0, 3


def fit(archive: Archive, attribution: str, patterns: int = _PATTERNS) -> Generator:
    """Fit a generator to an archive whose states follow each other in steps of three hours."""
    coarse = Coarse(lattice(_SPACING_DEG, _SPACING_DEG, None), "grid-box-average")
    states = np.stack(
        [np.stack([to_coarse(v, archive.grid, coarse) for v in fine]) for fine in archive.fine]
    )
    times = [key.valid_time for key in archive.keys]
    step = timedelta(hours=_INTERVAL_H)
    pairs = [i for i in range(len(times) - 1) if times[i + 1] - times[i] == step]
    weights = np.sqrt(area_weights(coarse.grid.latitudes))
    mean, leading, whitened = leading_patterns(states, weights, patterns)
    rotation, memory = evolution(whitened[pairs], whitened[[i + 1 for i in pairs]])
    names = tuple(found.name for found in archive.parameters)
    return Generator(names, _SPACING_DEG, mean, leading, rotation, memory, _INTERVAL_H, attribution)


def leading_patterns(states: Array, weights: Array64, count: int) -> tuple[Array, Array, Array64]:
    """Return mean, leading patterns and the states' amplitudes of them.

    states: (N, C, h, w). weights: (h,), roots of the rows' shares of the surface.
    Returns (C, h, w), (count, C, h, w) scaled so that amplitudes, (N, count), have variance 1.
    """
    mean = states.mean(axis=0)
    weight = np.broadcast_to(weights[:, None], states.shape[1:]).ravel()
    anomalies = (states - mean).reshape(len(states), -1).astype(np.float64)
    left, sizes, right = np.linalg.svd(anomalies * weight, full_matrices=False)
    root = np.sqrt(len(states))
    leading = right[:count] / weight * (sizes[:count, None] / root)
    return (
        mean,
        leading.reshape(count, *states.shape[1:]).astype(np.float32),
        left[:, :count] * root,
    )


def evolution(before: Array64, after: Array64) -> tuple[Array64, float]:
    """Return the rotation that takes `before` nearest to `after`, both (N, K), and the memory.

    memory: the mean correlation of what was carried ahead with what came.
    """
    covariance = after.T @ before / len(before)
    left, correlations, right = np.linalg.svd(covariance)
    return left @ right, float(min(1.0, correlations.mean()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit and write; a tool of the developer, not a verb of the command line."""
    parser = argparse.ArgumentParser(prog="python -m streamer.demo.fit", description=__doc__)
    parser.add_argument("folder", type=Path, help="GRIB analyses every three hours")
    parser.add_argument("file", type=Path, help="where the generator goes (.npz)")
    parser.add_argument("--attribution", required=True, help="whose data they are")
    parsed = parser.parse_args(arguments)
    generator = fit(read_archive(parsed.folder), parsed.attribution)
    save(generator, parsed.file)
    size_kb = parsed.file.stat().st_size // 1000
    sys.stderr.write(f"{parsed.file}: {size_kb} kB, memory {generator.memory:.3f} after 3 h\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
