"""Reads the `args` that a checkpoint was trained with, and gathers what is wrong with them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from engines.errors import BundleError

#: Other spellings of a key, tried in this order after the key itself.
_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "arch": ("architecture", "model_arch"),
    "precond": ("preconditioner", "preconditioning"),
    "varnames_list": ("varnames", "var_names"),
    "normalization_types": ("normalization_type", "normalisation_types"),
    "constant_varnames_list": ("constant_varnames", "constant_variables"),
    "time_normalization": ("time_normalisation",),
    "in_channels": ("in_chan", "img_channels"),
    "out_channels": ("out_chan",),
    "cond_channels": ("cond_chan", "condition_channels"),
    "num_steps": ("steps", "n_steps", "edm_sampler_steps"),
    "s_churn": ("S_churn", "churn"),
    "s_min": ("S_min",),
    "s_max": ("S_max",),
    "s_noise": ("S_noise",),
}


class Arguments:
    """The arguments of one checkpoint; each question notes its faults instead of raising."""

    def __init__(self, stated: Mapping[str, Any]) -> None:
        self._stated = stated
        self._faults: list[str] = []

    def optional(self, key: str) -> Any:
        """Return a value under any spelling of its key, None where there is none."""
        for name in (key, *_SPELLINGS.get(key, ())):
            if self._stated.get(name) is not None:
                return self._stated[name]
        return None

    def word(self, key: str, known: Sequence[str]) -> str:
        """Return one of the known words."""
        found = self._required(key)
        if found is not None and found not in known:
            self.fault(f"{key} is {found!r}, wanted one of {', '.join(known)}")
        return str(found)

    def names(self, key: str) -> tuple[str, ...]:
        """Return a list of names that differ."""
        found = self._required(key)
        if found is None:
            return ()
        names = found.split() if isinstance(found, str) else found
        is_list = isinstance(names, list | tuple) and all(isinstance(n, str) for n in names)
        if not is_list or len(set(names)) < len(names):
            self.fault(f"{key} is {found!r}, wanted a list of names that differ")
            return ()
        return tuple(names)

    def by_name(self, key: str, names: Sequence[str]) -> Mapping[str, str]:
        """Return a text for each name: from a mapping, `name=text`, or a list in their order."""
        found = self._required(key)
        if isinstance(found, Mapping):
            return {str(name): str(value) for name, value in found.items()}
        if isinstance(found, str):
            found = found.split()
        if isinstance(found, list | tuple) and all(isinstance(one, str) for one in found):
            if all("=" in one for one in found):
                return dict(one.split("=", 1) for one in found)
            if len(found) in (1, len(names)):
                every = list(found) * len(names) if len(found) == 1 else found
                return dict(zip(names, every, strict=True))
        if found is not None:
            self.fault(f"{key} is {found!r}, wanted one for each of {', '.join(names)}")
        return {}

    def number(self, key: str, default: float) -> float:
        """Return a number, which may be written as text; `inf` is one."""
        found = self.optional(key)
        try:
            value = default if found is None else float(found)
        except (TypeError, ValueError):
            value = math.nan
        if math.isnan(value) or isinstance(found, bool):
            self.fault(f"{key} is {found!r}, wanted a number")
            return default
        return value

    def fault(self, text: str) -> None:
        """Note what is wrong."""
        self._faults.append(text)

    def refuse_faults(self, where: str) -> None:
        """Raise BundleError with all that was noted, if anything was."""
        if self._faults:
            raise BundleError(f"{where}: args: {'; '.join(self._faults)}")

    def _required(self, key: str) -> Any:
        found = self.optional(key)
        if found is None:
            self.fault(f"{key} is missing")
        return found
