"""Holds what a replay published to the truth, and the interpolated input beside it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from engines.bundle import Bundle
from engines.errors import UsageError
from streamer.domain import Array, Field, Grid, Step, StepKey
from streamer.downscale.condition import interpolated
from streamer.grib.decode import decode
from streamer.grib.manifest import GribManifest
from streamer.grib.wants import Wants
from streamer.verify.scores import Score, Scorer, area_weights
from streamer.verify.truth import Array64, Choice, Truth, find, read_truth

#: Nobody waits for a step that is read from files, so its times mean nothing.
_NO_TIME = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Results:
    """A folder of fine GRIB, one file a step, and the input that it was made from."""

    fine: Path
    inputs: tuple[Path, ...]

    def path(self, key: StepKey) -> Path:
        """Return where a step's fine fields lie."""
        return self.fine / file_name(key.text)


def file_name(key: str) -> str:
    """Name the file of a step's fine fields after its key."""
    return f"{key.replace('/', '_')}.grib2"


def score_results(
    results: Results, known: Truth, bundle: Bundle, wants: Wants
) -> Mapping[str, Score]:
    """Return the scores by parameter, over all steps whose truth is known.

    The baseline is the input interpolated as the bundle does it. known: the truth, matched by
    parameter and valid time. Accumulations get no score: their valid time does not say since
    when they gather. Raises UsageError for truth on another grid, and where no step has a truth.
    """
    gathered = {one.name for one in wants.manifest.parameters if one.accumulated}
    choices = tuple(c for c in choices_of(wants.manifest) if c.parameter not in gathered)
    scorers: dict[str, Scorer] = {}
    unknown = []
    for step in complete_steps(results.inputs, wants):
        path = results.path(step.key)
        if not path.exists():
            continue
        if not _add_step(path, step, bundle, wants.manifest.grid, (known, choices), scorers):
            unknown.append(step.key)
    if not scorers:
        times = sorted(key.valid_time for key in unknown)
        found = f", valid {times[0]:%Y-%m-%d %H:%M} to {times[-1]:%Y-%m-%d %H:%M}" if times else ""
        raise UsageError(
            f"{results.fine}: none of its {len(unknown)} steps{found}, has a truth; "
            f"that is known for {known.span}"
        )
    return {name: scorers[name].score() for name in bundle.channels if name in scorers}


def read_known(truth: Iterable[Path], manifest: GribManifest) -> Truth:
    """Look through files of truth; UsageError if they hold nothing, or begin on another grid."""
    known = read_truth(truth, choices_of(manifest))
    next(iter(known.found.values())).values(manifest.grid)
    return known


def complete_steps(inputs: Iterable[Path], wants: Wants) -> Iterator[Step]:
    """Yield the steps that files hold whole, each once; what the daemon refuses is passed by."""
    names = {parameter.name for parameter in wants.manifest.parameters}
    open_steps: dict[StepKey, dict[str, Field]] = {}
    done: set[StepKey] = set()
    for path in inputs:
        for field in decode(path.read_bytes(), wants, ""):
            if not isinstance(field, Field) or field.key in done:
                continue
            fields = open_steps.setdefault(field.key, {})
            fields.setdefault(field.parameter, field)
            if fields.keys() == names:
                done.add(field.key)
                del open_steps[field.key]
                yield Step(field.key, tuple(fields.values()), (), _NO_TIME, _NO_TIME)


def read_draws(path: Path, manifest: GribManifest) -> Mapping[str, Array64]:
    """Read a step's fine fields: by parameter, (D, H, W) in the bundle's units."""
    return {one.parameter: one.values(manifest.grid) for one in find(path, choices_of(manifest))}


def choices_of(manifest: GribManifest) -> tuple[Choice, ...]:
    """Return every way in which the bundle's parameters may be named in GRIB."""
    return tuple(
        Choice(parameter.name, {"paramId": identity.param_id, **dict(identity.keys)},
               identity.factor)
        for parameter in manifest.parameters
        for identity in parameter.identities
    )  # fmt: skip


def _add_step(
    path: Path,
    step: Step,
    bundle: Bundle,
    grid: Grid,
    against: tuple[Truth, tuple[Choice, ...]],
    scorers: dict[str, Scorer],
) -> bool:
    """Add one step to the scorers, made as needed; False if nothing of it has a truth."""
    known, choices = against
    baseline: Array = interpolated(step, bundle)
    is_known = False
    for result in find(path, choices):
        truth = known.at(result.parameter, step.key.valid_time)
        if truth is None:
            continue
        draws, (true,) = result.values(grid), truth.values(grid)
        if result.parameter not in scorers:
            scorers[result.parameter] = Scorer(area_weights(grid.latitudes), len(draws))
        twin = baseline[bundle.channels.index(result.parameter)]
        scorers[result.parameter].add(draws, true, twin)
        is_known = True
    return is_known
