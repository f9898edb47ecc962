"""What the daemon wants of the messages that it reads; small enough to send to every worker."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engines.noise import Window
from streamer.grib.manifest import GribManifest, Key

_RANGE = re.compile(r"(\d+)/to/(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Pool:
    """The members of a source that make one ensemble together, by their number, rising."""

    members: tuple[int, ...]

    @classmethod
    def from_plain(cls, found: object) -> "Pool":
        """Read `0/to/20`, or a list of numbers; ValueError for anything else."""
        text = str(found).strip() if isinstance(found, str) else ""
        if ends := _RANGE.fullmatch(text):
            members = list(range(int(ends[1]), int(ends[2]) + 1))
        else:
            members = list(found) if isinstance(found, list | tuple) else []
        if not _are_members(members):
            raise ValueError(
                f"found {found!r}, wanted numbers of members: 0/to/20, or a list with each once"
            )
        return cls(tuple(sorted(members)))


def _are_members(found: Sequence[object]) -> bool:
    are_numbers = all(type(one) is int and one >= 0 for one in found)
    return bool(found) and are_numbers and len(set(found)) == len(found)


@dataclass(frozen=True, slots=True)
class Source:
    """Where forecasts come from: the first source whose keys all match gives its name.

    match: GRIB keys and what they must be, as numbers or as the text that `grib_ls` shows.
    pool: members that are one ensemble; None keeps each apart.
    """

    name: str
    match: Mapping[str, Key] = field(default_factory=dict)
    pool: Pool | None = None

    def __post_init__(self) -> None:
        """Refuse names that would break a record's key."""
        if not self.name or "/" in self.name:
            raise ValueError(f"name: found {self.name!r}, wanted text without a slash")

    @property
    def many(self) -> int:
        """How many members make one ensemble; 1 where each is kept apart."""
        return 1 if self.pool is None else len(self.pool.members)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one record may ask of a worker."""

    #: points of one field, read from its header before any value; 0.1 degrees of globe are 6.5e6
    points: int = 10_000_000
    #: bytes of one record
    record_bytes: int = 256 << 20
    #: messages, or fields within one message, of one record
    messages: int = 10_000
    #: for one record, then for each of its messages alone; the first field of a large grid
    #: needs MIR's weights made, measured 20 s for 4.7 million points
    worker_timeout_s: float = 120.0
    #: private memory of one worker; such weights took 0.9 GB, a field of 0.25 degrees 0.3 GB
    worker_memory_bytes: int = 2 << 30

    def __post_init__(self) -> None:
        """Refuse limits that nothing can keep."""
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: found {getattr(self, name)}, wanted more than 0")


@dataclass(frozen=True, slots=True)
class Wants:
    """Which messages are wanted, and on which grids. No sources: all, and their source is "-".

    needed: the parts of the fine grid that every field must reach; None: all of it. A field of
    a part of the globe serves where it reaches all of them, and is NaN where it does not reach.
    """

    manifest: GribManifest
    sources: tuple[Source, ...] = ()
    limits: Limits = Limits()
    needed: tuple[Window, ...] | None = None
