"""The headers of what is published: CloudEvents 1.0 in binary mode, and identities to read back.

The GRIB and the JSON decide; headers are a convenience, and after a restart they tell which steps
have ended without a look into any JSON.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from streamer.domain import Origin, Rejected, RunKey, StepKey, member_of, step_text
from streamer.intake.events import EndedRun, EndedStep, Outcome
from streamer.records import (
    FieldEntry,
    RecordError,
    RunRecord,
    StepRecord,
    make_id,
    minutes_of,
    time_text,
)

Headers = tuple[tuple[str, bytes], ...]

FIELD_TYPE, STEP_TYPE, RUN_TYPE = (f"int.downscaled.{kind}" for kind in ("field", "step", "run"))
#: What `feed --again NAME` adds to a record, and what its products carry on.
AGAIN = "again"
TRACEPARENT = "traceparent"

# https://www.w3.org/TR/trace-context/#traceparent-header
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class Sender:
    """Who publishes, and on whose behalf. group: the consumer group, our `ce_source`.

    traceparent: carried on from the input, if it had one.
    """

    group: str
    traceparent: bytes | None = None


@dataclass(frozen=True, slots=True)
class Intake:
    """Where a step's or run's records came from: the partition, and the newest one's time.

    is_run_spread: whether the run's records may lie in several partitions.
    """

    partition: int
    newest_record_time: datetime
    is_run_spread: bool = False


def field_headers(
    key: StepKey, entry: FieldEntry, bundle: str, mars: Mapping[str, str], sender: Sender
) -> Headers:
    """Return the headers of a field's record. bundle: its digest. mars: keys of the message."""
    names = entry.names
    which = {"statistic": names.statistic} if names.draw is None else {"draw": str(names.draw)}
    told = {
        **_event(FIELD_TYPE, entry.id, key.run, key.text, sender),
        "content-type": "application/x-grib2",
        **_identity(key.run),
        "step": step_text(key.minutes),
        "validtime": _valid_time(key),
        "product": names.product,
        "parameter": names.parameter,
        **which,
        "bundle": bundle,
        "sha256": entry.sha256,
    }
    known = {name: value for name, value in mars.items() if name not in told}
    return _headers({**told, **known}, sender)


def step_headers(
    record: StepRecord,
    value: bytes,
    intake: Intake,
    sender: Sender,
    delay_s: float | None = None,
) -> Headers:
    """Return the headers of a step's record, whose encoded value is `value`.

    delay_s: from the last field's arrival until now; the only thing here that does not repeat.
    """
    key = record.key
    told = {
        **_event(
            STEP_TYPE, _record_id(key.text, "step", value, key.run), key.run, key.text, sender
        ),
        "content-type": "application/json",
        **_identity(key.run),
        "step": step_text(key.minutes),
        "validtime": _valid_time(key),
        "outcome": record.outcome.value,
        **_intake(intake),
    }
    if record.outcome is Outcome.EXPIRED:
        told["input.offsets"] = _offsets_text(record.inputs)
    if delay_s is not None:
        told["delay_seconds"] = f"{delay_s:.3f}"
    return _headers(told, sender)


def run_headers(record: RunRecord, value: bytes, intake: Intake, sender: Sender) -> Headers:
    """Return the headers of a run's record, whose encoded value is `value`."""
    key = record.key
    told = {
        **_event(RUN_TYPE, _record_id(key.text, "run", value, key), key, key.text, sender),
        "content-type": "application/json",
        **_identity(key),
        **_intake(intake),
    }
    return _headers(told, sender)


def dead_letter_headers(original: Headers, origin: Origin, rejected: Rejected) -> Headers:
    """Return a dead letter's headers: the record's own, then where it was and why it is here."""
    kept = tuple((name, value) for name, value in original if not name.startswith("dlq."))
    told = {
        "dlq.reason": rejected.reason.value,
        "dlq.topic": origin.topic,
        "dlq.partition": str(origin.partition),
        "dlq.offset": str(origin.offset),
        "dlq.message": str(origin.message),
        "dlq.text": rejected.text,
    }
    return (*kept, *((name, value.encode()) for name, value in told.items()))


