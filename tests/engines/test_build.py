"""An engine is tried in a process of its own: what it shows is kept, whatever happens to it."""

import threading
from pathlib import Path

import numpy as np
import pytest

from engines.build import engine_key, fastest, forget, precisions, prove, refusal, runtime_version
from engines.bundle import Bundle, open_manifest
from engines.cache import private_folder
from engines.choice import EngineChoice
from engines.denoiser import GaussianDenoiser
from engines.errors import EngineError, UsageError
from engines.hardware import hardware
from engines.proof import PROOF, kept
from tests.engines import openers, tiny

F32 = EngineChoice("openvino", "f32", threads=1)
BF16 = EngineChoice("openvino", "bf16", threads=1)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A bundle whose golden vectors are the closed form's, which loads in no time."""
    folder = tiny.write_bundle(tmp_path / "tiny")
    cases = tiny.golden()
    form = GaussianDenoiser(deviation=tiny.SIGMA_DATA)
    cases["denoised"] = form.denoise(cases["x"], cases["sigma"], cases["condition"])
    np.savez(folder / "golden.npz", **cases)  # type: ignore[arg-type]
    return open_manifest(tiny.write_sums(folder))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return private_folder(tmp_path / "cache")


def opened(cache: Path) -> int:
    return len((cache / openers.COUNTED).read_text().splitlines())


def test_an_engine_shows_its_error_its_speed_and_what_it_made(bundle: Bundle, cache: Path) -> None:
    found = prove(bundle, F32, cache, openers.right)

    assert (found.folder / "made.bin").read_bytes() == b"compiled"
    assert found.proof.cases == 3
    assert found.proof.error <= 1e-6 < found.proof.bound
    assert sorted(found.proof.seconds) == [1, 2]
    assert found.proof.seconds_a_tile > 0
    assert found.proof.peak_bytes > 10 << 20
    assert found.proof.bundle == "tiny"


def test_a_proof_spares_the_second_process(bundle: Bundle, cache: Path) -> None:
    first = prove(bundle, F32, cache, openers.right)
    second = prove(bundle, F32, cache, openers.dies)

    assert second == first
    assert opened(cache) == 1


def test_two_daemons_that_start_at_once_try_an_engine_once(bundle: Bundle, cache: Path) -> None:
    found = []
    pair = [
        threading.Thread(target=lambda: found.append(prove(bundle, F32, cache, openers.right)))
        for _ in range(2)
    ]
    for one in pair:
        one.start()
    for one in pair:
        one.join()

    assert found[0] == found[1]
    assert opened(cache) == 1


def test_a_process_that_dies_is_told_by_its_signal_and_its_last_word(
    bundle: Bundle, cache: Path
) -> None:
    wanted = "openvino f32 on cpu: its trial died of SIGSEGV; .* said was: loading the driver"
    with pytest.raises(EngineError, match=wanted):
        prove(bundle, F32, cache, openers.dies)


def test_an_engine_that_does_not_answer_in_time_is_ended(bundle: Bundle, cache: Path) -> None:
    with pytest.raises(EngineError, match="its trial did not end within 1 s"):
        prove(bundle, F32, cache, openers.hangs, limit_s=1.0)


def test_a_mistake_is_told_by_the_last_line_of_its_traceback(bundle: Bundle, cache: Path) -> None:
    with pytest.raises(EngineError, match="its trial failed: ZeroDivisionError: a mistake"):
        prove(bundle, F32, cache, openers.raises)


def test_what_failed_leaves_its_reason_and_may_be_tried_again(bundle: Bundle, cache: Path) -> None:
    with pytest.raises(EngineError):
        prove(bundle, F32, cache, openers.dies)

    assert "died of SIGSEGV" in refusal(bundle, F32, cache)
    assert [engine.proof.fault for engine in kept(cache)] == [refusal(bundle, F32, cache)]
    found = prove(bundle, F32, cache, openers.right)
    assert found.proof.fault == ""
    assert refusal(bundle, F32, cache) == ""


def test_a_wrong_engine_is_told_by_tensor_level_error_and_bound(
    bundle: Bundle, cache: Path
) -> None:
    wanted = r"bf16 does not reproduce `denoised`\[1\] at sigma 1: relative error .*, bound 5e-02"
    with pytest.raises(EngineError, match=wanted):
        prove(bundle, BF16, cache, openers.right_in_f32)


def test_auto_takes_what_is_right_and_tries_nothing_twice(bundle: Bundle, cache: Path) -> None:
    found = fastest(bundle, [F32, BF16], cache, openers.right_in_f32)
    again = fastest(bundle, [F32, BF16], cache, openers.dies)

    assert found.proof.key.precision == "f32"
    assert again == found


def test_auto_says_why_nothing_will_do(bundle: Bundle, cache: Path) -> None:
    with pytest.raises(EngineError, match=r"f32 on cpu: .*SIGSEGV.*bf16 on cpu: .*SIGSEGV"):
        fastest(bundle, [F32, BF16], cache, openers.dies)


def test_a_proof_that_others_could_have_written_is_not_read(bundle: Bundle, cache: Path) -> None:
    found = prove(bundle, F32, cache, openers.right)
    found.folder.chmod(0o755)

    with pytest.raises(UsageError, match="mode 0755"):
        prove(bundle, F32, cache, openers.right)


def test_a_spoilt_proof_counts_as_none(bundle: Bundle, cache: Path) -> None:
    found = prove(bundle, F32, cache, openers.right)

    for text in ("", "{", "[]", "1", '{"format": 99}', '{"format": 1}'):
        (found.folder / PROOF).write_text(text)
        assert kept(cache) == []
    assert prove(bundle, F32, cache, openers.right).proof.cases == 3
    assert opened(cache) == 2


def test_what_is_forgotten_is_tried_again(bundle: Bundle, cache: Path) -> None:
    first = prove(bundle, F32, cache, openers.right)

    assert forget(bundle, cache) == 1
    assert not first.folder.exists()
    assert forget(bundle, cache) == 0
    prove(bundle, F32, cache, openers.right)
    assert opened(cache) == 2


def test_the_environment_that_picks_kernels_is_part_of_the_key(bundle: Bundle) -> None:
    plain = engine_key(bundle, F32, {"HOME": "/"})
    limited = engine_key(bundle, F32, {"HOME": "/x", "ONEDNN_MAX_CPU_ISA": "AVX2"})

    assert limited.flags == (*plain.flags, "ONEDNN_MAX_CPU_ISA=AVX2")


def test_a_runtime_that_is_missing_is_named() -> None:
    assert runtime_version("openvino").startswith("openvino 20")
    with pytest.raises(UsageError, match="'gaussian' has no engine to build"):
        runtime_version("gaussian")


def test_bf16_is_tried_only_where_the_cpu_names_it() -> None:
    slim = hardware("cpu").has_bf16

    assert precisions(EngineChoice("openvino")) == (("f32", "bf16") if slim else ("f32",))
    assert precisions(EngineChoice("onnxruntime")) == ("f32",)
    assert precisions(EngineChoice("tensorrt")) == ("fp16", "bf16")


def test_a_machine_says_what_it_is() -> None:
    found = hardware("cpu")

    assert found.device
    assert found.units >= 1
    with pytest.raises(EngineError, match="wanted cpu, cuda or cuda:1"):
        hardware("tpu")
