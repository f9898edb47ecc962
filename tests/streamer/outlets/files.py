"""What the tests of outlets share: outlets on a folder, and what lies there."""

from pathlib import Path

from streamer.outlets.open import open_outlets
from streamer.outlets.outlet import Outlet
from streamer.outlets.settings import FileSettings, Format
from streamer.steps import Steps

STEPS = Steps((0, 180, 360))
RUN_FOLDER = Path("ecmf/ifs/201810080000/0")


def outlet(kind: Format, folder: Path, *, steps: Steps = STEPS, writer: str = "one") -> Outlet:
    """Open one outlet with the format's own names of files."""
    (opened,) = open_outlets([FileSettings(kind, folder)], steps, writer)
    return opened


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder by name, unfinished ones too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
