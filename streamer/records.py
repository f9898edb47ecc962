"""The records of steps and runs, version 1: what subscribers wait for, as canonical JSON.

The same record is the same bytes: members in the order of the schema, mappings sorted, no clock
time. The schemas and an example of each lie in `streamer/schemas`.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

from engines.errors import DownscaledError
from streamer.domain import Origin, RunKey, StepKey, member_of, step_text
from streamer.intake.events import Outcome

VERSION = 1
#: The name space of all our ids; changing it would change every id.
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "downscaled.int")

#: What JSON holds without loss: settings and measures of a step.
Plain = Mapping[str, Any]


class RecordError(DownscaledError):
    """A record of a step or run, or its headers, that this version cannot read or write."""

    reason: ClassVar[str] = "record"


@dataclass(frozen=True, slots=True)
class FieldNames:
    """What tells one field of a step from another; either `draw` or `statistic` is set."""

    product: str
    parameter: str
    draw: int | None = None
    statistic: str | None = None


@dataclass(frozen=True, slots=True)
class FieldEntry:
    """One published field as its step's record lists it.

    id: its `ce_id`. sha256: of the GRIB message, in hexadecimal.
    """

    names: FieldNames
    param_id: int
    id: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class StepRecord:
    """How a step ended, what was published of it, by what, and from which records.

    reason: why it is not complete, else None. missing: parameters, or what else it lacked.
    bundle: its digest; engine: in words; calls: of the denoiser. All three tell nothing ("", 0)
    where nothing was downscaled. inputs: origins of its fields; their message index is not kept.
    members: of a pooled step, in the order in which its draws are numbered.
    """

    key: StepKey
    outcome: Outcome
    inputs: tuple[Origin, ...]
    reason: str | None = None
    fields: tuple[FieldEntry, ...] = ()
    missing: tuple[str, ...] = ()
    bundle: str = ""
    engine: str = ""
    calls: int = 0
    sampler: Plain = field(default_factory=dict)
    quality: Plain = field(default_factory=dict)
    members: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a step that is complete for a reason, or not complete for none."""
        if (self.outcome is Outcome.COMPLETE) != (self.reason is None):
            raise RecordError(
                f"{self.key.text} is {self.outcome} with reason {self.reason!r}, "
                "wanted a reason for all but complete"
            )

    def encode(self) -> bytes:
        """Return the record's value; raises RecordError for a number that JSON has no word for."""
        return _encode(
            {
                "version": VERSION,
                "kind": "step",
                "outcome": self.outcome.value,
                "reason": self.reason,
                **_run_members(self.key.run),
                "step": hours(self.key.minutes),
                "member": _member(self.key.run),
                **({"members": list(self.members)} if self.members else {}),
                **_again(self.key.run),
                "fields": [_field_members(entry) for entry in self.fields],
                "missing": list(self.missing),
                "bundle": self.bundle,
                "engine": self.engine,
                "calls": self.calls,
                "sampler": _sorted(self.sampler),
                "quality": _sorted(self.quality),
                "input": [
                    {"topic": topic, "partition": partition, "offset": offset}
                    for topic, partition, offset in sorted(
                        {(o.topic, o.partition, o.offset) for o in self.inputs}
                    )
                ],
            }
        )


@dataclass(frozen=True, slots=True)
class RunRecord:
    """How the steps of a run ended. outcomes: by minutes of lead time, rising."""

    key: RunKey
    outcomes: tuple[tuple[int, Outcome], ...]

    def encode(self) -> bytes:
        """Return the record's value."""
        return _encode(
            {
                "version": VERSION,
                "kind": "run",
                **_run_members(self.key),
                "member": _member(self.key),
                **_again(self.key),
                "steps": {
                    step_text(minutes): outcome.value for minutes, outcome in sorted(self.outcomes)
                },
            }
        )


def parse(value: bytes) -> StepRecord | RunRecord:
    """Read a record's value; raises RecordError where it is none of version 1."""
    try:
        plain = json.loads(value)
        if plain["version"] != VERSION:
            raise RecordError(f"a record has version {plain['version']!r}, wanted {VERSION}")
        run = RunKey(
            centre=plain["centre"],
            source=plain["source"],
            expver=plain["expver"],
            reference_time=datetime.fromisoformat(plain["reference_time"]),
            member=member_of(str(plain["member"])),
            again=plain.get("again", ""),
        )
        return _parse_run(run, plain) if plain["kind"] == "run" else _parse_step(run, plain)
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"a record of {len(value)} bytes is not one of ours: {error!r}") from None


