"""`downscaled bundle calibrate` fits, measures and writes a table into any bundle."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engines.bundle import Bundle, open_manifest
from engines.multistep import MultistepSettings
from engines.sampler import SamplerSettings
from streamer.commands.bundle_calibrate import with_section
from streamer.commands.main import main
from tests import ipsl
from tests.end_to_end.six import NAMES, coarse_message, gfs
from tests.wind import SMALL

#: An import exports a network, which takes a slow machine a minute or two.
pytestmark = pytest.mark.timeout(400)
SHAPE = (37, 72)
#: Steps of the forecast that stands for the truth: three days of it.
STEPS = (24, 48, 72)
QUICK = ("--calls", "2..3", "--states", "1", "--draws", "2", "--hold-back-days", "1",
         "--fit-steps", "3", "--fit-tiles", "1", "--fit-tile", "16", "24")  # fmt: skip


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A foreign checkpoint, imported: resized coarse fields, labels, a logarithm, vp's levels."""
    folder = tmp_path_factory.mktemp("ipsl")
    files = ipsl.write(folder / "files", precond="vp", shape=SHAPE, tile=(16, 24), num_steps=2)
    assert main(files.command(folder / "six")) == 0
    return folder / "six"


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("truth")
    for step in STEPS:
        messages = [coarse_message(name, step, gfs(SHAPE)) for name in NAMES]
        (folder / f"{step}.grib").write_bytes(b"".join(messages))
    return folder


@pytest.fixture(scope="module")
def calibrated(imported: Path, truth: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    output = tmp_path_factory.mktemp("calibrated") / "six"
    assert calibrate(imported, truth, "--output", str(output), *QUICK) == 0
    return open_manifest(output)


def calibrate(bundle: Path, truth: Path, *more: str) -> int:
    return main(["bundle", "calibrate", str(bundle), "--truth", str(truth), *more])


def test_the_table_holds_fitted_samplers_beside_heuns_and_the_reference(
    calibrated: Bundle,
) -> None:
    table = calibrated.calibration

    assert table is not None
    found = [(type(row.sampler), row.calls) for row in table.rows]
    assert (MultistepSettings, 2) in found
    assert (MultistepSettings, 3) in found
    # The bundle's own sampler, and the one that Heun has at this cost.
    assert found.count((SamplerSettings, 3)) == 2
    assert found[-1] == (SamplerSettings, 35)
    assert table.row("reference").measured["crps_change"] == 0.0
    assert set(table.row("reference").measured["parameters"]) == set(NAMES)
    assert "2024-07-05" in table.told["measured"]
    assert "2024-07-03" in table.told["fitted"]


def test_nothing_else_of_the_bundle_changes(calibrated: Bundle, imported: Path) -> None:
    names = sorted(path.name for path in imported.iterdir())
    assert sorted(path.name for path in calibrated.path.iterdir()) == names
    for name in set(names) - {"model.json", "README.md", "SHA256SUMS"}:
        assert (calibrated.path / name).read_bytes() == (imported / name).read_bytes()
    before, after = (
        json.loads((folder / "model.json").read_text()) for folder in (imported, calibrated.path)
    )
    assert after.pop("calibration")
    assert after == before


def test_the_card_has_the_table_once(calibrated: Bundle, imported: Path) -> None:
    card = (calibrated.path / "README.md").read_text()

    assert card.startswith((imported / "README.md").read_text().rstrip())
    assert card.count("## What network calls cost") == 1


def test_calibrating_again_in_place_replaces_the_table(
    calibrated: Bundle, truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(calibrated.path, folder)
    capsys.readouterr()

    assert calibrate(folder, truth, *QUICK, "--calls", "2", "--json") == 0

    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    found = open_manifest(folder)
    assert told["digest"] == found.digest != calibrated.digest
    assert [row["calls"] for row in told["rows"]] == [2, 3, 35]
    assert (folder / "README.md").read_text().count("## What network calls cost") == 1
    # The same days, seed and steps give the same sampler.
    assert found.calibration is not None
    assert calibrated.calibration is not None
    assert found.calibration.rows[0].sampler == calibrated.calibration.rows[0].sampler


def refused(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(main([*words]))
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_what_cannot_be_calibrated_is_told_with_the_reason(
    imported: Path, truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["bundle", "calibrate", str(imported), "--truth"]
    one_day, winds, other = (tmp_path / name for name in ("one.grib", "winds.grib", "other.grib"))
    shutil.copy(truth / "24.grib", one_day)
    winds.write_bytes(coarse_message("10u", 24, gfs(SHAPE)))
    other.write_bytes(coarse_message("2t", 24, gfs((19, 36))))
    for path, reason in (
        (one_day, "states of 1 day (2024-07-03 to 2024-07-03), want at least 1 to fit on"),
        (winds, "hold no 2t, 10v, tp, 2d, skt"),
        (other, "2t is on regular_ll 19x36"),
        (tmp_path / "nowhere", "no such file or folder"),
    ):
        assert reason in refused([*command, str(path), "--hold-back-days", "1"], capsys)
    for option, value, reason in (
        ("--draws", "1", "--draws is 1, want at least 2"),
        ("--hold-back-days", "3", "besides the 3 to measure on"),
        ("--fit-tile", "15 24", "want sides divisible by 4"),
        ("--fit-steps", "1", "wanted at least 3 steps"),
    ):
        words = [*command, str(truth), "--hold-back-days", "1", option, *value.split()]
        assert reason in refused(words, capsys)


def test_a_regression_has_nothing_to_calibrate(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    around = {"kind": "direct", "sigma_data": 1.0}
    direct = SMALL.write_bundle(tmp_path / "direct", preconditioning=around)

    command = ["bundle", "calibrate", str(direct), "--truth", str(truth)]
    assert "is a plain regression" in refused(command, capsys)


def test_a_number_of_calls_that_is_none_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("8..2", "two", "0", "2..99"):
        with pytest.raises(SystemExit) as ended:
            main(["bundle", "calibrate", "x", "--truth", "y", "--calls", text])
        assert ended.value.code == 2
        assert "wanted such as 4 or 2..8" in capsys.readouterr().err


def test_an_older_table_on_a_card_gives_way_to_the_new_one() -> None:
    card = "# One\n\n## What network calls cost\nold\n\n## Limits\nnone\n"

    assert with_section(card, "## What network calls cost\nnew") == (
        "# One\n\n## What network calls cost\nnew\n\n## Limits\nnone\n"
    )
    assert with_section("# One\n", "## Two\nnew") == "# One\n\n## Two\nnew\n"
