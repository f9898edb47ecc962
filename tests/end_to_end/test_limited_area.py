"""From hourly fields of a limited area to a bundle that the daemon runs: small, but all of it.

The real archive: 2 m temperature over the British Isles, 49x33 points every 0.25 degrees, GRIB 1,
many messages in one file. `make train-uk` trains on all of it.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import mir
import numpy as np
import pytest
import xarray as xr

from engines.bundle import open_manifest
from streamer.commands.main import main
from streamer.grib import codes, regrid
from streamer.grib.frame import split
from streamer.grib.wants import Limits
from tests.conftest import REPOSITORY, require_tool

ARCHIVE = Path("era5-uk-2t") / "era5-2mt-2019-03-uk.grib"
#: Days that the small archive holds; the last one is held back.
DAYS = ("20190309", "20190318", "20190327", "20190331")
HOURS = (0, 600, 1200, 1800)
NAME = "uk-2t-small"


def chosen(shared_data: Path, days: Sequence[str] = DAYS) -> bytes:
    """Return the messages of some days, four a day, as one file holds them."""
    found = []
    for message in split((shared_data / ARCHIVE).read_bytes(), Limits()):
        assert isinstance(message, bytes)
        with codes.opened(message) as handle:
            if handle.text("dataDate") in days and handle.integer("dataTime") in HOURS:
                found.append(message)
    return b"".join(found)


def train(archive: Path, shared_data: Path, output: Path, *more: str) -> int:
    constants = shared_data / "constants" / "era5-z-lsm-0p25.nc"
    paths = f"--constants {constants} --output {output} --coarse 1 --hold-back-days 1"
    small = "--width 16 --multipliers 1 2 --blocks 1 --steps 40 --held-back-tiles 4"
    tiles = "--tile 24 32 --overlap 8 8 --training-tile 24 32"
    cheap = "--warmup 10 --draws 2 --sampler-steps 3"
    words = f"{paths} {small} {tiles} {cheap}".split()
    return main(["bundle", "train", str(archive), *words, *more])


@pytest.fixture(scope="module")
def archive(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uk")
    (folder / "uk.grib").write_bytes(chosen(shared_data))
    return folder


@pytest.fixture(scope="module")
def bundle(archive: Path, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("bundles") / NAME
    assert train(archive, shared_data, output) == 0
    return output


@pytest.fixture(scope="module")
def coarse(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fields of the day held back as MIR makes GRIB of them: 13x9 points every degree."""
    path = tmp_path_factory.mktemp("coarse") / "coarse.grib"
    output = mir.GribFileOutput(str(path))
    with regrid.quiet():
        for message in split(chosen(shared_data, DAYS[-1:]), Limits()):
            job = mir.Job(grid=[1, 1], interpolation="grid-box-average")
            job.execute(mir.GribMemoryInput(message), output)
        del output
    return path


@pytest.fixture(scope="module")
def replayed(
    bundle: Path, coarse: Path, shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path]:
    """What `replay --json` prints, and the folder of fine GRIB."""
    folder = tmp_path_factory.mktemp("replay")
    (folder / "truth.grib").write_bytes(chosen(shared_data, DAYS[-1:]))
    config = folder / "uk.yaml"
    config.write_text(
        "bus: {memory: true}\ninput: {topic: in, steps: '0'}\noutput: {topic: out}\n"
        f"model: {{bundle: {bundle}, draws: 3}}\n"
    )
    command = ["replay", config, "--input", coarse, "--output", folder / "out", "--json"]
    command += ["--truth", folder / "truth.grib"]
    done = subprocess.run(
        [sys.executable, "-m", "streamer.commands.main", *map(str, command)],
        cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout), folder / "out" / "fine"


