"""A bundle opens by one word, says what was taken and why, and never falls silently behind."""

import logging
from pathlib import Path

import numpy as np
import pytest

from engines.devices import gpus
from engines.errors import EngineError, UsageError
from engines.hardware import hardware
from engines.open import open_bundle
from engines.proof import kept
from tests.engines import tiny

needs_no_gpu = pytest.mark.skipif(bool(gpus()), reason="this machine has an NVIDIA GPU")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.write_bundle(tmp_path / "tiny")


@needs_no_gpu
def test_auto_takes_openvino_on_a_cpu_and_says_why_in_one_line(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "engines"):
        spec = open_bundle(folder, threads=1).spec

    assert (spec.backend, spec.precision, spec.device) == ("openvino", "f32", "cpu")
    (line,) = caplog.messages
    for part in ("openvino", "f32", "on cpu", "has no NVIDIA GPU", "golden vectors to"):
        assert part in line


@needs_no_gpu
def test_a_gpu_that_is_missing_is_an_error(folder: Path) -> None:
    with pytest.raises(EngineError, match="NVIDIA"):
        open_bundle(folder, device="cuda")


@needs_no_gpu
def test_a_slower_backend_is_taken_where_that_is_allowed_and_said(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "engines"):
        spec = open_bundle(folder, device="cuda", batch=16, threads=1, fallback=True).spec

    assert (spec.backend, spec.device, spec.batch) == ("openvino", "cpu", 1)
    assert any("openvino instead of torch" in message for message in caplog.messages)


def test_a_backend_that_is_asked_for_is_not_replaced(folder: Path) -> None:
    np.savez(folder / "golden.npz", **(tiny.golden() | {"bound": np.float32(1e-9)}))  # type: ignore[arg-type]
    tiny.write_sums(folder)

    with pytest.raises(EngineError, match="openvino f32 does not reproduce"):
        open_bundle(folder, "openvino", threads=1, fallback=True)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_backend_opens_by_its_word(folder: Path, backend: str) -> None:
    assert open_bundle(folder, backend, threads=1).spec.backend == backend


def test_the_closed_form_needs_no_network(folder: Path) -> None:
    assert open_bundle(folder, "gaussian").spec.backend == "gaussian"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"backend": "magic"}, "'magic', wanted one of auto, openvino, onnxruntime, torch, tens"),
        ({"precision": "int8"}, "'int8', wanted one of f32, bf16, fp16"),
        ({"backend": "onnxruntime", "precision": "bf16"}, "not known to the onnxruntime backend"),
        ({"backend": "openvino", "device": "cuda"}, "the openvino backend knows cpu"),
        ({"backend": "onnxruntime", "device": "tpu"}, "wanted cpu, cuda or cuda:1"),
        ({"threads": 0, "batch": 0}, "threads is 0, wanted at least 1; engine.batch is 0"),
    ],
)
def test_words_that_are_unknown_are_refused_with_those_that_are_known(
    folder: Path, asked: dict[str, str], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        open_bundle(folder, **asked)  # type: ignore[arg-type]


def test_weights_that_do_not_fit_the_network_are_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="tiny"):
        open_bundle(folder, "torch", device="cpu")


@pytest.mark.skipif(not hardware("cpu").has_bf16, reason="this CPU has no bf16")
def test_half_precision_is_tried_in_a_process_of_its_own_once(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    first = open_bundle(folder, "openvino", "bf16", threads=1, cache=cache)
    (engine,) = kept(cache)
    open_bundle(folder, "openvino", "bf16", threads=1, cache=cache)

    assert first.spec.precision == "bf16"
    assert engine.proof.key.precision == "bf16"
    assert 0.0 < engine.proof.error <= engine.proof.bound
    assert [again.proof for again in kept(cache)] == [engine.proof]


def test_auto_precision_takes_one_that_is_right(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    spec = open_bundle(folder, "openvino", "auto", threads=1, cache=cache).spec

    assert spec.precision in [engine.proof.key.precision for engine in kept(cache)]


def test_only_torch_compiles(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"compiled is true and .* auto, wanted torch"):
        open_bundle(folder, compiled=True)