def read_identity(headers: Headers) -> EndedStep | EndedRun:
    """Read back which step or run a record of the steps topic ended.

    Raises RecordError for headers that are not ours, naming what is missing or wrong.
    """
    try:
        told = {name: value.decode() for name, value in headers}
        kind = told["ce_type"]
        if kind not in (STEP_TYPE, RUN_TYPE):
            raise RecordError(f"ce_type is {kind!r}, wanted {STEP_TYPE} or {RUN_TYPE}")
        run = RunKey(
            centre=told["centre"],
            source=told["source"],
            expver=told["expver"],
            reference_time=datetime.fromisoformat(told["ce_time"]),
            member=member_of(told["member"]),
            again=told.get(AGAIN, ""),
        )
        partition = int(told["input.partition"])
        newest = datetime.fromisoformat(told["input.time"])
        if kind == RUN_TYPE:
            return EndedRun(run, partition, newest)
        return EndedStep(
            key=StepKey(run, minutes_of(told["step"])),
            outcome=Outcome(told["outcome"]),
            partition=partition,
            newest_record_time=newest,
            offsets=_parse_offsets(told.get("input.offsets", "")),
            is_run_spread="input.spread" in told,
        )
    except (KeyError, ValueError) as error:
        raise RecordError(f"headers of a step or run cannot be read: {error!r}") from None


def find_traceparent(records: Iterable[Headers]) -> bytes | None:
    """Return the first sound `traceparent` among the headers of some records, or None."""
    for headers in records:
        for name, value in headers:
            if name == TRACEPARENT and _TRACEPARENT.fullmatch(value):
                return value
    return None


def find_again(headers: Headers) -> str:
    """Return the name that `feed --again` gave to a record; "" where it gave none."""
    return next((value.decode(errors="replace") for name, value in headers if name == AGAIN), "")


def _event(kind: str, event_id: str, run: RunKey, subject: str, sender: Sender) -> dict[str, str]:
    """Return the attributes of CloudEvents; `ce_source` is a URI reference, so it is quoted."""
    return {
        "ce_specversion": "1.0",
        "ce_id": event_id,
        "ce_source": quote(sender.group),
        "ce_type": kind,
        "ce_time": time_text(run.reference_time),
        "ce_subject": subject,
    }


def _record_id(key: str, kind: str, value: bytes, run: RunKey) -> str:
    # A step may expire more than once, or expire and then be complete: its records share a key,
    # and only the same record again may have the same id.
    return make_id(key, kind, hashlib.sha256(value).hexdigest(), run.again)


def _identity(run: RunKey) -> dict[str, str]:
    told = {
        "centre": run.centre,
        "source": run.source,
        "expver": run.expver,
        "member": run.member_text,
    }
    return {**told, AGAIN: run.again} if run.again else told


def _intake(intake: Intake) -> dict[str, str]:
    told = {
        "input.partition": str(intake.partition),
        "input.time": intake.newest_record_time.astimezone(UTC).isoformat(timespec="milliseconds"),
    }
    return {**told, "input.spread": "true"} if intake.is_run_spread else told


def _offsets_text(origins: Iterable[Origin]) -> str:
    """Write which records a step had: `0:17,0:21`, partition and offset."""
    return ",".join(f"{p}:{o}" for p, o in sorted({(o.partition, o.offset) for o in origins}))


def _parse_offsets(text: str) -> frozenset[tuple[int, int]]:
    pairs = (pair.split(":") for pair in text.split(",") if pair)
    return frozenset((int(partition), int(offset)) for partition, offset in pairs)


def _valid_time(key: StepKey) -> str:
    return time_text(key.valid_time)


def _headers(told: Mapping[str, str | None], sender: Sender) -> Headers:
    headers = tuple((name, value.encode()) for name, value in told.items() if value is not None)
    return (*headers, (TRACEPARENT, sender.traceparent)) if sender.traceparent else headers
