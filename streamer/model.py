"""A bundle on its engines, proven and warm, with what the house reads of its manifest."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from engines.bundle import Bundle, locate, open_manifest
from engines.denoiser import Denoiser, EngineSpec
from engines.errors import BundleError
from streamer.config import Config
from streamer.domain import Constraints
from streamer.downscale.labels import refuse_unknown
from streamer.downscale.tiles import Layout
from streamer.grib.manifest import GribManifest, read_manifest
from streamer.opening import open_engines
from streamer.plan import Around, Plan, make_plan


@dataclass(frozen=True, slots=True)
class Model:
    """A model that can serve. Two may stand side by side: nothing of one is shared or global.

    bundle, denoisers: of the network that draws first. plan: what is made of every step.
    beside: engines of the bundle's other network, where a product draws with it, by its name.
    """

    bundle: Bundle
    manifest: GribManifest
    denoisers: tuple[Denoiser, ...]
    plan: Plan
    beside: Mapping[str, tuple[Denoiser, ...]] = field(default_factory=dict)

    @property
    def networks(self) -> Mapping[str, tuple[Bundle, tuple[Denoiser, ...]]]:
        """Each network that draws: the bundle as it sees it, and its engines."""
        others = {name: (self.bundle.of(name), those) for name, those in self.beside.items()}
        return {self.bundle.network_name: (self.bundle, self.denoisers), **others}

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
        """The tiles that the networks take."""
        return self.plan.layout

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
    refuse_unknown(bundle.labels)
    manifest = read_manifest(bundle.grib)
    plan = plan_for(config, bundle, manifest)
    names = dict.fromkeys(way.network for way in plan.ways)
    first, *others = [
        (bundle.of(name), open_engines(bundle.of(name), config.engine)) for name in names
    ]
    return Model(
        *(first[0], manifest, first[1], plan),
        beside={one.network_name: engines for one, engines in others},
    )


def plan_for(config: Config, bundle: Bundle, manifest: GribManifest) -> Plan:
    """Return what a configuration makes of a bundle's draws; UsageError says what it cannot."""
    around = Around(bundle, manifest.grid, layout_of(bundle, config.engine.backend))
    return make_plan(config.products, config.sampler, config.model.draws, config.regions, around)


def layout_of(bundle: Bundle, backend: str) -> Layout:
    """Return the tiles that a network takes; a closed form takes the whole grid at once."""
    if backend == "gaussian":
        return Layout.whole(bundle.shape)
    return Layout.cover(bundle.shape, bundle.tile, bundle.overlap, periodic=bundle.periodic)


def refuse_other_input(old: Bundle, new: Bundle) -> None:
    """Raise BundleError where fields that were decoded for one bundle do not fit another.

    Steps are incomplete at any time, so what their fields hold must serve the new model, too.
    """
    differing = [
        name
        for name, is_same in (
            ("channels", old.channels == new.channels),
            ("shape", old.shape == new.shape),
            ("grib", _input_part(old) == _input_part(new)),
        )
        if not is_same
    ]
    if differing:
        raise BundleError(
            f"{new.path}: {' and '.join(differing)} in model.json differ from those of "
            f"{old.name} ({old.digest:.12}), wanted the same input; another input needs a restart"
        )


def _input_part(bundle: Bundle) -> GribManifest:
    """Return what the decoding of fields depends on: not what is demanded of draws."""
    return replace(read_manifest(bundle.grib), constraints=Constraints())
