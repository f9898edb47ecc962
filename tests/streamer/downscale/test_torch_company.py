"""A real network in batches, on whole runs: what its company changes, and what it does not."""

import numpy as np
import pytest
import torch

from engines.backends.torch import TorchDenoiser, TorchSettings
from engines.manifest import Preconditioning
from engines.networks import NetworkSettings, build
from engines.sampler import SamplerSettings, calls
from streamer.domain import Array
from streamer.downscale.engine_room import Result
from streamer.downscale.tiles import Layout
from streamer.downscale.work import Fusion, Recipe, Work
from tests.streamer.downscale.engines import House, bytes_of
from tests.streamer.downscale.small import bundle_of

SIZES = (1, 2, 4)
BUNDLE = bundle_of(shape=(28, 48), tile=(16, 24), overlap=(4, 8))
LAYOUT = Layout.cover(BUNDLE.shape, BUNDLE.tile, BUNDLE.overlap, periodic=True)
SETTINGS = SamplerSettings(steps=3, sigma_max=10.0, sigma_min=0.1, s_churn=2.0)
TOLD = np.random.default_rng(3).standard_normal((3, *BUNDLE.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def engine() -> TorchDenoiser:
    torch.manual_seed(5)
    shape = NetworkSettings(
        inputs=5, outputs=2, tile=BUNDLE.tile, width=16, multipliers=(1, 2), blocks=1, attention=()
    )
    network = build(shape)
    with torch.no_grad():
        for weights in network.parameters():
            weights.copy_(0.1 * torch.randn_like(weights))
    return TorchDenoiser(network, shape, Preconditioning("edm", 1.0), TorchSettings(sizes=SIZES))


def work_of(key: str, fusion: Fusion = "end") -> Work:
    recipe = Recipe(BUNDLE, LAYOUT, SETTINGS, fusion)
    return Work(key, recipe, TOLD, (f"{key}/0".encode(),))


def results(engine: TorchDenoiser, *works: Work, reproducible: bool = True) -> dict[object, Result]:
    return House(engine, reproducible=reproducible).work_off(*works)


def draws_of(result: Result) -> Array:
    assert result.draws is not None, result.fault
    return result.draws


@pytest.mark.parametrize("fusion", ["end", "level"])
def test_a_reproducible_draw_has_the_same_bytes_in_any_company(
    engine: TorchDenoiser, fusion: Fusion
) -> None:
    alone = results(engine, work_of("b", fusion))["b"]

    for keys in ("abc", "cba", "db"):
        found = results(engine, *(work_of(key, fusion) for key in keys))["b"]
        assert bytes_of(found) == bytes_of(alone)


def test_without_that_only_the_last_bits_differ(engine: TorchDenoiser) -> None:
    wanted = draws_of(results(engine, work_of("b"))["b"])

    found = draws_of(results(engine, *map(work_of, "abc"), reproducible=False)["b"])

    assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_tiles_go_their_whole_way_in_full_calls(engine: TorchDenoiser) -> None:
    house = House(engine)

    house.work_off(*map(work_of, "abcd"))

    done = house.room.counters
    assert done.calls == len(LAYOUT.tiles) * calls(SETTINGS)
    assert done.tiles == done.places == 4 * done.calls
