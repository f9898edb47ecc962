"""The settings of the fitted multistep sampler: few levels, one network call at each.

At level s_i with the answer D_i:  E = D_i + k_i (D_i - D_{i-1}),  x = q x + (1 - q) E with
q = s_{i+1} / s_i; the first level has no answer before it, and after the last one q = r.

Source: the form is DPM-Solver++(2M) of Lu et al. 2022 (https://arxiv.org/abs/2211.01095), whose
k_i follow from the levels; here levels, k and r are free, to be fitted through a network.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Self, TypeGuard

from engines.errors import UsageError


@dataclass(frozen=True, slots=True)
class MultistepSettings:
    """A sampler of one call a level; it belongs to the network that it was fitted through.

    levels: falling, above 0, N of them, in units of the network's residual. extrapolations:
    k_2 ... k_N, N - 1 of them; how far each step goes beyond the newest answer, in units of its
    difference from the one before. remainder: share of the last level's noise that stays.
    """

    levels: tuple[float, ...]
    extrapolations: tuple[float, ...] = ()
    remainder: float = 0.0

    def __post_init__(self) -> None:
        """Refuse settings that no run can follow, all faults at once."""
        faults = _faults(self)
        if faults:
            raise UsageError(f"multistep sampler: {'; '.join(faults)}")

    @property
    def steps(self) -> int:
        """Number of levels above zero, and of network calls."""
        return len(self.levels)

    def schedule(self, within: tuple[float, float]) -> tuple[float, ...]:
        """Return the levels, and the one that a finished draw is left at.

        Raises UsageError where they leave what the network knows, `within`.
        """
        first, last = self.levels[0], self.levels[-1]
        if first > within[1] or last < within[0]:
            raise UsageError(
                f"multistep sampler: levels go from {first:g} to {last:g}, but the network knows "
                f"{within[0]:g} to {within[1]:g}"
            )
        return *self.levels, self.remainder * last

    @classmethod
    def two_m(cls, schedule: Iterable[float]) -> Self:
        """Return DPM-Solver++(2M) on any falling levels; a 0 at their end is passed over.

        k_i = ln(s_i / s_{i+1}) / (2 ln(s_{i-1} / s_i)); the step to 0 has no second order.
        """
        levels = tuple(float(s) for s in schedule if s > 0.0)
        # Settings that are wrong for other reasons are told so, and not by a logarithm.
        cls(levels, (0.0,) * max(len(levels) - 1, 0))
        widths = [math.log(high / low) for high, low in pairwise(levels)]
        inner = tuple(after / (2.0 * before) for before, after in pairwise(widths))
        return cls(levels, inner + (0.0,) * (len(levels) > 1))


def _faults(settings: MultistepSettings) -> list[str]:
    levels, beyond, stays = settings.levels, settings.extrapolations, settings.remainder
    odd = [
        f"{name} is {found!r}, wanted finite numbers"
        for name, found in (("levels", levels), ("extrapolations", beyond))
        if not isinstance(found, tuple) or not all(map(_is_finite, found))
    ]
    if not _is_finite(stays):
        odd.append(f"remainder is {stays!r}, wanted a number")
    if odd:
        return odd
    checks = [
        ("levels are none, wanted at least one", not levels),
        (
            f"levels are {_told(levels)}, wanted falling ones above 0",
            any(low >= high for high, low in pairwise((*levels, 0.0))),
        ),
        (
            f"extrapolations are {len(beyond)}, wanted {len(levels) - 1} for {len(levels)} levels",
            bool(levels) and len(beyond) != len(levels) - 1,
        ),
        (f"remainder is {stays}, wanted at least 0 and below 1", not 0.0 <= stays < 1.0),
    ]
    return [text for text, is_wrong in checks if is_wrong]


def _told(levels: tuple[float, ...]) -> str:
    return " ".join(f"{level:g}" for level in levels)


def _is_finite(found: object) -> TypeGuard[float]:
    if isinstance(found, bool) or not isinstance(found, int | float):
        return False
    return math.isfinite(found)
