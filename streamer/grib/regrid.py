"""The only door to MIR: fields to the bundle's coarse grid, and from there to its fine grid.

Where the bundle's coarse fields are resized images, MIR leads to its fine grid only.

Training and the daemon call these very functions, so that the network sees at work what it
learned from. MIR keeps its weights in a folder of its own, see `use_cache`, and tells of them
on standard output, where our results go: while it runs, file descriptor 1 leads to 2.
"""

import ctypes
import os
import stat
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, ClassVar

import mir
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from engines.errors import DownscaledError, UsageError
from streamer.domain import Array, Grid
from streamer.grib.manifest import Coarse, lattice
from streamer.grib.operators import written_down
from streamer.grib.resize import resize

_CACHE = "MIR_CACHE_PATH"
#: MIR's words for a field that does not reach to the grid
_OUTSIDE = ("input domain must contain output domain", "non-empty area crop")
#: one at a time: descriptor 1 belongs to the whole process
_turn = threading.RLock()


class RegridError(DownscaledError):
    """MIR cannot take this field to the grid that was asked for; the text is its own."""

    reason: ClassVar[str] = "regrid"


class NotCovered(RegridError):
    """The field does not reach as far as the grid; `found` says how far it does."""

    reason: ClassVar[str] = "not_covered"


def to_coarse(values: NDArray[np.floating[Any]], grid: Grid, coarse: Coarse) -> Array:
    """Take a field on a regular grid to the coarse grid.

    values: (grid.rows, grid.columns), north to south, west to east, finite.
    Returns (h, w) float32. A field already on the coarse grid passes unchanged, its columns
    turned to start where the coarse grid's do. Raises RegridError, NotCovered.
    """
    assert values.shape == grid.shape, f"values {values.shape} on a grid of {grid.shape}"
    turned = _on_grid(values, grid, coarse.grid)
    if turned is not None:
        return turned
    if coarse.resized is None:
        return _to(values, grid, coarse.grid, coarse.interpolation)
    fine = _on_grid(values, grid, coarse.resized)
    if fine is None:
        fine = _to(values, grid, coarse.resized, coarse.interpolation)
    return resize(fine, coarse.grid.shape)


def message_to_coarse(message: bytes, coarse: Coarse, via: Grid | None = None) -> Array:
    """Take a GRIB message on any grid that MIR knows to the coarse grid, like `to_coarse`.

    via: a regular grid to interpolate to first, linearly, where MIR cannot average boxes.
    """
    if via is None:
        values = _run(mir.GribMemoryInput(message), coarse.target, coarse.interpolation)
        if coarse.resized is not None:
            return resize(values, coarse.grid.shape)
        return values.astype(np.float32)
    return to_coarse(_run(mir.GribMemoryInput(message), via, "linear"), via, coarse)


def to_fine(values: Array, coarse: Coarse, fine: Grid, interpolation: str) -> Array:
    """Interpolate a coarse field, (h, w), to the fine grid, (H, W) float32.

    A field that was resized returns as it came: `interpolation` is for the others.
    """
    if coarse.resized is not None:
        return resize(values, fine.shape)
    return _to(values, coarse.grid, fine, interpolation)


@lru_cache(maxsize=8)
def operator(source: Grid, target: Grid, interpolation: str) -> csr_array | None:
    """Write MIR's operator between two grids down as a matrix, None where MIR must be asked."""
    return written_down(
        lambda values: _interpolate(values, source, target, interpolation), source, target
    )


def _to(values: NDArray[np.floating[Any]], source: Grid, target: Grid, interpolation: str) -> Array:
    field = np.ascontiguousarray(values, dtype=np.float64)
    matrix = operator(source, target, interpolation)
    if matrix is None:
        return _interpolate(field, source, target, interpolation).astype(np.float32)
    return np.asarray((matrix @ field.ravel()).reshape(target.shape), dtype=np.float32)


def _interpolate(
    values: NDArray[np.float64], source: Grid, target: Grid, interpolation: str
) -> NDArray[np.float64]:
    return _run(mir.ArrayInput(values.ravel(), _spec(source)), target, interpolation)


