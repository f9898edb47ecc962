"""ONNX Runtime talks to nobody, and says what it lacks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engines.backends.onnxruntime import OnnxRuntimeDenoiser, library
from engines.bundle import open_manifest
from engines.choice import EngineChoice
from engines.errors import EngineError
from tests.engines import tiny


def test_it_is_silent_and_leaves_nothing_in_the_home_of_its_user(
    tmp_path: Path, repository: Path
) -> None:
    folder = tiny.write_bundle(tmp_path / "tiny")
    home = tmp_path / "home"
    home.mkdir()
    kept = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    code = (
        "import os, sys; from engines.open import open_bundle;"
        f"open_bundle({str(folder)!r}, 'onnxruntime', threads=1);"
        "assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'"
    )

    subprocess.run(
        [sys.executable, "-c", code],
        cwd=repository,
        env=kept | {"HOME": str(home), "TMPDIR": str(home)},
        check=True,
        timeout=60,
    )

    assert list(home.iterdir()) == []


def test_a_gpu_without_its_provider_is_an_error(tmp_path: Path) -> None:
    if "CUDAExecutionProvider" in library().get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    bundle = open_manifest(tiny.write_bundle(tmp_path / "tiny"))

    with pytest.raises(EngineError, match="has no CUDAExecutionProvider"):
        OnnxRuntimeDenoiser(bundle, EngineChoice(device="cuda"))


def test_a_network_that_is_none_is_an_error(tmp_path: Path) -> None:
    folder = tiny.write_bundle(tmp_path / "three", channels=["10u", "10v", "2t"])
    statistics = {**tiny.STATISTICS, "2t": tiny.STATISTICS["10u"]}
    (folder / "statistics.json").write_text(str(statistics).replace("'", '"'))
    (folder / "denoiser.onnx").write_bytes(b"")
    tiny.write_sums(folder)

    with pytest.raises(EngineError, match=r"denoiser\.onnx: ONNX Runtime cannot load it"):
        OnnxRuntimeDenoiser(open_manifest(folder))