def test_a_few_days_of_an_area_become_a_bundle_that_verifies(
    bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = open_manifest(bundle)

    assert (found.channels, found.shape, found.tile) == (("2t",), (33, 49), (24, 32))
    assert not found.periodic
    assert found.labels == ()
    assert found.training["states"] == {"learnt": 12, "held_back": 4}
    assert found.training["held_back_days"] == ["2019-03-31"]
    assert main(["bundle", "verify", str(bundle), "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert (told["golden_cases"], told["bundle"]) == (3, NAME)
    assert told["largest_error"] <= told["bound"]


def test_the_scores_of_an_area_name_no_place_that_only_a_globe_has(bundle: Path) -> None:
    found = open_manifest(bundle).training["scores"]["2t"]

    assert (found["polar"], found["date_line"], found["first_column"]) == (None, None, None)
    assert found["bands"] == []
    card = (bundle / "README.md").read_text()
    assert "whole area" in card
    assert "no spectra were taken" in card
    assert "from the other pole, so" in card
    assert "whole globe" not in card


def test_coarse_fields_of_the_area_come_back_fine_and_better_than_interpolated(
    replayed: tuple[dict[str, Any], Path],
) -> None:
    found, _ = replayed

    assert (found["steps"], found["published"], found["failed"]) == (4, 4, 0)
    assert found["dead_letters"] == {}
    # Four tiles, three levels of Heun, three draws.
    assert found["calls"] == 4 * 4 * 5 * 3
    score = found["scores"]["2t"]
    assert 0.2 < score["baseline_mae"] < 1.0
    assert score["crps"] < 0.9 * score["baseline_mae"]


def test_the_scores_of_the_bundle_are_of_the_baseline_that_replay_has(
    bundle: Path, replayed: tuple[dict[str, Any], Path]
) -> None:
    trained = open_manifest(bundle).training["scores"]["2t"]

    # Replay's coarse fields were packed into 16 bits between.
    for name in ("baseline_mae", "baseline_rmse"):
        assert replayed[0]["scores"]["2t"][name] == pytest.approx(trained[name], rel=1e-3)


def test_the_fine_fields_of_an_area_are_read_by_others(
    replayed: tuple[dict[str, Any], Path],
) -> None:
    last = max(replayed[1].iterdir())

    keys = "edition,shortName,level,Ni,Nj,number,totalNumber,dataDate,dataTime"
    rows = [line.split() for line in told("grib_ls", "-p", keys, last).splitlines()]
    facts = told("cdo", "-s", "sinfo", last)
    data = xr.open_dataset(last, engine="cfgrib", backend_kwargs={"indexpath": ""})

    assert [row for row in rows if row and row[0] == "2" and len(row) == 9] == [
        ["2", "2t", "2", "49", "33", str(draw), "3", "20190331", "1800"] for draw in range(3)
    ]
    assert "points=1617 (49x33)" in facts
    assert "lon : -10 to 2 by 0.25 degrees_east" in facts
    assert "lat : 58 to 50 by -0.25 degrees_north" in facts
    assert data.t2m.shape == (3, 33, 49)
    assert np.array_equal(data.latitude, np.arange(58.0, 49.9, -0.25))
    assert np.array_equal(data.longitude, np.arange(-10.0, 2.1, 0.25))
    assert data.valid_time.values.astype("M8[s]").item() == datetime(2019, 3, 31, 18)  # noqa: DTZ001
    assert 260.0 < float(data.t2m.min()) < float(data.t2m.max()) < 300.0


def told(*command: str | Path) -> str:
    words = [require_tool(str(command[0])), *map(str, command[1:])]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_fit_that_is_done_goes_on_as_done(bundle: Path, archive: Path, shared_data: Path) -> None:
    before = (bundle / "weights.safetensors").read_bytes()

    assert train(archive, shared_data, bundle) == 0

    assert (bundle / "weights.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--tile 36 52", "--tile, --overlap: tiles of 36 rows with overlap 8 do not fit"),
        ("--tile 23 31", "tile 23x31 is not divisible by 2"),
        ("--training-tile 40 48", "training tiles are 40x48"),
        ("--coarse 0.25", "--coarse is 0.25 degrees, wanted more than the archive's 0.25"),
        ("--coarse 10", "holds"),
        ("--hold-back-days 4", "want at least 1 to hold back and 1 to learn from"),
    ],
)
def test_what_could_not_end_in_a_bundle_is_refused_before_the_fit(
    archive: Path,
    shared_data: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    options: str,
    words: str,
) -> None:
    assert train(archive, shared_data, tmp_path / "bundle", *options.split()) == 2

    error = capfd.readouterr().err
    assert words in error
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())
