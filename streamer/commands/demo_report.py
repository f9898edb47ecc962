"""What the demo tells in the end: a table, one JSON object, and a picture of every step."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.bus.record import Record
from streamer.demo.weather import load
from streamer.domain import Array, Step
from streamer.downscale.condition import coarse, interpolated
from streamer.grib.wants import Wants
from streamer.headers import STEP_TYPE
from streamer.model import Model
from streamer.rehearsal import Rehearsed
from streamer.scoring import Results, complete_steps, read_draws
from streamer.verify.pictures import StepPicture, save_step
from streamer.verify.scores import Score
from streamer.verify.truth import Truth

Values = NDArray[np.floating[Any]]

#: Stands on everything that shows synthetic weather.
WARNING = "SYNTHETIC"
_SYNTHETIC_LINE = (
    "SYNTHETIC weather, made by a statistical generator: no forecast, no analysis, of no real day."
)


@dataclass(slots=True)
class Heard:
    """What a subscriber to the daemon's topics heard of steps and of rejected records."""

    steps: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[dict[str, str]] = field(default_factory=list)

    def listen(self, record: Record) -> None:
        """Take note of one published record."""
        headers = {name: value.decode(errors="replace") for name, value in record.headers}
        if "dlq.reason" in headers:
            self.rejected.append({"reason": headers["dlq.reason"], "text": headers["dlq.text"]})
        elif headers.get("ce_type") == STEP_TYPE:
            told, delay = json.loads(record.value), headers.get("delay_seconds")
            self.steps.append(
                {
                    "step": (record.key or b"-").decode(),
                    "valid_time": headers["validtime"],
                    "outcome": told["outcome"],
                    "why": told["reason"] or "",
                    "fields": len(told["fields"]),
                    "calls": told["calls"] or 0,
                    "delay_seconds": float(delay)
                    if (delay := headers.get("delay_seconds"))
                    else None,
                }
            )


@dataclass(frozen=True, slots=True)
class Report:
    """All that came of the demo."""

    output: Path
    is_synthetic: bool
    heard: Heard
    outcome: Rehearsed
    scores: Mapping[str, Score]
    pictures: tuple[Path, ...]

    @property
    def is_complete(self) -> bool:
        """Whether every step came out."""
        return all(step["outcome"] == "complete" for step in self.heard.steps)

    def plain(self) -> dict[str, Any]:
        """Return everything as one JSON object: `replay --json`'s names, and the demo's own."""
        return {
            "synthetic": self.is_synthetic,
            "output": str(self.output),
            **self.outcome.plain(),
            "records": dict(self.outcome.records),
            "each_step": sorted(self.heard.steps, key=lambda step: str(step["valid_time"])),
            "rejected": self.heard.rejected,
            "scores": {name: score.plain() for name, score in self.scores.items()},
            "pictures": [str(path) for path in self.pictures],
        }

    def text(self) -> str:
        """Return the table for people."""
        lines = [_SYNTHETIC_LINE, ""] if self.is_synthetic else []
        lines += _step_lines(self.plain()["each_step"])
        lines += ["", _record_line(self.outcome.records)]
        lines += [f"rejected as {one['reason']}: {one['text']}" for one in self.heard.rejected]
        lines += ["", *_time_lines(self.outcome)]
        if self.scores:
            lines += ["", *_score_lines(self.scores)]
        lines += ["", f"In {self.output}: coarse/ and fine/ (GRIB 2), pictures/, and this table"]
        lines += ["as report.txt and report.json; steps.jsonl and dead_letters.jsonl as published."]
        return "\n".join(lines)


def save_pictures(
    results: Results, known: Truth | None, model: Model, wants: Wants, folder: Path
) -> Iterator[Path]:
    """Draw every step that came out, in the order of the input; yields the files.

    known: the truth of real weather; None where the weather is synthetic.
    """
    for step in complete_steps(results.inputs, wants):
        path = results.path(step.key)
        if not path.exists():
            continue
        draws = read_draws(path, model.manifest)
        true = {}
        for name in model.bundle.channels:
            found = known.at(name, step.key.valid_time) if known else None
            if found is not None:
                true[name] = found.values(model.manifest.grid)
        target = folder / f"{'' if known else 'synthetic_'}{path.stem}.png"
        save_step(_picture(step, model, draws, true, is_synthetic=known is None), target)
        yield target


