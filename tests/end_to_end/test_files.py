"""Files that the daemon writes itself: of every step that it publishes, and before it does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from streamer.grib import codes
from streamer.model import open_model
from streamer.records import StepRecord, parse
from tests.end_to_end.daemons import House, World, config_of, drain, forecast, one_run, work_off
from tests.end_to_end.test_succession import look_until

FIRST = {"members": (0,), "hours": (0,)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "fine"


@pytest.fixture
def output(folder: Path) -> dict[str, Any]:
    files = [{"format": one, "folder": str(folder)} for one in ("grib", "record")]
    return {"output": {"files": files}}


@pytest.fixture
def world(small_wind_bundle: Path, output: dict[str, Any]) -> Iterator[World]:
    config = config_of(small_wind_bundle, **output)
    made = World(House(open_model(config), config))
    yield made
    made.house.close()


def written(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_each_published_step_has_its_files(
    world: World, folder: Path, output: dict[str, Any]
) -> None:
    world.feed(forecast(**FIRST))
    work_off(world, **output)

    found = written(folder)
    assert len(world.steps) == 3
    for step in world.steps:
        place = f"ecmf/-/201810080000/0/{step.key.minutes // 60}"
        assert found.pop(f"{place}.grib2") == b"".join(world.fields[e.id] for e in step.fields)
        ended = parse(found.pop(f"{place}.json"))
        assert isinstance(ended, StepRecord)
        assert ended == step
    assert found == {}
    told = world.meters[-1].metrics.registry.get_sample_value
    assert told("downscaled_files_total", {"format": "grib"}) == 3
    assert told("downscaled_files_refused_total", {"format": "grib"}) == 0


def test_a_step_whose_files_cannot_be_written_waits_until_they_can(
    world: World, folder: Path, output: dict[str, Any]
) -> None:
    with world.daemon(**output) as service:
        service.turn()
        aside = folder.rename(folder.with_name("aside"))
        folder.write_bytes(b"no folder any more")
        world.feed(forecast(**FIRST))
        look_until(
            service,
            lambda: (
                world.meters[-1].metrics.registry.get_sample_value(
                    "downscaled_stage_seconds_count", {"stage": "files"}
                )
                not in (None, 0.0)
            ),
        )
        assert world.steps == []
        folder.unlink()
        aside.rename(folder)
        drain(service)
        service.stop(10)

    assert len(world.steps) == 3
    assert len(written(folder)) == 6


def test_every_kind_of_product_becomes_a_variable(small_wind_bundle: Path, tmp_path: Path) -> None:
    told: dict[str, Any] = {
        "output": {"files": [{"format": "netcdf", "folder": str(tmp_path / "fine")}]},
        "products": [
            {
                "name": "corner",
                "region": {"centre": [60, -10]},
                "of": ["draws", "mean", {"quantile": 0.9}, {"above": 9.5, "of": "10si"}],
                "parameters": ["10u", "10si"],
            }
        ],
    }
    world = one_run(small_wind_bundle, **told)

    path = tmp_path / "fine" / "ecmf" / "-" / "201810080000" / "0" / "corner" / "6.nc"
    (step,) = (one for one in world.steps if one.key.minutes == 360)
    with xr.open_dataset(path) as found:
        assert found.longitude.values[0] == -70.0
        names = {
            (e.names.parameter, e.names.statistic or e.names.draw): world.fields[e.id]
            for e in step.fields
        }
        for variable, name in (
            ("u10_mean", ("10u", "mean")),
            ("si10_quantile_0_9", ("10si", "quantile-0.9")),
            ("si10_above_9_5", ("10si", "above-9.5")),
        ):
            with codes.opened(names[name]) as handle:
                wanted = handle.values().reshape(8, 12)
            assert found[variable].values[0] == pytest.approx(wanted, rel=1e-6)
        assert found["u10"].shape == (2, 1, 8, 12)
        assert found["si10_above_9_5"].attrs["units"] == "%"
