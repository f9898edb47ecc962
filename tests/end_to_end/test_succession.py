"""Another bundle takes over while the daemon runs, or the old one serves on."""

import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines.bundle import open_manifest
from engines.denoiser import Array, EngineSpec, GaussianDenoiser
from streamer.model import Model, open_model
from streamer.service import Service
from tests.end_to_end.daemons import STEPS, House, World, config_of, drain, forecast
from tests.engines import tiny
from tests.wind import SMALL

PATIENCE_S = 30.0


class Held(GaussianDenoiser):
    """A denoiser whose calls wait until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.called, self.let_go = threading.Event(), threading.Event()

    @property
    def spec(self) -> EngineSpec:
        return super().spec

    def denoise(
        self, x: Array, sigma: Array, condition: Array, labels: Array | None = None
    ) -> Array:
        self.called.set()
        assert self.let_go.wait(PATIENCE_S)
        return super().denoise(x, sigma, condition, labels)


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    """A folder of bundles, `old` and `new`, and a link `current` to the old one."""
    for name in ("old", "new"):
        SMALL.write_bundle(tmp_path / name)
    (tmp_path / "current").symlink_to("old")
    return tmp_path


@pytest.fixture
def world(bundles: Path) -> Iterator[World]:
    config = config_of(bundles / "current")
    house = House(open_model(config), config)
    yield World(house, change=threading.Event())
    house.close()


def point(bundles: Path, target: str) -> None:
    """Let the link lead elsewhere, as `ln -sfn` does."""
    beside = bundles / "current.new"
    beside.symlink_to(target)
    beside.replace(bundles / "current")


def look_until(service: Service, is_so: Callable[[], bool]) -> None:
    """Turn the loop and let it look after things until something is so."""
    patience = threading.Event()
    threading.Timer(PATIENCE_S, patience.set).start()
    while not is_so():
        assert not patience.is_set()
        service.turn()
        service.look_after()


def changes(world: World, outcome: str) -> float:
    """How many bundles were taken or refused."""
    metrics = world.meters[-1].metrics
    found = metrics.registry.get_sample_value(
        "downscaled_bundle_changes_total", {"outcome": outcome}
    )
    assert found is not None
    return found


def makers(world: World) -> set[tuple[int, str | None]]:
    """Which bundles the records of steps name, by the hour of their run."""
    return {(step.key.run.reference_time.hour, step.bundle) for step in world.steps}


def first(hour: int) -> list[bytes]:
    """One run of one member."""
    return forecast(members=(0,), hours=(hour,))


def test_a_link_that_moves_brings_the_new_bundle_to_work_without_a_gap(
    world: World, bundles: Path
) -> None:
    old, new = (open_manifest(bundles / name).digest for name in ("old", "new"))
    with world.daemon() as service:
        world.feed(first(0))
        drain(service)
        point(bundles, "new")
        look_until(service, lambda: changes(world, "taken") == 1)
        world.feed(first(6))
        drain(service)
        service.look_after()
        service.stop(10)

    assert makers(world) == {(0, old), (6, new)}
    assert len(world.steps) == 2 * len(STEPS)
    assert set(world.outcomes.values()) == {1}
    told = world.meters[-1].metrics.registry.get_sample_value
    assert told("downscaled_denoiser_calls_total", {"device": "cpu"}) == service.engine_work[0]


def test_a_model_that_was_followed_is_freed(world: World, bundles: Path) -> None:
    gone = threading.Event()

    def lone_model() -> Model:
        engine = GaussianDenoiser()
        weakref.finalize(engine, gone.set)
        return replace(world.house.model, denoisers=(engine,))

    with world.daemon(model=lone_model()) as service:
        world.feed(first(0))
        drain(service)
        assert not gone.is_set()
        point(bundles, "new")
        look_until(service, lambda: changes(world, "taken") == 1)
        look_until(service, gone.is_set)
        service.stop(10)


def test_a_link_that_moved_while_the_first_bundle_was_opened_is_followed(
    world: World, bundles: Path
) -> None:
    # The world's model was opened before; the daemon that looks after the link starts after it.
    point(bundles, "new")

    with world.daemon() as service:
        look_until(service, lambda: changes(world, "taken") == 1)
        world.feed(first(0))
        drain(service)
        service.stop(10)

    assert makers(world) == {(0, open_manifest(bundles / "new").digest)}


def test_a_step_that_has_begun_is_finished_by_the_model_that_began_it(
    world: World, bundles: Path
) -> None:
    held = Held()
    model = replace(world.house.model, denoisers=(held,))
    old, new = (open_manifest(bundles / name).digest for name in ("old", "new"))
    with world.daemon(model=model) as service:
        world.feed(first(0)[:2])
        look_until(service, held.called.is_set)
        point(bundles, "new")
        look_until(service, lambda: changes(world, "taken") == 1)
        world.feed(first(6)[:2])
        look_until(service, lambda: makers(world) == {(6, new)})
        held.let_go.set()
        drain(service)
        service.stop(10)

    assert makers(world) == {(0, old), (6, new)}


def test_a_broken_bundle_changes_nothing_and_the_next_good_one_does(
    world: World, bundles: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = SMALL.write_bundle(bundles / "broken") / "denoiser.onnx"
    broken.write_bytes(b"\0" + broken.read_bytes()[1:])
    old, new = (open_manifest(bundles / name).digest for name in ("old", "new"))
    with world.daemon() as service:
        point(bundles, "broken")
        look_until(service, lambda: changes(world, "refused") == 1)
        world.feed(first(0)[:2])
        look_until(service, lambda: makers(world) == {(0, old)})
        point(bundles, "new")
        look_until(service, lambda: changes(world, "taken") == 1)
        world.feed(first(6)[:2])
        drain(service)
        service.stop(10)

    assert makers(world) == {(0, old), (6, new)}
    assert changes(world, "refused") == 1
    said = [record.message for record in caplog.records if "serves on" in record.message]
    assert len(said) == 1
    assert f"bundle {old[:12]} serves on" in said[0]
    assert "denoiser.onnx: SHA-256 is" in said[0]


def test_a_bundle_that_wants_another_input_is_refused_with_what_differs(
    world: World, bundles: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grib = {**SMALL.grib, "interpolation": "nearest-neighbour"}
    tiny.write_bundle(bundles / "other", SMALL.shape, grib=grib, name="other")

    with world.daemon() as service:
        point(bundles, "other")
        look_until(service, lambda: changes(world, "refused") == 1)

    assert "other: grib in model.json differ from those of old" in caplog.text


def test_a_bundle_whose_regions_lie_on_other_tiles_takes_a_restart(
    bundles: Path, caplog: pytest.LogCaptureFixture
) -> None:
    SMALL.write_bundle(bundles / "other", overlap=[3, 4])
    told: dict[str, Any] = {
        "engine": {"backend": "openvino", "threads": 1, "cache": str(bundles / "cache")},
        "products": [{"name": "corner", "region": {"centre": [60, 50]}}],
    }
    config = config_of(bundles / "current", **told)
    world = World(House(open_model(config), config), change=threading.Event())

    with world.daemon(**told) as service:
        point(bundles, "other")
        look_until(service, lambda: changes(world, "refused") == 1)
    world.house.close()

    assert "its tiles need other parts of the globe than those of old" in caplog.text


def test_a_bundle_that_was_replaced_in_its_place_is_taken_when_asked(
    world: World, bundles: Path
) -> None:
    assert world.change is not None
    with world.daemon() as service:
        tiny.write_bundle(bundles / "old", SMALL.shape, grib=SMALL.grib, name="replaced")
        replaced = open_manifest(bundles / "old").digest
        service.look_after()
        assert changes(world, "taken") == 0
        world.change.set()
        look_until(service, lambda: changes(world, "taken") == 1)
        world.feed(first(0)[:2])
        look_until(service, lambda: makers(world) == {(0, replaced)})


def test_a_link_that_is_missing_for_a_moment_is_no_fault_until_somebody_asks(
    world: World, bundles: Path
) -> None:
    assert world.change is not None
    with world.daemon() as service:
        (bundles / "current").unlink()
        service.look_after()
        service.look_after()
        assert changes(world, "refused") == 0
        world.change.set()
        service.look_after()
        assert changes(world, "refused") == 1
        (bundles / "current").symlink_to("new")
        look_until(service, lambda: changes(world, "taken") == 1)
