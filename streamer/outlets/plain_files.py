"""Files that need no library: GRIB as it was published, and a step's record."""

from collections.abc import Sequence
from pathlib import Path

from streamer.outlets.outlet import Piece
from streamer.records import StepRecord


def write_grib(
    path: Path,
    record: StepRecord,  # noqa: ARG001 - a `WriteFile`
    pieces: Sequence[Piece],
) -> None:
    """Write the published messages one after the other, in the record's order."""
    with path.open("wb") as file:
        file.writelines(piece.message for piece in pieces)


def write_record(
    path: Path,
    record: StepRecord,
    pieces: Sequence[Piece],  # noqa: ARG001 - a `WriteFile`
) -> None:
    """Write the step's record, as it stands in the steps topic."""
    path.write_bytes(record.encode() + b"\n")
