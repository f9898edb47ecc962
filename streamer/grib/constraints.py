"""Reads what a bundle demands of every draw: bounds, relations, conservation."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, get_args

from streamer.demands import Bounds, Conservation, Constraints, Relation
from streamer.grib.plain import entry, number, text

_WHERE = "grib.constraints"
_KEYS = ("bounds", "relations", "conservation")
_Way = Literal["additive", "multiplicative"]


def read_constraints(
    part: object, parameters: Collection[str], *, has_boxes: bool, faults: list[str]
) -> Constraints:
    """Read the manifest's `constraints`, which may be absent; faults are added to the list.

    parameters: those of the bundle. has_boxes: whether its coarse operator is a mean over boxes,
    without which nothing can be conserved.
    """
    if part is None:
        return Constraints()
    if not isinstance(part, Mapping):
        faults.append(f"{_WHERE} is {part!r}, wanted an object of {', '.join(_KEYS)}")
        return Constraints()
    faults += [
        f"{_WHERE}.{key} is not known, known are {', '.join(_KEYS)}"
        for key in part
        if key not in _KEYS
    ]
    before = len(faults)
    found = Constraints(
        tuple(_bounds(name, body, faults) for name, body in _items(part, "bounds", faults)),
        _relations(part.get("relations"), faults),
        _conservation(_items(part, "conservation", faults), faults),
    )
    if len(faults) == before:
        faults += _misfits(found, parameters, has_boxes=has_boxes)
    return found


def _items(part: Mapping[str, object], key: str, faults: list[str]) -> list[tuple[str, object]]:
    found = part.get(key)
    if found is None:
        return []
    if not isinstance(found, Mapping):
        faults.append(f"{_WHERE}.{key} is {found!r}, wanted an object by parameter")
        return []
    return [(str(name), body) for name, body in found.items()]


def _bounds(name: str, body: object, faults: list[str]) -> Bounds:
    where = f"{_WHERE}.bounds.{name}"
    if not isinstance(body, Sequence) or isinstance(body, str) or len(body) != 2:
        faults.append(f"{where} is {body!r}, wanted [lowest, highest], null for none")
        return Bounds(name)
    low = -math.inf if body[0] is None else number(body[0], where, faults)
    high = math.inf if body[1] is None else number(body[1], where, faults)
    if low >= high:
        faults.append(f"{where}: {low:g} is not below {high:g}")
    return Bounds(name, low, high)


def _relations(part: object, faults: list[str]) -> tuple[Relation, ...]:
    where = f"{_WHERE}.relations"
    if part is None:
        return ()
    if not isinstance(part, Sequence) or isinstance(part, str):
        faults.append(f"{where} is {part!r}, wanted a list of {{below, above}}")
        return ()
    found = []
    for i, one in enumerate(part):
        below, above = (
            text(entry(one, key), f"{where}[{i}].{key}", faults) for key in ("below", "above")
        )
        if below and below == above:
            faults.append(f"{where}[{i}]: {below} is related to itself")
        found.append(Relation(below, above))
    return tuple(found)


def _conservation(items: list[tuple[str, object]], faults: list[str]) -> tuple[Conservation, ...]:
    """Read the ways; `none` says in so many words that a parameter is not conserved."""
    found = []
    for name, way in items:
        if way in get_args(_Way):
            found.append(Conservation(name, way))  # type: ignore[arg-type]  # it is one of them
        elif way != "none":
            known = ", ".join((*get_args(_Way), "none"))
            faults.append(f"{_WHERE}.conservation.{name} is {way!r}, wanted one of {known}")
    return tuple(found)


def _misfits(found: Constraints, parameters: Collection[str], *, has_boxes: bool) -> list[str]:
    named = [one.parameter for one in found.bounds]
    named += [one.parameter for one in found.conservation]
    named += [name for one in found.relations for name in (one.below, one.above)]
    misfits = [
        f"{_WHERE} names {name}, the bundle has {', '.join(parameters)}"
        for name in dict.fromkeys(named)
        if name not in parameters
    ]
    positive = {one.parameter for one in found.bounds if one.low >= 0.0}
    misfits += [
        f"{_WHERE}.conservation.{one.parameter} is multiplicative, which needs a lower bound of "
        "at least 0"
        for one in found.conservation
        if one.way == "multiplicative" and one.parameter not in positive
    ]
    if found.conservation and not has_boxes:
        misfits.append(f"{_WHERE}.conservation: the coarse operator is no mean over boxes")
    return misfits
