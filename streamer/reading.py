"""Reads plain YAML values into frozen dataclasses, and finds every fault before it complains."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from engines.errors import UsageError

T = TypeVar("T")


class Unreadable(Exception):
    """One value that cannot be read; the message says what was found and what was wanted."""


def read(kind: type[T], found: object, where: str, faults: list[str]) -> T | None:
    """Read `found` as the dataclass `kind`, adding one line to `faults` for each thing wrong.

    where: the dotted place in the file, for the messages. Unknown keys are faults, with the
    nearest known key named. A dataclass that knows better offers `from_plain(found)`.
    Returns None when anything in it was wrong.
    """
    if not isinstance(found, Mapping):
        faults.append(f"{where or 'the file'}: found {_name(found)}, wanted a mapping of keys")
        return None
    known = {f.name: f for f in dataclasses.fields(typing.cast(Any, kind)) if f.init}
    hints = typing.get_type_hints(kind)
    before = len(faults)
    faults += [_unknown(str(key), known, where) for key in found if key not in known]
    values: dict[str, Any] = {}
    for name, field in known.items():
        place = f"{where}.{name}" if where else name
        if name in found:
            values[name] = _value(hints[name], found[name], place, faults)
        elif _is_required(field):
            faults.append(f"{place}: missing, wanted {_wanted(hints[name])}")
    if len(faults) > before:
        return None
    try:
        return kind(**values)
    except (UsageError, ValueError) as error:
        faults.append(f"{where}: {error}" if where else str(error))
        return None


def _is_required(field: dataclasses.Field[Any]) -> bool:
    nothing = dataclasses.MISSING
    return field.default is nothing and field.default_factory is nothing


def _unknown(key: str, known: Mapping[str, object], where: str) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(known)}"
    return f"{where + '.' if where else ''}{key}: unknown key; {hint}"


def _value(hint: Any, found: object, where: str, faults: list[str]) -> Any:
    before = len(faults)
    try:
        return _convert(hint, found, where, faults)
    except (Unreadable, UsageError, ValueError, TypeError) as error:
        if len(faults) == before:
            faults.append(f"{where}: {error}")
        return None


def _convert(hint: Any, found: object, where: str, faults: list[str]) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hasattr(hint, "from_plain"):
        return hint.from_plain(found)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(arguments, found, where, faults)
    if origin is typing.Literal:
        if found not in arguments:
            raise Unreadable(f"found {found!r}, wanted one of {', '.join(map(str, arguments))}")
        return found
    if dataclasses.is_dataclass(hint):
        return read(typing.cast(type, hint), found, where, faults)
    if origin is tuple:
        # One alone needs no list around it.
        items = [found] if isinstance(found, str | Mapping) else found
        if not isinstance(items, list):
            raise Unreadable(f"found {_name(found)}, wanted a list")
        return tuple(_value(arguments[0], x, f"{where}[{i}]", faults) for i, x in enumerate(items))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(found, Mapping):
            raise Unreadable(f"found {_name(found)}, wanted a mapping")
        return {k: _value(arguments[1], v, f"{where}.{k}", faults) for k, v in found.items()}
    return _convert_scalar(hint, found)


def _convert_union(arguments: tuple[Any, ...], found: object, where: str, faults: list[str]) -> Any:
    if found is None and type(None) in arguments:
        return None
    errors = []
    for hint in arguments:
        if hint is not type(None):
            tried: list[str] = []
            try:
                value = _convert(hint, found, where, tried)
            except (Unreadable, ValueError, TypeError) as error:
                errors.append(str(error))
                continue
            if not tried:
                return value
            faults += tried
            return None
    raise Unreadable("; or ".join(errors))


def _convert_scalar(hint: Any, found: object) -> Any:
    if hint is Any or hint is object:
        return found
    if hint is float and isinstance(found, int | float) and not isinstance(found, bool):
        return float(found)
    if hint is Path and isinstance(found, str):
        return Path(found)
    if isinstance(hint, type) and type(found) is hint:
        return found
    raise Unreadable(f"found {_name(found)}, wanted {_wanted(hint)}")


def _name(found: object) -> str:
    return "nothing" if found is None else f"{found!r}"


def _wanted(hint: Any) -> str:
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    if hint in names:
        return names[hint]
    if hasattr(hint, "from_plain"):
        return f"a value for {hint.__name__}, as the full example has it"
    if dataclasses.is_dataclass(hint):
        return "a mapping of keys"
    return str(hint).replace("typing.", "")
