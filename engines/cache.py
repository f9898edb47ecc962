"""Keeps engines on disk: one private folder an engine, named by all that decides its bits.

A compiled network is code, so only folders of mode 0700 that belong to us are read or written.
"""

import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engines.errors import UsageError

_UNFINISHED = ".unfinished"
_LOCK = ".lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKey:
    """Everything that decides an engine's bits; another value of any of it is another engine.

    bundle: its digest, and so its networks, tile and golden vectors. network: the one of them that
    is meant. version: of the runtime.
    device: a GPU's name or a CPU's model. capability: a GPU's compute capability, or the CPU's
    vector instructions. units: multiprocessors of a GPU, or cores that we may use. threads: as
    chosen, None for the runtime's choice. flags: settings from the environment, as `NAME=value`.
    """

    bundle: str
    network: str
    backend: str
    version: str
    precision: str
    device: str
    capability: str
    units: int
    driver: str
    threads: int | None
    tile: tuple[int, int]
    batch: int | None
    flags: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over all of it, in hexadecimal digits."""
        plain = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(plain.encode()).hexdigest()

    @property
    def folder(self) -> str:
        """The name of the engine's folder in a cache."""
        return f"{self.backend}-{self.precision}-{self.digest[:24]}"


def key_of(plain: Mapping[str, Any]) -> EngineKey:
    """Return the key that `asdict` and JSON made plain. Raises TypeError, KeyError, ValueError."""
    rows, columns = plain["tile"]
    lists = {"tile": (rows, columns), "flags": tuple(plain["flags"])}
    return EngineKey(**{**plain, **lists})


def default_cache(environment: Mapping[str, str]) -> Path:
    """Return where engines lie unless told otherwise: below the user's cache folder."""
    base = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "downscaled" / "engines"


def private_folder(folder: Path) -> Path:
    """Make a folder that only we can read and write, and return it.

    Raises UsageError where one is there that others may enter, or that is not ours, or where none
    can be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise UsageError(
            f"{folder}: cannot be made to keep engines in: {error.strerror}; "
            "engine.cache, or XDG_CACHE_HOME, names another folder"
        ) from error
    if not _is_private(found):
        raise UsageError(
            f"{folder}: has mode {stat.S_IMODE(found.st_mode):04o} and owner {found.st_uid}, "
            f"wanted 0700 and {os.getuid()}, since compiled networks are code"
        )
    return folder


def shared_folder(folder: Path) -> Path:
    """Return where an engine's folder keeps what serves several engines, such as timings.

    That is the cache around it; an engine's folder that lies elsewhere keeps them itself.
    """
    around = folder.parent
    return around if _is_private(around.stat()) else folder


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that other processes see wholly or not at all."""
    handle, unfinished = tempfile.mkstemp(dir=path.parent, suffix=_UNFINISHED)
    try:
        with os.fdopen(handle, "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        Path(unfinished).replace(path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise


@contextmanager
def only_one(cache: Path, key: EngineKey) -> Iterator[None]:
    """Let one process at a time make an engine; the next one waits, and then finds it made."""
    path = private_folder(cache) / f"{key.folder}{_LOCK}"
    with path.open("wb") as lock:
        # The system lets go of it when the process dies, however it dies.
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def new_folder(cache: Path, key: EngineKey) -> Iterator[Path]:
    """Give an empty private folder that becomes the engine's own when the block ends well.

    Call it inside `only_one`: what a process left unfinished when it died is swept away here.
    """
    for left in cache.glob(f"{key.folder}.*{_UNFINISHED}"):
        shutil.rmtree(left, ignore_errors=True)
    made = Path(tempfile.mkdtemp(dir=cache, prefix=f"{key.folder}.", suffix=_UNFINISHED))
    try:
        yield made
        old = cache / key.folder
        shutil.rmtree(old, ignore_errors=True)
        made.replace(old)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def engine_folders(cache: Path) -> list[Path]:
    """Return the folders of all engines in a cache, by name; none where there is no cache."""
    if not cache.is_dir():
        return []
    private_folder(cache)
    return sorted(p for p in cache.iterdir() if p.is_dir() and p.suffix != _UNFINISHED)


def size_bytes(folder: Path) -> int:
    """Return what the files below a folder hold together."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _is_private(found: os.stat_result) -> bool:
    return found.st_uid == os.getuid() and not stat.S_IMODE(found.st_mode) & 0o077
