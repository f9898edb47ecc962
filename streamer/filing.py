"""Writes the files of complete steps within the transaction that publishes them.

A step's files are durable before its commit, and are the same however often they are written: so
whatever happens in between, each step that was published has its files.
"""

from collections.abc import Iterable, Sequence

from monitoring.metrics import Metrics
from streamer.bus.record import BusError, Outgoing
from streamer.headers import FIELD_TYPE, STEP_TYPE
from streamer.intake.events import Outcome
from streamer.outlets.outlet import Outlet, write_or_refuse
from streamer.records import StepRecord, parse


class FilesError(BusError):
    """Files cannot be written now; the transaction is tried again like one that failed."""

    reason = "files"


class Filing:
    """The daemon's own files; belongs to the thread that publishes."""

    def __init__(self, outlets: Sequence[Outlet], metrics: Metrics) -> None:
        self._outlets = tuple(outlets)
        self._metrics = metrics
        for outlet in outlets:
            for counter in (metrics.files, metrics.files_refused):
                counter.labels(format=outlet.format)

    def write(self, records: Iterable[Outgoing]) -> None:
        """Write the files of each complete step among the records of a transaction.

        Raises FilesError where the disk does not take them. A step that a kind of files cannot
        hold is told and counted, and published nevertheless.
        """
        fields: dict[str, bytes] = {}
        for record in records:
            headers = dict(record.headers)
            kind = headers.get("ce_type", b"").decode()
            if kind == FIELD_TYPE:
                fields[headers["ce_id"].decode()] = record.value
            elif kind == STEP_TYPE and headers["outcome"].decode() == Outcome.COMPLETE:
                ended = parse(record.value)
                assert isinstance(ended, StepRecord)
                self._write_step(ended, [fields[entry.id] for entry in ended.fields])

    def _write_step(self, ended: StepRecord, messages: Sequence[bytes]) -> None:
        for outlet in self._outlets:
            try:
                with self._metrics.timed("files"):
                    count = write_or_refuse(outlet, ended, messages)
            except OSError as error:
                raise FilesError(
                    f"{ended.key.text}: its {outlet.format} files cannot be written: {error}"
                ) from error
            if count is None:
                self._metrics.files_refused.labels(format=outlet.format).inc()
            else:
                self._metrics.files.labels(format=outlet.format).inc(count)
