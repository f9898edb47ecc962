"""The clock of a partition: record time, so that a backlog does not expire at once."""

from datetime import datetime, timedelta

# Clocks of honest producers differ by seconds: what is further ahead than this is wrong.
SKEW = timedelta(seconds=60)


class RecordClock:
    """The highest timestamp seen in a partition; wall time while it is read to its end.

    Fed with every record that passes, skipped ones included, when its fields have been added:
    a clock that ran ahead of records still being decoded would expire steps too early. It rests
    on the records' own timestamps, so a crash loop cannot stop it. It may step back from wall
    time when a backlog shows up, which only lets steps wait longer.
    """

    def __init__(self) -> None:
        self._highest: datetime | None = None
        self._is_at_end = False

    def see(self, timestamp: datetime | None, now: datetime) -> datetime:
        """Take note of a record; return its record time: its timestamp, never ahead of `now`.

        timestamp: None where the record has none.
        A timestamp from the future does not move the clock, so it expires nothing.
        """
        self._is_at_end = False
        if timestamp is None:
            return now
        time = min(timestamp, now)
        if timestamp - now <= SKEW and (self._highest is None or time > self._highest):
            self._highest = time
        return time

    def reach_end(self) -> None:
        """Note that every record of the partition has been read and decoded, until the next."""
        self._is_at_end = True

    def time(self, now: datetime) -> datetime | None:
        """Return what the clock shows, never ahead of `now`; None before the first record."""
        if self._is_at_end:
            return now
        return None if self._highest is None else min(self._highest, now)
