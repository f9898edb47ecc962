"""Files that are whole or not there: written under another name, made durable, then renamed.

Source: the order of write, fsync, rename and fsync of the folder that POSIX needs
(Pillai et al. 2014, "All File Systems Are Not Created Equal").
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Where files lie until they are whole, below the outlet's folder: one file system, and nothing
#: that a search for `*.nc` in a run's folder would find.
UNFINISHED = ".unfinished"


class Desk:
    """Where one writer's unfinished files lie. `writer`: a name that no other living one has."""

    def __init__(self, root: Path, writer: str) -> None:
        self.root = root
        self._folder = root / UNFINISHED / writer

    def clear(self) -> None:
        """Make the folder, and remove what a predecessor of this name left when it was killed."""
        make_folder(self._folder)
        for left in self._folder.iterdir():
            left.unlink()

    @contextmanager
    def replacing(self, path: Path) -> Iterator[Path]:
        """Yield a name to write to; after the block `path` is that file, whole and durable.

        When the block fails, `path` is what it was before.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        unfinished = self._folder / path.name
        try:
            yield unfinished
            sync(unfinished)
            make_folder(path.parent)
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        sync(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; durable, so that no file's name is lost with them."""
    missing = [folder, *folder.parents]
    missing = missing[: next(i for i, one in enumerate(missing) if one.is_dir())]
    for one in reversed(missing):
        one.mkdir(exist_ok=True)
        sync(one.parent)


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
