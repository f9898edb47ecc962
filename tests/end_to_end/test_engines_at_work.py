"""The whole daemon on several engines: the same bytes, told by device, and none lost at a death."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.denoiser import Array, EngineSpec, GaussianDenoiser
from engines.errors import EngineError, OutOfMemory
from streamer.grib import codes
from streamer.model import Model, open_model
from tests.end_to_end.daemons import House, World, config_of, forecast, work_off
from tests.engines.tiny import SIGMA_DATA


class Device(GaussianDenoiser):
    """The closed form on a device with a name, which may be in trouble."""

    def __init__(
        self,
        name: str,
        sizes: tuple[int, ...] = (1,),
        trouble: Callable[[int], None] = lambda _: None,
    ) -> None:
        super().__init__(deviation=SIGMA_DATA)
        self.name = name
        self.served = 0
        self._sizes = sizes
        self._trouble = trouble

    @property
    def spec(self) -> EngineSpec:
        return EngineSpec("gaussian", "f32", self.name, "1", self._sizes[-1], self._sizes)

    def denoise(
        self, x: Array, sigma: Array, condition: Array, labels: Array | None = None
    ) -> Array:
        self._trouble(len(x))
        self.served += 1
        return super().denoise(x, sigma, condition, labels)


@pytest.fixture(scope="module")
def house(small_wind_bundle: Path) -> Iterator[House]:
    config = config_of(small_wind_bundle)
    house = House(open_model(config), config)
    yield house
    house.close()


@pytest.fixture(scope="module")
def wanted(house: House) -> dict[str, bytes]:
    """What one engine publishes."""
    return published(house)


def published(
    house: House, model: Model | None = None, **changes: Mapping[str, Any]
) -> dict[str, bytes]:
    world = World(house)
    world.feed(forecast())
    work_off(world, model, **changes)
    return world.fields


def with_engines(house: House, *engines: Device) -> Model:
    return replace(house.model, denoisers=engines)


def test_two_engines_publish_what_one_does(house: House, wanted: dict[str, bytes]) -> None:
    one, other = Device("gpu 0", (1, 4)), Device("gpu 1", (1, 4))

    found = published(house, with_engines(house, one, other))

    assert found == wanted
    assert one.served > 0
    assert other.served > 0


def test_a_device_that_dies_costs_no_field(house: House, wanted: dict[str, bytes]) -> None:
    left = iter(range(3))

    def fall_off(_: int) -> None:
        if next(left, None) is None:
            raise EngineError("the device fell off the bus")

    found = published(house, with_engines(house, Device("gpu 0", (1,), fall_off), Device("gpu 1")))

    assert found == wanted


def test_a_device_that_runs_out_of_memory_costs_no_field(
    house: House, wanted: dict[str, bytes]
) -> None:
    def cramped(tiles: int) -> None:
        if tiles > 2:
            raise OutOfMemory("no room")

    assert published(house, with_engines(house, Device("gpu 0", (1, 2, 8), cramped))) == wanted


def test_steps_by_way_of_fusion_are_the_same_where_one_tile_covers_all(
    house: House, wanted: dict[str, bytes]
) -> None:
    fused = published(house, engine={"fusion": "level"})

    assert fused.keys() == wanted.keys()
    for key, message in fused.items():
        with codes.opened(message) as ours, codes.opened(wanted[key]) as theirs:
            np.testing.assert_array_equal(ours.values(), theirs.values())
