"""What is published of a step: the section `products` of the configuration."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from streamer.domain import Statistic
from streamer.sampling import SamplerWish

Profile = Literal["fast", "standard", "reference"]

#: Statistics that are a word, and those that need a number.
_PLAIN = ("mean", "variance", "spread", "minimum", "maximum")
_NUMBERED = ("quantile", "above", "below")
_SHAPE = (
    f"draws, {', '.join(_PLAIN)}, {{quantile: 0.9}}, or {{above: 17.2, of: 10si}} "
    "(above or below a threshold, of one parameter)"
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One thing that is told of a product's draws.

    statistic: None: the draws themselves. of: the one parameter it is for; None: each.
    """

    statistic: Statistic | None = None
    of: str | None = None

    @classmethod
    def from_plain(cls, found: object) -> "Wanted":
        """Read a word, or a mapping of a statistic to its number."""
        if found == "draws":
            return cls()
        if found in _PLAIN:
            return cls(Statistic(found))  # type: ignore[arg-type]  # it is one of them
        if not isinstance(found, Mapping):
            raise TypeError(f"found {found!r}, wanted {_SHAPE}")
        kinds = [kind for kind in _NUMBERED if kind in found]
        if len(kinds) != 1 or set(found) - {kinds[0], "of"}:
            raise ValueError(f"found {dict(found)!r}, wanted {_SHAPE}")
        (kind,) = kinds
        value, of = found[kind], found.get("of")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{kind}: found {value!r}, wanted a number")
        if of is not None and not isinstance(of, str):
            raise TypeError(f"of: found {of!r}, wanted a parameter's name")
        if kind == "quantile":
            _refuse_order(float(value))
        return cls(Statistic(kind, float(value)), of)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class RegionChoice:
    """A rectangle of the fine grid around a centre.

    centre: latitude and longitude, degrees. size: rows and columns, in points; None: one tile.
    """

    centre: tuple[float, ...]
    size: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse what is no place, or no size."""
        if len(self.centre) != 2 or not (
            -90 <= self.centre[0] <= 90 and -180 <= self.centre[1] <= 360
        ):
            raise ValueError(
                f"centre: found {list(self.centre)}, wanted [latitude, longitude] in degrees"
            )
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise ValueError(f"size: found {list(self.size)}, wanted [rows, columns] in points")


@dataclass(frozen=True, slots=True)
class Product:
    """Something to publish of each step.

    of: what is told of the draws. parameters: the bundle's, or derived ones; None: the bundle's.
    region: a name that ships or stands under `regions`, or a rectangle; None: the whole grid.
    draws: of each way of sampling; None: as `model.draws` says. sampler: profiles or settings;
    several are one ensemble; none: as `sampler` says.
    """

    name: str = "draws"
    of: tuple[Wanted, ...] = (Wanted(),)
    parameters: tuple[str, ...] | None = None
    region: str | RegionChoice | None = None
    draws: int | None = None
    sampler: tuple[Profile | SamplerWish, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what contradicts itself whatever the bundle."""
        if not self.of:
            raise ValueError(f"of: found nothing, wanted {_SHAPE}")
        if self.parameters is not None and len(set(self.parameters)) < max(1, len(self.parameters)):
            raise ValueError(
                f"parameters: found {list(self.parameters)}, wanted at least one, each once"
            )
        if self.draws is not None and not 1 <= self.draws <= 255:
            raise ValueError(f"draws: found {self.draws}, wanted 1 to 255 (GRIB counts in 8 bits)")
        for wanted in self.of:
            self._refuse_unbound(wanted)

    @property
    def ways(self) -> tuple[SamplerWish, ...]:
        """The ways of sampling that it names."""
        return tuple(
            SamplerWish(profile=one) if isinstance(one, str) else one for one in self.sampler
        )

    def _refuse_unbound(self, wanted: Wanted) -> None:
        """Refuse a threshold of no known parameter, and a parameter of another product."""
        told, names = wanted.statistic, self.parameters
        if wanted.of is not None and names is not None and wanted.of not in names:
            raise ValueError(f"of: found {wanted.of}, wanted one of {', '.join(names)}")
        is_threshold = told is not None and told.kind in ("above", "below")
        if is_threshold and wanted.of is None and (names is None or len(names) > 1):
            assert told is not None
            raise ValueError(
                f"of: found {told.kind} {told.value:g} for several parameters, wanted it with "
                "`of`: the parameter that the threshold is for"
            )


def _refuse_order(order: float) -> None:
    """Refuse quantiles that GRIB cannot name: its templates hold a whole percentage."""
    percent = order * 100
    if not 1 <= percent <= 99 or abs(percent - round(percent)) > 1e-9:
        raise ValueError(f"quantile: found {order:g}, wanted 0.01 to 0.99 in whole hundredths")
