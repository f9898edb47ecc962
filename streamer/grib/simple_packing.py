"""Reads back simply packed values from a message's bytes alone, without a handle.

A check by other means than those that packed, and for the second draw onwards three times
cheaper: a handle parses every section to give one array.

Source: WMO FM 92, data representation template 5.0: Y 10^D = R + X 2^E.
"""

import struct
from typing import Any

import numpy as np

from streamer.grib.codes import Values
from streamer.grib.frame import section_offsets

#: A section begins with its length and number.
_HEAD = 5
#: What follows in section 5: points, template, R, E, D, bits.
_TEMPLATE = struct.Struct(">IHf2s2sB")
_WHOLE_BYTES: dict[int, np.dtype[Any]] = {8: np.dtype("u1"), 16: np.dtype(">u2")}
_NO_BITMAP = 255


def read_back(message: bytes) -> Values | None:
    """Return the values, (points,) float64 in scanning order, in the message's units.

    None where another packing, a bitmap or a width that is not of whole bytes needs ecCodes.
    """
    begins = section_offsets(message, last=7)
    points, template, reference, binary, decimal, bits = _TEMPLATE.unpack_from(
        message, begins[5] + _HEAD
    )
    if template != 0 or bits not in _WHOLE_BYTES or message[begins[6] + _HEAD] != _NO_BITMAP:
        return None
    packed = np.frombuffer(message, _WHOLE_BYTES[bits], count=points, offset=begins[7] + _HEAD)
    values: Values = packed * 2.0 ** _signed(binary)
    values += reference
    exponent = _signed(decimal)
    return values if exponent == 0 else values * 10.0**-exponent


def _signed(raw: bytes) -> int:
    """Read GRIB's signed 16 bits: the first one is the sign."""
    number = int.from_bytes(raw)
    return 0x8000 - number if number & 0x8000 else number
