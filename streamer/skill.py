"""Score a bundle on states whose truth is known: the same tiles, sampler and noise as at work."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from engines.batches import batching
from engines.bundle import Bundle
from engines.denoiser import Denoiser
from engines.errors import UsageError
from engines.sampler import Sampler
from streamer.archive import Archive, StateKey
from streamer.domain import Array, Grid
from streamer.downscale.labels import labels
from streamer.downscale.products import physical
from streamer.downscale.tiles import Layout
from streamer.downscale.work import Recipe, Work
from streamer.downscale.workload import Workload
from streamer.grib.manifest import GribManifest, read_manifest
from streamer.training_set import interpolated_twin, normalised_twin
from streamer.verify.details import Details, DetailScorer
from streamer.verify.measures import Measures, measure
from streamer.verify.scores import Score, Scorer, area_weights
from streamer.verify.structure import patch_energy, upper

#: Told after every state: how many of how many are done.
Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """States to be scored.

    truth, twin: (N, C, H, W) in the parameters' units. condition: (N, C, H, W), normalised.
    grid: the fine grid. keys: whose noise each state gets, and which day's it is.
    """

    keys: tuple[StateKey, ...]
    truth: Array
    twin: Array
    condition: Array
    grid: Grid

    def errors(self, guess: Array) -> tuple[float, ...]:
        """Return the RMSE of one guess a state, (N, C, H, W), over the area, by channel."""
        rows = area_weights(self.grid.latitudes)
        missed = (guess.astype(np.float64) - self.truth) ** 2
        return tuple(float(x) for x in np.sqrt((missed.mean(axis=-1) @ rows).mean(axis=0)))


@dataclass(frozen=True, slots=True)
class Skill:
    """One parameter's skill as a whole, and where and when it holds (None of a single draw)."""

    score: Score
    details: Details | None

    def plain(self) -> dict[str, object]:
        """Return what a manifest holds."""
        details = {} if self.details is None else self.details.plain()
        return {**self.score.plain(), "gain": self.score.gain, **details}


@dataclass(frozen=True, slots=True, eq=False)
class StateMeasures:
    """What draws of one state tell, to be held against other draws of the same state.

    parameters: by name. patch_energy: of all parameters together, each in units of its residual's
    deviation. speed: 99.9th percentile of the wind speed of draws, and of the truth; None where
    no two parameters are the components of a wind.
    """

    key: StateKey
    parameters: Mapping[str, Measures]
    patch_energy: float
    speed: tuple[float, float] | None

    @property
    def day(self) -> date:
        """The calendar day it is valid on."""
        return self.key.valid_time.date()


class SkillScorer:
    """Scores draws state by state, so that several scorers can share one set of draws."""

    def __init__(self, trial: Trial, bundle: Bundle, draws: int) -> None:
        self._trial, self._bundle, self._draws = trial, bundle, draws
        rows = area_weights(trial.grid.latitudes)
        self._scorers = {name: Scorer(rows, draws) for name in bundle.channels}
        self._details = {name: DetailScorer(trial.grid) for name in bundle.channels}

    def add(self, state: int, drawn: Array) -> None:
        """Add the draws of one of the trial's states, (D, C, H, W) in physical units."""
        day = self._trial.keys[state].valid_time.date()
        for channel, name in enumerate(self._bundle.channels):
            truth, twin = self._trial.truth[state, channel], self._trial.twin[state, channel]
            self._scorers[name].add(drawn[:, channel], truth, twin)
            if self._draws > 1:
                self._details[name].add(day, drawn[:, channel], truth, twin)

    def skill(self) -> dict[str, Skill]:
        """Return the skill by parameter over all states so far; ValueError before the first."""
        is_ensemble = self._draws > 1
        return {
            name: Skill(scorer.score(), self._details[name].details() if is_ensemble else None)
            for name, scorer in self._scorers.items()
        }


def trial_of(archive: Archive, states: Sequence[int], bundle: Bundle) -> Trial:
    """Return states of an archive as a bundle would meet their coarse twins.

    Raises UsageError if the archive has another grid or lacks a parameter, and for a bundle of
    accumulations, since single states do not tell what fell since when.
    """
    manifest = read_manifest(bundle.grib)
    if archive.grid != manifest.grid:
        raise UsageError(f"the archive is on {archive.grid}, {bundle.name} is for {manifest.grid}")
    found = _channels(archive, manifest, bundle)
    truth = archive.fine[np.ix_(states, [index for index, _ in found])]
    truth *= np.array([factor for _, factor in found], dtype=np.float32)[:, None, None]
    return trial_from(tuple(archive.keys[i] for i in states), truth, bundle)


def trial_from(keys: tuple[StateKey, ...], truth: Array, bundle: Bundle) -> Trial:
    """Return states on a bundle's fine grid, (N, C, H, W) in its units and order, to be scored.

    Their coarse twins are made by the bundle's own operators, whatever these are.
    """
    manifest = read_manifest(bundle.grib)
    twin = interpolated_twin(truth, manifest.grid, manifest.coarse, manifest.interpolation)
    return Trial(keys, truth, twin, normalised_twin(twin, bundle.normalisation), manifest.grid)


