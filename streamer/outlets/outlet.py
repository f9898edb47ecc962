"""What takes the fields of a complete step and leaves files, the same ones however often."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from engines.errors import DownscaledError
from streamer.outlets.durable import Desk
from streamer.outlets.settings import FileSettings
from streamer.records import FieldEntry, StepRecord

log = logging.getLogger(__name__)


class OutletError(DownscaledError):
    """A step that these files cannot hold, however often it is tried; nothing of it was written.

    A full or failing disk is an OSError instead: the same step may be written later.
    """

    reason: ClassVar[str] = "outlet"


@dataclass(frozen=True, slots=True)
class Piece:
    """One published field: its entry in the step's record, and its GRIB message."""

    entry: FieldEntry
    message: bytes


class Outlet(Protocol):
    """One kind of files. Belongs to one thread."""

    @property
    def format(self) -> str:
        """Its name in settings and metrics."""
        ...

    def write_step(self, record: StepRecord, messages: Sequence[bytes]) -> int:
        """Write the files of a complete step; on return they are durable. Returns how many.

        messages: one for each of `record.fields`, in their order. The same step again gives the
        same files. Raises OutletError for what can never be written, OSError for what could not
        be written now; no file is torn in any case.
        """
        ...


def write_or_refuse(outlet: Outlet, record: StepRecord, messages: Sequence[bytes]) -> int | None:
    """Write a step's files and return how many; None says that they can never be, and is logged.

    Raises OSError for what could not be written now, like `Outlet.write_step`.
    """
    try:
        return outlet.write_step(record, messages)
    except OutletError as error:
        log.error(  # noqa: TRY400 - what is wrong is said, where is no help
            "%s: no %s: %s", record.key.text, outlet.format, error
        )
        return None


class WriteFile(Protocol):
    """Writes one file: some fields of one step, at a path where nothing is yet."""

    def __call__(self, path: Path, record: StepRecord, pieces: Sequence[Piece]) -> None:
        """Write the file; raises OutletError for what it cannot hold."""
        ...


class FilesOutlet:
    """Whole files: each is written beside its place and renamed."""

    def __init__(self, settings: FileSettings, writer: str, write: WriteFile) -> None:
        self.format = settings.format
        self._settings = settings
        self._write = write
        self._desk = Desk(settings.folder, writer)
        self._desk.clear()

    def write_step(self, record: StepRecord, messages: Sequence[bytes]) -> int:
        """Write every file that the step's fields belong to; see `Outlet.write_step`."""
        files = parted(self._settings, record, messages)
        for path, pieces in files.items():
            with self._desk.replacing(path) as unfinished:
                self._write(unfinished, record, pieces)
        return len(files)


def parted(
    settings: FileSettings, record: StepRecord, messages: Sequence[bytes]
) -> dict[Path, list[Piece]]:
    """Part a step's fields among files, in the record's order."""
    files: dict[Path, list[Piece]] = defaultdict(list)
    for entry, message in zip(record.fields, messages, strict=True):
        if settings.wants(entry.names.product, entry.names.parameter):
            path = settings.folder / settings.names.path(record.key, entry.names)
            files[path].append(Piece(entry, message))
    return dict(files)
