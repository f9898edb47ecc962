"""`bundle info`: the table of what network calls cost, as a page, as JSON and as a picture."""

import json
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from streamer.commands.main import main
from tests.engines import tiny

TABLE: dict[str, Any] = {
    "default": "standard",
    "profiles": {"fast": 1, "standard": 0, "reference": 3},
    "rows": [
        {
            "sampler": {
                "solver": "multistep",
                "levels": [12.55, 3.352, 0.651],
                "extrapolations": [1.116, 0.78],
                "remainder": 0.177,
            },
            "calls": 3,
            "measured": {
                "crps_change": 0.0014, "interval": [-0.0002, 0.003], "seconds": 0.09,
                "spread_skill": 0.98, "p99_9_ratio": 1.01, "patch_energy_change": 0.0005,
            },
        },
        {
            "sampler": {"solver": "multistep", "levels": [7.6, 1.2], "extrapolations": [1.9]},
            "calls": 2,
            "network": "tuned",
            "measured": {"crps_change": -0.0188, "interval": None, "seconds": 0.06},
        },
        {"sampler": {"solver": "heun", "steps": 3, "sigma_max": 2.0}, "calls": 5,
         "measured": {"crps_change": 0.089, "interval": [0.08, 0.1], "seconds": 0.15}},
        {"sampler": {"solver": "heun", "steps": 18}, "calls": 35,
         "measured": {"crps_change": 0.0, "seconds": 1.05}},
    ],
    "told": {"days": 4, "command": "downscaled bundle calibrate tiny --truth some"},
}  # fmt: skip


@pytest.fixture
def calibrated(tmp_path: Path) -> Path:
    return tiny.add_tuned(tiny.write_bundle(tmp_path / "tiny", calibration=TABLE))


def test_the_page_prints_every_row_of_the_table(
    calibrated: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["bundle", "info", str(calibrated)]) == 0

    page = capfd.readouterr().out
    rows = [line for line in page.splitlines() if line.startswith(("| ", "- "))]
    assert (
        "| standard | multistep, 3 levels | denoiser | 3 | +0.14% (-0.02% to +0.30%) "
        "| +0.05% | 0.980 | 1.010 | 0.09 |"
    ) in rows
    assert "| fast | multistep, 2 levels | tuned | 2 | -1.88% | - | - | - | 0.06 |" in rows
    assert (
        "|  | heun, 3 levels | denoiser | 5 | +8.90% (+8.00% to +10.00%) | - | - | - | 0.15 |"
        in rows
    )
    assert (
        "- standard: levels 12.55 3.352 0.651, extrapolations 1.116 0.78, remainder 0.177." in rows
    )
    assert "- command: downscaled bundle calibrate tiny --truth some" in rows
    assert "draws by `standard`" in page


def test_json_holds_the_table_as_the_manifest_does(
    calibrated: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["bundle", "info", str(calibrated), "--json"]) == 0

    assert json.loads(capfd.readouterr().out)["calibration"] == TABLE


def test_the_plot_draws_each_family_in_its_colour(
    calibrated: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "calls.png"

    assert main(["bundle", "info", str(calibrated), "--plot", str(path)]) == 0

    assert f"wrote {path}" in capfd.readouterr().err
    image = matplotlib.image.imread(path)
    assert 300 < image.shape[0] < 1000
    for colour in ("33638d", "b3400a", "4c7a34"):
        wanted = np.array(list(bytes.fromhex(colour))) / 255
        near = np.abs(image[..., :3] - wanted).max(axis=-1) < 0.02
        # In both panels: against calls, and against seconds.
        middle = image.shape[1] // 2
        assert near[:, :middle].sum() > 10
        assert near[:, middle:].sum() > 10


def test_without_a_table_there_is_nothing_to_draw(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, path = tiny.write_bundle(tmp_path / "plain"), tmp_path / "calls.png"

    assert main(["bundle", "info", str(folder), "--plot", str(path)]) == 2

    error = capfd.readouterr().err
    assert "tiny has no table" in error
    assert "downscaled bundle calibrate" in error
    assert not path.exists()


def test_a_page_without_a_table_recommends_the_eight(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["bundle", "info", str(tiny.write_bundle(tmp_path / "plain"))]) == 0

    page = capfd.readouterr().out
    assert "## Sampler, as recommended" in page
    assert "What network calls cost" not in page


def test_a_plot_that_cannot_be_written_says_where(
    calibrated: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "none" / "calls.png"

    assert main(["bundle", "info", str(calibrated), "--plot", str(path)]) == 2

    assert f"--plot {path}: cannot be written" in capfd.readouterr().err


def test_the_page_says_what_every_draw_must_obey(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    constraints = {
        "bounds": {"10u": [-40.0, None]},
        "relations": [{"below": "10u", "above": "10v"}],
        "conservation": {"10u": "none", "10v": "additive"},
    }
    bundle = tiny.write_bundle(tmp_path / "tiny", grib={"constraints": constraints})

    assert main(["bundle", "info", str(bundle)]) == 0

    page = capfd.readouterr().out
    assert (
        "## What every draw must obey\n- 10u: -40 to any.\n- 10u not above 10v.\n"
        "- Box means of 10v are the coarse field's, additive.\n"
    ) in page
