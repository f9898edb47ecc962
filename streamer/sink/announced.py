"""Finds the records of steps whose fields have been read, in the topic that announces them."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence

from streamer.bus.record import Record
from streamer.headers import STEP_TYPE
from streamer.intake.events import Outcome
from streamer.records import RecordError, StepRecord, parse

#: Yields what a topic holds since a time, up to its end as it is when the first lot is asked for.
History = Callable[[int], Iterator[Sequence[Record]]]

#: Records that are read on the way to the wanted ones and may be wanted next, bytes.
_KEPT_BYTES = 32 << 20
#: A step's fields and its record are written in one transaction, so their times are close. First
#: a short look; then one that covers the longest transaction and clocks that differ.
_MARGINS_MS = (5_000, 900_000)


class Announced:
    """Records of complete steps, by key.

    The fields of a transaction are read only after its end, and its record was written before:
    so what a history up to the topic's high watermark does not hold will never come.
    """

    def __init__(self, history: History, kept_bytes: int = _KEPT_BYTES) -> None:
        self._history = history
        self._kept_bytes = kept_bytes
        self._known: OrderedDict[bytes, list[bytes]] = OrderedDict()
        self._size_bytes = 0

    def of(self, key: bytes) -> list[StepRecord]:
        """Return the complete step records of a key that are at hand, in their order."""
        return [
            record
            for value in self._known.get(key, ())
            if isinstance(record := _parsed(value), StepRecord)
            and record.outcome is Outcome.COMPLETE
        ]

    def look_up(self, wanted: Callable[[], Mapping[bytes, int]]) -> Iterator[None]:
        """Read records until nothing is wanted; yields after each lot, so that they can be used.

        wanted: what is still sought, asked again after each lot: the keys, and when the first of
        each one's fields was published, in milliseconds. What is still wanted at the end will
        never be announced.
        """
        for margin_ms in _MARGINS_MS:
            sought = wanted()
            if not sought:
                return
            for lot in self._history(min(sought.values()) - margin_ms):
                for record in lot:
                    self._keep(record)
                yield
                if not wanted():
                    return

    def _keep(self, record: Record) -> None:
        kind = dict(record.headers).get("ce_type", b"").decode(errors="replace")
        key = record.key or b""
        values = self._known.pop(key, [])
        self._known[key] = values
        if kind == STEP_TYPE and record.value not in values:
            values.append(record.value)
            self._size_bytes += len(record.value)
        while self._size_bytes > self._kept_bytes and len(self._known) > 1:
            _, gone = self._known.popitem(last=False)
            self._size_bytes -= sum(map(len, gone))


def _parsed(value: bytes) -> object:
    try:
        return parse(value)
    except RecordError:
        # Another version's: its fields are given up loudly, as those without a record are.
        return None
