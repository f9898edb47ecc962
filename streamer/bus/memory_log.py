"""One partition kept in memory: records in the order of their offsets, the oldest may be gone."""

from bisect import bisect_left
from operator import attrgetter

from streamer.bus.record import Headers, Partition, Record

_OFFSET = attrgetter("offset")


class Log:
    """A partition's records. Offsets rise, with a gap where a transaction ended, as in Kafka."""

    def __init__(self, partition: Partition, keep_bytes: int | None) -> None:
        self.partition = partition
        self.first_offset = 0
        self.next_offset = 0
        self.size_bytes = 0
        self._keep_bytes = keep_bytes
        self._records: list[Record] = []

    def append(
        self, key: bytes | None, value: bytes, headers: Headers, timestamp_ms: int
    ) -> Record:
        """Write one record at the end; the oldest go where `keep_bytes` is exceeded."""
        record = Record(self.partition, self.next_offset, key, value, headers, timestamp_ms)
        self._records.append(record)
        self.next_offset += 1
        self.size_bytes += len(value)
        while self._keep_bytes is not None and self.size_bytes > max(self._keep_bytes, len(value)):
            self.delete_before(self._records[0].offset + 1)
        return record

    def mark(self) -> None:
        """Let the end of a transaction take an offset, so that nobody counts `offset + 1`."""
        self.next_offset += 1

    def read(self, offset: int, max_records: int, max_bytes: int) -> list[Record]:
        """Return records from `offset` on: at most so many and so large, but at least one."""
        at = bisect_left(self._records, offset, key=_OFFSET)
        found: list[Record] = []
        size = 0
        for record in self._records[at : at + max_records]:
            size += len(record.value)
            if found and size > max_bytes:
                break
            found.append(record)
        return found

    def offset_at(self, timestamp_ms: int) -> int:
        """Return the first offset not older than a time, or the end."""
        newer = (r.offset for r in self._records if r.timestamp_ms >= timestamp_ms)
        return next(newer, self.next_offset)

    def delete_before(self, offset: int) -> list[Record]:
        """Remove and return all records below `offset`."""
        at = bisect_left(self._records, offset, key=_OFFSET)
        gone, self._records[:at] = self._records[:at], []
        self.size_bytes -= sum(len(record.value) for record in gone)
        self.first_offset = max(self.first_offset, min(offset, self.next_offset))
        return gone