def list_field(message: bytes, key: StepKey, names: FieldNames, param_id: int) -> FieldEntry:
    """Return the entry of a published message in its step's record."""
    return FieldEntry(
        names=names,
        param_id=param_id,
        id=field_id(key, names),
        sha256=hashlib.sha256(message).hexdigest(),
        size_bytes=len(message),
    )


def field_id(key: StepKey, names: FieldNames) -> str:
    """Return the id of a field: the same for a repeat, another for a repeat on purpose."""
    which = names.statistic if names.draw is None else names.draw
    return make_id(key.text, names.product, names.parameter, which, key.run.again)


def make_id(*parts: str | int | None) -> str:
    """Return the UUIDv5 of some parts, written as a JSON list so that no two lists look alike."""
    return str(uuid.uuid5(NAMESPACE, json.dumps(parts, separators=(",", ":"))))


def hours(minutes: int) -> int | float:
    """Return a lead time in hours, as a whole number where it is one."""
    return minutes // 60 if minutes % 60 == 0 else minutes / 60


def time_text(time: datetime) -> str:
    """Write a time as ISO 8601 in UTC, to the second."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def minutes_of(step: str) -> int:
    """Read a lead time as keys name it (`6`, `30m`) in minutes; ValueError for anything else."""
    return int(step[:-1]) if step.endswith("m") else int(step) * 60


def _encode(plain: Mapping[str, Any]) -> bytes:
    try:
        text = json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (ValueError, TypeError) as error:
        raise RecordError(f"a record of {plain['kind']} cannot be JSON: {error}") from None
    return text.encode()


def _run_members(run: RunKey) -> dict[str, str]:
    return {
        "centre": run.centre,
        "source": run.source,
        "expver": run.expver,
        "reference_time": time_text(run.reference_time),
    }


def _member(run: RunKey) -> int | str:
    return run.member_text if run.is_pooled else run.member


def _again(run: RunKey) -> dict[str, str]:
    return {"again": run.again} if run.again else {}


def _field_members(entry: FieldEntry) -> dict[str, Any]:
    names = entry.names
    which = {"statistic": names.statistic} if names.draw is None else {"draw": names.draw}
    return {
        "product": names.product,
        "parameter": names.parameter,
        "paramId": entry.param_id,
        **which,
        "id": entry.id,
        "sha256": entry.sha256,
        "bytes": entry.size_bytes,
    }


def _sorted(plain: Plain) -> dict[str, Any]:
    return {
        key: _sorted(value) if isinstance(value, Mapping) else value
        for key, value in sorted(plain.items())
    }


def _parse_run(run: RunKey, plain: Plain) -> RunRecord:
    outcomes = {minutes_of(step): Outcome(outcome) for step, outcome in plain["steps"].items()}
    return RunRecord(run, tuple(sorted(outcomes.items())))


def _parse_step(run: RunKey, plain: Plain) -> StepRecord:
    if plain["kind"] != "step":
        raise RecordError(f"a record has kind {plain['kind']!r}, wanted step or run")
    return StepRecord(
        key=StepKey(run, round(plain["step"] * 60)),
        outcome=Outcome(plain["outcome"]),
        inputs=tuple(
            Origin(one["topic"], one["partition"], one["offset"]) for one in plain["input"]
        ),
        reason=plain["reason"],
        fields=tuple(
            FieldEntry(
                names=FieldNames(
                    one["product"], one["parameter"], one.get("draw"), one.get("statistic")
                ),
                param_id=one["paramId"],
                id=one["id"],
                sha256=one["sha256"],
                size_bytes=one["bytes"],
            )
            for one in plain["fields"]
        ),
        missing=tuple(plain["missing"]),
        bundle=plain["bundle"],
        engine=plain["engine"],
        calls=plain["calls"],
        sampler=plain["sampler"],
        quality=plain["quality"],
        members=tuple(plain.get("members", ())),
    )
