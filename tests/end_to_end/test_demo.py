"""The demo as a newcomer runs it: what it prints, what it leaves, and what it refuses."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import xarray as xr

from tests.conftest import REPOSITORY


def demo(*arguments: str | Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run the command in an empty folder, as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "streamer.commands.main", "demo", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


def opened(path: Path) -> xr.Dataset:
    """Open GRIB as docs/output.md tells."""
    options = {"indexpath": "", "filter_by_keys": {"typeOfLevel": "heightAboveGround", "level": 10}}
    return xr.open_dataset(
        path, engine="cfgrib", backend_kwargs=options, decode_timedelta=True
    ).load()


@pytest.fixture(scope="module")
def shown(
    small_wind_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, "subprocess.CompletedProcess[str]"]:
    """The demo on a small globe with a tiny network, the second time into the same folder."""
    folder = tmp_path_factory.mktemp("newcomer")
    asked = ("--bundle", str(small_wind_bundle), "--draws", "2")
    first = demo(*asked, "--steps", "1", "--seed", "7", folder=folder)
    assert first.returncode == 0, first.stderr
    done = demo(*asked, "--steps", "2", "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    return folder / "demo-output", done


def test_standard_output_is_one_json_object(
    shown: tuple[Path, "subprocess.CompletedProcess[str]"],
) -> None:
    told = json.loads(shown[1].stdout)

    assert told["synthetic"] is True
    assert (told["steps"], told["published"], told["failed"]) == (2, 2, 0)
    assert told["fields"] == 2 * 2 * 2
    assert told["calls"] > 0
    assert [one["outcome"] for one in told["each_step"]] == ["complete", "complete"]
    assert all(one["delay_seconds"] >= 0 for one in told["each_step"])


def test_what_went_wrong_on_the_way_is_told_and_did_no_harm(
    shown: tuple[Path, "subprocess.CompletedProcess[str]"],
) -> None:
    told = json.loads(shown[1].stdout)

    # Four messages, one of them twice, and one torn in half.
    assert told["records"] == {"used": 4, "duplicate": 1, "truncated": 1}
    assert told["dead_letters"] == {"truncated": 1}
    (rejected,) = told["rejected"]
    assert "bytes" in rejected["text"]


def test_the_table_says_the_same_in_words(
    shown: tuple[Path, "subprocess.CompletedProcess[str]"],
) -> None:
    folder, done = shown
    told = json.loads(done.stdout)

    text = (folder / "report.txt").read_text()

    assert text.startswith("SYNTHETIC weather")
    for one in told["each_step"]:
        assert one["step"] in text
    assert "4 used, 1 duplicate, 1 truncated" in text
    assert json.loads((folder / "report.json").read_text()) == told


def test_the_fine_grib_is_what_xarray_expects(
    shown: tuple[Path, "subprocess.CompletedProcess[str]"],
) -> None:
    fine = sorted((shown[0] / "fine").iterdir())

    assert len(fine) == 2
    for path, hours in zip(fine, (0, 3), strict=True):
        wind = opened(path)
        assert wind.sizes == {"number": 2, "latitude": 19, "longitude": 36}
        assert wind.step.values == np.timedelta64(hours, "h")
        assert np.isfinite(wind.u10).all()
        assert wind.attrs["GRIB_centre"] == "255"


def test_the_coarse_grib_is_kept_for_feeding(
    shown: tuple[Path, "subprocess.CompletedProcess[str]"],
) -> None:
    coarse = sorted((shown[0] / "coarse").iterdir())

    assert [path.name for path in coarse] == [
        path.name for path in sorted((shown[0] / "fine").iterdir())
    ]
    assert all("synthetic" in path.name for path in coarse)
    assert opened(coarse[0]).sizes == {"latitude": 45, "longitude": 90}


def test_there_is_a_picture_of_every_step(
    shown: tuple[Path, "subprocess.CompletedProcess[str]"],
) -> None:
    folder, done = shown
    pictures = [folder.parent / path for path in json.loads(done.stdout)["pictures"]]

    assert sorted(pictures) == sorted((folder / "pictures").iterdir())
    assert len(pictures) == 2
    assert all(path.name.startswith("synthetic") for path in pictures)
    assert matplotlib.image.imread(pictures[0]).std() > 0.1


def test_real_analyses_are_coarsened_downscaled_and_scored(
    wind_bundle: Path, shared_data: Path, tmp_path: Path
) -> None:
    analysis = shared_data / "gfs-wind-1deg/validate/gfs.t00z.pgrb2.1p00.f000.2018091500.grib2"

    done = demo("--bundle", wind_bundle, "--draws", "2", "--from", analysis, folder=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "SYNTHETIC" not in done.stdout
    told = json.loads((tmp_path / "demo-output" / "report.json").read_text())
    for parameter, baseline in (("10u", 0.973), ("10v", 0.910)):
        score = told["scores"][parameter]
        assert score["draws"] == 2
        # The mean of the September days; a single state differs by a few hundredths.
        assert score["baseline_mae"] == pytest.approx(baseline, abs=0.05)
    wind = opened(next((tmp_path / "demo-output" / "coarse").iterdir()))
    assert wind.attrs["GRIB_centre"] == "kwbc"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "nowhere"], "no such file or folder: nowhere"),
        (["--bundle", "no-such-bundle"], "no-such-bundle: found no such folder"),
        (["--draws", "0"], "draws: found 0, wanted 1 to 255"),
        (["--steps", "0"], "--steps: found 0, wanted 1 or more"),
    ],
)
def test_a_wrong_use_ends_with_one_clear_line(
    arguments: Sequence[str], said: str, small_wind_bundle: Path, tmp_path: Path
) -> None:
    given = (
        arguments if "--bundle" in arguments else [*arguments, "--bundle", str(small_wind_bundle)]
    )

    done = demo(*given, folder=tmp_path)

    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_analyses_on_another_grid_are_refused_before_any_work(
    wind_bundle: Path, shared_data: Path, tmp_path: Path
) -> None:
    other = shared_data / "era5-south-america" / "surface-20240203.grib"

    done = demo("--bundle", wind_bundle, "--from", other, folder=tmp_path)

    assert done.returncode == 2
    assert "wanted 181 x 360 points" in done.stderr
    assert not (tmp_path / "demo-output").exists()


def test_a_folder_with_somebody_elses_files_is_left_alone(
    small_wind_bundle: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "demo-output" / "thesis.txt"
    theirs.parent.mkdir()
    theirs.write_text("three years of work")

    done = demo("--bundle", small_wind_bundle, folder=tmp_path)

    assert done.returncode == 2
    assert "is no empty folder and no earlier demo's" in done.stderr
    assert list(theirs.parent.iterdir()) == [theirs]


@pytest.mark.slow
def test_the_bundle_that_ships_gives_detail_that_the_interpolated_field_lacks(
    tmp_path: Path,
) -> None:
    done = demo("--steps", "1", "--draws", "2", folder=tmp_path)

    assert done.returncode == 0, done.stderr
    wind = opened(next((tmp_path / "demo-output" / "fine").iterdir()))
    coarse = opened(next((tmp_path / "demo-output" / "coarse").iterdir()))
    # From one degree to the next real wind changes more than a field of 4 degrees can tell.
    fine_steps = np.abs(np.diff(wind.u10.values, axis=-1)).mean()
    coarse_steps = np.abs(np.diff(coarse.u10.values, axis=-1)).mean() / 4
    assert fine_steps > 1.2 * coarse_steps
    assert wind.u10.values.std(axis=0, ddof=1).mean() > 0.1
