"""Builds and proves an engine in a process of its own, before anyone loads it into theirs.

A missing driver or a kernel that the CPU does not have can end a process without a word, and a
precision that a CPU names may be slower than none: so each engine is tried where that does no
harm. What it has shown is kept beside it, and the next start needs no second process.
"""

import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from engines.bundle import Bundle
from engines.cache import EngineKey, new_folder, only_one, private_folder, size_bytes
from engines.choice import EngineChoice
from engines.errors import EngineError, UsageError
from engines.hardware import hardware
from engines.loading import device_of, settled
from engines.proof import Kept, Proof, kept, proof_of, write_proof
from engines.trial import Opener, Request, name_of

_log = logging.getLogger(__name__)

#: Engines whose speed differs by less than this are equally fast: timings repeat no better.
_EQUAL = 0.05
#: How long a trial may take: the widest network on TensorRT needs minutes to build.
LIMIT_S = 1800.0
#: Raised when our own code changes what a backend makes from a bundle.
_RECIPE = 1
#: The distributions that a backend stands on, by any of their names.
_STANDS_ON: Mapping[str, tuple[str, ...]] = {
    "openvino": ("openvino",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "torch": ("torch",),
    "tensorrt": (
        "tensorrt",
        "tensorrt-cu13",
        "tensorrt-cu12",
        "tensorrt-rtx",
        "tensorrt-rtx-cu13-bindings",
        "tensorrt-rtx-cu12-bindings",
    ),
}
#: Settings from outside that choose kernels or split sums.
_DECISIVE = (
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "DNNL_MAX_CPU_ISA",
    "MKL_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "ONEDNN_MAX_CPU_ISA",
)


def prove(
    bundle: Bundle,
    choice: EngineChoice,
    cache: Path,
    opener: Opener,
    *,
    limit_s: float = LIMIT_S,
) -> Kept:
    """Return an engine that has shown what it can, from the cache or after a trial of its own.

    choice: backend and precision must be named. Load it with `choice.cache` set to the folder.
    opener: a function of a module, which opens the engine in another process.
    Raises UsageError, and EngineError with what the other process said last and how it ended.
    """
    choice = settled(choice)
    key = engine_key(bundle, choice, os.environ)
    found = _kept(cache, key)
    if found is not None:
        return found
    with only_one(cache, key):
        # Another process may have made it while we waited.
        found = _kept(cache, key)
        return found if found is not None else _built(bundle, choice, cache, key, opener, limit_s)


def fastest(bundle: Bundle, choices: Sequence[EngineChoice], cache: Path, opener: Opener) -> Kept:
    """Return the fastest of several engines that may serve; of those as good as equal, the closest.

    What was refused once stays refused until `forget`. Raises EngineError with the reason of each
    where none may serve.
    """
    right, wrong = [], []
    for choice in choices:
        fault = refusal(bundle, choice, cache)
        if not fault:
            try:
                right.append(prove(bundle, choice, cache, opener))
            except EngineError as error:
                fault = str(error)
        if fault:
            wrong.append(fault)
            _log.info("not taken: %s", fault)
    if not right:
        raise EngineError("; ".join(wrong) or "found no engine to try")
    limit = min(engine.proof.seconds_a_tile for engine in right) * (1.0 + _EQUAL)
    equal = [engine for engine in right if engine.proof.seconds_a_tile <= limit]
    return min(equal, key=lambda engine: engine.proof.error)


def precisions(choice: EngineChoice) -> tuple[str, ...]:
    """Return the precisions that are worth a trial for `auto` on the choice's device."""
    device = device_of(choice)
    if device != "cpu":
        # fp16 is eight times closer to float32 than bf16, but can overflow.
        return ("fp16", "bf16")
    slim = choice.backend in ("openvino", "torch") and hardware(device).has_bf16
    return ("f32", "bf16") if slim else ("f32",)


def forget(bundle: Bundle, cache: Path) -> int:
    """Throw away what a cache holds of a bundle, refusals too; the number of engines.

    A daemon that has loaded one keeps it: its files go with the last who has them open.
    """
    gone = [engine for engine in kept(cache) if engine.proof.key.bundle == bundle.digest]
    for engine in gone:
        with only_one(cache, engine.proof.key):
            shutil.rmtree(engine.folder, ignore_errors=True)
    return len(gone)


def refusal(bundle: Bundle, choice: EngineChoice, cache: Path) -> str:
    """Return why this engine failed its last trial, "" where it has not failed one."""
    proof = proof_of(cache, engine_key(bundle, settled(choice), os.environ))
    return proof.fault if proof else ""


def engine_key(bundle: Bundle, choice: EngineChoice, environment: Mapping[str, str]) -> EngineKey:
    """Return everything that decides the engine's bits. Raises EngineError for what is missing."""
    device = hardware(device_of(choice))
    return EngineKey(
        bundle=bundle.digest,
        network=bundle.network_name,
        backend=choice.backend,
        version=runtime_version(choice.backend),
        precision=choice.precision or "default",
        device=device.device,
        capability=device.capability,
        units=device.units,
        driver=device.driver,
        threads=choice.threads,
        tile=bundle.tile,
        batch=choice.batch,
        flags=(
            f"recipe={_RECIPE}",
            *(["torch.compile"] if choice.compiled else []),
            *(f"{name}={environment[name]}" for name in _DECISIVE if name in environment),
        ),
    )


def runtime_version(backend: str) -> str:
    """Return the version of a backend's runtime, without loading it; EngineError without one."""
    if backend not in _STANDS_ON:
        raise UsageError(f"backend {backend!r} has no engine to build")
    for name in _STANDS_ON[backend]:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    wanted = " or ".join(_STANDS_ON[backend])
    raise EngineError(f"the {backend} backend needs {wanted}, which is not installed")


def _kept(cache: Path, key: EngineKey) -> Kept | None:
    """Return the engine that the cache holds, if it may serve."""
    if not (cache / key.folder).is_dir():
        return None
    folder = private_folder(private_folder(cache) / key.folder)
    proof = proof_of(cache, key)
    return Kept(folder, proof, size_bytes(folder)) if proof and not proof.fault else None


def _built(
    bundle: Bundle,
    choice: EngineChoice,
    cache: Path,
    key: EngineKey,
    opener: Opener,
    limit_s: float,
) -> Kept:
    """Try the engine in another process and keep what came of it, a failure too."""
    failed = None
    with new_folder(cache, key) as folder:
        request = Request(
            bundle.path, choice, key, folder, name_of(opener), limit_s, bundle.network_name
        )
        try:
            _run(request)
        except EngineError as error:
            failed = error
            now = datetime.now(UTC).isoformat(timespec="seconds")
            fault = Proof(key=key, bundle=bundle.name, proven_at=now, seconds={}, fault=str(error))
            # What it half made must not be found by the next one.
            for left in folder.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            write_proof(folder, fault)
    if failed is not None:
        raise failed
    made = _kept(cache, key)
    if made is None:
        raise EngineError(f"{bundle.path}: the trial of {_words(choice)} left no proof")
    return made


def _run(request: Request) -> None:
    """Run the trial. Raises UsageError or EngineError with what it said last."""
    what = f"{request.bundle}: {_words(request.choice)}"
    try:
        ended = subprocess.run(
            # -P: nothing is imported from the folder that we happen to stand in.
            [sys.executable, "-P", "-m", "engines.trial"],
            input=request.to_json(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
            timeout=request.limit_s + 5.0,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(_paths())},
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"{what}: its trial did not end within {request.limit_s:g} s") from error
    said = ended.stderr.strip().rpartition("\n")[2].strip()
    if ended.returncode == 0:
        return
    if ended.returncode == -signal.SIGALRM:
        raise EngineError(f"{what}: its trial did not end within {request.limit_s:g} s")
    if ended.returncode < 0:
        name = signal.Signals(-ended.returncode).name
        last = f"the last it said was: {said}" if said else "it said nothing"
        raise EngineError(f"{what}: its trial died of {name}; {last}")
    if ended.returncode == 2:
        raise UsageError(said)
    raise EngineError(f"{what}: its trial failed: {said or 'it said nothing'}")


def _paths() -> list[str]:
    """Return where this process finds modules, so that the other one finds the same."""
    return [path or str(Path.cwd()) for path in sys.path]


def _words(choice: EngineChoice) -> str:
    return f"{choice.backend} {choice.precision or ''}".strip() + f" on {device_of(choice)}"
