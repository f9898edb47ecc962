"""Files of published forecasts, made on the spot with the daemon's own encoder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.domain import Grid, Interval, Statistic, StepKey
from streamer.grib.encode import PARAM_TARGETS, FieldTarget, encode_all, encode_statistic, prepare
from streamer.grib.identity import identify

Values = NDArray[np.floating[Any]]

GLOBE = Grid(90.0, 0.0, 10.0, 10.0, 19, 36)


def fine(
    coarse: bytes, draws: Values, grid: Grid = GLOBE, parameter: str = "10u",
    interval: Interval | None = None,
) -> bytes:  # fmt: skip
    """Return the messages of draws, (D, H, W), made from a coarse message as at work."""
    aim = FieldTarget(key_of(coarse), parameter, grid, interval=interval)
    return b"".join(encode_all(draws.astype(np.float32), prepare(coarse, aim)))


def summary(coarse: bytes, values: Values, statistic: Statistic, parameter: str = "10u") -> bytes:
    """Return the message of a statistic, (H, W) on the globe, a probability from 0 to 1."""
    aim = FieldTarget(
        key_of(coarse), parameter, GLOBE, statistic=statistic, param=PARAM_TARGETS.get(parameter)
    )
    return encode_statistic(values.astype(np.float32), prepare(coarse, aim), 8)


def key_of(message: bytes) -> StepKey:
    """The step that a message belongs to."""
    key = identify(message, ())
    assert isinstance(key, StepKey)
    return key


def written(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write files below a folder, which is made; returns their paths."""
    folder.mkdir(exist_ok=True)
    paths = [folder / name for name in files]
    for path in paths:
        path.write_bytes(files[path.name])
    return paths
