"""Files count once nobody writes to them any more."""

import os
from pathlib import Path

from streamer.watching import Arrivals, Look, look_at

SECOND = 1_000_000_000
PATH = Path("wind.grib2")


def test_a_file_counts_when_nobody_wrote_to_it_for_a_while() -> None:
    arrivals = Arrivals(settle_s=2.0)
    look = Look(100, modified_ns=10 * SECOND)

    assert arrivals.complete([(PATH, look)], 11 * SECOND) == []
    assert arrivals.complete([(PATH, look)], 12 * SECOND) == [(PATH, look)]


def test_a_file_that_is_done_comes_back_only_when_it_changes() -> None:
    arrivals = Arrivals(settle_s=2.0)
    look, changed = Look(100, 0), Look(100, 50 * SECOND)

    arrivals.done(PATH, look)

    assert arrivals.complete([(PATH, look)], 10 * SECOND) == []
    assert arrivals.complete([(PATH, changed)], 60 * SECOND) == [(PATH, changed)]


def test_an_empty_file_is_not_complete() -> None:
    assert Arrivals().complete([(PATH, Look(0, 0))], 100 * SECOND) == []


def test_a_file_that_was_moved_in_counts_at_once(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.write_bytes(b"x")
    os.utime(outside, ns=(0, 100 * SECOND))

    outside.rename(inside)
    looks = look_at([inside, tmp_path / "gone"])

    assert Arrivals(settle_s=2.0).complete(looks, 102 * SECOND) == looks