def use_cache(folder: Path) -> None:
    """Let MIR keep its weights in a folder that only this user can enter; made if needed.

    Must come before the process's first regridding. Raises UsageError if the folder belongs to
    somebody else or others can write to it: weights are computed results that we trust.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UsageError(
            f"the cache folder {folder} must belong to user {os.getuid()} and be writable by no "
            f"one else: it belongs to {status.st_uid}, mode {stat.S_IMODE(status.st_mode):o}"
        )
    os.environ[_CACHE] = str(folder)


def default_cache(environment: Mapping[str, str]) -> Path:
    """Return where MIR's weights lie unless told otherwise: below the user's cache folder."""
    base = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "downscaled" / "mir"


def _run(source: Any, grid: Grid, interpolation: str) -> NDArray[np.float64]:
    """Execute one job; an input serves a single execution, so it is made for it."""
    if _CACHE not in os.environ:
        use_cache(default_cache(os.environ))
    output = mir.ArrayOutput()
    job = mir.Job(interpolation=interpolation, **_target(grid))
    try:
        with _turn, quiet():
            job.execute(source, output)
        values = np.array(output.values(), dtype=np.float64)
        found: Mapping[str, Any] = output.spec
    except (RuntimeError, ValueError) as error:
        said = (str(error).splitlines() or [""])[0]
        if any(words in said for words in _OUTSIDE):
            raise NotCovered(f"the field does not reach so far ({said})") from error
        raise RegridError(f"MIR cannot regrid it: {said}") from error
    values = _cut(values, found.get("area"), grid)
    missing = int(np.count_nonzero(~np.isfinite(values)))
    if missing:
        raise NotCovered(f"the field leaves {missing} of {values.size} points uncovered")
    return values


def _spec(grid: Grid) -> dict[str, Any]:
    """Return MIR's words for a grid: spacings longitude first, area north, west, south, east."""
    spacing = [grid.spacing_lon, grid.spacing_lat]
    east = grid.west + (grid.columns - 1) * grid.spacing_lon
    south = grid.north - (grid.rows - 1) * grid.spacing_lat
    return {"grid": spacing, "area": [grid.north, grid.west, south, east]}


def _target(grid: Grid) -> dict[str, Any]:
    """Return MIR's words for where to go: it knows no area of rotated grids, so none if global."""
    whole = grid == lattice(grid.spacing_lon, grid.spacing_lat, None)
    return {"grid": [grid.spacing_lon, grid.spacing_lat]} if whole else _spec(grid)


def _cut(
    values: NDArray[np.float64], area: Sequence[float] | None, grid: Grid
) -> NDArray[np.float64]:
    """Cut the grid out of what MIR made, which may reach farther; raises NotCovered.

    area: north, west, south, east of what MIR made; None: just what was asked for.
    """
    row = column = 0
    if area is not None:
        row = round((area[0] - grid.north) / grid.spacing_lat)
        column = round((grid.west - area[1]) / grid.spacing_lon) % round(360.0 / grid.spacing_lon)
        if (row, column) != (0, 0):
            values = values[max(row, 0) :, column:]
    if row < 0 or values.shape[0] < grid.rows or values.shape[1] < grid.columns:
        found = "{:g} N {:g} E to {:g} N {:g} E".format(*area) if area else "another area"
        raise NotCovered(f"the field reaches over {found}")
    return values[: grid.rows, : grid.columns]


def _on_grid(values: NDArray[np.floating[Any]], grid: Grid, wanted: Grid) -> Array | None:
    """Return the values turned to the wanted grid's first column, or None on another grid."""
    near = np.allclose(
        (grid.north, grid.spacing_lat, grid.spacing_lon),
        (wanted.north, wanted.spacing_lat, wanted.spacing_lon),
        rtol=0,
        atol=1e-6,
    )
    if not near or grid.shape != wanted.shape:
        return None
    shift = (wanted.west - grid.west) / grid.spacing_lon
    whole = round(shift)
    if abs(shift - whole) > 1e-6 or (whole % grid.columns and not grid.is_periodic):
        return None
    return np.roll(np.asarray(values, dtype=np.float32), -whole, axis=1)


@contextmanager
def quiet() -> Iterator[None]:
    """Lead what C libraries write to standard output to standard error for a while."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        # What the libraries still hold in their buffers must leave before 1 is ours again.
        _libc().fflush(None)
        os.dup2(kept, 1)
        os.close(kept)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
