"""Values read from a message's bytes are those that ecCodes reads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.grib import codes
from streamer.grib.simple_packing import read_back

POINTS = 16 * 31


def packed(values: codes.Values, **keys: codes.Key) -> bytes:
    """Pack values with ecCodes' own sample of edition 2."""
    with codes.sample("regular_ll_sfc_grib2") as handle:
        handle.set_all({"Ni": 31, "Nj": 16, **keys})
        handle.set_values(values)
        return handle.message()


def by_eccodes(message: bytes) -> codes.Values:
    """Return what ecCodes reads."""
    with codes.opened(message) as handle:
        return handle.values()


def width(message: bytes) -> int:
    """Return the bits of a value."""
    with codes.opened(message) as handle:
        return handle.integer("bitsPerValue")


@given(
    bits=st.sampled_from([8, 16]),
    decimal=st.integers(-3, 3),
    low=st.floats(-1e5, 1e5),
    reach=st.floats(1e-3, 1e5),
    seed=st.integers(0, 99),
)
def test_any_field_reads_as_with_eccodes(
    bits: int, decimal: int, low: float, reach: float, seed: int
) -> None:
    values = low + reach * np.random.default_rng(seed).random(POINTS)

    message = packed(values, bitsPerValue=bits, decimalScaleFactor=decimal)

    found, wanted = read_back(message), by_eccodes(message)
    if found is None:
        # With a decimal scale ecCodes may choose the bits itself.
        assert width(message) not in (8, 16)
        return
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12 * np.abs(wanted).max())


def test_a_flipped_bit_of_the_values_is_seen() -> None:
    message = bytearray(packed(np.linspace(0.0, 1.0, POINTS), bitsPerValue=16))
    before = read_back(bytes(message))
    message[-5] ^= 1  # the last value's last bit; four bytes of 7777 follow

    after = read_back(bytes(message))

    assert before is not None
    assert after is not None
    assert np.flatnonzero(before != after).tolist() == [POINTS - 1]


@pytest.mark.parametrize(
    "keys",
    [
        {"bitsPerValue": 13},
        {"packingType": "grid_ccsds", "bitsPerValue": 16},
        {"bitmapPresent": 1, "bitsPerValue": 16},
    ],
)
def test_other_packings_are_left_to_eccodes(keys: dict[str, codes.Key]) -> None:
    values = np.linspace(0.0, 1.0, POINTS)
    values[3] = 9999.0

    assert read_back(packed(values, **keys)) is None


def test_a_constant_field_has_no_bits_and_is_left_to_eccodes() -> None:
    assert read_back(packed(np.full(POINTS, 5.0), bitsPerValue=16)) is None
