"""A bundle on its engines, proven and warm, with what the house reads of its manifest."""

from collections.abc import Mapping
from dataclasses import dataclass

from engines.bundle import Bundle, locate, open_manifest
from engines.denoiser import Denoiser, EngineSpec
from engines.errors import BundleError
from streamer.config import Config
from streamer.downscale.labels import refuse_unknown
from streamer.downscale.tiles import Layout
from streamer.grib.manifest import GribManifest, read_manifest
from streamer.opening import open_engines


@dataclass(frozen=True, slots=True)
class Model:
    """A model that can serve. Two may stand side by side: nothing of one is shared or global."""

    bundle: Bundle
    manifest: GribManifest
    denoisers: tuple[Denoiser, ...]

    @property
    def spec(self) -> EngineSpec:
        """What the engines are; they differ in their devices only."""
        return self.denoisers[0].spec

    @property
    def devices(self) -> str:
        """Where the engines are, each device once."""
        return ", ".join(dict.fromkeys(denoiser.spec.device for denoiser in self.denoisers))

    @property
    def layout(self) -> Layout:
        """The tiles that the bundle's network takes; a closed form takes the whole grid at once."""
        if self.spec.backend == "gaussian":
            return Layout.whole(self.bundle.shape)
        bundle = self.bundle
        return Layout.cover(bundle.shape, bundle.tile, bundle.overlap, periodic=bundle.periodic)

    @property
    def told(self) -> Mapping[str, str]:
        """What the metric `engine_info` says."""
        return {
            "backend": self.spec.backend,
            "precision": self.spec.precision,
            "device": self.devices,
            "version": self.spec.version,
            "bundle": self.bundle.name,
            "digest": self.bundle.digest,
        }


def open_model(config: Config, bundle: Bundle | None = None) -> Model:
    """Open the configured bundle, or another one, on the configured engines.

    Which of its networks serves is the sampler's choice. Raises BundleError, EngineError and, for
    a sampler that the bundle cannot serve, UsageError.
    """
    # A link is followed once: all files are then of one bundle, wherever the link leads meanwhile.
    bundle = bundle or open_manifest(locate(config.model.bundle).resolve())
    bundle = bundle.of(config.sampler.chosen(bundle).network)
    refuse_unknown(bundle.labels)
    return Model(bundle, read_manifest(bundle.grib), open_engines(bundle, config.engine))


def refuse_other_input(old: Bundle, new: Bundle) -> None:
    """Raise BundleError where fields that were decoded for one bundle do not fit another.

    Steps are incomplete at any time, so what their fields hold must serve the new model, too.
    """
    differing = [
        name
        for name, is_same in (
            ("channels", old.channels == new.channels),
            ("shape", old.shape == new.shape),
            ("grib", read_manifest(old.grib) == read_manifest(new.grib)),
        )
        if not is_same
    ]
    if differing:
        raise BundleError(
            f"{new.path}: {' and '.join(differing)} in model.json differ from those of "
            f"{old.name} ({old.digest:.12}), wanted the same input; another input needs a restart"
        )
