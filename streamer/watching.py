"""Notices files that have arrived whole in folders, without reading them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Look:
    """What a file was at one look: its size in bytes, and when it was last written to."""

    size: int
    modified_ns: int


@dataclass(slots=True)
class Arrivals:
    """Says which files are complete: nobody has written to them for `settle_s`.

    A file that was moved in keeps the time at which it was written, so it counts at once. Fed
    with what a folder holds and with `now` in nanoseconds since 1970.
    """

    settle_s: float = 2.0
    _done: dict[Path, Look] = field(default_factory=dict)

    def complete(self, looks: Iterable[tuple[Path, Look]], now_ns: int) -> list[tuple[Path, Look]]:
        """Return the files that are complete and were not, or were another file, before."""
        settled = now_ns - round(self.settle_s * 1e9)
        return [
            (path, look)
            for path, look in looks
            if self._done.get(path) != look and look.modified_ns <= settled and look.size
        ]

    def done(self, path: Path, look: Look) -> None:
        """Do not speak of this file again until it changes."""
        self._done[path] = look


def look_at(paths: Iterable[Path]) -> list[tuple[Path, Look]]:
    """Look at files; those that went away meanwhile are left out."""
    found = []
    for path in paths:
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        found.append((path, Look(status.st_size, status.st_mtime_ns)))
    return found
