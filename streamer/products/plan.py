"""What is computed and published of every step: the products, held against a bundle.

Products share what they have in common: a draw that several want is computed once, on the tiles
that any of them needs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from engines.errors import UsageError
from engines.manifest import Manifest
from engines.noise import Window
from engines.sampler import Sampler
from streamer.domain import Grid, Statistic
from streamer.downscale import derived, regions
from streamer.downscale.statistics import refuse_unfit
from streamer.downscale.tiles import Layout
from streamer.downscale.work import Fusion
from streamer.grib.encode import MOST_FORECASTS, refuse_unencodable
from streamer.products.settings import Product, RegionChoice
from streamer.sampling import Chosen, SamplerChoice


@dataclass(frozen=True, slots=True)
class Way:
    """One way of drawing: by which network of which bundle, with which sampler.

    bundle: its number among the configuration's.
    """

    bundle: int
    network: str
    sampler: Sampler


@dataclass(frozen=True, slots=True, order=True)
class Drawn:
    """One draw of a step. way: index into the plan's ways. number: whose noise it has."""

    way: int
    number: int


@dataclass(frozen=True, slots=True)
class Strand:
    """Draws that are computed alike: one way, and on the same tiles (None: all)."""

    way: int
    numbers: tuple[int, ...]
    wanted: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Making:
    """A product as it is made of a bundle's draws.

    draws: its ensemble, in order. window, grid: its part of the fine grid. parameters: its own
    and derived ones. told: what is told of each, None standing for the draws. weights: of the
    draws; None where all count alike.
    """

    name: str
    draws: tuple[Drawn, ...]
    window: Window
    grid: Grid
    parameters: tuple[str, ...]
    told: Mapping[str, tuple[Statistic | None, ...]]
    weights: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done with every step.

    layouts: the tiles of each bundle. chosen: why each of the ways was taken.
    """

    layouts: tuple[Layout, ...]
    ways: tuple[Way, ...]
    chosen: tuple[Chosen, ...]
    strands: tuple[Strand, ...]
    makings: tuple[Making, ...]

    def layout(self, strand: Strand) -> Layout:
        """Return the tiles that the draws of a strand are made of."""
        return self.layouts[self.ways[strand.way].bundle]

    def needed(self, fusion: Fusion) -> tuple[Window, ...] | None:
        """Return the parts of the fine grid that every field must reach; None: all of it."""
        if fusion == "level" or any(strand.wanted is None for strand in self.strands):
            return None
        parts = [
            regions.needed_of(strand.wanted or (), self.layout(strand)) for strand in self.strands
        ]
        return tuple(dict.fromkeys(window for some in parts for window in some))


@dataclass(frozen=True, slots=True)
class Voice:
    """One of the bundles that draw. layout: its tiles. weight: of its draws in statistics."""

    bundle: Manifest
    layout: Layout
    weight: float = 1.0

    @property
    def is_regression(self) -> bool:
        """Whether its network draws nothing, so that all draws would be the same one."""
        return self.bundle.preconditioning.kind == "direct"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a configuration wants. sampler, draws: of products that name none.

    pools: how many input members make one ensemble, by source; 1 where they are kept apart.
    """

    products: Sequence[Product]
    sampler: SamplerChoice
    draws: int
    regions: Mapping[str, RegionChoice]
    pools: tuple[int, ...] = (1,)


def make_plan(wishes: Wishes, voices: Sequence[Voice], grid: Grid) -> Plan:
    """Hold the products against the bundles; UsageError says what these cannot serve.

    voices: the bundles, whose channels are the same. grid: their fine one.
    """
    found: list[tuple[Way, Chosen]] = []
    makings = []
    for product in wishes.products:
        draws, weights = _draws(product, wishes, voices, found)
        making = _making(product, draws, wishes, voices[0].bundle, grid)
        is_weighted = len(set(weights)) > 1
        makings.append(replace(making, weights=weights if is_weighted else None))
    ways = tuple(way for way, _ in found)
    layouts = tuple(voice.layout for voice in voices)
    strands = _strands(makings, [layouts[way.bundle] for way in ways])
    return Plan(layouts, ways, tuple(chosen for _, chosen in found), strands, tuple(makings))


