"""Published steps made on the spot: real GRIB 2 messages and the record that lists them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from streamer.bus.memory import MemoryBus
from streamer.bus.memory_broker import MemoryBroker
from streamer.bus.record import Outgoing
from streamer.domain import Array, Grid, Origin, RunKey, StepKey
from streamer.grib import codes
from streamer.grib.geometry import geometry
from streamer.headers import Intake, Sender, field_headers, run_headers, step_headers
from streamer.intake.events import Outcome
from streamer.records import FieldNames, RunRecord, StepRecord, list_field

FINE, STEPS_TOPIC = "fine", "fine.steps"
GRID = Grid(90.0, 0.0, 10.0, 10.0, 19, 36)
RUN = RunKey("ecmf", "ifs", "0001", datetime(2018, 10, 8, tzinfo=UTC), 0)

PARAM_IDS = {"10u": 165, "10v": 166, "2t": 167, "tp": 228228, "10si": 207}

_HEIGHTS = {"10u": 10, "10v": 10, "10si": 10, "2t": 2}
_SENDER = Sender("wind")


@dataclass(frozen=True)
class Published:
    """A step as the daemon publishes it; values: (fields, H, W), in the record's order."""

    record: StepRecord
    messages: list[bytes]
    values: Array

    def outgoing(self) -> list[Outgoing]:
        """Return its records, as one transaction writes them."""
        record, key = self.record, self.record.key
        fields = [
            Outgoing(FINE, key.text.encode(), message, field_headers(key, entry, "b", {}, _SENDER))
            for entry, message in zip(record.fields, self.messages, strict=True)
        ]
        return [*fields, announcement(record)]


def announcement(record: StepRecord) -> Outgoing:
    """Return a step's record as it stands in the steps topic."""
    value = record.encode()
    headers = step_headers(record, value, Intake(0, record.key.run.reference_time), _SENDER)
    return Outgoing(STEPS_TOPIC, record.key.text.encode(), value, headers)


def run_announcement(run: RunKey, minutes: Sequence[int]) -> Outgoing:
    """Return a run's record as it stands in the steps topic."""
    record = RunRecord(run, tuple((m, Outcome.COMPLETE) for m in minutes))
    value = record.encode()
    headers = run_headers(record, value, Intake(0, run.reference_time), _SENDER)
    return Outgoing(STEPS_TOPIC, run.text.encode(), value, headers)


def ended(key: StepKey, outcome: Outcome, reason: str) -> StepRecord:
    """Return the record of a step that was not published."""
    return StepRecord(key, outcome, (Origin("coarse", 0, 1),), reason, missing=("10v",))


def publish_step(
    minutes: int = 180,
    run: RunKey = RUN,
    *,
    parameters: Sequence[str] = ("10u", "10v"),
    draws: int = 2,
    statistics: Sequence[str] = (),
    product: str = "draws",
    grid: Grid = GRID,
    seed: int = 0,
) -> Published:
    """Make a complete step: per parameter its draws, then its statistics."""
    key = StepKey(run, minutes)
    rng = np.random.default_rng([seed, minutes, run.member])
    names = [
        name
        for parameter in parameters
        for name in (
            *(FieldNames(product, parameter, draw=d) for d in range(draws)),
            *(FieldNames(product, parameter, statistic=s) for s in statistics),
        )
    ]
    values = [10 * rng.standard_normal(grid.shape).astype(np.float32) for _ in names]
    messages = [
        message(key, name, value, grid, draws) for name, value in zip(names, values, strict=True)
    ]
    entries = tuple(
        list_field(one, key, name, PARAM_IDS[name.parameter])
        for one, name in zip(messages, names, strict=True)
    )
    record = StepRecord(
        key, Outcome.COMPLETE, (Origin("coarse", 0, 1),), fields=entries, bundle="b", engine="e"
    )
    return Published(record, messages, np.stack(values))


def publish_two_grids() -> Published:
    """Make a step whose draws are on two grids; most kinds of files cannot hold it.

    Its values are those of the first grid alone.
    """
    whole = publish_step(parameters=("10u",))
    window = publish_step(parameters=("10u",), draws=4, grid=Grid(60.0, 0.0, 10.0, 10.0, 4, 6))
    # Draws that the whole globe does not have, so that every field has an id of its own.
    fields, messages = window.record.fields[2:], window.messages[2:]
    record = replace(whole.record, fields=(*whole.record.fields, *fields))
    return replace(whole, record=record, messages=[*whole.messages, *messages])


def message(key: StepKey, names: FieldNames, values: Array, grid: Grid, draws: int) -> bytes:
    """Encode one field, by ecCodes alone."""
    time = key.run.reference_time
    is_amount = names.parameter == "tp"
    template = (11 if is_amount else 1) if names.draw is not None else (12 if is_amount else 2)
    keys: dict[str, Any] = {
        "tablesVersion": 28,
        "centre": key.run.centre,
        "dataDate": int(time.strftime("%Y%m%d")),
        "dataTime": int(time.strftime("%H%M")),
        "productDefinitionTemplateNumber": template,
        "paramId": PARAM_IDS[names.parameter],
    }
    with codes.sample("regular_ll_sfc_grib2") as handle:
        for name, value in keys.items():
            handle.set(name, value)
        if names.parameter in _HEIGHTS:
            handle.set("level", _HEIGHTS[names.parameter])
        handle.set("stepUnits", "m")
        if is_amount:
            handle.set("startStep", max(0, key.minutes - 180))
        handle.set("endStep" if is_amount else "step", key.minutes)
        if names.draw is not None:
            handle.set("perturbationNumber", key.run.member * draws + names.draw)
        handle.set("numberOfForecastsInEnsemble", draws)
        for name, angle in geometry(grid).items():
            if angle is not None:
                handle.set(name, angle)
        handle.set("bitsPerValue", 16)
        handle.set_values(np.asarray(values, dtype=np.float64).ravel())
        return handle.message()


def open_broker(partitions: int = 1, step_partitions: int = 1) -> MemoryBroker:
    """Make the topics that a sink reads."""
    return MemoryBroker({FINE: partitions, STEPS_TOPIC: step_partitions})


def transact(broker: MemoryBroker, *steps: Sequence[Outgoing]) -> None:
    """Write some records, each lot in one transaction."""
    bus = MemoryBus(broker, [], group_id="daemon", instance="daemon")
    bus.poll(0.0)
    for records in steps:
        bus.publish(records, {}, bus.membership())
    bus.close()
