"""How many tiles go into one call of an engine, and what a short call is padded to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from engines.denoiser import EngineSpec
from engines.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batching:
    """The sizes of call that may be made; the last bits of an answer depend on the size.

    sizes: numbers of tiles that the engine has a shape for, rising, at least one.
    reproducible: every call has the largest size, however few tiles there are, so that a tile's
    bytes do not depend on its company. Otherwise the smallest size that holds the tiles is taken.
    """

    sizes: tuple[int, ...]
    reproducible: bool = True

    @property
    def limit(self) -> int:
        """The most tiles in one call."""
        return self.sizes[-1]

    def bucket(self, count: int) -> int:
        """Return the size of a call for `count` tiles, 1 to `limit`."""
        if self.reproducible:
            return self.limit
        return next(size for size in self.sizes if size >= count)

    def halved(self, size: int) -> "Batching | None":
        """Return what is left when calls of `size` do not fit in memory; None if nothing is."""
        left = tuple(s for s in self.sizes if 2 * s <= size)
        return Batching(left, self.reproducible) if left else None


def batching(spec: EngineSpec, *, reproducible: bool) -> Batching:
    """Return what one engine alone can do."""
    return Batching(_sizes(spec), reproducible)


def common_batching(specs: Sequence[EngineSpec], *, reproducible: bool) -> Batching:
    """Return what all engines of a room can do, so that it does not matter which one is free.

    Raises UsageError when they share no size.
    """
    shared = set(_sizes(specs[0])).intersection(*(_sizes(spec) for spec in specs[1:]))
    if not shared:
        told = "; ".join(f"{s.backend} on {s.device} {list(_sizes(s))}" for s in specs)
        raise UsageError(f"the engines have no size of batch in common: {told}")
    return Batching(tuple(sorted(shared)), reproducible)


def padded(items: Sequence[T], size: int) -> list[T]:
    """Return the items, and the last one again and again up to `size`; whose answers nobody reads.

    A repeated tile costs no more than zeros would, and no arithmetic that a real one would not do.
    """
    return [*items, *[items[-1]] * (size - len(items))]


def _sizes(spec: EngineSpec) -> tuple[int, ...]:
    return tuple(sorted({size for size in spec.buckets if size <= spec.batch} | {spec.batch}))
