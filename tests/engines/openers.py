"""Ways to open an engine that a test asks another process to go; found there by their names."""

import os
import signal
import sys

from engines.bundle import Bundle
from engines.choice import EngineChoice
from engines.denoiser import Array, Denoiser, EngineSpec, GaussianDenoiser

#: Where a test counts how often an engine was opened.
COUNTED = "opened.txt"


class ClosedForm:
    """The closed form for a deviation, as an engine of whatever precision the test says."""

    def __init__(self, deviation: float, precision: str = "f32") -> None:
        self._form, self._precision = GaussianDenoiser(deviation=deviation), precision

    @property
    def spec(self) -> EngineSpec:
        return EngineSpec("closed form", self._precision, "cpu", "1", 2, (1, 2))

    def denoise(
        self, x: Array, sigma: Array, condition: Array, labels: Array | None = None
    ) -> Array:
        return self._form.denoise(x, sigma, condition, labels)


def right(bundle: Bundle, choice: EngineChoice) -> Denoiser:
    """Right in every precision; leaves a file behind, as a compiler does."""
    assert choice.cache is not None
    (choice.cache / "made.bin").write_bytes(b"compiled")
    with (choice.cache.parent / COUNTED).open("a") as counted:
        counted.write("once\n")
    return ClosedForm(bundle.preconditioning.sigma_data, choice.precision or "f32")


def right_in_f32(bundle: Bundle, choice: EngineChoice) -> Denoiser:
    """Far from right in half precision."""
    precision = choice.precision or "f32"
    factor = 1.0 if precision == "f32" else 1.5
    return ClosedForm(factor * bundle.preconditioning.sigma_data, precision)


def dies(bundle: Bundle, choice: EngineChoice) -> Denoiser:
    """End as a process ends whose driver is missing."""
    sys.stderr.write("loading the driver\n")
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError("nobody survives that")


def hangs(bundle: Bundle, choice: EngineChoice) -> Denoiser:
    """Wait for ever."""
    signal.pause()
    raise AssertionError("nobody wakes it")


def raises(bundle: Bundle, choice: EngineChoice) -> Denoiser:
    """Fail as code with a mistake does."""
    raise ZeroDivisionError("a mistake")
