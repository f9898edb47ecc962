"""Files that are whole or not there: written under another name, made durable, then renamed.

Source: the order of write, fsync, rename and fsync of the folder that POSIX needs
(Pillai et al. 2014, "All File Systems Are Not Created Equal").
"""

import errno
import hashlib
import os
import shutil
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
            _remove(left)

    @contextmanager
    def replacing(self, path: Path, *, is_settled: bool = True) -> Iterator[Path]:
        """Yield a name to write to; after the block `path` is that file, whole and durable.

        When the block fails, `path` is what it was before. is_settled: False leaves it to the
        caller to `sync` the folder, once for many files.
        """
        unfinished = self._place(path)
        try:
            yield unfinished
            sync(unfinished)
            make_folder(path.parent)
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        if is_settled:
            sync(path.parent)

    @contextmanager
    def founding(self, folder: Path) -> Iterator[Path]:
        """Yield an empty folder to fill; after the block it is `folder`, whole and durable.

        Where somebody else founded `folder` meanwhile, theirs stays.
        """
        unfinished = self._place(folder)
        _remove(unfinished)
        unfinished.mkdir()
        try:
            yield unfinished
            for one in unfinished.rglob("*"):
                sync(one)
            sync(unfinished)
            make_folder(folder.parent)
            # An empty folder would be replaced, one with something in it is not.
            unfinished.rename(folder)
        except OSError as error:
            _remove(unfinished)
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        except BaseException:
            _remove(unfinished)
            raise
        sync(folder.parent)

    def _place(self, path: Path) -> Path:
        """Return where `path` lies until it is whole, with the ending that libraries look at."""
        self._folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(os.fsencode(path)).hexdigest()[:32]
        return self._folder / f"{name}{path.suffix}"


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


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
