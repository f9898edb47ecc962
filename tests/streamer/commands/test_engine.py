"""`downscaled engine` builds, lists and measures, and says why what does not run does not."""

import json
from pathlib import Path
from typing import Any

import pytest

from engines.cache import private_folder
from engines.devices import gpus
from streamer.commands.main import main
from tests.engines import tiny

PNG = b"\x89PNG"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tiny.write_bundle(tmp_path / "tiny")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return private_folder(tmp_path / "cache")


def told(capfd: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capfd.readouterr().out)


def test_an_engine_is_built_kept_and_listed(
    bundle: Path, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    where = ["--cache", str(cache)]
    words = [str(bundle), "--backend", "openvino", "--device", "cpu", "--threads", "1", *where]
    assert main(["engine", "build", *words, "--json"]) == 0
    built = told(capfd)

    assert main(["engine", "list", *where, "--json"]) == 0
    listed = told(capfd)

    assert listed == {"cache": str(cache), "engines": [built]}
    assert (built["bundle"], built["backend"], built["precision"]) == ("tiny", "openvino", "f32")
    assert built["error"] <= built["bound"]
    assert built["seconds_a_call"]["1"] > 0
    assert Path(built["folder"]).parent == cache
    assert built["fault"] == ""


def test_a_person_reads_what_is_kept_and_since_when(
    bundle: Path, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    where = ["--cache", str(cache)]
    words = [str(bundle), "--backend", "openvino", "--threads", "1", *where]
    main(["engine", "build", *words])
    main(["engine", "build", *words, "--again"])
    main(["engine", "list", *where])

    said = capfd.readouterr()
    assert "forgot 1 engines of tiny" in said.err
    assert f"1 engines in {cache}" in said.out
    assert said.out.count("on openvino f32, ") == 3
    assert " s ago to " in said.out


def test_nothing_kept_is_an_empty_list(cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["engine", "list", "--cache", str(cache), "--json"]) == 0
    assert told(capfd) == {"cache": str(cache), "engines": []}


def test_a_cache_that_others_may_enter_is_a_wrong_use(
    cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cache.chmod(0o755)

    assert main(["engine", "list", "--cache", str(cache)]) == 2
    assert "mode 0755" in capfd.readouterr().err


def test_a_missing_gpu_fails_in_one_line(
    bundle: Path, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if gpus():
        pytest.skip("this machine has a GPU")

    words = [str(bundle), "--backend", "tensorrt", "--cache", str(cache)]
    assert main(["engine", "build", *words]) == 1
    assert "found no NVIDIA driver" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_bench_measures_what_runs_and_explains_what_does_not(
    bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "bench.png"
    words = [str(bundle), "--device", "cpu", "--batch", "2", "--threads", "1"]
    assert main(["engine", "bench", *words, "--plot", str(picture), "--json"]) == 0

    table = told(capfd)["devices"][0]
    rows = {(row["engine"], row["precision"]): row for row in table["engines"]}
    fast = rows["openvino", "f32"]
    assert fast["runs"]
    assert fast["tiles_per_s"] >= 1 / max(fast["seconds_a_call"].values())
    assert rows["onnxruntime", "f32"]["error"] <= 1e-5
    # The tiny bundle says nothing of its network, so PyTorch cannot build it.
    assert not rows["torch, eager", "f32"]["runs"]
    assert "network" in rows["torch, eager", "f32"]["reason"]
    assert fast["ratio_to_eager"] is None
    assert "network" in table["without_limits"]
    assert picture.read_bytes().startswith(PNG)


def test_a_batch_of_none_is_a_wrong_use(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["engine", "bench", str(bundle), "--batch", "0"]) == 2
    assert "--batch is 0, wanted at least 1" in capfd.readouterr().err
