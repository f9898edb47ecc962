"""Noise that belongs to a place: the same key, level, channel and pixel give the same number.

A tile's noise can be made alone, whichever tiles are made before it, and two tiles that overlap
see the same noise where they do, because every row of the whole grid has a fixed place in the
stream of its key.

The stream is Philox4x64 (Salmon et al. 2011, https://doi.org/10.1145/2063384.2063405), whose
counter may be set to any place at no cost; the normal numbers are Box and Muller's, which take
a fixed number of bits each (rejection methods do not, and would lose the place).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Philox
from numpy.typing import NDArray

from engines.denoiser import Array

#: A Philox block is four 64-bit words, and every word gives two normal numbers.
WORDS_IN_BLOCK = 4
NORMALS_IN_BLOCK = 2 * WORDS_IN_BLOCK

#: Temporary arrays hold so many words (0.5 MB); smaller ones cost more calls than they save.
WORDS_AT_ONCE = 65536

#: What the lowest of 32 bits is as an angle.
_RADIANS = np.float32(2.0 * np.pi / 2.0**32)


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of a global grid.

    rows: [start, stop) of the global rows. columns: [start, stop) of the global columns, where
    stop may pass `width`: the window then wraps over the date line. width: columns of the grid.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    width: int


def keyed(key: bytes, channels: int, window: Window) -> Callable[[int], Array]:
    """Return a tile's noise by level index, as the samplers ask for it."""
    return lambda level: draw(key, level, channels, window)


def draw(key: bytes, level: int, channels: int, window: Window) -> Array:
    """Return standard normal noise, (channels, rows, columns) float32, a fresh array.

    The numbers are a function of key, level, channel and global row and column alone.
    """
    philox_key = _philox_key(key, level)
    (top, bottom), (left, right) = window.rows, window.columns
    noise = np.empty((channels, bottom - top, right - left), dtype=np.float32)
    blocks = -(-window.width // NORMALS_IN_BLOCK)
    at_once = max(1, WORDS_AT_ONCE // (blocks * WORDS_IN_BLOCK))
    for channel in range(channels):
        counter = np.array([top * blocks, 0, channel, 0], dtype=np.uint64)
        stream = Philox(key=philox_key, counter=counter)
        for row in range(0, bottom - top, at_once):
            out = noise[channel, row : row + at_once]
            rows = _rows(stream, len(out), blocks)[:, : window.width]
            _take_columns(rows, left, right, out)
    return noise


def _philox_key(key: bytes, level: int) -> NDArray[np.uint64]:
    digest = hashlib.blake2b(key, digest_size=16, salt=level.to_bytes(8, "little")).digest()
    return np.frombuffer(digest, dtype="<u8").astype(np.uint64)


def _rows(stream: Philox, rows: int, blocks: int) -> Array:
    """Take the next rows of a stream, whole ones, so that each number's place is fixed.

    Each word makes two normal numbers: one half of its bits a radius, the other an angle.
    """
    words = stream.random_raw(rows * blocks * WORDS_IN_BLOCK).reshape(rows, -1)
    radius = (words >> np.uint64(32)).astype(np.float32)
    # Half a unit up, so that the logarithm never meets 0; the largest radius is 6.8. Rounding
    # lifts the largest numbers to 1 and never above, so the root is always real.
    radius += np.float32(0.5)
    radius *= np.float32(2.0**-32)
    np.log(radius, out=radius)
    radius *= np.float32(-2.0)
    np.sqrt(radius, out=radius)
    angle = (words & np.uint64(0xFFFFFFFF)).astype(np.float32)
    angle *= _RADIANS
    normals = np.empty((rows, 2 * words.shape[1]), dtype=np.float32)
    np.multiply(radius, np.cos(angle), out=normals[:, : words.shape[1]])
    np.multiply(radius, np.sin(angle), out=normals[:, words.shape[1] :])
    return normals


def _take_columns(rows: Array, left: int, right: int, out: Array) -> None:
    """Copy columns [left, right) to `out`, starting again at 0 past the last."""
    width = rows.shape[1]
    done = 0
    while done < right - left:
        start = (left + done) % width
        count = min(width - start, right - left - done)
        out[:, done : done + count] = rows[:, start : start + count]
        done += count
