"""What a fit is given: every state's twin, and the globe seen from the other pole."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from streamer.archive import Archive, Found, StateKey
from streamer.domain import Array, Grid
from streamer.material import Material, gather
from streamer.training_set import normalise

GLOBE = Grid(90.0, 0.0, 1.0, 1.0, 181, 360)
WINDS = (Found(165, "10u", "m s**-1"), Found(166, "10v", "m s**-1"))


def archive_of(fine: Array, grid: Grid = GLOBE) -> Archive:
    days = [datetime(2018, 10, 6 + day, tzinfo=UTC) for day in range(len(fine))]
    return Archive(WINDS, grid, tuple(StateKey(day, "0", 0) for day in days), fine)


@pytest.fixture(scope="module")
def fine() -> Array:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((3, 2, 181, 360)).astype(np.float32)
    # Smooth enough to have a coarse twin, and with means that are not 0.
    means = np.array([[[[3.0]], [[-2.0]]]])
    fields: Array = (0.1 * np.cumsum(noise, axis=-1) + means).astype(np.float32)
    return fields


@pytest.fixture(scope="module")
def material(fine: Array, shared_data: Path) -> Material:
    surface = shared_data / "constants" / "era5-z-lsm-0p25.nc"
    return gather(archive_of(fine), surface, 4.0, 1)


def test_the_mirror_is_the_globe_with_its_poles_exchanged(
    material: Material, fine: Array, shared_data: Path
) -> None:
    mirror = material.lesson().learn.mirror
    assert mirror is not None
    surface = shared_data / "constants" / "era5-z-lsm-0p25.nc"
    turned: Array = fine[:, :, ::-1] * np.array([[[[1.0]], [[-1.0]]]], np.float32)

    other = gather(archive_of(np.ascontiguousarray(turned)), surface, 4.0, 1)
    # The same statistics must do for both.
    residual, condition = normalise(turned, other.twin, material.statistics)

    for found, own, wanted in (
        (mirror.residual, material.residual, residual),
        (mirror.condition, material.condition, condition),
    ):
        seen = own[:, :, ::-1] * found[:, 0, None, None] + found[:, 1, None, None]
        assert np.allclose(seen, wanted, atol=2e-4)
    latitude = list(material.constants).index("sin_latitude")
    assert mirror.constants[:, 0].tolist() == [
        -1.0 if c == latitude else 1.0 for c in range(len(material.constants))
    ]
