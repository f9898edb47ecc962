"""`downscaled bundle import` turns a foreign checkpoint into a bundle that verifies."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engines.bundle import Bundle, open_manifest
from engines.bundle_writer import seal
from engines.export import golden_cases
from engines.golden import read_golden
from streamer.commands.main import main
from streamer.grib.manifest import read_manifest
from tests import ipsl


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ipsl.Files:
    return ipsl.write(tmp_path_factory.mktemp("ipsl"), "ddpmpp", "edm")


@pytest.fixture(scope="module")
def imported(files: ipsl.Files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("bundles") / "six"
    assert main(files.command(output, "--attribution", "IPSL and Copernicus")) == 0
    return output


@pytest.fixture(scope="module")
def bundle(imported: Path) -> Bundle:
    return open_manifest(imported)


def test_the_manifest_holds_what_the_checkpoint_and_its_facts_say(bundle: Bundle) -> None:
    assert bundle.channels == ("2t", "10u", "10v", "tp", "2d", "skt")
    assert (bundle.shape, bundle.tile, bundle.periodic) == ((91, 180), (32, 48), True)
    assert bundle.labels == ("doy_sin", "doy_cos", "hour_sin", "hour_cos")
    assert (bundle.preconditioning.kind, bundle.preconditioning.sigma_data) == ("edm", 1.0)
    assert (bundle.sampler.steps, bundle.sampler.sigma_max) == (4, 10.0)
    assert [one.transform for one in bundle.normalisation].count("log1p") == 1
    assert bundle.normalisation[3].transform == "log1p"
    assert bundle.training["checkpoint"] == "ddpmpp_edm_best_model.pth.tar"
    assert bundle.training["args"]["units_list"][3] == "m/h"
    assert bundle.network["inputs"] == 16


def test_the_grib_part_is_one_that_the_house_reads(bundle: Bundle) -> None:
    manifest = read_manifest(bundle.grib)

    assert manifest.grid.shape == bundle.shape
    assert manifest.coarse.grid.shape == (10, 16)
    assert manifest.parameter("tp").accumulated
    assert {one.param_id for one in manifest.parameter("skt").identities} >= {235}


def test_the_constants_are_what_the_network_learned_from(bundle: Bundle) -> None:
    latitude, longitude, z, lsm = bundle.constants.astype(np.float64)
    rows = np.linspace(90.0, -90.0, 91)
    weights = np.broadcast_to(np.cos(np.deg2rad(rows))[:, None], z.shape)

    assert bundle.constant_names == ("lat", "lon", "z", "lsm")
    assert latitude[:, 7] == pytest.approx(rows / 90.0, abs=1e-6)
    assert longitude[3] == pytest.approx(2 * np.arange(180) * 2.0 / 358.0 - 1, abs=1e-6)
    assert np.average(z, weights=weights) == pytest.approx(0.0, abs=1e-5)
    assert np.average(z**2, weights=weights) == pytest.approx(1.0, abs=1e-5)
    assert (lsm.min(), lsm.max()) == (0.0, pytest.approx(1.0, abs=1e-3))


def test_the_golden_cases_are_the_answers_of_the_checkpoints_own_weights(bundle: Bundle) -> None:
    golden = read_golden(bundle)
    network = ipsl.randomised(ipsl.settings("ddpmpp", "edm"))

    again = golden_cases(
        network, bundle.preconditioning, golden.x, golden.sigma, golden.condition, golden.labels
    )

    assert np.abs(again["denoised"] - golden.denoised).max() < 1e-4
    assert len(golden.sigma) == 6
    assert np.ptp(golden.sigma) > 50
    assert golden.labels is not None
    assert len(np.unique(golden.labels[:, 0])) == 6


def test_it_verifies_case_by_case(imported: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "verify", str(imported), "--backend", "openvino"]) == 0

    lines = capfd.readouterr().out.splitlines()
    assert lines[0].split() == ["network", "case", "sigma", "error", "bound"]
    assert [line.split()[2] for line in lines[1:7]] == ["0.02", "0.1", "0.5", "2", "9", "80"]
    assert all(float(line.split()[3]) <= 2e-5 for line in lines[1:7])


def test_it_verifies_on_a_named_backend(imported: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = ["--backend", "torch", "--precision", "f32", "--json"]
    assert main(["bundle", "verify", str(imported), *options]) == 0

    found = json.loads(capfd.readouterr().out)
    assert found["engine"].startswith("torch")
    assert [case["index"] for case in found["cases"]] == [0, 1, 2, 3, 4, 5]
    assert found["largest_error"] <= found["bound"]


def test_a_network_that_answers_otherwise_does_not_verify(
    imported: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(imported, other)
    with np.load(other / "golden.npz") as archive:
        golden = dict(archive)
    # What a condition that is not scaled by c_in does is of this size.
    golden["denoised"][3] *= 1.1
    np.savez(other / "golden.npz", **golden)
    seal(other)

    assert main(["bundle", "verify", str(other), "--backend", "openvino"]) == 1

    said = capfd.readouterr()
    assert said.out == ""
    assert "does not reproduce `denoised`[3] at sigma 2: relative error 9.09e-02" in said.err


def test_a_closed_form_proves_no_network(imported: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "verify", str(imported), "--backend", "gaussian"]) == 2

    assert "has no network that golden vectors could prove" in capfd.readouterr().err


def test_its_page_says_what_a_scientist_would_check(
    imported: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["bundle", "info", str(imported)]) == 0

    page = capfd.readouterr().out
    for words in (
        "# six", "| 3 | tp | m per hour, from accumulations |", "228228 (times 0.001)",
        "| tp | ln(1 + value) |", "resized as images to 10x16 points", "lat, lon, z, lsm",
        "doy_sin, doy_cos, hour_sin, hour_cos", "ddpmpp", "Preconditioning: edm", "32x48",
        "4 levels from 10 to 0.02", "7 network calls a tile", "ddpmpp_edm_best_model.pth.tar",
        "IPSL and Copernicus", "digest",
    ):  # fmt: skip
        assert words in page


def test_its_page_as_json_is_one_object(
    imported: Path, bundle: Bundle, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["bundle", "info", str(imported), "--json"]) == 0

    found = json.loads(capfd.readouterr().out)
    network = ipsl.randomised(ipsl.settings("ddpmpp", "edm"))
    assert found["network"]["parameters"] == sum(p.numel() for p in network.parameters())
    assert found["digest"] == bundle.digest
    assert found["sampler"]["calls_a_draw"] == 7 * found["tiles"]
    assert found["parameters"][3]["normalisation"]["transform"] == "log1p"


@pytest.mark.parametrize(
    ("architecture", "precond", "calls"), [("ncsnpp", "vp", 7), ("adm", "unet", 1)]
)
def test_other_networks_become_bundles_too(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], architecture: str, precond: str, calls: int
) -> None:
    files = ipsl.write(tmp_path / "in", architecture, precond, tile=(16, 24))

    assert main(files.command(tmp_path / "out")) == 0

    said = json.loads(capfd.readouterr().out)
    bundle = open_manifest(tmp_path / "out")
    assert said["digest"] == bundle.digest
    assert 2 * bundle.sampler.steps - 1 == calls
    assert bundle.preconditioning.kind == ("direct" if precond == "unet" else precond)


def refused(files: ipsl.Files, output: Path, capfd: pytest.CaptureFixture[str], *more: str) -> str:
    """Import what must be refused, and return why."""
    assert main(files.command(output, *more)) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    assert not output.exists()
    return said.err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"time_normalization": "linear"}, "time_normalization is 'linear'"),
        ({"arch": "unet3d"}, "arch is 'unet3d'"),
        ({"varnames_list": [*ipsl.VARIABLES[:5], "VAR_MSL"]}, "VAR_MSL"),
        ({"constant_varnames_list": ["z", "sdor"]}, "names sdor"),
    ],
)
def test_args_that_mean_nothing_here_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], args: dict[str, Any], message: str
) -> None:
    files = ipsl.write(tmp_path / "in", tile=(16, 24))
    checkpoint = torch.load(files.checkpoint, weights_only=True)
    checkpoint["args"] |= args
    if "varnames_list" in args:
        checkpoint["args"]["normalization_types"] = "standard"
    torch.save(checkpoint, files.checkpoint)

    assert message in refused(files, tmp_path / "out", capfd)


def test_a_diffusion_checkpoint_is_no_direct_one(
    files: ipsl.Files, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "trained for diffusion" in refused(files, tmp_path / "out", capfd, "--direct")


def test_statistics_that_lack_a_parameter_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = ipsl.write(tmp_path / "in", tile=(16, 24))
    statistics = ipsl.statistics()
    del statistics["VAR_ST_fine"]
    files.statistics.write_text(json.dumps(statistics))

    assert "VAR_ST_fine is missing" in refused(files, tmp_path / "out", capfd)


def test_constants_on_another_grid_are_refused(
    files: ipsl.Files, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said = refused(files, tmp_path / "out", capfd, "--grid", "721", "1440")

    assert "is on another grid: 91 rows from 90 to -90 N, 180 columns from 0 to 358 E" in said
    assert "wanted 721 from 90 to -90 N and 1440 from 0 to 359.75 E" in said


def test_constants_that_lack_a_field_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = ipsl.write(tmp_path / "in", tile=(16, 24))
    ipsl.write_constants(files.constants, files.shape, names=("z",))

    said = refused(files, tmp_path / "out", capfd)
    assert "lacks lsm, holds" in said


def test_constants_that_are_no_netcdf_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = ipsl.write(tmp_path / "in", tile=(16, 24))
    files.constants.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))

    assert "nccopy" in refused(files, tmp_path / "out", capfd)


def test_a_pickled_module_is_refused(
    files: ipsl.Files, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    module = tmp_path / "ddpmpp_full.pth"
    torch.save(torch.nn.Linear(2, 2), module)
    other = ipsl.Files(module, files.statistics, files.constants, files.shape)

    assert "pickled Python objects" in refused(other, tmp_path / "out", capfd)
