"""What a bundle demands of every draw: bounds, relations, conservation."""

from collections.abc import Collection
from dataclasses import dataclass
from math import inf
from typing import Literal


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a parameter's values lie within, in the bundle's units."""

    parameter: str
    low: float = -inf
    high: float = inf


@dataclass(frozen=True, slots=True)
class Relation:
    """A parameter that is never above another: where it is, `below` comes down to it."""

    below: str
    above: str


@dataclass(frozen=True, slots=True)
class Conservation:
    """A parameter whose fine field, made coarse again, is the coarse field.

    way: `additive` moves points by what their box lacks, `multiplicative` scales them by it.
    """

    parameter: str
    way: Literal["additive", "multiplicative"]


@dataclass(frozen=True, slots=True)
class Constraints:
    """What every draw must obey, as the bundle says."""

    bounds: tuple[Bounds, ...] = ()
    relations: tuple[Relation, ...] = ()
    conservation: tuple[Conservation, ...] = ()

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Each constraint with the parameter that it may change."""
        return (
            *(("bounds", one.parameter) for one in self.bounds),
            *(("relation", one.below) for one in self.relations),
            *(("conservation", one.parameter) for one in self.conservation),
        )

    def among(self, names: Collection[str]) -> "Constraints":
        """Return those that concern no parameter but these."""
        return Constraints(
            tuple(one for one in self.bounds if one.parameter in names),
            tuple(one for one in self.relations if {one.below, one.above} <= set(names)),
            tuple(one for one in self.conservation if one.parameter in names),
        )
