"""The records of steps and runs as they are sent: what became of each, for all who wait."""

from datetime import datetime

from streamer.begun import Made
from streamer.bus.record import Outgoing
from streamer.domain import Step
from streamer.headers import Intake, Sender, run_headers, step_headers
from streamer.intake.assembly import Assembler
from streamer.intake.events import ExpiredStep, Outcome, RunEnded
from streamer.records import RunRecord, StepRecord


class Announcer:
    """Writes records for the steps topic; knows what does not change from step to step."""

    def __init__(self, group: str, topic: str, assembler: Assembler) -> None:
        self._group = group
        self._topic = topic
        self._assembler = assembler

    def made(self, made: Made, traceparent: bytes | None, now: datetime) -> Outgoing:
        """Return the record of a step that is complete, or that failed after it was assembled."""
        step = made.step
        record = StepRecord(
            step.key,
            Outcome.FAILED if made.fault else Outcome.COMPLETE,
            step.origins,
            reason=made.fault or None,
            fields=made.entries,
            bundle=made.maker.bundle,
            engine=made.maker.engine,
            calls=made.calls,
            sampler=made.maker.sampler,
            quality=made.quality,
            members=_pooled(step),
        )
        intake = Intake(
            made.tenure.partition.number,
            step.newest_record_time,
            self._assembler.is_run_spread(step.key.run),
        )
        value = record.encode()
        delay_s = max(0.0, (now - step.completed_at).total_seconds())
        sender = Sender(self._group, traceparent)
        headers = step_headers(record, value, intake, sender, delay_s)
        return Outgoing(self._topic, step.key.text.encode(), value, headers)

    def ended(self, ending: ExpiredStep | RunEnded) -> Outgoing:
        """Return the record of a step that was given up, or of a run that has ended."""
        run = ending.key.run if isinstance(ending, ExpiredStep) else ending.key
        is_spread = self._assembler.is_run_spread(run)
        intake = Intake(ending.partition, ending.newest_record_time, is_spread)
        sender = Sender(self._group)
        if isinstance(ending, RunEnded):
            told = RunRecord(ending.key, ending.outcomes)
            value = told.encode()
            headers = run_headers(told, value, intake, sender)
        else:
            record = StepRecord(
                ending.key, Outcome.EXPIRED, ending.seen, reason="expired", missing=ending.missing
            )
            value = record.encode()
            headers = step_headers(record, value, intake, sender)
        return Outgoing(self._topic, ending.key.text.encode(), value, headers)


def _pooled(step: Step) -> tuple[int, ...]:
    """Return the members whose fields a pooled step has."""
    return tuple(one.key.run.member for one in step.members) if step.key.run.is_pooled else ()
