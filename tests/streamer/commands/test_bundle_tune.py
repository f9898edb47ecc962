"""`downscaled bundle tune` adds a network that serves, or refuses one and says why."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file as load

from engines.bundle import TUNED, open_manifest
from engines.bundle_writer import rewrite
from engines.errors import BundleError
from streamer.commands.main import main
from streamer.commands.tuned_bundle import table_files
from streamer.grib import codes
from streamer.grib.frame import split
from streamer.grib.wants import Limits
from streamer.model import open_model
from streamer.sampling import SamplerChoice
from streamer.tuning import placed
from tests.end_to_end.daemons import config_of
from tests.engines import tiny

#: Three days of 2 m temperature over the British Isles, two states each.
DAYS, HOURS = ("20190309", "20190318", "20190327"), (0, 1200)
TUNING = (
    "--steps 2 --report-every 1 --warmup 1 --batch 2 --training-tile 24 32 --judged-tiles 2 "
    "--judged-draws 2 --learning-rate 1e-3 --states 1 --measured-draws 2 --backend openvino"
)


@pytest.fixture(scope="module")
def archive(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uk")
    found = []
    for message in split(
        (shared_data / "era5-uk-2t" / "era5-2mt-2019-03-uk.grib").read_bytes(), Limits()
    ):
        assert isinstance(message, bytes)
        with codes.opened(message) as handle:
            if handle.text("dataDate") in DAYS and handle.integer("dataTime") in HOURS:
                found.append(message)
    (folder / "uk.grib").write_bytes(b"".join(found))
    return folder


@pytest.fixture(scope="module")
def trained(archive: Path, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("bundles") / "uk"
    constants = shared_data / "constants" / "era5-z-lsm-0p25.nc"
    words = (
        f"--constants {constants} --output {output} --coarse 1 --hold-back-days 1 --steps 4 "
        "--width 16 --multipliers 1 2 --blocks 1 --tile 24 32 --overlap 8 8 --warmup 2 "
        "--training-tile 24 32 --held-back-tiles 4 --draws 2 --sampler-steps 2"
    )
    assert main(["bundle", "train", str(archive), *words.split()]) == 0
    return output


def tune(bundle: Path, archive: Path, output: Path, *more: str) -> int:
    words = ["bundle", "tune", str(bundle), "--truth", str(archive), "--output", str(output)]
    return main([*words, *TUNING.split(), *more])


@pytest.fixture(scope="module")
def kept(trained: Path, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a tuned network, whether it keeps the rules or not."""
    output = tmp_path_factory.mktemp("tuned") / "uk"
    tune(trained, archive, output, "--keep")
    return output


def test_the_tuned_network_joins_the_bundle_and_verifies(
    kept: Path, trained: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bundle = open_manifest(kept)

    assert bundle.networks == ("denoiser", "tuned")
    assert bundle.of(TUNED).weights_path.read_bytes() != bundle.weights_path.read_bytes()
    assert bundle.weights_path.read_bytes() == open_manifest(trained).weights_path.read_bytes()
    assert bundle.calibration is not None
    (row,) = (row for row in bundle.calibration.rows if row.network == TUNED)
    assert row.calls == 2
    assert {"crps_change", "seconds", "parameters"} <= set(row.measured)
    told = bundle.calibration.told["tuned"]
    assert told["held_back_days"] == ["2019-03-27"]
    assert [rule["name"] for rule in told["rules"]][:2] == ["crps", "gradient_crps"]
    assert "## The tuned network" in (kept / "README.md").read_text()
    assert main(["bundle", "verify", str(kept), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["networks"] == ["denoiser", "tuned"]


def test_a_tuning_may_go_on_from_the_one_before(kept: Path, archive: Path, tmp_path: Path) -> None:
    tune(kept, archive, tmp_path / "uk", "--again", "--keep", "--seed", "2")

    before, after = open_manifest(kept), open_manifest(tmp_path / "uk")
    assert before.calibration is not None
    assert after.calibration is not None
    told = after.calibration.told["tuned"]
    assert told["before"] == before.calibration.told["tuned"]
    assert after.of(TUNED).weights_path.read_bytes() != before.of(TUNED).weights_path.read_bytes()
    assert after.weights_path.read_bytes() == before.weights_path.read_bytes()
    card = (tmp_path / "uk" / "README.md").read_text()
    assert card.count("- Tuned in") == 2
    # A step as small as these leaves the network near the one that it began with.
    start, first, last = (
        np.concatenate([v.ravel() for v in load(b).values()])
        for b in (before.weights_path, before.of(TUNED).weights_path, after.of(TUNED).weights_path)
    )
    assert np.abs(last - first).mean() < np.abs(last - start).mean()


def test_only_a_tuned_network_can_be_tuned_again(
    trained: Path, archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert tune(trained, archive, tmp_path / "uk", "--again") == 2
    assert "has no network 'tuned', it has denoiser" in capfd.readouterr().err


def test_a_network_that_breaks_a_rule_is_refused_with_the_figures(
    trained: Path, archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # No network spreads a thousand times wider and is better, too.
    harmful = ("--spread", "1000", "--spread-aim", "1000", "--learning-rate", "3e-3")

    status = tune(trained, archive, tmp_path / "uk", *harmful, "--json")

    told = json.loads(capfd.readouterr().out)
    assert status == 1
    assert told["bundle"] is None
    assert not told["serves"]
    assert not all(rule["is_kept"] for rule in told["rules"])
    assert not (tmp_path / "uk").exists()


def test_a_network_that_serves_is_what_the_daemon_opens(kept: Path, tmp_path: Path) -> None:
    bundle = open_manifest(kept)
    assert bundle.calibration is not None
    reference = bundle.calibration.row("reference")
    (row,) = (row for row in bundle.calibration.rows if row.network == TUNED)
    table = placed(None, (reference, row), bundle.calibration.told["tuned"], serves=True)
    rewrite(kept, tmp_path / "uk", table_files(bundle, table, table.told["tuned"]))

    serving = open_manifest(tmp_path / "uk")

    assert SamplerChoice().chosen(serving).network == TUNED
    assert SamplerChoice(profile="reference").chosen(serving).network == "denoiser"
    engine = {"backend": "openvino"}
    by_default = config_of(serving.path, engine=engine)
    asked = config_of(serving.path, engine=engine, sampler={"profile": "reference"})
    assert open_model(by_default).bundle.network_name == TUNED
    assert open_model(asked).bundle.network_name == "denoiser"


def test_a_table_that_names_a_network_which_is_not_there_is_refused(tmp_path: Path) -> None:
    row = {
        "sampler": {"solver": "multistep", "levels": [5.0, 1.0], "extrapolations": [0.5]},
        "calls": 2,
        "network": "tuned",
    }
    table = {"rows": [row], "profiles": {"fast": 0}, "default": "fast"}
    folder = tiny.write_bundle(tmp_path / "tiny", calibration=table)

    with pytest.raises(BundleError, match="calibration names the network tuned, which is not"):
        open_manifest(folder)
    assert open_manifest(tiny.add_tuned(folder)).calibration is not None


@pytest.mark.parametrize("option", ["--calls", "--measured-draws", "--states"])
def test_numbers_that_no_tuning_can_use_are_named(
    trained: Path, archive: Path, tmp_path: Path, option: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert tune(trained, archive, tmp_path / "uk", option, "0") == 2
    assert option in capfd.readouterr().err
