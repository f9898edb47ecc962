"""Scores a bundle on states that nothing was chosen by: `python -m tests.benchmarks.skill BUNDLE`.

Area weighted, whole globe, with intervals by day, spectra of single draws, the poles and the date
line apart, structure, and the ridge regression that learnt from the same states beside it. Several
ways of drawing are scored in one run with the same noise, and held against the last of them in
pairs. One JSON object goes to standard output.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from engines.bundle import Bundle
from streamer.archive import read_archive
from streamer.domain import Array
from streamer.skill import SkillScorer, StateMeasures, Trial, draw, measure_state, trial_of
from streamer.verify.measures import change, pooled
from streamer.verify.ridge import fit_ridge
from tests.benchmarks import honesty, rows
from tests.benchmarks.beside import Beside
from tests.benchmarks.storm import storm_of

#: Spectra of draws are promised up to this wavenumber.
PROMISED = 120


class Taker(Protocol):
    """Who is shown every state's draws."""

    def add(self, state: int, drawn: Array) -> None:
        """Look at the draws of a state, (D, C, H, W)."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """What a way of drawing told, as a whole and state by state."""

    told: dict[str, Any]
    states: tuple[StateMeasures, ...]


def scored(
    row: rows.Row, trial: Trial, chosen: argparse.Namespace, also: Sequence[Taker] = ()
) -> Scored:
    """Draw once; the scores, and whoever else is asked for honesty or pictures, share the draws."""
    scorer, states = SkillScorer(trial, row.bundle, chosen.draws), []
    began = time.monotonic()
    drawn = draw(row.bundle, rows.opened(row, chosen), row.sampler, trial, chosen.draws)
    for state, draws in enumerate(rows.told(drawn, trial, row)):
        scorer.add(state, draws)
        states.append(measure_state(row.bundle, trial, state, draws))
        for other in also:
            other.add(state, draws)
    found = scorer.skill()
    parameters = {
        name: one.plain() | _structure([state.parameters[name] for state in states])
        for name, one in found.items()
    }
    told = row.plain() | {
        "draws": chosen.draws,
        "seconds": round(time.monotonic() - began, 1),
        "patch_energy": float(np.mean([state.patch_energy for state in states])),
        "p99_9_speed_ratio": _speed_ratio(states),
        "parameters": parameters,
    }
    return Scored(told, tuple(states))


def against(these: Sequence[StateMeasures], those: Sequence[StateMeasures]) -> dict[str, Any]:
    """Hold draws of the same states and noise against each other: changes as fractions."""
    days = [state.day for state in these]
    joint = change([s.patch_energy for s in these], [s.patch_energy for s in those], days)
    found: dict[str, Any] = {"patch_energy": joint.plain()}
    for name in these[0].parameters:
        mine, other = ([s.parameters[name] for s in all_] for all_ in (these, those))
        pair = pooled(mine), pooled(other)
        lags = [one.lag_correlations[0] for one in pair]
        ratios = zip(pair[0].bands, pair[1].bands, strict=True)
        found[name] = {
            what: change([getattr(m, what) for m in mine], [getattr(o, what) for o in other], days)
            .plain()
            for what in ("crps", "gradient_crps", "patch_energy", "square")
        } | {
            "spread_skill_ratio": _spread_skill(pair[0]) / _spread_skill(pair[1]),
            "lag_2_difference": lags[0] - lags[1],
            "bands": [[a.lowest, a.highest, a.ratio / b.ratio] for a, b in ratios],
        }  # fmt: skip
    return found


def ridge_errors(bundle: Bundle, trial: Trial, learnt: Path) -> Mapping[str, float]:
    """Return the RMSE of the regression that learnt from the bundle's own states, by parameter."""
    known, held = read_archive(learnt), set(bundle.training["held_back_days"])
    is_held = np.array([str(key.valid_time.date()) in held for key in known.keys])
    other = trial_of(known, range(len(known.keys)), bundle)
    parts = [(other.truth[part], other.twin[part]) for part in (~is_held, is_held)]
    coarse = bundle.grib["coarse"]["grid"][0] / bundle.grib["grid"]["spacing_lon"]
    reach, periodic = max(1, round(coarse / 2)), trial.grid.is_periodic
    ridge = fit_ridge(parts[0], parts[1], reach, periodic=periodic)
    return dict(zip(bundle.channels, trial.errors(ridge.predict(trial.twin)), strict=True))


