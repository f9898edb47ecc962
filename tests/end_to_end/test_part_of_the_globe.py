"""A global bundle fed with a part of the globe: its regions come out as from the whole."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.noise import Window
from streamer.config import Config
from streamer.domain import Array, Grid
from streamer.grib import codes
from streamer.model import open_model
from tests.end_to_end.daemons import House, World, config_of, work_off
from tests.wind import Globe, wind_message

GLOBE = Globe(5, 10)
GRID = Grid(90.0, 0.0, 5.0, 5.0, *GLOBE.shape)
#: 75 N to 75 S, 115 W to 115 E; and a part that holds the region, but not its tiles.
PART = Window((3, 34), (49, 96), 72)
TOO_SMALL = Window((10, 27), (58, 84), 72)
PRODUCTS = [{"name": "here", "region": {"centre": [0, -10]}, "draws": 2}]


def cut(message: bytes, window: Window) -> bytes:
    """Return a message of the globe with a part of its points."""
    part = GRID.part(window.rows, window.columns)
    with codes.opened(message) as handle:
        values = handle.values().reshape(GRID.shape)
        for name, value in (
            ("Ni", part.columns),
            ("Nj", part.rows),
            ("latitudeOfFirstGridPointInDegrees", part.north),
            ("latitudeOfLastGridPointInDegrees", float(part.latitudes[-1])),
            ("longitudeOfFirstGridPointInDegrees", part.west % 360.0),
            ("longitudeOfLastGridPointInDegrees", float(part.longitudes[-1]) % 360.0),
        ):
            handle.set(name, value)
        rows = values[slice(*window.rows)]
        handle.set_values(rows.take(range(*window.columns), axis=1, mode="wrap").ravel())
        return handle.message()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return GLOBE.write_bundle(tmp_path_factory.mktemp("bundles") / "five")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    cache = str(tmp_path_factory.mktemp("engines") / "cache")
    return {
        "engine": {"backend": "openvino", "threads": 1, "cache": cache},
        "sampler": {"steps": 2},
        "input": {"topic": "in", "steps": "0"},
    }


def work(bundle: Path, told: Mapping[str, Any], window: Window | None) -> World:
    """Let one daemon make the region of one step, from the globe or from a part of it."""
    changes: dict[str, Any] = {**told, "products": PRODUCTS}
    config: Config = config_of(bundle, **changes)
    house = House(open_model(config), config)
    world = World(house)
    whole = [wind_message(name, 0, globe=GLOBE) for name in ("10u", "10v")]
    world.feed(whole if window is None else [cut(message, window) for message in whole])
    work_off(world, **changes)
    house.close()
    return world


def fields(world: World) -> list[Array]:
    """Return the published values, in the order of the step's record."""
    found = []
    for entry in world.steps[0].fields:
        with codes.opened(world.fields[entry.id]) as handle:
            found.append(handle.values().astype(np.float32))
    return found


def test_a_part_that_reaches_the_tiles_gives_the_region_that_the_globe_gives(
    bundle: Path, told: Mapping[str, Any]
) -> None:
    whole = work(bundle, told, None)

    part = work(bundle, told, PART)

    assert [step.outcome.value for step in part.steps] == ["complete"]
    assert part.steps[0].calls == whole.steps[0].calls
    assert part.steps[0].quality == whole.steps[0].quality
    assert len(fields(part)) == 4
    for mine, others in zip(fields(part), fields(whole), strict=True):
        assert np.isfinite(mine).all()
        # The input was packed twice, and the output at 16 bits.
        np.testing.assert_allclose(mine, others, atol=0.02)


def test_a_part_that_does_not_reach_the_tiles_is_dead_lettered(
    bundle: Path, told: Mapping[str, Any]
) -> None:
    world = work(bundle, told, TOO_SMALL)

    assert world.reasons == {"outside_area": 2}


@pytest.mark.parametrize(
    "changes",
    [
        {"products": [{"name": "all"}, *PRODUCTS]},
        {"engine": {"backend": "openvino", "threads": 1, "fusion": "level"}},
    ],
)
def test_input_must_reach_the_whole_globe_where_all_tiles_are_needed(
    bundle: Path, told: Mapping[str, Any], changes: Mapping[str, Any]
) -> None:
    config = config_of(bundle, **{**told, "products": PRODUCTS, **changes})

    plan = open_model(config).plan

    assert plan.needed(config.engine.fusion) is None
    assert plan.needed("end") is None or config.engine.fusion == "level"
