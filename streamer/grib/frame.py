"""Finds the messages in a record by their frames, before ecCodes sees a byte of them.

ecCodes takes truncated bytes and reads only the first of two glued messages, or only the first
field of an edition 2 message that holds several; so frames are checked and cut here.
Sources: WMO Manual on Codes, FM 92 GRIB (editions 1 and 2), sections 0 to 8.
"""

from collections.abc import Iterator

from streamer.domain import Reason, Rejected
from streamer.grib.wants import Limits

_START, _END = b"GRIB", b"7777"


class _Broken(Exception):
    """A frame that does not hold; carries the reason and the text."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def split(value: bytes, limits: Limits) -> list[bytes | Rejected]:
    """Cut a record's value into messages of one field each; what is none comes as a rejection.

    Zero bytes between messages are padding, as archives write it. Whatever else lies between two
    sound frames is one rejection.
    """
    if not value:
        return [Rejected(Reason.EMPTY, "the record has no bytes, want one or more GRIB messages")]
    if len(value) > limits.record_bytes:
        text = f"the record has {len(value)} bytes, the limit is {limits.record_bytes}"
        return [Rejected(Reason.TOO_LARGE, text)]
    pieces: list[bytes | Rejected] = []
    for piece in _pieces(value):
        if len(pieces) >= limits.messages:
            text = f"the record holds more than {limits.messages} messages; the rest is not used"
            return [*pieces, Rejected(Reason.TOO_LARGE, text)]
        pieces.append(piece)
    if not pieces:
        text = f"the record has {len(value)} bytes, all zero"
        return [Rejected(Reason.NOT_GRIB, text)]
    return pieces


def _pieces(value: bytes) -> Iterator[bytes | Rejected]:
    start = 0
    while start < len(value):
        try:
            end = start + _length(value, start)
            fields = list(_fields(value[start:end]))
        except _Broken as broken:
            end = _next_frame(value, start)
            if value[start:end].strip(b"\0"):
                yield Rejected(broken.reason, f"byte {start}: {broken}")
        else:
            yield from fields
        start = end


def _next_frame(value: bytes, start: int) -> int:
    """Return where the next sound frame begins after `start`, or the end of the value."""
    at = value.find(_START, start + 1)
    while at >= 0:
        try:
            _length(value, at)
        except _Broken:
            at = value.find(_START, at + 1)
        else:
            return at
    return len(value)


def _length(value: bytes, start: int) -> int:
    """Return the length of the message that begins at `start`, its frame being sound."""
    head = value[start : start + 16]
    if head[:4] != _START:
        shown = head.lstrip(b"\0")[:16]
        raise _Broken(Reason.NOT_GRIB, f"found {shown!r}, want GRIB")
    if len(head) < 16:
        raise _Broken(Reason.TRUNCATED, f"only {len(head)} bytes follow, no message is so short")
    if head[7] not in (1, 2):
        raise _Broken(Reason.UNDECODABLE, f"GRIB edition {head[7]}, want 1 or 2")
    length = int.from_bytes(head[8:16]) if head[7] == 2 else _length_1(value, start)
    here = len(value) - start
    if length > here:
        text = f"the message says it has {length} bytes, {here} are there"
        raise _Broken(Reason.TRUNCATED, text)
    if length < 20 or value[start + length - 4 : start + length] != _END:
        text = f"the message says it has {length} bytes, but does not end there in 7777"
        raise _Broken(Reason.UNDECODABLE, text)
    return length


def section_offsets(message: bytes, last: int = 5) -> dict[int, int]:
    """Return where sections 1 to `last` begin in an edition 2 message whose frame is sound."""
    at, begins = 16, dict[int, int]()
    while last not in begins:
        begins[message[at + 4]] = at
        at += int.from_bytes(message[at : at + 4])
    return begins


def _length_1(value: bytes, start: int) -> int:
    """Return an edition 1 message's length.

    Above 8 MiB the first bit is set, the rest counts 120 bytes, and section 4's length says by
    how much that is too long: ECMWF's convention, which ecCodes writes and reads.
    """
    stated = int.from_bytes(value[start + 4 : start + 7])
    if not stated & 0x800000:
        return stated
    flags = value[start + 15]
    at = start + 8
    for present in (True, flags & 0x80, flags & 0x40):
        at += int.from_bytes(value[at : at + 3]) if present else 0
    section_4 = int.from_bytes(value[at : at + 3])
    units = (stated & 0x7FFFFF) * 120
    return units - section_4 + 4 if section_4 < 120 else stated


def _fields(message: bytes) -> Iterator[bytes]:
    """Yield each field of a message as a message of its own; most have one and pass unchanged."""
    if message[7] == 1:
        yield message
        return
    sections = list(_sections(message))
    if sum(section[4] == 7 for section in sections) == 1:
        yield message
        return
    current: dict[int, bytes] = {}
    bitmap = b""
    for section in sections:
        number = section[4]
        if number == 6 and section[5:6] == b"\xfe":
            section = bitmap or section  # noqa: PLW2901 - 254: as in the field before
        elif number == 6 and section[5:6] == b"\0":
            bitmap = section
        current[number] = section
        if number == 7:
            yield _assembled(message, current)


def _sections(message: bytes) -> Iterator[bytes]:
    """Yield sections 1 to 7 of an edition 2 message; they must fill it and follow each other."""
    at, end, before = 16, len(message) - 4, 0
    while at < end:
        length, number = int.from_bytes(message[at : at + 4]), message[at + 4]
        repeats = before == 7 and number in (2, 3, 4)
        follows = number == before + 1 or (number == before + 2 == 3) or repeats
        if length < 5 or at + length > end or not follows:
            text = f"its sections do not fill it: section {number} of {length} bytes at {at}"
            raise _Broken(Reason.UNDECODABLE, text)
        yield message[at : at + length]
        at, before = at + length, number
    if before != 7:
        raise _Broken(Reason.UNDECODABLE, f"it ends after section {before}, want 7")


def _assembled(message: bytes, sections: dict[int, bytes]) -> bytes:
    body = b"".join(sections[number] for number in sorted(sections))
    length = 16 + len(body) + 4
    return message[:8] + length.to_bytes(8) + body + _END
