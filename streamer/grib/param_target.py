"""Parameters that are published without a message of their own: what GRIB 2 calls them."""

from collections.abc import Mapping
from dataclasses import dataclass

#: Code table 4.5: a height above ground, in metres; and "no second surface".
_ABOVE_GROUND, _NONE = 103, 255


@dataclass(frozen=True, slots=True)
class ParamTarget:
    """A parameter by the WMO's numbers, at a height above ground in metres.

    param_id: what ecCodes calls it, 0 where it has no name for it in edition 2.
    discipline: code table 0.0; category: 4.1; number: 4.2.
    """

    param_id: int
    discipline: int
    category: int
    number: int
    height_m: int

    def keys(self) -> Mapping[str, int | None]:
        """Return the keys that make a message one of this parameter; None is GRIB's missing."""
        return {
            "discipline": self.discipline,
            "parameterCategory": self.category,
            "parameterNumber": self.number,
            "typeOfFirstFixedSurface": _ABOVE_GROUND,
            "scaleFactorOfFirstFixedSurface": 0,
            "scaledValueOfFirstFixedSurface": self.height_m,
            "typeOfSecondFixedSurface": _NONE,
            "scaleFactorOfSecondFixedSurface": None,
            "scaledValueOfSecondFixedSurface": None,
        }


#: What can be derived, by the name that the config gives it.
#: ecCodes has a paramId of the dew-point depression in edition 1 only (3018).
PARAM_TARGETS: Mapping[str, ParamTarget] = {
    "10si": ParamTarget(207, discipline=0, category=2, number=1, height_m=10),
    "10wdir": ParamTarget(260260, discipline=0, category=2, number=0, height_m=10),
    "2r": ParamTarget(260242, discipline=0, category=1, number=1, height_m=2),
    "2dd": ParamTarget(0, discipline=0, category=0, number=7, height_m=2),
}