def _picture(
    step: Step,
    model: Model,
    draws: Mapping[str, Values],
    true: Mapping[str, Values],
    *,
    is_synthetic: bool,
) -> StepPicture:
    names = model.bundle.channels
    time = step.key.valid_time
    quantity, units = _quantity(model)
    what = "Synthetic " + quantity if is_synthetic else quantity[0].upper() + quantity[1:]
    lead = f"+{step.key.hours:g} h" if step.key.minutes else "analysis time"
    made = f"Weather generator fitted to {load().attribution}. " if is_synthetic else ""
    return StepPicture(
        title=f"{what}, {time:%Y-%m-%d %H:%M} UTC ({lead})",
        quantity=quantity,
        units=units,
        coarse=_shown(dict(zip(names, coarse(step, model.bundle), strict=True)), model),
        coarse_grid=model.manifest.coarse.grid,
        interpolated=_shown(dict(zip(names, interpolated(step, model.bundle), strict=True)), model),
        draws=_shown(draws, model),
        grid=model.manifest.grid,
        truth=_shown(true, model)[0] if len(true) == len(names) else None,
        land=_land(model),
        warning=WARNING if is_synthetic else "",
        footer=f"{made}Model: {model.bundle.name}. {model.bundle.attribution}",
    )


def _is_wind(model: Model) -> bool:
    return {"10u", "10v"} <= set(model.bundle.channels)


def _quantity(model: Model) -> tuple[str, str]:
    """Return name and units of what the pictures show: wind speed, else the first parameter."""
    first = model.manifest.parameters[0]
    return ("10 m wind speed", "m/s") if _is_wind(model) else (first.name, first.units)


def _shown(fields: Mapping[str, Values], model: Model) -> Values:
    if _is_wind(model):
        return np.hypot(fields["10u"], fields["10v"])
    return fields[model.manifest.parameters[0].name]


def _land(model: Model) -> Array | None:
    names = model.bundle.constant_names
    return model.bundle.constants[names.index("lsm")] if "lsm" in names else None


def _step_lines(steps: list[dict[str, Any]]) -> Iterator[str]:
    yield f"{'step':46} {'valid':17} {'outcome':9} {'fields':>6} {'calls':>6} {'delay':>9}"
    for one in steps:
        valid = one["valid_time"].replace("T", " ")[:16]
        delay = "-" if one["delay_seconds"] is None else f"{one['delay_seconds']:.1f} s"
        yield (
            f"{one['step']:46} {valid:17} {one['outcome']:9} {one['fields']:6d} "
            f"{one['calls']:6d} {delay:>9} {one['why']}"
        ).rstrip()


def _record_line(records: Mapping[str, int]) -> str:
    told = ", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in records.items())
    return f"{sum(records.values())} messages arrived out of order: {told}"


def _time_lines(outcome: Rehearsed) -> Iterator[str]:
    yield (
        f"{outcome.seconds:.1f} s in all, {outcome.engine_seconds:.1f} s of them inside the "
        f"network ({outcome.calls} calls;"
    )
    yield f"as many calls of the network alone would take {outcome.engine_seconds_alone:.1f} s)"


def _score_lines(scores: Mapping[str, Score]) -> Iterator[str]:
    names = ("crps", "mae", "rmse", "spread_skill", "baseline_mae", "baseline_rmse")
    yield "against the truth   " + "".join(f"{name:>14}" for name in names)
    for parameter, score in scores.items():
        plain = score.plain()
        cells = ("-" if plain[name] is None else f"{plain[name]:.3f}" for name in names)
        yield f"{parameter:20}" + "".join(f"{cell:>14}" for cell in cells)
