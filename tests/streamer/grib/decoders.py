"""Decode functions that worker processes import in tests, beside the daemon's own."""

import os
import signal

from streamer.domain import Decoded, Unwanted
from streamer.grib import regrid
from streamer.grib.frame import split
from streamer.grib.wants import Wants


def framed(length: int) -> bytes:
    """A sound edition 1 frame around nothing."""
    return b"GRIB" + length.to_bytes(3) + b"\1" + bytes(length - 12) + b"7777"


FIRST, SECOND, KILLER = framed(101), framed(102), framed(666)


def count(value: bytes, wants: Wants, again: str) -> list[Decoded]:
    """Name each message by its place and length."""
    pieces = [piece for piece in split(value, wants.limits) if isinstance(piece, bytes)]
    return [Unwanted(f"{again}{len(piece)}") for piece in pieces]


def die_of_killer(value: bytes, wants: Wants, again: str) -> list[Decoded]:
    """Kill this very process where the record holds the killer."""
    if KILLER in value:
        os.kill(os.getpid(), signal.SIGSEGV)
    return count(value, wants, again)


def hang_at_killer(value: bytes, wants: Wants, again: str) -> list[Decoded]:
    """Never come back where the record holds the killer."""
    while KILLER in value:
        signal.pause()
    return count(value, wants, again)


def raise_at_killer(value: bytes, wants: Wants, again: str) -> list[Decoded]:
    """Raise what nobody expects where the record holds the killer."""
    if KILLER in value:
        raise ZeroDivisionError("a defect")
    return count(value, wants, again)


def eat(value: bytes, wants: Wants, again: str) -> list[Decoded]:
    """Take a gigabyte of memory."""
    return [Unwanted(str(len(bytearray(1 << 30))))]


def whole_globe(value: bytes, wants: Wants, again: str) -> list[Decoded]:
    """Regrid whatever comes to the whole globe, as nobody should."""
    pieces = split(value, wants.limits)
    for piece in pieces:
        assert isinstance(piece, bytes)
        regrid.message_to_coarse(piece, wants.manifest.coarse)
    return [Unwanted("regridded") for _ in pieces]


def die_at_start(wants: Wants) -> None:
    """Prepare nothing and die."""
    os._exit(7)
