"""One storm looked at closely: what draws add around it, and what they cannot know."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

import numpy as np

from engines.bundle import Bundle
from streamer.domain import Array
from streamer.grib.manifest import read_manifest
from streamer.grib.regrid import to_coarse
from streamer.skill import Trial, speed, wind
from streamer.verify.cases import Map, Page, Strongest, save_maps, save_strongest
from streamer.verify.maps import Box
from streamer.verify.scores import area_weights, fair_crps

#: Draws that are shown as maps.
SHOWN = 4


@dataclass(frozen=True, slots=True)
class Storm:
    """A case: its name, its days, both included, and the window it is looked at in."""

    name: str
    first: date
    last: date
    box: Box


@dataclass(slots=True)
class StormCase:
    """What is kept of a storm: all draws of speed in its window, state by state."""

    storm: Storm
    trial: Trial
    times: list[datetime] = field(default_factory=list)
    truth: list[Array] = field(default_factory=list)
    twin: list[Array] = field(default_factory=list)
    draws: list[Array] = field(default_factory=list)
    states: list[int] = field(default_factory=list)

    def add(self, state: int, speeds: tuple[Array, Array, Array]) -> None:
        """Keep a state of the storm's days: speed of draws (D, H, W), truth and twin (H, W)."""
        time = self.trial.keys[state].valid_time
        if self.storm.first <= time.date() <= self.storm.last:
            for kept, one in zip((self.draws, self.truth, self.twin), speeds, strict=True):
                kept.append(self.storm.box.cut(one, self.trial.grid))
            self.times.append(time)
            self.states.append(state)

    @property
    def peak(self) -> int:
        """Which of the kept states has the strongest wind."""
        return int(np.argmax([one.max() for one in self.truth]))

    def strongest(self) -> tuple[Array, Array, Array, Array]:
        """Return the strongest wind by time: (T,) truth, coarse, mean of draws; (T, D) draws."""
        mean = [one.mean(axis=0) for one in self.draws]
        found = [np.array([one.max() for one in each]) for each in (self.truth, self.twin, mean)]
        return found[0], found[1], found[2], np.array([d.max(axis=(1, 2)) for d in self.draws])

    def plain(self) -> dict[str, object]:
        """Return what JSON holds."""
        truth, coarse, mean, draws = self.strongest()
        rows_ = area_weights(self.storm.box.grid(self.trial.grid).latitudes)
        pairs = zip(self.draws, self.truth, strict=True)
        crps = np.mean([rows_ @ fair_crps(d.astype(float), t).mean(axis=-1) for d, t in pairs])
        both = zip(self.twin, self.truth, strict=True)
        missed = np.mean([rows_ @ np.abs(twin - t).mean(axis=-1) for twin, t in both])
        inside = (draws.min(axis=1) <= truth) & (truth <= draws.max(axis=1))
        return {
            "states": len(self.times),
            "gain_of_speed": float(crps / missed),
            "strongest": {
                "truth": float(truth.mean()),
                "coarse": float(coarse.mean()),
                "mean_of_draws": float(mean.mean()),
                "draws": float(draws.mean()),
                "coarse_error": float(np.abs(coarse - truth).mean()),
                "draws_error": float(np.abs(draws.mean(axis=1) - truth).mean()),
                "spread": float(draws.std(axis=1, ddof=1).mean()),
                "truth_within_draws": int(inside.sum()),
            },
            "by_time": [
                [f"{time:%Y-%m-%dT%H:%M}", *(round(float(x), 2) for x in (t, c, d.min(), d.max()))]
                for time, t, c, d in zip(self.times, truth, coarse, draws, strict=True)
            ],
        }

    def save(self, bundle: Bundle, folder: Path, footer: str) -> list[Path]:
        """Draw the maps of the peak, and the strongest wind by time."""
        paths = [folder / f"{self.storm.name.lower()}-{what}.png" for what in ("maps", "strongest")]
        peak = self.peak
        time = f"{self.times[peak]:%Y-%m-%d %H:%M} UTC"
        grid = self.storm.box.grid(self.trial.grid)
        title = f"{self.storm.name}, {time}: wind speed at 10 m"
        land = _land(bundle, self.storm.box, self.trial)
        save_maps(Page(title, self._maps(bundle, peak), 3, land, grid, footer), paths[0])
        truth, coarse, mean, draws = self.strongest()
        title = f"{self.storm.name}: strongest wind in the window"
        save_strongest(
            Strongest(title, "m/s", self.times, truth, coarse, mean, draws, footer), paths[1]
        )
        return paths

    def _maps(self, bundle: Bundle, peak: int) -> list[Map]:
        box, grid = self.storm.box, self.storm.box.grid(self.trial.grid)
        coarse, pair = read_manifest(bundle.grib).coarse, wind(bundle)
        assert pair is not None, "only a bundle of winds has a storm"
        truth = self.trial.truth[self.states[peak]]
        small = np.stack([to_coarse(one, self.trial.grid, coarse) for one in truth])
        # Boxes whose centres lie outside reach into the window too.
        reach = coarse.grid.spacing_lat / 2
        wide = Box(box.north + reach, box.west - reach, box.south - reach, box.east + reach)
        boxes = wide.cut(speed(small, pair), coarse.grid)
        draws = self.draws[peak]
        spacing = f"{coarse.grid.spacing_lat:g}°"
        return [
            Map("Truth", self.truth[peak], grid),
            Map(f"Coarse input, {spacing}", boxes, wide.grid(coarse.grid)),
            Map("Interpolated, without the model", self.twin[peak], grid),
            Map(f"Mean of {len(draws)} draws", draws.mean(axis=0), grid),
            Map("Spread of the draws", draws.std(axis=0, ddof=1), grid, "spread"),
            *(Map(f"Draw {i + 1}", draws[i], grid) for i in range(min(SHOWN, len(draws)))),
        ]


def storm_of(words: Sequence[str] | None) -> Storm | None:
    """Return the storm that `--storm` names."""
    if words is None:
        return None
    name, first, last, *edges = words
    box = Box(*(float(edge) for edge in edges))
    return Storm(name, date.fromisoformat(first), date.fromisoformat(last), box)


def _land(bundle: Bundle, box: Box, trial: Trial) -> Array | None:
    names = bundle.constant_names
    if "lsm" not in names:
        return None
    return box.cut(bundle.constants[names.index("lsm")], trial.grid).astype(np.float32)
