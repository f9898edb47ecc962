"""All that a fit, its bundle and its scores are made from: an archive, split, with its twins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engines.errors import UsageError
from engines.manifest import Normalisation
from engines.training.pairs_file import Lesson, material_of
from engines.training.settings import Mirror, Pairs
from streamer import training_set
from streamer.archive import Archive, Split, cut, split_by_day
from streamer.domain import Array, Grid
from streamer.grib.grids import reach
from streamer.grib.manifest import Coarse, is_global, lattice
from streamer.skill import Trial
from streamer.verify.ridge import Ridge, fit_ridge

COARSE_OPERATOR = "grid-box-average"
#: MIR's cubic stencils need a globe around them.
INTERPOLATION, INTERPOLATION_WITHIN = "structured-bicubic", "bilinear"
#: What a row counts in the loss, one at the equator 1: by its area, at least so much.
LEAST_ROW = 0.3
#: Rows at the poles show winds on squeezed points, which one network must learn beside all others;
#: from the first latitude to the second their count rises to so much. Scores count them by area.
POLAR_ROW, POLAR_FROM_DEG, POLAR_WHOLE_DEG = 1.3, 60.0, 72.0
#: Constants that change their sign where north and south change places.
TURNED = ("sin_latitude", "slope_north")


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """An archive's states beside their coarse twins, normalised, and what never changes.

    twin: (N, C, H, W) in the parameters' units; residual, condition: the same shape, normalised.
    """

    archive: Archive
    split: Split
    coarse: Coarse
    interpolation: str
    twin: Array
    statistics: tuple[Normalisation, ...]
    constants: Mapping[str, Array]
    residual: Array
    condition: Array

    def lesson(self) -> Lesson:
        """Return what a network may see."""
        held = list(self.split.held_back)
        fine = self.archive.fine[list(self.split.learn)]
        made = training_set.Making(
            self.archive.grid, self.coarse, self.interpolation, self.statistics
        )
        learn = self._pairs(*made.rolled(fine))
        held_back = self._pairs(self.residual[held], self.condition[held])
        return Lesson(learn, held_back, material_of(learn, held_back))

    def trial(self, states: Sequence[int]) -> Trial:
        """Return some states as they are scored."""
        chosen = list(states)
        return Trial(
            keys=tuple(self.archive.keys[i] for i in chosen),
            truth=self.archive.fine[chosen],
            twin=self.twin[chosen],
            condition=self.condition[chosen],
            grid=self.archive.grid,
        )

    def ridge(self) -> Ridge:
        """Return the regression that learnt from the same states."""
        learn, held_back = (
            (self.archive.fine[list(part)], self.twin[list(part)])
            for part in (self.split.learn, self.split.held_back)
        )
        spacing = self.coarse.grid.spacing_lon / self.archive.grid.spacing_lon
        periodic = self.archive.grid.is_periodic
        return fit_ridge(learn, held_back, max(1, round(spacing / 2)), periodic=periodic)

    def _pairs(self, residual: Array, condition: Array) -> Pairs:
        grid = self.archive.grid
        names = [found.name for found in self.archive.parameters]
        return Pairs(
            residual=residual,
            condition=condition,
            constants=np.stack(list(self.constants.values())),
            row_weights=row_weights(grid),
            periodic=grid.is_periodic,
            mirror=mirror(names, self.statistics, tuple(self.constants), grid),
        )


def by_area(grid: Grid) -> Array:
    """Return what each row counts by its area, one at the equator 1, with a least share, (H,)."""
    rows = LEAST_ROW + (1 - LEAST_ROW) * np.cos(np.deg2rad(grid.latitudes))
    return np.asarray(rows, dtype=np.float32)


def row_weights(grid: Grid) -> Array:
    """Return what each row counts in the loss of a training, (H,)."""
    ramp = (np.abs(grid.latitudes) - POLAR_FROM_DEG) / (POLAR_WHOLE_DEG - POLAR_FROM_DEG)
    polar = POLAR_ROW * np.clip(ramp, 0.0, 1.0)
    return np.asarray(np.maximum(by_area(grid), polar), dtype=np.float32)


def mirror(
    names: Sequence[str], statistics: Sequence[Normalisation], constants: Sequence[str], grid: Grid
) -> Mirror | None:
    """Return the globe seen from the other pole; None where its rows do not lie alike from both.

    The equations of motion do not change when north and south change places and with them the
    sign of the northward wind, of the latitude (and so of the Coriolis force) and of the season,
    which no network here is told. The surface is turned along with the air. East and west may not
    change places: the Earth turns one way.
    """
    if not _is_symmetric(grid):
        return None
    turned = [name.endswith("v") and name[:-1] + "u" in names for name in names]
    residual = [[1.0, 0.0] for _ in names]
    condition = [[1.0, 0.0] for _ in names]
    for c, one in enumerate(statistics):
        if turned[c]:
            # Minus a value, normalised, is minus the normalised value but for the mean.
            fine, coarse = one.fine_mean / one.fine_std, one.coarse_mean / one.coarse_std
            condition[c] = [-1.0, -2.0 * coarse]
            residual[c] = [-1.0, 2.0 * (coarse - fine) / one.residual_std]
    signs = [[-1.0 if name in TURNED else 1.0, 0.0] for name in constants]
    return Mirror(*(np.array(values, np.float32) for values in (residual, condition, signs)))


def gather(archive: Archive, surface: Path, spacing: float, hold_back_days: int) -> Material:
    """Make everything from an archive; spacing: of the coarse grid, degrees.

    surface: NetCDF 3 with orography and land mask. A limited area is cut to the coarse points
    within it. Raises UsageError for what does not fit.
    """
    split = split_by_day(archive, hold_back_days)
    coarse = Coarse(coarse_grid(archive.grid, spacing), COARSE_OPERATOR)
    archive = cut(archive, _within(archive.grid, coarse.grid))
    interpolation = INTERPOLATION if is_global(archive.grid) else INTERPOLATION_WITHIN
    twin = training_set.interpolated_twin(archive.fine, archive.grid, coarse, interpolation)
    learn = list(split.learn)
    statistics = training_set.normalisation(archive.fine[learn], twin[learn], archive.grid)
    residual, condition = training_set.normalise(archive.fine, twin, statistics)
    constants = {
        **training_set.position(archive.grid),
        **training_set.surface(surface, archive.grid),
    }
    return Material(
        archive, split, coarse, interpolation, twin, statistics, constants, residual, condition
    )


def coarse_grid(fine: Grid, spacing: float) -> Grid:
    """Lay the coarse grid: round the globe, or the points that lie within a limited area.

    Raises UsageError for one that is not coarser or too wide, and for a band round the globe.
    """
    if not spacing > max(fine.spacing_lat, fine.spacing_lon):
        raise UsageError(
            f"--coarse is {spacing:g} degrees, wanted more than the archive's "
            f"{max(fine.spacing_lat, fine.spacing_lon):g}"
        )
    if is_global(fine):
        return lattice(spacing, spacing, None)
    if fine.is_periodic:
        raise UsageError(f"the archive is a band ({reach(fine)}), wanted the globe or a part of it")
    south, east = float(fine.latitudes[-1]), float(fine.longitudes[-1])
    found = lattice(spacing, spacing, (fine.north, fine.west, south, east))
    if min(found.shape) < 2:
        raise UsageError(
            f"the archive ({reach(fine)}) holds {found.rows} rows and {found.columns} columns "
            f"of points every {spacing:g} degrees, wanted at least 2 of each"
        )
    return found


def _within(fine: Grid, coarse: Grid) -> Grid:
    """Return the part of a limited fine grid that its outermost coarse points enclose."""
    if is_global(fine):
        return fine
    across = (coarse.columns - 1) * coarse.spacing_lon / fine.spacing_lon
    down = (coarse.rows - 1) * coarse.spacing_lat / fine.spacing_lat
    if not np.allclose((across, down), (round(across), round(down)), rtol=0, atol=1e-6):
        raise UsageError(
            f"points every {coarse.spacing_lon:g} degrees are no points of the archive's grid, "
            f"every {fine.spacing_lon:g}; wanted --coarse to be a multiple of it"
        )
    return replace(
        fine, north=coarse.north, west=coarse.west, rows=round(down) + 1, columns=round(across) + 1
    )


def _is_symmetric(grid: Grid) -> bool:
    """Whether a globe's rows lie the same from either pole."""
    return grid.is_periodic and bool(np.allclose(grid.latitudes, -grid.latitudes[::-1]))
