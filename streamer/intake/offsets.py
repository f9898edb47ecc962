"""The closed set of a partition as text small enough to be committed with the offset.

What is written are the offsets that are still open, which are few, as runs that alternate
between open and closed from the frontier on; whatever lies between them is closed. Each text
starts with the version and a letter for the packing; the smallest packing wins.
"""

import base64
import binascii
import zlib
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from engines.errors import DownscaledError

Offsets = NDArray[np.int64]

VERSION = "1"

# Below this many bytes another packing saves nothing that matters.
_SHORT_BYTES = 128
# Beyond this many bits a map of the offsets is no rival to their runs, and slow to make.
_WIDEST_MAP = 1 << 18
# A daemon never holds this many records at once: the text is not ours, or damaged.
_MOST_OPEN = 1 << 24


class MetadataError(DownscaledError):
    """Committed metadata that this version cannot read."""

    reason: ClassVar[str] = "metadata"


def encode(open_offsets: Offsets, end: int) -> str:
    """Write down which offsets from the first open one up to `end` (exclusive) are closed.

    open_offsets: rising, all below `end`; none at all gives the empty text.
    """
    if not len(open_offsets):
        return ""
    runs = _varints(_runs(open_offsets, end))
    packed = {"r": runs}
    if len(runs) > _SHORT_BYTES:
        packed["R"] = zlib.compress(runs, 6)
        if end - open_offsets[0] <= _WIDEST_MAP:
            bits = _bitmap(open_offsets, end)
            packed |= {"b": bits, "B": zlib.compress(bits, 6)}
    kind = min(packed, key=lambda name: len(packed[name]))
    return VERSION + kind + base64.b85encode(packed[kind]).decode()


def decode(frontier: int, text: str) -> tuple[Offsets, int]:
    """Return (open offsets, rising; end) of a closed set that was committed with `frontier`.

    Raises MetadataError for another version's text, and for a damaged one.
    """
    if not text:
        return np.empty(0, np.int64), frontier
    if text[0] != VERSION:
        raise MetadataError(
            f"metadata {text[:12]!r} committed at offset {frontier} is not ours: "
            f"found version {text[0]!r}, wanted {VERSION!r}"
        )
    try:
        return _unpack(frontier, text[1:2], base64.b85decode(text[2:]))
    except (ValueError, IndexError, zlib.error, binascii.Error) as error:
        raise MetadataError(
            f"metadata {text[:12]!r} committed at offset {frontier} is damaged: {error}"
        ) from error


def _unpack(frontier: int, kind: str, packed: bytes) -> tuple[Offsets, int]:
    if kind not in "rRbB" or not kind:
        raise ValueError(f"unknown packing {kind!r}")
    raw = zlib.decompress(packed) if kind.isupper() else packed
    if kind in "rR":
        return _from_runs(frontier, _read_varints(raw))
    length, bits = _read_varint(raw, 0)
    if (length + 7) // 8 != len(raw) - bits:
        raise ValueError(f"a map of {length} offsets in {len(raw) - bits} bytes")
    flags = np.unpackbits(np.frombuffer(raw, np.uint8, offset=bits), count=length)
    return frontier + np.flatnonzero(flags).astype(np.int64), frontier + length


def _runs(open_offsets: Offsets, end: int) -> Offsets:
    """Return lengths of open, closed, open, ... closed runs; only the last one may be 0."""
    breaks = np.flatnonzero(np.diff(open_offsets) != 1)
    starts = open_offsets[np.concatenate(([0], breaks + 1))]
    stops = open_offsets[np.concatenate((breaks, [-1]))] + 1
    edges = np.empty(2 * len(starts) + 1, np.int64)
    edges[:-1:2], edges[1::2], edges[-1] = starts, stops, end
    return np.diff(edges)


def _from_runs(frontier: int, lengths: list[int]) -> tuple[Offsets, int]:
    if sum(lengths[::2]) > _MOST_OPEN:
        raise ValueError(f"{sum(lengths[::2])} open offsets, wanted at most {_MOST_OPEN}")
    if frontier + sum(lengths) >= 1 << 63:
        raise ValueError("offsets of more than 63 bits")
    edges = frontier + np.cumsum([0, *lengths], dtype=np.int64)
    ranges = [np.arange(a, b) for a, b in zip(edges[:-1:2], edges[1::2], strict=False)]
    return np.concatenate([np.empty(0, np.int64), *ranges]), int(edges[-1])


def _bitmap(open_offsets: Offsets, end: int) -> bytes:
    frontier = int(open_offsets[0])
    flags = np.zeros(end - frontier, np.uint8)
    flags[open_offsets - frontier] = 1
    return _varints(np.array([end - frontier])) + np.packbits(flags).tobytes()


def _varints(values: Offsets) -> bytes:
    """Write numbers in groups of seven bits, lowest first, the high bit saying that more follow."""
    sizes = np.ones(len(values), np.int64)
    for k in range(1, 9):
        sizes += values >= 1 << (7 * k)
    starts = np.cumsum(sizes) - sizes
    out = np.zeros(int(sizes.sum()), np.uint8)
    for k in range(int(sizes.max(initial=0))):
        there = sizes > k
        more = np.where(sizes[there] > k + 1, 128, 0)
        out[starts[there] + k] = ((values[there] >> (7 * k)) & 127) | more
    return out.tobytes()


def _read_varints(raw: bytes) -> list[int]:
    values, i = [], 0
    while i < len(raw):
        value, i = _read_varint(raw, i)
        values.append(value)
    return values


def _read_varint(raw: bytes, i: int) -> tuple[int, int]:
    """Return the number that begins at byte `i`, and where the next one begins."""
    value = shift = 0
    while True:
        value |= (raw[i] & 127) << shift
        if raw[i] < 128:
            return value, i + 1
        i, shift = i + 1, shift + 7
        if shift > 56:
            raise ValueError("a number of more than 63 bits")
