"""A bundle on its engines, proven and warm, with what the house reads of its manifest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from engines.bundle import Bundle, locate, open_manifest
from engines.denoiser import Denoiser, EngineSpec
from engines.errors import BundleError, UsageError
from streamer.config import Config
from streamer.demands import Constraints
from streamer.downscale.labels import refuse_unknown
from streamer.downscale.tiles import Layout
from streamer.grib.manifest import GribManifest, read_manifest
from streamer.opening import EngineSettings, open_engines
from streamer.products.plan import Plan, Voice, Wishes, make_plan

#: A network, by the number of its bundle and its name in that.
Named = tuple[int, str]
Network = tuple[Bundle, tuple[Denoiser, ...]]


@dataclass(frozen=True, slots=True)
class Model:
    """A model that can serve. Two may stand side by side: nothing of one is shared or global.

    bundle, denoisers: of the network that draws first. plan: what is made of every step.
    beside: other networks that draw, with their engines, by the number of their bundle and name.
    """

    bundle: Bundle
    manifest: GribManifest
    denoisers: tuple[Denoiser, ...]
    plan: Plan
    beside: Mapping[Named, Network] = field(default_factory=dict)

    @property
    def networks(self) -> Mapping[Named, Network]:
        """Each network that draws: the bundle as it sees it, and its engines."""
        return {(0, self.bundle.network_name): (self.bundle, self.denoisers), **self.beside}

    @property
    def bundles(self) -> tuple[Bundle, ...]:
        """The bundles, in the configuration's order."""
        return tuple({number: one for (number, _), (one, _) in self.networks.items()}.values())

    @property
    def digest(self) -> str:
        """What tells this model from others."""
        return digest_of(self.bundles)

    @property
    def spec(self) -> EngineSpec:
        """What the engines are; they differ in their devices only."""
        return self.denoisers[0].spec

    @property
    def devices(self) -> str:
        """Where the engines are, each device once."""
        return ", ".join(dict.fromkeys(denoiser.spec.device for denoiser in self.denoisers))

    @property
    def told(self) -> Mapping[str, str]:
        """What the metric `engine_info` says."""
        return {
            "backend": self.spec.backend,
            "precision": self.spec.precision,
            "device": self.devices,
            "version": self.spec.version,
            "bundle": "+".join(bundle.name for bundle in self.bundles),
            "digest": self.digest,
        }


def digest_of(bundles: Sequence[Bundle]) -> str:
    """Return what tells a model of these bundles from others: their digests, joined by a plus."""
    return "+".join(bundle.digest for bundle in bundles)


def open_bundles(config: Config) -> tuple[Bundle, ...]:
    """Open what the configuration names; BundleError says what is wrong with a bundle."""
    # A link is followed once: all files are then of one bundle, wherever the link leads meanwhile.
    return tuple(open_manifest(locate(one.name).resolve()) for one in config.model.bundle)


def open_model(config: Config, bundles: Sequence[Bundle] | None = None) -> Model:
    """Open the configured bundles, or others, on the configured engines.

    Which of their networks serve is the samplers' choice. Raises BundleError, EngineError and, for
    products that the bundles cannot serve, UsageError.
    """
    bundles = bundles or open_bundles(config)
    plan, manifest = plan_for(config, bundles)
    names = dict.fromkeys((way.bundle, way.network) for way in plan.ways)
    networks = {
        (number, name): (bundle, open_engines(bundle, config.engine))
        for number, name, bundle in ((n, name, bundles[n].of(name)) for n, name in names)
    }
    first = next(iter(networks))
    bundle, denoisers = networks.pop(first)
    return Model(bundle, manifest, denoisers, plan, networks)


def plan_for(config: Config, bundles: Sequence[Bundle]) -> tuple[Plan, GribManifest]:
    """Return what a configuration makes of bundles' draws; errors as `open_model`."""
    for bundle in bundles:
        refuse_unknown(bundle.labels)
        refuse_other_input(bundles[0], bundle)
    manifest = read_manifest(bundles[0].grib)
    _refuse_large_pools(config, manifest)
    wishes = Wishes(
        config.products,
        config.sampler,
        config.model.draws,
        config.regions,
        tuple(source.many for source in config.input.sources) or (1,),
    )
    voices = [
        Voice(bundle, layout_of(bundle, config.engine), named.weight)
        for bundle, named in zip(bundles, config.model.bundle, strict=True)
    ]
    return make_plan(wishes, voices, manifest.grid), manifest


def _refuse_large_pools(config: Config, manifest: GribManifest) -> None:
    """Raise UsageError for a pool of which not even one step could ever be complete."""
    points = manifest.grid.rows * manifest.grid.columns
    of_one = len(manifest.parameters) * points * np.dtype(np.float32).itemsize
    limit = config.limits.open_bytes
    for source in (one for one in config.input.sources if one.pool):
        if source.many * of_one > limit:
            raise UsageError(
                f"input.sources: {source.name}: the fields of a step of {source.many} members "
                f"take {source.many * of_one} bytes on the fine grid, limits.open_bytes is {limit}"
            )


def layout_of(bundle: Bundle, settings: EngineSettings) -> Layout:
    """Return the tiles that a network takes; a closed form takes the whole grid at once."""
    if settings.layout == "ipsl-aid":
        return Layout.blocks(bundle.shape, bundle.tile)
    if settings.backend == "gaussian":
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
            f"{old.name} ({old.digest:.12}), wanted the same input, which takes a restart to change"
        )


def _input_part(bundle: Bundle) -> GribManifest:
    """Return what the decoding of fields depends on: not what is demanded of draws."""
    return replace(read_manifest(bundle.grib), constraints=Constraints())
