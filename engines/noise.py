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

_TURN = np.float32(2.0 * np.pi / 2.0**32)


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
    for channel in range(channels):
        rows = _rows(philox_key, channel, top, bottom, window.width)
        _take_columns(rows, left, right, out=noise[channel])
    return noise


def _philox_key(key: bytes, level: int) -> NDArray[np.uint64]:
    digest = hashlib.blake2b(key, digest_size=16, salt=level.to_bytes(8, "little")).digest()
    return np.frombuffer(digest, dtype="<u8").astype(np.uint64)


def _rows(philox_key: NDArray[np.uint64], channel: int, top: int, bottom: int, width: int) -> Array:
    """Return whole rows, (bottom - top, width), so that each number's place is fixed."""
    blocks = -(-width // NORMALS_IN_BLOCK)
    counter = np.array([top * blocks, 0, channel, 0], dtype=np.uint64)
    words = (bottom - top) * blocks * WORDS_IN_BLOCK
    raw = Philox(key=philox_key, counter=counter).random_raw(words)
    return _normals(raw).reshape(bottom - top, blocks * NORMALS_IN_BLOCK)[:, :width]


def _normals(raw: NDArray[np.uint64]) -> Array:
    """Turn each 64-bit word into two normal numbers: half makes a radius, half an angle."""
    radius = (raw >> np.uint64(32)).astype(np.float32)
    # Half a unit up, so that the logarithm never meets 0; the largest radius is 6.8.
    radius += np.float32(0.5)
    radius *= np.float32(2.0**-32)
    np.log(radius, out=radius)
    radius *= np.float32(-2.0)
    # Rounding to float32 can lift the largest numbers to 1, whose logarithm is -0, never above.
    np.sqrt(radius, out=radius)
    angle = (raw & np.uint64(0xFFFFFFFF)).astype(np.float32)
    angle *= _TURN
    normals = np.empty((raw.size, 2), dtype=np.float32)
    np.multiply(radius, np.cos(angle), out=normals[:, 0])
    np.multiply(radius, np.sin(angle), out=normals[:, 1])
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
