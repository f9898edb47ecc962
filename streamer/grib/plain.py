"""Reads plain values of a manifest; what is wrong is added to a list of faults."""

import math
from collections.abc import Mapping, Sequence


def entry(part: object, key: str) -> object:
    """Return a mapping's value, or None if there is none or it is no mapping."""
    return part.get(key) if isinstance(part, Mapping) else None


def text(value: object, where: str, faults: list[str]) -> str:
    """Return a text that is not empty; else "", and a fault."""
    if isinstance(value, str) and value:
        return value
    faults.append(f"{where} is {value!r}, not text")
    return ""


def number(value: object, where: str, faults: list[str]) -> float:
    """Return a finite number; else NaN, and a fault."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    faults.append(f"{where} is {value!r}, not a number")
    return math.nan


def numbers(value: object, count: int, where: str, faults: list[str]) -> tuple[float, ...] | None:
    """Return a list of `count` finite numbers; else None, and faults."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != count:
        faults.append(f"{where} is {value!r}, not a list of {count} numbers")
        return None
    found = tuple(number(one, where, faults) for one in value)
    return found if all(math.isfinite(one) for one in found) else None
