"""Asks whether an ensemble is honest: `python -m tests.benchmarks.honesty BUNDLE`.

Rank histograms, spread against error by latitude, by wind speed and by the spread itself, how
often a probability of storm comes true, and one storm looked at closely. Draws are made as the
daemon makes them. One JSON object goes to standard output, pictures to `--pictures`.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from engines.bundle import Bundle
from engines.errors import UsageError
from streamer.domain import Array
from streamer.skill import Trial, draw, speed, wind
from streamer.verify.charts import ClassPanel, save_classes, save_ranks, save_reliability
from streamer.verify.conditional import SpreadErrorScorer
from streamer.verify.ranks import RankCounter
from streamer.verify.reliability import ExceedanceScorer
from streamer.verify.scores import area_weights
from tests.benchmarks import rows
from tests.benchmarks.storm import Storm, StormCase, storm_of

#: Half of them sort and half are measured, and one draw alone has no spread.
FEWEST = 4
#: Gale force 8 begins here, in m/s.
GALE = 17.2
LATITUDES = tuple(range(-90, 91, 15))
SPEEDS = (0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.5, 15.0, 17.5, np.inf)
SPREADS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, np.inf)


class Honesty:
    """Adds up everything over one set of draws, state by state."""

    def __init__(
        self, trial: Trial, bundle: Bundle, draws: int, storm: Storm | None, limits: Sequence[float]
    ) -> None:
        if draws < FEWEST:
            raise UsageError(f"{draws} draws tell nothing of honesty, wanted at least {FEWEST}")
        weights = area_weights(trial.grid.latitudes)
        self._trial, self._bundle, self._pair = trial, bundle, wind(bundle)
        names = [*bundle.channels, *(["wind speed"] if self._pair else [])]
        self._ranks = {name: RankCounter(weights, draws) for name in names}
        edges: Mapping[str, Sequence[float]] = {
            "latitude": LATITUDES, "speed": SPEEDS if self._pair else (), "spread": SPREADS
        }  # fmt: skip
        self._half = draws // 2
        self._classes = {
            (what, name): SpreadErrorScorer(
                weights, draws - (self._half if what == "spread" else 0), found
            )
            for what, found in edges.items()
            for name in bundle.channels
            if found
        }
        limits = limits if self._pair else ()
        self._exceeding = [ExceedanceScorer(weights, draws, limit) for limit in limits]
        self.case = StormCase(storm, trial) if storm and self._pair else None

    def add(self, state: int, drawn: Array) -> None:
        """Add the draws of a state, (D, C, H, W)."""
        trial, day = self._trial, self._trial.keys[state].valid_time.date()
        truth, twin = trial.truth[state], trial.twin[state]
        latitude = np.broadcast_to(trial.grid.latitudes[:, None], trial.grid.shape)
        sorts = {"latitude": latitude}
        if self._pair:
            speeds = speed(drawn, self._pair), speed(truth, self._pair), speed(twin, self._pair)
            self._ranks["wind speed"].add(day, *speeds[:2])
            for one in self._exceeding:
                one.add(day, *speeds)
            if self.case:
                self.case.add(state, speeds)
            sorts["speed"] = speeds[2].astype(np.float64)
        for c, name in enumerate(self._bundle.channels):
            self._ranks[name].add(day, drawn[:, c], truth[c])
            for what, by in sorts.items():
                self._classes[what, name].add(day, by, drawn[:, c], truth[c])
            # Sorted by their own spread, draws that spread by chance would look too sure of
            # themselves in the low classes: half of them sort, the others are held to the truth.
            by = drawn[: self._half, c].std(axis=0, ddof=1).astype(np.float64)
            self._classes["spread", name].add(day, by, drawn[self._half :, c], truth[c])

    def plain(self) -> dict[str, object]:
        """Return what JSON holds."""
        classes: dict[str, dict[str, object]] = {}
        for (what, name), scorer in self._classes.items():
            classes.setdefault(what, {})[name] = [one.plain() for one in scorer.classes()]
        is_seen = self.case is not None and self.case.times
        return {
            "ranks": {name: one.histogram().plain() for name, one in self._ranks.items()},
            "spread_and_error": classes,
            "exceedance": [one.reliability().plain() for one in self._exceeding],
            "storm": self.case.plain() if self.case and is_seen else None,
        }

    def save(self, folder: Path, footer: str) -> list[Path]:
        """Draw everything into a folder; returns the files."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / name for name in ("ranks.png", "spread.png", "reliability.png")]
        save_ranks({name: one.histogram() for name, one in self._ranks.items()}, footer, paths[0])
        axes = {
            "latitude": "latitude, degrees north",
            "speed": "wind speed of the interpolated coarse field, m/s",
            "spread": "spread of the other half of the draws, m/s",
        }
        panels = [
            ClassPanel(
                words,
                {name: one.classes() for (key, name), one in self._classes.items() if key == what},
            )
            for what, words in axes.items()
            if any(key == what for key, _ in self._classes)
        ]
        save_classes(panels, "m/s", footer, paths[1])
        if self._exceeding:
            found = [one.reliability() for one in self._exceeding]
            save_reliability(found, "m/s", footer, paths[2])
        if self.case and self.case.times:
            paths += self.case.save(self._bundle, folder, footer)
        return [path for path in paths if path.exists()]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what both commands take that ask for honesty."""
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="where pictures go")
    parser.add_argument("--limits", type=float, nargs="+", default=[GALE], help="speeds, m/s")
    parser.add_argument(
        "--storm", nargs=7, metavar=("NAME", "FIRST", "LAST", "NORTH", "WEST", "SOUTH", "EAST"),
        help="a case: its days, YYYY-MM-DD, and its window in degrees, west below 0",
    )  # fmt: skip


def footer_of(row: rows.Row, trial: Trial, draws: int) -> str:
    """Say below a picture what it was made from."""
    days = sorted({key.valid_time.date() for key in trial.keys})
    return (
        f"{row.bundle.name}, {row.words}, {draws} draws of {len(trial.keys)} states, "
        f"{days[0]} to {days[-1]}"
    )


def main() -> None:
    """Draw, tell each state on standard error, print the figures, save the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    rows.add_arguments(parser)
    parser.add_argument("--row", default="recommended", help=rows.NAMES)
    add_arguments(parser)
    chosen = parser.parse_args()
    bundle, trial = rows.read(chosen)
    row = rows.row_of(bundle, chosen.row)
    honesty = Honesty(trial, row.bundle, chosen.draws, storm_of(chosen.storm), chosen.limits)
    drawn = draw(row.bundle, rows.opened(row, chosen), row.sampler, trial, chosen.draws)
    for state, draws in enumerate(rows.told(drawn, trial, row)):
        honesty.add(state, draws)
    told = {"bundle": bundle.name, "digest": bundle.digest, "row": row.plain(), **honesty.plain()}
    if chosen.pictures:
        paths = honesty.save(chosen.pictures, footer_of(row, trial, chosen.draws))
        told["pictures"] = [path.name for path in paths]
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
