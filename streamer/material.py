"""All that a fit, its bundle and its scores are made from: an archive, split, with its twins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engines.manifest import Normalisation
from engines.training.pairs_file import Lesson, material_of
from engines.training.settings import Mirror, Pairs
from streamer import training_set
from streamer.archive import Archive, Split, split_by_day
from streamer.domain import Array, Grid
from streamer.grib.manifest import Coarse, lattice
from streamer.skill import Trial
from streamer.verify.ridge import Ridge, fit_ridge

COARSE_OPERATOR = "grid-box-average"
INTERPOLATION = "structured-bicubic"
#: Rows near the poles count little in the scores, but not nothing in the loss.
POLAR_FLOOR = 0.15
#: Constants that change their sign where north and south change places.
TURNED = ("sin_latitude",)


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """An archive's states beside their coarse twins, normalised, and what never changes.

    twin: (N, C, H, W) in the parameters' units; residual, condition: the same shape, normalised.
    """

    archive: Archive
    split: Split
    coarse: Coarse
    twin: Array
    statistics: tuple[Normalisation, ...]
    constants: Mapping[str, Array]
    residual: Array
    condition: Array

    def lesson(self) -> Lesson:
        """Return what a network may see."""
        learn, held_back = self._pairs(self.split.learn), self._pairs(self.split.held_back)
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
        return fit_ridge(learn, held_back, reach=max(1, round(spacing / 2)))

    def _pairs(self, states: Sequence[int]) -> Pairs:
        grid = self.archive.grid
        cosine = np.cos(np.deg2rad(grid.latitudes))
        return Pairs(
            residual=self.residual[list(states)],
            condition=self.condition[list(states)],
            constants=np.stack(list(self.constants.values())),
            row_weights=(POLAR_FLOOR + (1 - POLAR_FLOOR) * cosine).astype(np.float32),
            periodic=grid.is_periodic,
            mirror=self._mirror() if _is_symmetric(grid) else None,
        )

    def _mirror(self) -> Mirror:
        """Return the globe seen from the other pole.

        The equations of motion do not change when north and south change places and with them
        the sign of the northward wind, of the latitude (and so of the Coriolis force) and of the
        season, which no network here is told. The surface is turned along with the air. East and
        west may not change places: the Earth turns one way.
        """
        names = [found.name for found in self.archive.parameters]
        turned = [name.endswith("v") and name[:-1] + "u" in names for name in names]
        residual = [[1.0, 0.0] for _ in names]
        condition = [[1.0, 0.0] for _ in names]
        for c, one in enumerate(self.statistics):
            if turned[c]:
                # Minus a value, normalised, is minus the normalised value but for the mean.
                fine, coarse = one.fine_mean / one.fine_std, one.coarse_mean / one.coarse_std
                condition[c] = [-1.0, -2.0 * coarse]
                residual[c] = [-1.0, 2.0 * (coarse - fine) / one.residual_std]
        return Mirror(
            residual=np.array(residual, np.float32),
            condition=np.array(condition, np.float32),
            constants=np.array(
                [[-1.0 if name in TURNED else 1.0, 0.0] for name in self.constants], np.float32
            ),
        )


def gather(archive: Archive, surface: Path, spacing: float, hold_back_days: int) -> Material:
    """Make everything from an archive; spacing: of the coarse grid, degrees.

    surface: NetCDF 3 with orography and land mask. Raises UsageError for what does not fit.
    """
    split = split_by_day(archive, hold_back_days)
    coarse = Coarse(lattice(spacing, spacing, None), COARSE_OPERATOR)
    twin = training_set.interpolated_twin(archive.fine, archive.grid, coarse, INTERPOLATION)
    learn = list(split.learn)
    statistics = training_set.normalisation(archive.fine[learn], twin[learn], archive.grid)
    residual, condition = training_set.normalise(archive.fine, twin, statistics)
    constants = {
        **training_set.position(archive.grid),
        **training_set.surface(surface, archive.grid),
    }
    return Material(archive, split, coarse, twin, statistics, constants, residual, condition)


def _is_symmetric(grid: Grid) -> bool:
    """Whether a globe's rows lie the same from either pole."""
    return grid.is_periodic and bool(np.allclose(grid.latitudes, -grid.latitudes[::-1]))
