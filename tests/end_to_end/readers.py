"""Other people's readers of what we write."""

import subprocess
from pathlib import Path
from typing import Any

import xarray as xr

from streamer.domain import Array
from streamer.grib.packing import rounding_error
from tests.conftest import require_tool


def told(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a tool; return what it printed."""
    words = [require_tool(str(command[0])), *map(str, command[1:])]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def opened(path: Path, **filter_by_keys: Any) -> xr.Dataset:
    """Open a file with cfgrib, which leaves no index behind."""
    options = {"indexpath": "", "filter_by_keys": filter_by_keys}
    return xr.open_dataset(path, engine="cfgrib", backend_kwargs=options)


def bound(values: Array) -> float:
    """Return how far packing to 16 bits may move a value."""
    return rounding_error(float(values.min()), float(values.max()), 16)