def score(
    bundle: Bundle,
    denoiser: Denoiser,
    sampler: Sampler,
    trial: Trial,
    draws: int,
    report: Report | None = None,
) -> dict[str, Skill]:
    """Return the skill of `draws` draws a state, by parameter."""
    scorer = SkillScorer(trial, bundle, draws)
    for state, drawn in enumerate(draw(bundle, denoiser, sampler, trial, draws, report)):
        scorer.add(state, drawn)
    return scorer.skill()


def measured(
    bundle: Bundle,
    denoiser: Denoiser,
    sampler: Sampler,
    trial: Trial,
    draws: int,
    report: Report | None = None,
) -> tuple[StateMeasures, ...]:
    """Return what `draws` draws of each state tell, at least 2, state by state.

    Noise belongs to state and draw alone: calls with other samplers or networks are pairs.
    """
    drawn = enumerate(draw(bundle, denoiser, sampler, trial, draws, report))
    return tuple(measure_state(bundle, trial, state, one) for state, one in drawn)


def measure_state(bundle: Bundle, trial: Trial, state: int, drawn: Array) -> StateMeasures:
    """Measure the draws of one of a trial's states, (D, C, H, W) in physical units."""
    truth, twin = trial.truth[state], trial.twin[state]
    rows = area_weights(trial.grid.latitudes)
    scale = np.array([n.residual_std * n.fine_std for n in bundle.normalisation])[:, None, None]
    pair = wind(bundle)
    parameters = {
        name: measure(drawn[:, c], truth[c], twin[c], trial.grid)
        for c, name in enumerate(bundle.channels)
    }
    return StateMeasures(
        key=trial.keys[state],
        parameters=parameters,
        patch_energy=patch_energy((drawn - twin) / scale, (truth - twin) / scale, rows),
        speed=pair and (upper(speed(drawn, pair), rows), upper(speed(truth, pair), rows)),
    )


def wind(bundle: Bundle) -> tuple[int, int] | None:
    """Return the channels of the first two parameters that are a wind's components, u and v."""
    for one in read_manifest(bundle.grib).parameters:
        if one.vector is not None and one.vector.component == "u":
            return bundle.channels.index(one.name), bundle.channels.index(one.vector.partner)
    return None


def speed(fields: Array, pair: tuple[int, int]) -> Array:
    """Return (..., H, W), the speed of a wind in (..., C, H, W), its components by channel."""
    u, v = pair
    return np.asarray(np.hypot(fields[..., u, :, :], fields[..., v, :, :]), dtype=np.float32)


def draw(
    bundle: Bundle,
    denoiser: Denoiser,
    sampler: Sampler,
    trial: Trial,
    draws: int,
    report: Report | None = None,
) -> Iterator[Array]:
    """Yield each state's draws in physical units, (D, C, H, W), made as the daemon makes them.

    report: told of a state when the next one is asked for.
    """
    layout = Layout.cover(bundle.shape, bundle.tile, bundle.overlap, periodic=bundle.periodic)
    recipe, sizes = Recipe(bundle, layout, sampler), batching(denoiser.spec, reproducible=True)
    for state, key in enumerate(trial.keys):
        condition = np.concatenate([trial.condition[state], bundle.constants])
        noise = tuple(f"{key} draw {number}".encode() for number in range(draws))
        workload = Workload()
        told = labels(bundle.labels, key.valid_time) if bundle.labels else None
        workload.add(Work(key, recipe, condition, noise, labels=told))
        while (batch := workload.next_batch(sizes.limit)) is not None:
            workload.store(batch, denoiser.denoise(*batch.inputs(sizes.limit)))
        (finished,) = workload.finished()
        assert finished.residual is not None, finished.fault
        yield physical(finished.residual, condition, bundle)
        if report is not None:
            report(state + 1, len(trial.keys))


def _channels(
    archive: Archive, manifest: GribManifest, bundle: Bundle
) -> tuple[tuple[int, float], ...]:
    """Return where in the archive each channel is, and what takes it to the bundle's units."""
    where = {found.param_id: index for index, found in enumerate(archive.parameters)}
    found, lacking = [], []
    for name in bundle.channels:
        parameter = manifest.parameter(name)
        if parameter.accumulated:
            raise UsageError(
                f"{name} of {bundle.name} gathers over time, and single states do not tell since "
                "when; wanted a bundle of parameters that are true at one time"
            )
        known = [(where[i.param_id], i.factor) for i in parameter.identities if i.param_id in where]
        found += known[:1]
        lacking += [] if known else [name]
    if lacking:
        raise UsageError(f"the archive lacks {', '.join(lacking)}, which {bundle.name} downscales")
    return tuple(found)
