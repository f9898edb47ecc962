"""Which lead times a run consists of: MARS step lists, in hours unless they say otherwise.

`0/to/120/by/3`, `0/3/6`, `0/to/90/by/1/93/to/120/by/3`, `0/to/6/by/30m`; or a mapping by
reference hour, `{0: 0/to/144/by/3, 6: 0/to/90/by/3}`, where other hours have no steps.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

from engines.errors import UsageError

# The longest operational runs have some hundreds of steps: more is a slip of the pen.
MOST_STEPS = 10_000

_STEP = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?|(\d+)", re.IGNORECASE)


class StepsError(UsageError):
    """A list of steps that cannot be understood."""

    reason: ClassVar[str] = "steps"


@dataclass(frozen=True, slots=True)
class Steps:
    """The lead times of a run, in minutes, rising, by the UTC hour of its reference time.

    every_hour: for all reference hours; None where `by_hour` alone decides.
    """

    every_hour: tuple[int, ...] | None
    by_hour: tuple[tuple[int, tuple[int, ...]], ...] = ()

    @classmethod
    def from_plain(cls, found: object) -> "Steps":
        """Read the config's value, see `parse_steps`."""
        return parse_steps(found)

    def of(self, reference_time: datetime) -> tuple[int, ...]:
        """Return the lead times in minutes of a run; none where its hour is not named."""
        if self.every_hour is not None:
            return self.every_hour
        return dict(self.by_hour).get(reference_time.astimezone(UTC).hour, ())


def parse_steps(value: object) -> Steps:
    """Read `input.steps` as the config gives it: a text, a number, a list, or a mapping by hour.

    Raises StepsError with what was found and what was wanted.
    """
    if not isinstance(value, Mapping):
        return Steps(every_hour=parse_list(value))
    if not value:
        raise StepsError("the mapping of steps is empty, wanted {reference hour: steps}")
    by_hour = {}
    for key, steps in value.items():
        hour = _reference_hour(key)
        if hour in by_hour:
            raise StepsError(f"reference hour {hour} is named twice")
        by_hour[hour] = parse_list(steps, f" at reference hour {hour}")
    return Steps(every_hour=None, by_hour=tuple(sorted(by_hour.items())))


def parse_list(value: object, where: str = "") -> tuple[int, ...]:
    """Read one MARS list (`0/to/120/by/3`, 6, [0, 3, 6]) to rising lead times in minutes.

    A range ends at its last value or before it, as MARS does. Overlaps are taken once.
    """
    words = _words(value, where)
    minutes: set[int] = set()
    i = 0
    while i < len(words):
        taken = _range_at(words, i, where)
        if taken is None:
            minutes.add(_minutes(words[i], where))
            i += 1
        else:
            minutes.update(taken)
            i += 5
        if len(minutes) > MOST_STEPS:
            raise StepsError(f"{value!r}{where} has more than {MOST_STEPS} steps")
    return tuple(sorted(minutes))


def _words(value: object, where: str) -> list[str]:
    if isinstance(value, str):
        words = [word.strip() for word in value.split("/")]
    elif isinstance(value, list | tuple) and value:
        words = [word for item in value for word in _words(item, where)]
    elif isinstance(value, int) and not isinstance(value, bool):
        words = [str(value)]
    else:
        raise StepsError(f"{value!r}{where} is not a list of steps such as 0/to/120/by/3")
    if not all(words):
        raise StepsError(f"{value!r}{where} has an empty step, wanted such as 0/to/120/by/3")
    return words


def _range_at(words: list[str], i: int, where: str) -> range | None:
    """Return the range `first/to/last/by/width` that begins at word `i`, None for a single step."""
    if i + 1 >= len(words) or words[i + 1].lower() != "to":
        return None
    text = "/".join(words[i : i + 5])
    if i + 4 >= len(words) or words[i + 3].lower() != "by":
        raise StepsError(f"{text!r}{where} is not a whole range, wanted such as 0/to/120/by/3")
    first, last, width = (_minutes(words[j], where) for j in (i, i + 2, i + 4))
    if width == 0:
        raise StepsError(f"{text!r}{where} goes by 0, wanted more")
    if last < first:
        raise StepsError(f"{text!r}{where} runs backwards, wanted the lower step first")
    if (last - first) // width >= MOST_STEPS:
        raise StepsError(f"{text!r}{where} has more than {MOST_STEPS} steps")
    return range(first, last + 1, width)


def _minutes(word: str, where: str) -> int:
    found = _STEP.fullmatch(word)
    if found is None or not word:
        raise StepsError(f"{word!r}{where} is not a step, wanted hours (6), 6h, 30m or 1h30m")
    hours, minutes, plain = (int(part) if part else 0 for part in found.groups())
    return (hours + plain) * 60 + minutes


def _reference_hour(key: object) -> int:
    text = str(key).strip()
    if isinstance(key, bool) or not text.isascii() or not text.isdigit() or int(text) > 23:
        raise StepsError(f"{key!r} is not a reference hour, wanted 0 to 23")
    return int(text)
