"""Frames: what is a message, what is not, and what a bad one costs."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.domain import Reason, Rejected
from streamer.grib.codes import opened, sample
from streamer.grib.frame import split
from streamer.grib.wants import Limits

LIMITS = Limits()


def message(edition: int, value: float) -> bytes:
    """A small sound message whose field is constant."""
    with sample(f"regular_ll_sfc_grib{edition}") as handle:
        handle.set_values(np.full(handle.integer("numberOfDataPoints"), value))
        return handle.message()


MESSAGES = [message(edition, value) for edition in (1, 2) for value in (1.0, 2.0)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(MESSAGES), st.integers(0, 130)), min_size=1, max_size=5))
def test_messages_with_zero_padding_between_them_come_back_as_they_were(
    parts: list[tuple[bytes, int]],
) -> None:
    value = b"".join(one + bytes(padding) for one, padding in parts)

    assert split(value, LIMITS) == [one for one, _ in parts]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(MESSAGES), st.data())
def test_a_message_cut_anywhere_is_one_rejection(whole: bytes, data: st.DataObject) -> None:
    end = data.draw(st.integers(16, len(whole) - 1))

    (found,) = split(whole[:end], LIMITS)

    assert isinstance(found, Rejected)
    assert found.reason is Reason.TRUNCATED
    assert f"{len(whole)} bytes, {end} are there" in found.text


def test_a_record_without_bytes_is_empty() -> None:
    (found,) = split(b"", LIMITS)

    assert isinstance(found, Rejected)
    assert found.reason is Reason.EMPTY


@pytest.mark.parametrize("foreign", [b"<!DOCTYPE html>", b'{"a": 1}', b"GRI", bytes(40)])
def test_foreign_bytes_are_not_grib_and_the_text_shows_how_they_begin(foreign: bytes) -> None:
    (found,) = split(foreign, LIMITS)

    assert isinstance(found, Rejected)
    assert found.reason is Reason.NOT_GRIB
    assert foreign.strip(b"\0").decode()[:16] in found.text


def test_a_record_above_the_limit_is_not_looked_at() -> None:
    (found,) = split(MESSAGES[0] * 3, Limits(record_bytes=2 * len(MESSAGES[0])))

    assert isinstance(found, Rejected)
    assert found.reason is Reason.TOO_LARGE
    assert str(3 * len(MESSAGES[0])) in found.text


def test_messages_above_the_limit_are_refused_as_one() -> None:
    found = split(MESSAGES[0] * 5, Limits(messages=3))

    assert found[:3] == MESSAGES[:1] * 3
    assert isinstance(found[3], Rejected)
    assert found[3].reason is Reason.TOO_LARGE
    assert len(found) == 4


def test_a_broken_message_between_two_good_ones_costs_only_itself() -> None:
    first, second, third = MESSAGES[0], MESSAGES[2], MESSAGES[1]
    broken = second[:-4] + b"7778"

    found = split(first + broken + third, LIMITS)

    assert found[0] == first
    assert isinstance(found[1], Rejected)
    assert found[1].reason is Reason.UNDECODABLE
    assert f"byte {len(first)}" in found[1].text
    assert found[2] == third


def test_a_truncated_message_does_not_swallow_the_next_one() -> None:
    found = split(MESSAGES[2][:-9] + MESSAGES[0], LIMITS)

    assert isinstance(found[0], Rejected)
    assert found[1] == MESSAGES[0]


def test_junk_behind_good_messages_is_one_rejection() -> None:
    found = split(MESSAGES[0] + MESSAGES[3] + b"and so on", LIMITS)

    assert found[:2] == [MESSAGES[0], MESSAGES[3]]
    assert isinstance(found[2], Rejected)
    assert found[2].reason is Reason.NOT_GRIB


def test_an_unknown_edition_is_named() -> None:
    third = bytearray(MESSAGES[2])
    third[7] = 3

    (found,) = split(bytes(third), LIMITS)

    assert isinstance(found, Rejected)
    assert "edition 3" in found.text


def test_sections_that_do_not_fill_a_message_are_refused() -> None:
    bad = bytearray(MESSAGES[2])
    bad[16:20] = (4000).to_bytes(4)

    (found,) = split(bytes(bad), LIMITS)

    assert isinstance(found, Rejected)
    assert found.reason is Reason.UNDECODABLE


def test_an_edition_1_message_above_8_mib_keeps_its_whole_length() -> None:
    with sample("regular_ll_sfc_grib1") as handle:
        handle.set_all({"Ni": 2400, "Nj": 1300, "bitsPerValue": 24})
        handle.set_values(np.random.default_rng(0).standard_normal(2400 * 1300))
        large = handle.message()
    assert len(large) > 8 << 20

    found = split(large + MESSAGES[0], LIMITS)

    assert [len(one) for one in found if isinstance(one, bytes)] == [len(large), len(MESSAGES[0])]


def test_an_edition_2_message_with_two_fields_becomes_two_messages() -> None:
    first, second = MESSAGES[2], message(2, 7.0)
    sections = {one[4]: one for one in _sections(second)}
    body = first[16:-4] + b"".join(sections[n] for n in (4, 5, 6, 7))
    both = first[:8] + (len(body) + 20).to_bytes(8) + body + b"7777"

    found = split(both, LIMITS)

    assert found == [first, second]


def test_a_real_message_of_several_fields_gives_every_field(shared_data: Path) -> None:
    path = shared_data / "conformance" / "cfgrib" / "nam.t00z.awp21100.tm00.grib2"

    found = split(path.read_bytes(), LIMITS)

    names = []
    for one in found:
        assert isinstance(one, bytes)
        with opened(one) as handle:
            names.append(handle.text("shortName"))
    # grib_ls, which counts fields, finds the same.
    assert len(names) == 181
    assert names.count("u") == names.count("v") == 26


def _sections(whole: bytes) -> list[bytes]:
    at, found = 16, []
    while at < len(whole) - 4:
        length = int.from_bytes(whole[at : at + 4])
        found.append(whole[at : at + length])
        at += length
    return found
