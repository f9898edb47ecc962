"""The frontier, the closed set, and the text that carries it."""

import base64
import contextlib
import random
import time
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.intake import offsets
from streamer.intake.ledger import METADATA_BYTES, Ledger, LedgerError, LedgerFull
from streamer.intake.offsets import MetadataError

Windows = st.tuples(st.integers(0, 2**50), st.lists(st.integers(1, 5000), min_size=1, max_size=400))


def open_and_end(window: tuple[int, list[int]]) -> tuple[np.ndarray, int]:
    """Make open offsets from a frontier and the lengths of open and closed runs."""
    frontier, lengths = window
    edges = frontier + np.cumsum([0, *lengths])
    runs = [np.arange(a, b) for a, b in zip(edges[:-1:2], edges[1::2], strict=False)]
    return np.concatenate(runs), int(edges[-1])


@given(Windows)
def test_a_closed_set_comes_back_from_its_text(window: tuple[int, list[int]]) -> None:
    still_open, end = open_and_end(window)

    text = offsets.encode(still_open, end)
    found, found_end = offsets.decode(window[0], text)

    assert np.array_equal(found, still_open)
    assert found_end == end
    assert text.isascii()


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_every_packing_comes_back_and_thousands_of_holes_fit(share: float) -> None:
    chance = np.random.default_rng(1)
    still_open = np.flatnonzero(chance.random(20_000) < share) + 10**9

    text = offsets.encode(still_open, 10**9 + 20_000)
    found, end = offsets.decode(int(still_open[0]), text)

    assert np.array_equal(found, still_open)
    assert end == 10**9 + 20_000
    assert len(text) <= METADATA_BYTES


@given(st.text(min_size=1, max_size=60).filter(lambda text: text[0] != offsets.VERSION))
def test_another_versions_text_is_refused(text: str) -> None:
    with pytest.raises(MetadataError, match="wanted '1'"):
        offsets.decode(5, text)


@given(st.sampled_from("rRbBx"), st.binary(max_size=40), st.booleans())
def test_a_damaged_text_is_refused_or_read_but_never_crashes(
    kind: str, packed: bytes, is_compressed: bool
) -> None:
    raw = zlib.compress(packed) if is_compressed else packed
    text = offsets.VERSION + kind + base64.b85encode(raw).decode()

    with contextlib.suppress(MetadataError):
        still_open, end = offsets.decode(5, text)
        assert np.all(still_open >= 5)
        assert np.all(still_open < end)


@pytest.mark.parametrize("text", ["1", "1x00", "1r\u00e9", "1R0000", "1bfoo"])
def test_a_damaged_text_is_refused_naming_its_offset(text: str) -> None:
    with pytest.raises(MetadataError, match="committed at offset 77 is damaged"):
        offsets.decode(77, text)


@given(st.lists(st.integers(0, 40), unique=True), st.integers(0, 60), st.integers(0, 40))
def test_after_a_restart_exactly_the_open_records_are_taken_again(
    released: list[int], count: int, start: int
) -> None:
    ledger: Ledger[str] = Ledger(start)
    read = range(start, start + count)
    for offset in read:
        assert ledger.open(offset)
    closed = [offset for offset in read if offset - start in released]
    for offset in closed:
        ledger.release(offset)

    prepared = ledger.prepare(start + count)
    restarted: Ledger[str] = Ledger(prepared.next_offset, prepared.metadata)

    still_open = [offset for offset in read if offset not in closed]
    assert prepared.next_offset == min(still_open, default=start + count)
    assert [o for o in read if restarted.is_closed(o)] == closed
    again = range(prepared.next_offset, start + count + 3)
    assert [o for o in again if restarted.open(o)] == [
        *still_open,
        *range(start + count, start + count + 3),
    ]


def test_a_restart_before_all_is_read_again_loses_nothing_of_the_closed_set() -> None:
    ledger: Ledger[str] = Ledger(0)
    for offset in range(10):
        ledger.open(offset)
    for offset in (1, 2, 5, 7, 8, 9):
        ledger.release(offset)
    first = ledger.prepare(10)

    second_life: Ledger[str] = Ledger(first.next_offset, first.metadata)
    second_life.open(0)
    second_life.release(0)
    second = second_life.prepare(1)
    third_life: Ledger[str] = Ledger(second.next_offset, second.metadata)

    assert second.next_offset == 3
    assert [o for o in range(12) if third_life.open(o)] == [3, 4, 6, 10, 11]


