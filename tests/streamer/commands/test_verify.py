"""`downscaled verify` as a person runs it: a table, one JSON object, one page."""

import json
from pathlib import Path

import numpy as np
import pytest

from streamer.commands.main import main
from tests.streamer.grib_files import GLOBE, fine, written
from tests.wind import Globe, wind_message

COARSE = Globe(20, 20)
NAMES = ("10u", "10v")


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    """Folders of two steps' draws, their analyses, and the coarse forecasts."""
    rng = np.random.default_rng(0)
    files: dict[str, dict[str, bytes]] = {"fine": {}, "truth": {}, "coarse": {}}
    for step in (0, 6):
        for name in NAMES:
            draws = rng.normal(0, 8, (3, *GLOBE.shape))
            message = fine(wind_message(name, step), draws, parameter=name)
            files["fine"][f"{name}-{step}.grib2"] = message
            files["truth"][f"{name}-{step}"] = wind_message(name, 0, dataTime=100 * step)
            files["coarse"][f"{name}-{step}"] = wind_message(name, step, globe=COARSE)
    for folder, held in files.items():
        written(tmp_path / folder, held)
    return {folder: str(tmp_path / folder) for folder in files}


def test_the_table_tells_every_parameter_and_the_interpolated_field(
    folders: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["verify", folders["fine"], "--truth", folders["truth"],
                   "--coarse", folders["coarse"]])  # fmt: skip

    table = capsys.readouterr().out
    assert status == 0
    assert [line.split()[0] for line in table.splitlines()[1:]] == [
        "10u", "10u", "10v", "10v", "10si", "10si",
    ]  # fmt: skip
    assert table.count("interpolated") == 3


def test_json_is_one_object_that_agrees_with_itself(
    folders: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["verify", folders["fine"], "--truth", folders["truth"], "--coarse", folders["coarse"]]
    options = ["--above", "10si=10", "--above", "10si=17.2", "--parameters", "10si", "--json"]

    assert main([*words, *options]) == 0

    told = json.loads(capsys.readouterr().out)
    (one,) = told["results"]
    assert (one["parameter"], one["draws"], one["states"]) == ("10si", 3, 2)
    assert [found["threshold"] for found in one["reliability"]] == [10.0, 17.2]
    assert set(one["by_step"]) == {"0", "360"}
    assert one["gain"] == pytest.approx(one["crps"]["forecast"] / one["crps"]["baseline"])
    assert told["statistics"] == []


def test_the_report_is_written_and_the_bundle_makes_the_baseline(
    folders: dict[str, str],
    small_wind_bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    html = tmp_path / "report.html"

    words = ["verify", folders["fine"], "--truth", folders["truth"], "--html", str(html)]
    options = ["--parameters", "10u", "--bundle", str(small_wind_bundle), "--steps", "6"]
    status = main([*words, *options])

    told = capsys.readouterr()
    assert status == 0
    assert str(html) in told.err
    page = html.read_text(encoding="utf-8")
    assert "coarsened and interpolated as" in page
    assert "1 state of 3 draws" in page


def test_without_a_baseline_the_table_says_that_skill_is_not_told(
    folders: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", folders["fine"], "--truth", folders["truth"]]) == 0

    told = capsys.readouterr()
    assert "skill is not" in told.err
    assert "interpolated" not in told.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--above", "10si"], "found '10si', wanted such as 10si=17.2"),
        (["--above", "10si=gale"], "found '10si=gale'"),
        (["--steps", "6/by"], "--steps: 'by' is not a step"),
        (["--parameters", "2t"], "no draw and no statistic"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_2(
    folders: dict[str, str],
    options: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["verify", folders["fine"], "--truth", folders["truth"], *options]) == 2

    assert said in capsys.readouterr().err


def test_a_folder_without_files_is_refused_with_2(
    folders: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()

    assert main(["verify", str(tmp_path / "empty"), "--truth", folders["truth"]]) == 2

    assert "empty" in capsys.readouterr().err
