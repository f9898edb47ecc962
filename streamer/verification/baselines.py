"""The interpolated coarse field, which every score stands beside: from coarse files, or the truth.

A bundle makes it as the daemon does; without one MIR interpolates what the files hold.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engines.errors import UsageError
from streamer.domain import Field, Grid
from streamer.grib import regrid
from streamer.grib.decode import decode
from streamer.grib.grids import reach
from streamer.grib.manifest import Coarse, GribManifest
from streamer.grib.wants import Wants
from streamer.verification.analyses import Truth
from streamer.verification.catalogue import Entry, Moment
from streamer.verification.shelf import Shelf
from streamer.verify.matching import window

Array64 = NDArray[np.float64]


class Baseline(Protocol):
    """Where interpolated coarse fields come from."""

    def values(self, name: str, moment: Moment, grid: Grid) -> Array64 | None:
        """Return (H, W) on a grid, in the forecast's units; None where there is none."""
        ...


class CoarseFiles:
    """Coarse fields of the same run and step, interpolated; the mean of their members.

    Bicubic from regular grids, since a weaker baseline would flatter; linear from others, and for
    what gathers, which must not become negative.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._shelf = Shelf(entries)

    def values(self, name: str, moment: Moment, grid: Grid) -> Array64 | None:
        """Return (H, W); UsageError for a field that cannot be taken to the grid."""
        fields = [
            span.values(lambda entry: _interpolated(entry, grid))
            for span in self._shelf.spans(name, moment)
            if span.entry.moment.reference_time == moment.reference_time
        ]
        return np.mean(fields, axis=0) if fields else None


class BundleFiles:
    """Coarse fields as the daemon takes them to a bundle's fine grid, cut out of it."""

    def __init__(self, entries: Sequence[Entry], manifest: GribManifest) -> None:
        self._manifest = manifest
        self._partners = {
            one.name: one.vector.partner for one in manifest.parameters if one.vector is not None
        }
        self._steps: dict[tuple[datetime, int], list[Entry]] = defaultdict(list)
        for entry in entries:
            if entry.statistic is None:
                moment = entry.moment
                self._steps[moment.reference_time, moment.minutes].append(entry)

    def values(self, name: str, moment: Moment, grid: Grid) -> Array64 | None:
        """Return (H, W), amounts an hour of what gathers; UsageError off the bundle's grid."""
        whole = self._interpolated(name, moment)
        if whole is None:
            return None
        return _cut(whole, self._manifest.grid, grid)

    def _interpolated(self, name: str, moment: Moment) -> Array64 | None:
        if not moment.duration:
            return self._mean(name, moment.reference_time, moment.minutes, moment.begins)
        amount = self._mean(name, moment.reference_time, moment.minutes, moment.begins)
        if amount is None:
            # What gathers since the run's start: its difference over the forecast's interval.
            until, before = (
                self._mean(name, moment.reference_time, minutes, 0)
                for minutes in (moment.minutes, moment.begins)
            )
            if until is None or before is None:
                return None
            amount = until - before
        return amount / (moment.duration / 60)

    def _mean(self, name: str, reference: datetime, minutes: int, begins: int) -> Array64 | None:
        """Return the mean of the members, (H, W) on the bundle's grid; amounts of what gathers."""
        wanted = (name, self._partners.get(name))
        sums: Array64 | None = None
        members = set()
        for entry in self._steps.get((reference, minutes), ()):
            is_own = entry.name == name and entry.moment.begins == begins
            if not is_own and entry.name != wanted[1]:
                continue
            for found in decode(entry.message, Wants(self._manifest), ""):
                if not isinstance(found, Field):
                    raise UsageError(f"{entry.path}: {entry.name} cannot be used: {found}")
                part = found.interpolated if is_own else found.crossed
                if part is not None:
                    sums = part.astype(np.float64) if sums is None else sums + part
            if is_own:
                members.add(entry.member)
        return None if sums is None or not members else sums / len(members)


class CoarsenedTruth:
    """What a bundle's coarse grid leaves of the truth: a perfect coarse forecast."""

    def __init__(self, truth: Truth, manifest: GribManifest) -> None:
        self._truth, self._manifest = truth, manifest

    def values(self, name: str, moment: Moment, grid: Grid) -> Array64 | None:
        """Return (H, W); UsageError where the truth does not reach over the bundle's grid."""
        manifest = self._manifest
        # What is derived comes from coarse components, as it would at work: a box's mean speed is
        # more than the speed of its mean wind.
        is_own = any(one.name == name for one in manifest.parameters)
        fine = self._truth.values(name, moment, manifest.grid) if is_own else None
        if fine is None:
            return None
        small = regrid.to_coarse(fine, manifest.grid, manifest.coarse)
        whole = regrid.to_fine(small, manifest.coarse, manifest.grid, manifest.interpolation)
        return _cut(whole.astype(np.float64), manifest.grid, grid)


def _interpolated(entry: Entry, grid: Grid) -> Array64:
    is_cubic = entry.grid is not None and not entry.moment.duration
    onto = Coarse(grid=grid, interpolation="structured-bicubic" if is_cubic else "linear")
    try:
        if entry.grid is not None:
            found = regrid.to_coarse(entry.values(), entry.grid, onto)
            return found.astype(np.float64)
        return regrid.message_to_coarse(entry.message, onto).astype(np.float64) * entry.factor
    except regrid.RegridError as error:
        raise UsageError(f"{entry.path}: {entry.name} on {entry.where}: {error}") from error


def _cut(values: Array64, found: Grid, wanted: Grid) -> Array64:
    taken = window(found, wanted)
    if taken is None:
        raise UsageError(
            f"the bundle's grid is {found.rows}x{found.columns}, {reach(found)}, and lacks points "
            f"of the forecasts' {wanted.rows}x{wanted.columns}, {reach(wanted)}"
        )
    return values[np.ix_(*taken)]
