"""Headers are CloudEvents, and tell after a restart what had ended."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.domain import Origin, Reason, Rejected, RunKey, StepKey
from streamer.headers import (
    Headers,
    Intake,
    Sender,
    dead_letter_headers,
    field_headers,
    find_again,
    find_traceparent,
    read_identity,
    run_headers,
    step_headers,
)
from streamer.intake.events import EndedRun, EndedStep, Outcome
from streamer.records import FieldNames, RecordError, RunRecord, StepRecord, list_field
from tests.streamer.test_records import complete, ended, run_records

RUN = RunKey("kwbc", "gfs", "-", datetime(2018, 10, 8, tzinfo=UTC), 2)
KEY = StepKey(RUN, 90)
TIME = datetime(2018, 10, 8, 4, 11, 12, 345000, tzinfo=UTC)
SENDER = Sender("wind")
PARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

times = st.integers(0, 4 * 10**12).map(
    lambda ms: datetime.fromtimestamp(0, UTC) + timedelta(0, 0, 0, ms)
)
intakes = st.builds(Intake, st.integers(0, 9999), times, st.booleans())


def told(headers: Headers) -> dict[str, str]:
    names = [name for name, _ in headers]
    assert len(set(names)) == len(names)
    return {name: value.decode() for name, value in headers}


@given(complete | ended, intakes)
def test_a_restart_reads_from_the_headers_which_step_had_ended(
    record: StepRecord, intake: Intake
) -> None:
    headers = step_headers(record, record.encode(), intake, SENDER, delay_s=1.5)

    listed = {(o.partition, o.offset) for o in record.inputs}
    assert read_identity(headers) == EndedStep(
        key=record.key,
        outcome=record.outcome,
        partition=intake.partition,
        newest_record_time=intake.newest_record_time,
        offsets=frozenset(listed if record.outcome is Outcome.EXPIRED else ()),
        is_run_spread=intake.is_run_spread,
    )


@given(run_records, intakes)
def test_a_restart_reads_from_the_headers_which_run_had_ended(
    record: RunRecord, intake: Intake
) -> None:
    headers = run_headers(record, record.encode(), intake, SENDER)

    assert read_identity(headers) == EndedRun(
        record.key, intake.partition, intake.newest_record_time
    )


def test_a_field_travels_as_a_cloud_event_with_its_mars_keys() -> None:
    entry = list_field(b"GRIB...7777", KEY, FieldNames("draws", "10u", 3), 165)

    found = told(
        field_headers(
            KEY,
            entry,
            "b" * 64,
            {"class": "od", "param": "165", "step": "180"},
            Sender("wind", PARENT),
        )
    )

    assert found == {
        "ce_specversion": "1.0",
        "ce_id": entry.id,
        "ce_source": "wind",
        "ce_type": "int.downscaled.field",
        "ce_time": "2018-10-08T00:00:00Z",
        "ce_subject": "kwbc/gfs/-/201810080000/2/90m",
        "content-type": "application/x-grib2",
        "centre": "kwbc",
        "source": "gfs",
        "expver": "-",
        "member": "2",
        "step": "90m",
        "validtime": "2018-10-08T01:30:00Z",
        "product": "draws",
        "parameter": "10u",
        "draw": "3",
        "bundle": "b" * 64,
        "sha256": entry.sha256,
        "class": "od",
        "param": "165",
        "traceparent": PARENT.decode(),
    }
    assert uuid.UUID(found["ce_id"]).version == 5


def test_a_step_that_expired_and_then_is_complete_has_two_ids() -> None:
    intake = Intake(0, TIME)
    entry = list_field(b"GRIB", KEY, FieldNames("draws", "10u", 0), 165)
    records = [
        StepRecord(KEY, Outcome.EXPIRED, (Origin("in", 0, 1),), "expired"),
        StepRecord(KEY, Outcome.EXPIRED, (Origin("in", 0, 2),), "expired"),
        StepRecord(KEY, Outcome.COMPLETE, (Origin("in", 0, 2),), fields=(entry,)),
    ]

    ids = [told(step_headers(r, r.encode(), intake, SENDER))["ce_id"] for r in records]
    repeat = [
        told(step_headers(r, r.encode(), intake, SENDER, delay_s=9))["ce_id"] for r in records
    ]

    assert len(set(ids)) == 3
    assert ids == repeat


def test_the_group_becomes_a_sound_uri_reference() -> None:
    record = RunRecord(RUN, ((0, Outcome.COMPLETE),))

    headers = run_headers(record, record.encode(), Intake(0, TIME), Sender("wind über"))

    assert told(headers)["ce_source"] == "wind%20%C3%BCber"


def test_headers_that_are_not_ours_are_refused_with_what_is_wrong() -> None:
    record = StepRecord(KEY, Outcome.FAILED, (), "engine")
    sound = step_headers(record, record.encode(), Intake(4, TIME), SENDER)
    without = tuple(pair for pair in sound if pair[0] != "input.partition")
    strange = tuple((n, b"partial" if n == "outcome" else v) for n, v in sound)

    with pytest.raises(RecordError, match=r"input\.partition"):
        read_identity(without)
    with pytest.raises(RecordError, match="'partial' is not a valid Outcome"):
        read_identity(strange)
    with pytest.raises(RecordError, match="ce_type"):
        read_identity(())
    with pytest.raises(RecordError, match=r"ce_type is 'int.downscaled.field'"):
        read_identity((("ce_type", b"int.downscaled.field"),))


def test_the_first_sound_trace_is_carried_on() -> None:
    records: list[Headers] = [
        (("other", PARENT),),
        (("traceparent", b"00-xyz"),),
        (("traceparent", PARENT),),
        (("traceparent", PARENT.replace(b"-01", b"-00")),),
    ]

    assert find_traceparent(records) == PARENT
    assert find_traceparent(records[:2]) is None


def test_a_repeat_on_purpose_is_known_by_its_header() -> None:
    assert find_again((("x", b"1"), ("again", b"corrected"))) == "corrected"
    assert find_again((("x", b"1"),)) == ""


def test_a_dead_letter_keeps_its_headers_and_says_why_and_from_where() -> None:
    original: Headers = (("key", b"\xff"), ("dlq.reason", b"an earlier death"))
    rejected = Rejected(Reason.TRUNCATED, "87 of 75229 bytes")

    headers = dead_letter_headers(original, Origin("in", 3, 1207, 1), rejected)

    assert dict(headers) == {
        "key": b"\xff",
        "dlq.reason": b"truncated",
        "dlq.topic": b"in",
        "dlq.partition": b"3",
        "dlq.offset": b"1207",
        "dlq.message": b"1",
        "dlq.text": b"87 of 75229 bytes",
    }
