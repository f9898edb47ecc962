"""Opens a bundle as an engine that has proven itself on the bundle's golden vectors."""

from pathlib import Path
from typing import Literal

from engines.bundle import Bundle, open_manifest
from engines.denoiser import Denoiser, GaussianDenoiser
from engines.errors import UsageError
from engines.golden import check, read_golden

Backend = Literal["auto", "openvino", "gaussian"]


def open_bundle(
    bundle: Bundle | str | Path,
    backend: Backend = "auto",
    precision: str = "f32",
    threads: int | None = None,
    cache: Path | None = None,
) -> Denoiser:
    """Return the bundle's network on a runtime, checked against its golden vectors.

    backend: `auto` takes OpenVINO; `gaussian` is the closed form for a residual of deviation 1,
    which needs no network and learned nothing. threads: of the runtime; None is its own choice.
    cache: a folder of mode 0700 for compiled networks. Raises BundleError, EngineError.
    """
    opened = bundle if isinstance(bundle, Bundle) else open_manifest(bundle)
    if backend == "gaussian":
        # The residual is in units of its own deviation, and so is the closed form.
        return GaussianDenoiser(deviation=opened.preconditioning.sigma_data)
    if backend not in ("auto", "openvino"):
        raise UsageError(f"engine.backend is {backend!r}, wanted auto, openvino or gaussian")
    # A heavy runtime at its door: the Gaussian denoiser and the manifest need none.
    from engines.backends.openvino import CpuSettings, OpenVinoDenoiser  # noqa: PLC0415

    denoiser = OpenVinoDenoiser(opened, CpuSettings(precision, threads, cache))
    check(denoiser, read_golden(opened), str(opened.path))
    return denoiser
