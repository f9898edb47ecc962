"""The only door to ecCodes: messages as handles that are always let go, keys, values.

ecCodes is a C library whose handles leak unless released on every path, so a handle exists
only inside a `with`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import eccodes
import numpy as np
from numpy.typing import NDArray

from engines.errors import DownscaledError

Values = NDArray[np.float64]
Key = int | float | str


class CodesError(DownscaledError):
    """ecCodes could not do what was asked of it; the text is its own, with key and value."""

    reason: ClassVar[str] = "eccodes"


class Handle:
    """One GRIB message as ecCodes sees it; only valid inside the `with` that made it."""

    __slots__ = ("_id",)

    def __init__(self, identity: int) -> None:
        self._id = identity

    def has(self, key: str) -> bool:
        """Whether the message knows a key and has a value for it (not all bits set)."""
        try:
            return bool(eccodes.codes_is_defined(self._id, key)) and not self.is_missing(key)
        except CodesError:
            return False

    def is_missing(self, key: str) -> bool:
        """Whether a key's value is GRIB's "missing"."""
        with _told(f"is_missing {key}"):
            return bool(eccodes.codes_is_missing(self._id, key))

    def native(self, key: str) -> Key:
        """Return a key in its own type."""
        with _told(key):
            value: Key = eccodes.codes_get(self._id, key)
        return value

    def integer(self, key: str) -> int:
        """Return a key as a whole number."""
        with _told(key):
            return int(eccodes.codes_get_long(self._id, key))

    def number(self, key: str) -> float:
        """Return a key as a floating-point number."""
        with _told(key):
            return float(eccodes.codes_get_double(self._id, key))

    def text(self, key: str) -> str:
        """Return a key as text, as `grib_ls` shows it."""
        with _told(key):
            return str(eccodes.codes_get_string(self._id, key))

    def numbers(self, key: str) -> Values:
        """Return an array-valued key: (N,) float64, in the message's own order."""
        with _told(key):
            found: Any = eccodes.codes_get_array(self._id, key)
        return np.asarray(found, dtype=np.float64)

    def values(self) -> Values:
        """Decode the field: (points,) float64 in scanning order; `missingValue` where missing."""
        with _told("values"):
            found: Any = eccodes.codes_get_values(self._id)
        return np.asarray(found, dtype=np.float64)

    def set(self, key: str, value: Key) -> None:
        """Set one key."""
        with _told(f"{key}={value}"):
            eccodes.codes_set(self._id, key, value)

    def set_all(self, keys: Mapping[str, Key]) -> None:
        """Set several keys in one call, as templates that depend on each other need it."""
        with _told(", ".join(f"{key}={value}" for key, value in keys.items())):
            eccodes.codes_set_key_vals(self._id, dict(keys))

    def set_missing(self, key: str) -> None:
        """Set a key to GRIB's "missing"."""
        with _told(f"{key}=missing"):
            eccodes.codes_set_missing(self._id, key)

    def set_values(self, values: Values) -> None:
        """Pack a field, (points,) in scanning order, with the packing that the handle has."""
        with _told("values"):
            eccodes.codes_set_values(self._id, np.ascontiguousarray(values, dtype=np.float64))

    def message(self) -> bytes:
        """Return the encoded message."""
        with _told("message"):
            return bytes(eccodes.codes_get_message(self._id))

    @contextmanager
    def clone(self) -> "Iterator[Handle]":
        """Open a copy that can be changed without touching this one."""
        with _told("clone"):
            identity = eccodes.codes_clone(self._id)
        try:
            yield Handle(identity)
        finally:
            eccodes.codes_release(identity)


@contextmanager
def opened(message: bytes) -> Iterator[Handle]:
    """Open one message; raises CodesError if ecCodes makes no handle of the bytes.

    A handle proves little: ecCodes takes truncated bytes too, so check the frame first.
    """
    with _told(f"message of {len(message)} bytes"):
        identity = eccodes.codes_new_from_message(message)
    try:
        yield Handle(identity)
    finally:
        eccodes.codes_release(identity)


@contextmanager
def sample(name: str) -> Iterator[Handle]:
    """Open one of ecCodes' own sample messages, such as `regular_ll_sfc_grib2`."""
    with _told(f"sample {name}"):
        identity = eccodes.codes_grib_new_from_samples(name)
    try:
        yield Handle(identity)
    finally:
        eccodes.codes_release(identity)


def version() -> str:
    """Return the version of the C library."""
    return str(eccodes.codes_get_api_version())


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn ecCodes' errors into ours; say what was asked."""
    try:
        yield
    except (eccodes.CodesInternalError, ValueError, TypeError) as error:
        raise CodesError(f"{what}: {error or type(error).__name__}") from error
