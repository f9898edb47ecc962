"""Keeps prepared conditions for steps that are asked again: other draws, a repeat on purpose."""

import threading
from collections import OrderedDict
from hashlib import blake2b

from engines.bundle import Bundle
from streamer.domain import Array, Step
from streamer.downscale.condition import condition


class Conditions:
    """Conditions of one bundle by what they are made of; safe for several threads.

    A step's condition is prepared once for all its draws in any case. What is kept beyond that
    is bounded in bytes, and what was asked for longest ago goes first.
    """

    def __init__(self, bundle: Bundle, limit_bytes: int) -> None:
        """Start empty; a limit of 0 keeps nothing."""
        self._bundle = bundle
        self._limit_bytes = limit_bytes
        self._kept: OrderedDict[bytes, Array] = OrderedDict()
        self._held_bytes = 0
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """What the kept conditions take."""
        return self._held_bytes

    def of(self, step: Step) -> Array:
        """Return the step's condition, (C + K, H, W) float32, which nobody may write on."""
        if self._limit_bytes == 0:
            return condition(step, self._bundle)
        key = _fingerprint(step)
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
                return kept
        # Two threads may make the same one at once: rarer than it is worth to wait for.
        made = condition(step, self._bundle)
        with self._lock:
            self._keep(key, made)
        return made

    def _keep(self, key: bytes, made: Array) -> None:
        if key in self._kept or made.nbytes > self._limit_bytes:
            return
        self._kept[key] = made
        self._held_bytes += made.nbytes
        while self._held_bytes > self._limit_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._held_bytes -= oldest.nbytes


def _fingerprint(step: Step) -> bytes:
    """Return a digest of the numbers that a condition is made of.

    The coarse values stand for the interpolated ones, which follow from them, and are a tenth of
    the bytes. Not the messages: a field may be the difference of two, and `again` changes none.
    """
    digest = blake2b(digest_size=16)
    for field in sorted(step.fields, key=lambda field: field.parameter):
        told = (field.parameter, field.grid, field.coarse.shape, field.interval, field.rounding)
        digest.update(repr(told).encode())
        digest.update(field.coarse.tobytes())
        if field.crossed_coarse is not None:
            digest.update(field.crossed_coarse.tobytes())
    return digest.digest()
