"""The whole daemon by each way of drawing: what it calls, and what its records tell of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from engines.errors import BundleError, UsageError
from streamer.commands.main import main
from streamer.model import open_model
from streamer.records import StepRecord
from tests.end_to_end.daemons import STEPS, config_of, one_run
from tests.engines import tiny
from tests.wind import SMALL

#: As the small daemon's configuration has it.
DRAWS = 2
STANDARD = {
    "solver": "multistep",
    "levels": [6.0, 1.5, 0.4],
    "extrapolations": [0.9, 0.7],
    "remainder": 0.1,
}
FAST = {"solver": "multistep", "levels": [4.0, 0.8], "extrapolations": [1.2], "remainder": 0.0}
TABLE: dict[str, Any] = {
    "default": "standard",
    "profiles": {"fast": 1, "standard": 0, "reference": 2},
    "rows": [
        {"sampler": STANDARD, "calls": 3},
        {"sampler": FAST, "calls": 2, "network": "tuned"},
        {"sampler": {"solver": "heun", "steps": 5, "s_max": None}, "calls": 9},
    ],
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle without a table, and a network of small tiles."""
    return SMALL.write_bundle(tmp_path_factory.mktemp("plain") / "small")


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a table and a second network."""
    folder = tmp_path_factory.mktemp("calibrated") / "small"
    return tiny.add_tuned(SMALL.write_bundle(folder, calibration=TABLE))


def published(
    bundle: Path, engine: Mapping[str, Any], sampler: Mapping[str, Any]
) -> tuple[dict[str, bytes], list[StepRecord], int]:
    """Return what one daemon publishes of one run, and of how many tiles its grid is."""
    world = one_run(bundle, engine=engine, sampler=sampler)
    return world.fields, world.steps, len(world.house.model.plan.layouts[0].tiles)


@pytest.fixture(scope="module")
def by_heun(plain: Path, engine: Mapping[str, Any]) -> dict[str, bytes]:
    return published(plain, engine, {})[0]


def test_multistep_calls_once_a_level_tile_and_draw(
    plain: Path, engine: Mapping[str, Any], by_heun: dict[str, bytes]
) -> None:
    fields, steps, tiles = published(plain, engine, {"solver": "multistep", "steps": 4})

    assert tiles > 1
    assert [step.calls for step in steps] == [4 * tiles * DRAWS] * len(STEPS)
    told = steps[0].sampler
    assert (told["solver"], told["profile"], told["network"]) == ("multistep", None, "denoiser")
    assert len(told["levels"]) == 4
    assert told["levels"][0] == 5.0
    assert told["extrapolations"][-1] == told["remainder"] == 0.0
    assert fields.keys() == by_heun.keys()
    assert all(fields[key] != by_heun[key] for key in fields)


def test_a_bundle_with_a_table_is_served_by_its_default_profile(
    calibrated: Path, engine: Mapping[str, Any]
) -> None:
    _, steps, tiles = published(calibrated, engine, {})

    assert [step.calls for step in steps] == [3 * tiles * DRAWS] * len(STEPS)
    told = steps[0].sampler
    assert {name: told[name] for name in STANDARD} == STANDARD
    assert (told["profile"], told["network"], told["fusion"]) == ("standard", "denoiser", "end")


def test_a_profile_may_bring_its_own_network(
    calibrated: Path, engine: Mapping[str, Any], tmp_path: Path
) -> None:
    fields, steps, tiles = published(calibrated, engine, {"profile": "fast"})

    assert [step.calls for step in steps] == [2 * tiles * DRAWS] * len(STEPS)
    told = steps[0].sampler
    assert (told["profile"], told["network"], told["levels"]) == ("fast", "tuned", [4.0, 0.8])
    # The same sampler through the first network gives something else.
    untuned = {**TABLE, "rows": [TABLE["rows"][0], {**TABLE["rows"][1], "network": "denoiser"}]}
    untuned["profiles"] = {"fast": 1, "standard": 0}
    other = SMALL.write_bundle(tmp_path / "small", calibration=untuned)
    through_the_first = published(other, engine, {"profile": "fast"})[0]
    assert fields.keys() == through_the_first.keys()
    assert all(fields[key] != through_the_first[key] for key in fields)


def test_naming_heun_leaves_the_table_aside(
    calibrated: Path, engine: Mapping[str, Any], by_heun: dict[str, bytes]
) -> None:
    fields, steps, tiles = published(calibrated, engine, {"solver": "heun"})

    assert fields == by_heun
    assert steps[0].calls == 5 * tiles * DRAWS
    assert steps[0].sampler["profile"] is None


def test_a_profile_that_the_bundle_has_not_stops_the_start(plain: Path) -> None:
    with pytest.raises(UsageError, match="no row of small qualified for it"):
        open_model(config_of(plain, sampler={"profile": "standard"}))


def test_a_table_that_names_a_network_the_bundle_lacks_stops_the_start(tmp_path: Path) -> None:
    bundle = SMALL.write_bundle(tmp_path / "small", calibration=TABLE)

    with pytest.raises(
        BundleError, match="calibration names the network tuned, which is not there"
    ):
        open_model(config_of(bundle, sampler={"profile": "fast"}))


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ("{}", "sampler multistep, 3 levels, 3 network calls a tile and draw, profile standard"),
        ("{profile: fast}", "2 network calls a tile and draw, profile fast, network tuned"),
        ("{solver: heun}", "sampler heun, 3 levels, 5 network calls a tile and draw"),
        ("{solver: multistep}", "sampler multistep, 3 levels, 3 network calls a tile and draw"),
    ],
)
def test_check_tells_what_will_draw(
    calibrated: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], section: str, told: str
) -> None:
    config = tmp_path / "wind.yaml"
    config.write_text(
        f"bus: {{memory: true}}\ninput: {{topic: in, steps: 0/3/6}}\noutput: {{topic: out}}\n"
        f"model: {{bundle: {calibrated}}}\nsampler: {section}\n"
    )

    assert main(["check", str(config)]) == 0

    assert told in capfd.readouterr().out