def test_the_frontier_waits_for_the_last_hold() -> None:
    ledger: Ledger[str] = Ledger(0)
    ledger.open(0)
    ledger.open(1)
    ledger.retain(0)
    ledger.release(0)
    ledger.release(1)

    assert ledger.frontier(2) == 0
    ledger.release(0)
    assert ledger.frontier(2) == 2


def test_markers_that_the_position_has_passed_are_committed() -> None:
    ledger: Ledger[str] = Ledger(0)
    ledger.open(0)
    ledger.release(0)

    assert ledger.prepare(2).next_offset == 2


def test_a_record_that_retention_took_does_not_hold_the_frontier() -> None:
    ledger: Ledger[str] = Ledger(0)
    for offset in range(6):
        ledger.open(offset)
    ledger.release(3)
    committed = ledger.prepare(6)

    restarted: Ledger[str] = Ledger(committed.next_offset, committed.metadata)
    restarted.open(4)
    restarted.open(5)
    restarted.release(4)
    restarted.release(5)

    assert restarted.frontier(6) == 6


def test_a_dead_letter_travels_once_with_the_transaction_that_closes_its_offset() -> None:
    ledger: Ledger[str] = Ledger(0)
    ledger.open(0)
    ledger.add_dead_letter(0, "cut", message=1)

    assert ledger.prepare(1).dead_letters == ()
    ledger.release(0)
    assert ledger.prepare(1).dead_letters == ("cut",)
    assert ledger.prepare(1).dead_letters == ()


def test_a_dead_letter_can_be_sent_ahead_and_then_not_again() -> None:
    ledger: Ledger[str] = Ledger(0)
    ledger.open(0)
    ledger.add_dead_letter(0, "other grid", message=0)
    ledger.add_dead_letter(0, "cut", message=1)
    ledger.send_dead_letter(0, 0)

    assert ledger.prepare(1).dead_letters == ("other grid",)
    ledger.release(0)
    assert ledger.prepare(1).dead_letters == ("cut",)


def test_a_closed_set_that_does_not_fit_is_refused_until_offsets_close() -> None:
    ledger: Ledger[str] = Ledger(0, limit_bytes=40)
    chance = random.Random(1)
    for offset in range(400):
        ledger.open(offset)
    for offset in chance.sample(range(400), 200):
        ledger.release(offset)

    assert not ledger.fits(400)
    with pytest.raises(LedgerFull, match="room for 40"):
        ledger.prepare(400)
    for offset in range(396):
        if not ledger.is_closed(offset):
            ledger.release(offset)
    assert ledger.fits(400)
    assert len(ledger.prepare(400).metadata) <= 40


@given(st.integers(0, 2**31), st.floats(0.02, 0.98), st.integers(20, 300))
def test_what_is_said_to_fit_can_be_prepared(seed: int, share: float, limit: int) -> None:
    chance = random.Random(seed)
    ledger: Ledger[str] = Ledger(0, limit_bytes=limit)
    for offset in range(600):
        ledger.open(offset)
        if chance.random() < share:
            ledger.release(offset)

    if ledger.fits(600):
        assert len(ledger.prepare(600).metadata.encode()) <= limit
    else:
        with pytest.raises(LedgerFull):
            ledger.prepare(600)


def test_an_offset_that_is_not_open_cannot_be_held_or_released() -> None:
    ledger: Ledger[str] = Ledger(0)

    with pytest.raises(LedgerError, match="offset 3 is not open"):
        ledger.release(3)
    with pytest.raises(LedgerError, match="offset 3 is not open"):
        ledger.retain(3)


def test_a_snapshot_is_cheap_with_thousands_of_closed_offsets() -> None:
    ledger: Ledger[str] = Ledger(0)
    for offset in range(9000):
        ledger.open(offset)
        if offset % 3:
            ledger.release(offset)

    started = time.process_time()
    for offset in range(0, 600, 3):
        ledger.release(offset)
        ledger.prepare(9000)
    seconds_each = (time.process_time() - started) / 200

    # At a hundred transactions a second this is a tenth of a core, on a slow and busy machine.
    assert seconds_each < 0.01
