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
from streamer.products import Product, RegionChoice
from streamer.sampling import Chosen, SamplerChoice


@dataclass(frozen=True, slots=True)
class Way:
    """One way of drawing: by which of the bundle's networks, with which sampler."""

    network: str
    sampler: Sampler

    @classmethod
    def of(cls, chosen: Chosen) -> "Way":
        """Leave out why it was chosen: two profiles may be one way."""
        return cls(chosen.network, chosen.sampler)


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
    and derived ones. told: what is told of each, None standing for the draws.
    """

    name: str
    draws: tuple[Drawn, ...]
    window: Window
    grid: Grid
    parameters: tuple[str, ...]
    told: Mapping[str, tuple[Statistic | None, ...]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done with every step. layout: the tiles. chosen: why each of the ways was taken."""

    layout: Layout
    ways: tuple[Way, ...]
    chosen: tuple[Chosen, ...]
    strands: tuple[Strand, ...]
    makings: tuple[Making, ...]

    def needed(self, fusion: Fusion) -> tuple[Window, ...] | None:
        """Return the parts of the fine grid that every field must reach; None: all of it."""
        wanted = [strand.wanted for strand in self.strands]
        if fusion == "level" or any(tiles is None for tiles in wanted):
            return None
        tiles = sorted({tile for some in wanted for tile in some or ()})
        return regions.needed_of(tiles, self.layout)


def make_plan(
    products: Sequence[Product],
    sampler: SamplerChoice,
    draws: int,
    own_regions: Mapping[str, RegionChoice],
    around: "Around",
) -> Plan:
    """Hold the products against a bundle; UsageError says what it cannot serve.

    sampler, draws: of products that name none.
    """
    found = [sampler.chosen(around.bundle)]
    makings = []
    for product in products:
        named = [wish.chosen(around.bundle) for wish in product.ways] or found[:1]
        many = product.draws or draws
        positions: list[Drawn] = []
        for chosen in named:
            way = _index(found, chosen)
            positions += [Drawn(way, len(positions) + i) for i in range(many)]
        makings.append(_making(product, tuple(positions), own_regions, around))
    used = sorted({drawn.way for making in makings for drawn in making.draws})
    place = {way: i for i, way in enumerate(used)}
    moved = tuple(_moved(making, place) for making in makings)
    left = tuple(found[way] for way in used)
    strands = _strands(moved, around.layout)
    return Plan(around.layout, tuple(Way.of(one) for one in left), left, strands, moved)


@dataclass(frozen=True, slots=True)
class Around:
    """What a plan stands on: the bundle, its fine grid, its tiles."""

    bundle: Manifest
    grid: Grid
    layout: Layout


def _index(found: list[Chosen], chosen: Chosen) -> int:
    """Return which of the ways found so far this is, adding it where it is new."""
    for i, one in enumerate(found):
        if Way.of(one) == Way.of(chosen):
            return i
    found.append(chosen)
    return len(found) - 1


def _moved(making: Making, place: Mapping[int, int]) -> Making:
    """Return a making with the indices of the ways that are left."""
    return replace(making, draws=tuple(Drawn(place[one.way], one.number) for one in making.draws))


def _making(
    product: Product,
    draws: tuple[Drawn, ...],
    own: Mapping[str, RegionChoice],
    around: Around,
) -> Making:
    where = f"products: {product.name}"
    if len(draws) > MOST_FORECASTS:
        raise UsageError(f"{where}: {len(draws)} draws, GRIB counts {MOST_FORECASTS} at most")
    try:
        window = _window(product, own, around)
        parameters = product.parameters or around.bundle.channels
        channels = around.bundle.channels
        derived.refuse_unknown(parameters, channels)
        told = {name: _told(product, name, len(draws), channels) for name in parameters}
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    unfit = [one.of for one in product.of if one.of is not None and one.of not in parameters]
    if unfit:
        raise UsageError(f"{where}: of {unfit[0]}, wanted one of {', '.join(parameters)}")
    kept = tuple(name for name in parameters if told[name])
    return Making(product.name, draws, window, regions.grid_of(window, around.grid), kept, told)


def _told(
    product: Product, parameter: str, draws: int, channels: Sequence[str]
) -> tuple[Statistic | None, ...]:
    """Return what is told of a parameter, each thing once, in the order of the configuration."""
    told: list[Statistic | None] = []
    for wanted in product.of:
        if wanted.of not in (None, parameter) or wanted.statistic in told:
            continue
        if wanted.statistic is not None:
            refuse_unfit(wanted.statistic, draws)
            refuse_unencodable(wanted.statistic)
            if parameter not in channels:
                derived.refuse_statistic(parameter, wanted.statistic)
        told.append(wanted.statistic)
    return tuple(told)


def _window(product: Product, own: Mapping[str, RegionChoice], around: Around) -> Window:
    wanted = product.region
    if wanted is None:
        return regions.whole(around.grid)
    if isinstance(wanted, str):
        known = {name: _region(name, one) for name, one in own.items()}
        region = regions.named(wanted, known)
    else:
        region = _region(product.name, wanted)
    return regions.window(region, around.grid, around.bundle.tile)


def _region(name: str, choice: RegionChoice) -> regions.Region:
    latitude, longitude = choice.centre
    size = None if choice.size is None else (choice.size[0], choice.size[1])
    return regions.Region(name, (latitude, longitude), size)


def _strands(makings: Sequence[Making], layout: Layout) -> tuple[Strand, ...]:
    """Gather the draws that are computed alike, each with the tiles that any product needs."""
    windows: dict[Drawn, list[Window]] = {}
    for making in makings:
        for drawn in making.draws:
            windows.setdefault(drawn, []).append(making.window)
    alike: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    for drawn in sorted(windows):
        tiles = regions.tiles_of_all(windows[drawn], layout)
        alike.setdefault((drawn.way, tiles), []).append(drawn.number)
    every = tuple(range(len(layout.tiles)))
    return tuple(
        Strand(way, tuple(numbers), None if tiles == every else tiles)
        for (way, tiles), numbers in alike.items()
    )
