"""The machine room: arrays in, arrays out; knows no weather."""

from engines.bundle import Bundle, open_manifest
from engines.denoiser import Denoiser, EngineSpec, GaussianDenoiser
from engines.errors import BundleError, DownscaledError, EngineError, UsageError
from engines.open import open_bundle
from engines.sampler import SamplerSettings

__all__ = [
    "Bundle",
    "BundleError",
    "Denoiser",
    "DownscaledError",
    "EngineError",
    "EngineSpec",
    "GaussianDenoiser",
    "SamplerSettings",
    "UsageError",
    "open_bundle",
    "open_manifest",
]
