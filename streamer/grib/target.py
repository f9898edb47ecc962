"""What a published field is to be, before it is a message."""

from collections.abc import Hashable
from dataclasses import dataclass

from streamer.domain import Grid, Interval, Statistic, StepKey
from streamer.grib.param_target import ParamTarget

Kind = tuple[Hashable, ...]


@dataclass(frozen=True, slots=True)
class FieldTarget:
    """What a fine field is: a parameter of a step on a grid, a draw or a statistic of draws.

    factor: takes the message's units to the bundle's, as it did when the message was decoded.
    interval: what an accumulation is to cover, whatever its message does; None for all else.
    statistic: None for draws. weighted: whether its members had weights; a mean says so.
    param: another parameter than the message's, in GRIB's own units; None for the message's own.
    """

    key: StepKey
    parameter: str
    grid: Grid
    factor: float = 1.0
    interval: Interval | None = None
    statistic: Statistic | None = None
    weighted: bool = False
    param: ParamTarget | None = None

    @property
    def text(self) -> str:
        """What it is in errors: the parameter, the step's key, and which statistic."""
        told = f"{self.parameter} of {self.key.text}"
        return told if self.statistic is None else f"{told}, {self.statistic.text}"

    @property
    def kind(self) -> Kind:
        """All of it but the step: what two steps of a forecast have in common."""
        what = (self.parameter, self.statistic, self.weighted, self.param)
        return what, self.grid, self.factor, self.interval
