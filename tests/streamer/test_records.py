"""Records of steps and runs keep to their schemas, repeat to the byte and are read back whole."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.domain import Origin, RunKey, StepKey
from streamer.intake.events import Outcome
from streamer.records import (
    FieldEntry,
    FieldNames,
    RecordError,
    RunRecord,
    StepRecord,
    field_id,
    list_field,
    make_id,
    parse,
)

RUN = RunKey("kwbc", "gfs", "-", datetime(2018, 10, 8, tzinfo=UTC), 0)
KEY = StepKey(RUN, 180)

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1)
counts = st.integers(0, 2**40)
runs = st.builds(
    RunKey,
    centre=words,
    source=words,
    expver=words,
    # Keys, and so records, know minutes.
    reference_time=st.integers(-(10**7), 10**8).map(
        lambda minutes: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    ),
    member=st.integers(0, 254),
    again=st.just("") | words,
)
keys = st.builds(StepKey, run=runs, minutes=st.integers(0, 60 * 24 * 400))
names = st.builds(FieldNames, words, words, draw=st.integers(0, 254)) | st.builds(
    FieldNames, words, words, statistic=words
)
entries = st.builds(list_field, st.binary(min_size=1), keys, names, counts)
origins = st.lists(st.builds(Origin, words, counts, counts), max_size=5).map(
    lambda found: tuple(sorted(set(found)))
)
settings = st.dictionaries(words, st.integers() | st.floats(allow_nan=False, allow_infinity=False))
complete = st.builds(
    StepRecord,
    key=keys,
    outcome=st.just(Outcome.COMPLETE),
    inputs=origins,
    fields=st.lists(entries, min_size=1, max_size=4).map(tuple),
    bundle=st.binary().map(lambda seed: hashlib.sha256(seed).hexdigest()),
    engine=words,
    calls=counts,
    sampler=settings,
    quality=settings,
)
ended = st.builds(
    StepRecord,
    key=keys,
    outcome=st.sampled_from([Outcome.EXPIRED, Outcome.FAILED, Outcome.DROPPED]),
    inputs=origins,
    reason=words,
    missing=st.lists(words, max_size=3).map(tuple),
)
run_records = st.builds(
    RunRecord,
    key=runs,
    outcomes=st.dictionaries(
        st.integers(0, 60 * 24 * 400), st.sampled_from(list(Outcome)), min_size=1
    ).map(lambda found: tuple(sorted(found.items()))),
)


def shipped(name: str) -> Any:
    return json.loads((files("streamer") / "schemas" / name).read_bytes())


def check(value: bytes) -> None:
    plain = json.loads(value)
    schema = shipped(f"{plain['kind']}.schema.json")
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.Draft202012Validator(schema, format_checker=checker).validate(plain)


@pytest.mark.parametrize("kind", ["step", "run"])
def test_the_example_keeps_to_its_schema_and_is_what_we_write(kind: str) -> None:
    example = shipped(f"{kind}.example.json")

    written = parse(json.dumps(example).encode()).encode()

    jsonschema.Draft202012Validator.check_schema(shipped(f"{kind}.schema.json"))
    check(written)
    assert json.loads(written) == example
    assert list(json.loads(written)) == list(example)


@given(complete | ended | run_records)
def test_every_record_keeps_to_its_schema_and_is_read_back_whole(
    record: StepRecord | RunRecord,
) -> None:
    value = record.encode()

    check(value)
    assert parse(value) == record
    assert parse(value).encode() == value


@given(settings)
def test_the_order_in_which_settings_were_gathered_does_not_show(sampler: dict[str, float]) -> None:
    backwards = dict(reversed(sampler.items()))

    first = StepRecord(KEY, Outcome.FAILED, (), reason="engine", sampler=sampler)
    second = StepRecord(KEY, Outcome.FAILED, (), reason="engine", sampler=backwards)

    assert first.encode() == second.encode()


def test_a_record_that_came_in_with_two_fields_is_listed_once() -> None:
    inputs = (Origin("in", 3, 18, 1), Origin("in", 3, 18, 0), Origin("in", 3, 7))

    plain = json.loads(StepRecord(KEY, Outcome.EXPIRED, inputs, reason="expired").encode())

    assert plain["input"] == [
        {"topic": "in", "partition": 3, "offset": 7},
        {"topic": "in", "partition": 3, "offset": 18},
    ]


def test_steps_below_an_hour_keep_their_minutes() -> None:
    value = StepRecord(StepKey(RUN, 90), Outcome.DROPPED, (), reason="late").encode()
    steps = RunRecord(RUN, ((30, Outcome.COMPLETE), (720, Outcome.EXPIRED))).encode()

    assert json.loads(value)["step"] == 1.5
    assert json.loads(steps)["steps"] == {"30m": "complete", "12": "expired"}


def test_the_schema_refuses_what_a_record_never_says() -> None:
    example = shipped("step.example.json")

    for wrong in (
        {**example, "time": "2018-10-08T03:12:44Z"},
        {**example, "outcome": "partial"},
        {**example, "reason": "late"},
        {**example, "fields": []},
        {**example, "fields": [{**example["fields"][0], "statistic": "mean"}]},
    ):
        with pytest.raises(jsonschema.ValidationError):
            check(json.dumps(wrong).encode())


def test_a_step_that_is_not_complete_must_say_why() -> None:
    with pytest.raises(
        RecordError, match="kwbc/gfs/-/201810080000/0/3 is expired with reason None"
    ):
        StepRecord(KEY, Outcome.EXPIRED, ())


def test_a_number_that_json_has_no_word_for_is_refused() -> None:
    record = StepRecord(KEY, Outcome.FAILED, (), reason="nan", quality={"mean": float("nan")})

    with pytest.raises(RecordError, match="cannot be JSON"):
        record.encode()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"", "not one of ours"),
        (b"GRIB", "not one of ours"),
        (b"[]", "not one of ours"),
        (b'{"version": 2}', "version 2, wanted 1"),
        (b'{"version": 1, "kind": "step"}', "not one of ours: KeyError"),
    ],
)
def test_what_is_no_record_of_ours_is_refused_with_its_fault(value: bytes, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        parse(value)


def test_an_id_tells_every_field_apart_and_repeats() -> None:
    again = StepKey(RunKey("kwbc", "gfs", "-", RUN.reference_time, 0, again="fixed"), 180)
    different = [
        (KEY, FieldNames("draws", "10u", 0)),
        (KEY, FieldNames("draws", "10u", 1)),
        (KEY, FieldNames("draws", "10v", 0)),
        (KEY, FieldNames("raw", "10u", 0)),
        (KEY, FieldNames("draws", "10u", statistic="0")),
        (StepKey(RUN, 181), FieldNames("draws", "10u", 0)),
        (again, FieldNames("draws", "10u", 0)),
    ]

    ids = [field_id(*one) for one in different]

    assert len(set(ids)) == len(ids)
    assert ids == [field_id(*one) for one in different]
    assert make_id("a/b", "c") != make_id("a", "b/c")


def test_an_entry_tells_what_the_message_is() -> None:
    entry = list_field(b"GRIB", KEY, FieldNames("draws", "10u", 2), 165)

    assert entry == FieldEntry(
        FieldNames("draws", "10u", 2),
        165,
        field_id(KEY, FieldNames("draws", "10u", 2)),
        hashlib.sha256(b"GRIB").hexdigest(),
        4,
    )