def _draws(
    product: Product,
    wishes: Wishes,
    voices: Sequence[Voice],
    found: list[tuple[Way, Chosen]],
) -> tuple[tuple[Drawn, ...], tuple[float, ...]]:
    """Return a product's ensemble, with the weight of each draw; new ways go to those found.

    Draws are counted over the whole ensemble, so that no two ways share noise.
    """
    draws: list[Drawn] = []
    weights: list[float] = []
    for number, voice in enumerate(voices):
        for wish in product.ways or (wishes.sampler,):
            chosen = wish.chosen(voice.bundle)
            way = Way(number, chosen.network, chosen.sampler)
            known = [one for one, _ in found]
            if way not in known:
                found.append((way, chosen))
                known.append(way)
            many = _many(product, wishes, voice)
            draws += [Drawn(known.index(way), len(draws) + i) for i in range(many)]
            weights += [voice.weight] * many
    return tuple(draws), tuple(weights)


def _many(product: Product, wishes: Wishes, voice: Voice) -> int:
    if not voice.is_regression:
        return product.draws or wishes.draws
    if (product.draws or 1) > 1 or len(product.sampler) > 1:
        raise UsageError(
            f"products: {product.name}: {voice.bundle.name} is a plain regression, which has one "
            "answer; wanted one draw and no list of samplers"
        )
    return 1


def _making(
    product: Product,
    draws: tuple[Drawn, ...],
    wishes: Wishes,
    bundle: Manifest,
    grid: Grid,
) -> Making:
    where = f"products: {product.name}"
    _refuse_crowd(len(draws), max(wishes.pools), where)
    least = len(draws) * min(wishes.pools)
    try:
        window = _window(product, wishes.regions, bundle.tile, grid)
        parameters = product.parameters or bundle.channels
        channels = bundle.channels
        derived.refuse_unknown(parameters, channels)
        told = {name: _told(product, name, least, channels) for name in parameters}
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    unfit = [one.of for one in product.of if one.of is not None and one.of not in parameters]
    if unfit:
        raise UsageError(f"{where}: of {unfit[0]}, wanted one of {', '.join(parameters)}")
    kept = tuple(name for name in parameters if told[name])
    return Making(product.name, draws, window, regions.grid_of(window, grid), kept, told)


def _refuse_crowd(draws: int, members: int, where: str) -> None:
    many = draws * members
    if many > MOST_FORECASTS:
        told = f"{draws} draws" if members == 1 else f"{members} members of {draws} draws, {many}"
        raise UsageError(f"{where}: {told}, GRIB counts {MOST_FORECASTS} at most")


def _told(
    product: Product, parameter: str, forecasts: int, channels: Sequence[str]
) -> tuple[Statistic | None, ...]:
    """Return what is told of a parameter, each thing once, in the order of the configuration.

    forecasts: how many an ensemble has, where it has fewest.
    """
    told: list[Statistic | None] = []
    for wanted in product.of:
        if wanted.of not in (None, parameter) or wanted.statistic in told:
            continue
        if wanted.statistic is not None:
            refuse_unfit(wanted.statistic, forecasts)
            refuse_unencodable(wanted.statistic)
            if parameter not in channels:
                derived.refuse_statistic(parameter, wanted.statistic)
        told.append(wanted.statistic)
    return tuple(told)


def _window(
    product: Product, own: Mapping[str, RegionChoice], tile: tuple[int, int], grid: Grid
) -> Window:
    wanted = product.region
    if wanted is None:
        return regions.whole(grid)
    if isinstance(wanted, str):
        known = {name: _region(name, one) for name, one in own.items()}
        region = regions.named(wanted, known)
    else:
        region = _region(product.name, wanted)
    return regions.window(region, grid, tile)


def _region(name: str, choice: RegionChoice) -> regions.Region:
    latitude, longitude = choice.centre
    size = None if choice.size is None else (choice.size[0], choice.size[1])
    return regions.Region(name, (latitude, longitude), size)


def _strands(makings: Sequence[Making], layouts: Sequence[Layout]) -> tuple[Strand, ...]:
    """Gather the draws that are computed alike, each with the tiles that any product needs.

    layouts: of the ways.
    """
    windows: dict[Drawn, list[Window]] = {}
    for making in makings:
        for drawn in making.draws:
            windows.setdefault(drawn, []).append(making.window)
    alike: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    for drawn in sorted(windows):
        tiles = regions.tiles_of_all(windows[drawn], layouts[drawn.way])
        alike.setdefault((drawn.way, tiles), []).append(drawn.number)
    return tuple(
        Strand(way, tuple(numbers), None if len(tiles) == len(layouts[way].tiles) else tiles)
        for (way, tiles), numbers in alike.items()
    )
