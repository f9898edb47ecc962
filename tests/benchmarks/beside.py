"""Single draws of several ways of drawing beside the truth, all from the same noise."""

from dataclasses import dataclass, field
from pathlib import Path

from engines.bundle import Bundle
from streamer.domain import Array
from streamer.skill import Trial, speed, wind
from streamer.verify.cases import Map, Page, save_maps
from streamer.verify.maps import Box
from tests.benchmarks.rows import Row


@dataclass(slots=True)
class _Kept:
    """Takes note of one way's first draw of one state."""

    beside: "Beside"
    row: Row

    def add(self, state: int, drawn: Array) -> None:
        if state == self.beside.state:
            self.beside.draws.append((self.row, drawn[0]))


@dataclass(slots=True)
class Beside:
    """The first draw of the middle state by each way of drawing, in a window of the Earth."""

    trial: Trial
    bundle: Bundle
    window: tuple[float, float, float, float]
    draws: list[tuple[Row, Array]] = field(default_factory=list)

    @property
    def state(self) -> int:
        """Which of the trial's states is shown."""
        return len(self.trial.keys) // 2

    def of(self, row: Row) -> _Kept:
        """Return what takes note of a way's draws."""
        return _Kept(self, row)

    def save(self, path: Path) -> None:
        """Draw wind speed above, where there is a wind, and below what each adds to a component.

        That is the first parameter less the interpolated field: grain shows there first.
        """
        box, trial, pair = Box(*self.window), self.trial, wind(self.bundle)
        grid, name = box.grid(trial.grid), self.bundle.channels[0]
        units = str(self.bundle.grib["parameters"][name]["units"])
        fields = [("Truth", trial.truth[self.state])]
        fields += [(f"{row.words}, one draw", draw) for row, draw in self.draws]
        twin = trial.twin[self.state, 0]
        maps = [
            Map(words, box.cut(speed(one, pair), trial.grid), grid)
            for words, one in fields
            if pair is not None
        ]
        maps += [
            Map(words, box.cut(one[0] - twin, trial.grid), grid, "difference", units)
            for words, one in fields
        ]
        time = f"{trial.keys[self.state].valid_time:%Y-%m-%d %H:%M} UTC"
        title = f"{time}: wind speed above, " if pair else f"{time}: "
        title += f"{name} less the interpolated field{' below' if pair else ''}; the same noise"
        footer = f"{self.bundle.name} {self.bundle.digest[:12]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_maps(Page(title, maps, len(fields), footer=footer), path)
