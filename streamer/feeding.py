"""Turns GRIB files into records of the input topic: one message a record, keyed by its forecast."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engines.errors import UsageError
from streamer.bus.record import Outgoing
from streamer.domain import Reason, Rejected
from streamer.grib.frame import split
from streamer.grib.identity import identify
from streamer.grib.wants import Limits, Source
from streamer.headers import AGAIN

#: A file may hold what no record could: its messages are counted and measured one by one.
_FILE_LIMITS = Limits(record_bytes=2**62, messages=2**62)


@dataclass(frozen=True, slots=True)
class Label:
    """What every record gets: its topic, the sources that name it, and `--again`'s name."""

    topic: str
    sources: tuple[Source, ...] = ()
    again: str = ""


@dataclass(frozen=True, slots=True)
class FileContent:
    """What one file holds.

    records: one for each message that a source wants. unwanted: messages that none wants.
    broken: what is no sound message, in words.
    """

    path: Path
    records: Sequence[Outgoing]
    unwanted: int = 0
    broken: Sequence[str] = ()
    reasons: frozenset[Reason] = field(default_factory=frozenset)

    @property
    def is_grib(self) -> bool:
        """Whether there is any sound message in it, or the beginning of one."""
        is_none = self.reasons <= {Reason.NOT_GRIB, Reason.EMPTY}
        return bool(self.records or self.unwanted) or not is_none

    @property
    def is_cut(self) -> bool:
        """Whether it ends inside a message, as a file does that is still being written."""
        return Reason.TRUNCATED in self.reasons


def read_file(path: Path, label: Label) -> FileContent:
    """Read one file whole and cut it into records. Raises OSError."""
    headers = ((AGAIN, label.again.encode()),) if label.again else ()
    records: list[Outgoing] = []
    broken: list[Rejected] = []
    unwanted = 0
    for piece in split(path.read_bytes(), _FILE_LIMITS):
        found = piece if isinstance(piece, Rejected) else identify(piece, label.sources)
        if isinstance(found, Rejected):
            broken.append(found)
        elif found is None:
            unwanted += 1
        elif isinstance(piece, bytes):
            records.append(Outgoing(label.topic, found.run.text.encode(), piece, headers))
    words = [f"{why.reason}: {why.text}" for why in broken]
    return FileContent(path, records, unwanted, words, frozenset(why.reason for why in broken))


def files_under(paths: Iterable[Path]) -> list[Path]:
    """Return the files that are named or lie in named folders, at any depth, in order.

    Hidden ones and those that are still being moved in (`.part`, `.tmp`) do not count. Raises
    UsageError naming every path that does not exist.
    """
    named = list(paths)
    missing = [str(path) for path in named if not path.exists()]
    if missing:
        raise UsageError(f"no such file or folder: {', '.join(missing)}")
    found: list[Path] = []
    for path in named:
        inside = sorted(p for p in path.rglob("*") if _counts(p, path)) if path.is_dir() else [path]
        found += [p for p in inside if p not in found]
    return found


def describe(files: Sequence[Path]) -> str:
    """Say what was found instead of GRIB: how many files, with which endings."""
    if not files:
        return "no files"
    endings = Counter(path.suffix or "no ending" for path in files)
    kinds = ", ".join(f"{count} with {ending}" for ending, count in endings.most_common(5))
    return f"{len(files)} files ({kinds})"


def _counts(path: Path, folder: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.is_file() and not is_hidden and path.suffix not in {".part", ".tmp"}