def _structure(states: Sequence[Any]) -> dict[str, Any]:
    whole = pooled(states)
    lag, true = whole.lag_correlations
    promised = [band for band in whole.bands if band.lowest <= PROMISED]
    worst = max(promised, key=lambda band: abs(band.ratio - 1.0), default=None)
    return {
        "patch_energy": whole.patch_energy,
        "gradient_crps": whole.gradient_crps,
        "lag_2_correlation": lag,
        "true_lag_2_correlation": true,
        "p99_9_anomaly_ratio": whole.upper_ratio,
        "worst_band": None if worst is None else [worst.lowest, worst.highest, worst.ratio],
    }


def _spread_skill(measures: Any) -> float:
    # The factor of D is the same on both sides of a ratio.
    return float((measures.variance / measures.square) ** 0.5)


def _speed_ratio(states: Sequence[StateMeasures]) -> float | None:
    speeds = [state.speed for state in states if state.speed is not None]
    return float(np.divide(*np.sum(speeds, axis=0))) if speeds else None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    rows.add_arguments(parser)
    parser.add_argument("--rows", nargs="+", default=["recommended"], help=rows.NAMES)
    parser.add_argument("--learnt", type=Path, default=rows.WINDS / "train", help="for the ridge")
    parser.add_argument("--no-ridge", action="store_true", help="leave the regression out")
    parser.add_argument("--honest", metavar="ROW", help="ask this row for honesty too")
    parser.add_argument("--beside", metavar="PNG", type=Path, help="draws side by side")
    parser.add_argument(
        "--window", nargs=4, type=float, default=(65.0, -75.0, 25.0, -15.0),
        metavar=("NORTH", "WEST", "SOUTH", "EAST"), help="of the draws side by side",
    )  # fmt: skip
    honesty.add_arguments(parser)
    return parser.parse_args()


def main() -> None:
    """Score, tell each state on standard error, print the result."""
    chosen = _arguments()
    bundle, trial = rows.read(chosen)
    ways = [rows.row_of(bundle, name) for name in chosen.rows]
    names = [way.name for way in ways]
    beside = Beside(trial, bundle, chosen.window) if chosen.beside else None
    limits, storm = chosen.limits, storm_of(chosen.storm)
    asked = honesty.Honesty(trial, bundle, chosen.draws, storm, limits) if chosen.honest else None
    found: dict[str, Scored] = {}
    for way in ways:
        also: list[Taker] = [beside.of(way)] if beside else []
        also += [asked] if asked and way.name == chosen.honest else []
        found[way.name] = scored(way, trial, chosen, also)
    last = found[names[-1]].states
    result: dict[str, Any] = {
        "bundle": bundle.name,
        "digest": bundle.digest,
        "states": len(trial.keys),
        "days": sorted({str(_day(state)) for state in last}),
        "ridge_rmse": None if chosen.no_ridge else ridge_errors(bundle, trial, chosen.learnt),
        "rows": {name: one.told for name, one in found.items()},
        f"against {names[-1]}": {name: against(found[name].states, last) for name in names[:-1]},
    }
    if asked:
        result["honesty"] = {"row": chosen.honest, **asked.plain()}
        if chosen.pictures:
            way = ways[names.index(chosen.honest)]
            asked.save(chosen.pictures, honesty.footer_of(way, trial, chosen.draws))
    if beside:
        beside.save(chosen.beside)
    print(json.dumps(result, indent=1))


def _day(state: StateMeasures) -> date:
    return state.day


if __name__ == "__main__":
    main()
