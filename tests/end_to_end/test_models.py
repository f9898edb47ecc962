"""Several bundles as one ensemble: each draws its own, and all of them are told together."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.bundle import open_manifest
from engines.errors import BundleError, UsageError
from streamer.grib import codes
from streamer.model import open_model
from tests.end_to_end.daemons import House, World, config_of, drain, forecast
from tests.end_to_end.test_products import PACKED, Published, published
from tests.end_to_end.test_succession import changes, look_until, point
from tests.engines import tiny
from tests.wind import SMALL

LEVELS, DRAWS = 2, 2
EIGHT = {"sampler": {"steps": LEVELS}}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two bundles of the same output, whose tiles overlap by more or less."""
    folder = tmp_path_factory.mktemp("pair")
    return SMALL.write_bundle(folder / "one"), SMALL.write_bundle(folder / "two", overlap=[3, 4])


@pytest.fixture(scope="module")
def alone(pair: tuple[Path, Path], engine: Mapping[str, Any]) -> Published:
    """What the first bundle publishes without the other."""
    return published(pair[0], engine, [{"name": "draws", "draws": DRAWS}], **EIGHT)


def both(
    pair: tuple[Path, Path], engine: Mapping[str, Any], *weights: float, of: list[Any]
) -> Published:
    """Let both bundles draw for one product."""
    named = [
        {"name": str(path), "weight": weight} for path, weight in zip(pair, weights, strict=True)
    ]
    return published(named, engine, [{"name": "draws", "draws": DRAWS, "of": of}], **EIGHT)


def test_draws_of_several_models_are_one_ensemble_and_share_no_noise(
    pair: tuple[Path, Path], engine: Mapping[str, Any], alone: Published
) -> None:
    made = both(pair, engine, 1.0, 1.0, of=["draws", "mean"])

    draws = made.draws("draws", "10u")
    assert len(draws) == 2 * DRAWS
    # The first bundle's draws are those that it makes alone; the second's are others.
    assert draws[:DRAWS] == pytest.approx(alone.draws("draws", "10u"), abs=PACKED)
    assert min(np.abs(draws[2] - one).max() for one in draws[:2]) > 0.1
    assert made.one("draws", "10u", "mean") == pytest.approx(draws.mean(axis=0), abs=PACKED)
    step = made.steps[0]
    digests = [open_manifest(path).digest for path in pair]
    assert step.bundle == "+".join(digests)
    assert [one["bundle"] for one in step.sampler["products"]["draws"]] == digests
    tiles = sum(len(layout.tiles) for layout in made.model.plan.layouts)
    assert step.calls == tiles * DRAWS * (2 * LEVELS - 1)
    with codes.opened(made.fields[made.entries("draws", "10u")[3].id]) as handle:
        assert handle.integer("numberOfForecastsInEnsemble") == 2 * DRAWS


def test_weights_of_models_count_in_statistics_and_grib_says_so(
    pair: tuple[Path, Path], engine: Mapping[str, Any]
) -> None:
    made = both(pair, engine, 3.0, 1.0, of=["draws", "mean"])

    draws = made.draws("draws", "10v")
    wanted = np.average(draws, axis=0, weights=[3, 3, 1, 1])
    assert made.one("draws", "10v", "mean") == pytest.approx(wanted, abs=PACKED)
    (entry,) = (e for e in made.entries("draws", "10v") if e.names.statistic == "mean")
    with codes.opened(made.fields[entry.id]) as handle:
        assert handle.integer("derivedForecast") == 1


def test_models_of_another_output_are_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    grib = {**SMALL.grib, "interpolation": "nearest-neighbour"}
    other = tiny.write_bundle(tmp_path / "other", SMALL.shape, grib=grib, name="other")
    config = config_of([str(pair[0]), str(other)])

    with pytest.raises(BundleError, match=r"other: grib in model.json differ from those of one"):
        open_model(config)


def test_any_model_of_several_may_be_followed(tmp_path: Path) -> None:
    for name in ("first", "old", "new"):
        SMALL.write_bundle(tmp_path / name)
    (tmp_path / "current").symlink_to("old")
    config = config_of([str(tmp_path / "first"), str(tmp_path / "current")])
    world = World(House(open_model(config), config), change=threading.Event())

    with world.daemon() as service:
        point(tmp_path, "new")
        look_until(service, lambda: changes(world, "taken") == 1)
        world.feed(forecast(members=(0,), hours=(0,)))
        drain(service)
        service.stop(10)
    world.house.close()

    digests = [open_manifest(tmp_path / name).digest for name in ("first", "new")]
    assert {step.bundle for step in world.steps} == {"+".join(digests)}


@pytest.mark.parametrize(
    ("bundle", "said"),
    [
        ([], "bundle: found none, wanted at least one"),
        ([{"name": "a", "weight": 0}], "weight: found 0, wanted a number above 0"),
        ([{"bundle": "a"}], "wanted a bundle's name or path"),
        (7, "wanted a list"),
    ],
)
def test_a_list_of_models_that_says_nothing_sound_is_refused(bundle: object, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        config_of("", model={"bundle": bundle})

    assert said in str(refused.value)
