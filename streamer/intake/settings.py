"""What a step consists of, and how long it is waited for."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as of

from streamer.domain import Field, RunKey, Slot, StepKey, step_text
from streamer.intake.accumulation import needs_before


@dataclass(frozen=True, slots=True)
class AssemblySettings:
    """What a step consists of, and how long it is waited for.

    parameters: that every step needs, in the bundle's order.
    expected: a run's lead times in minutes; fields of others are unwanted.
    expire_after_s: after a step's or a run's newest record, in record time.
    repeat_horizon_h: how long ended steps are remembered, in record time.
    max_age_h: runs whose reference time is older are passed by; None takes all.
    accumulated: parameters whose amount may be a difference to the step before, and the lead
      time in minutes from which on each exists.
    pools: by source, the members that make one ensemble; those of other sources are kept apart.
    """

    parameters: tuple[str, ...]
    expected: Callable[[RunKey], tuple[int, ...]]
    expire_after_s: float = 3 * 3600.0
    repeat_horizon_h: float = 48.0
    max_age_h: float | None = None
    accumulated: Mapping[str, int] = of(default_factory=dict)
    pools: Mapping[str, tuple[int, ...]] = of(default_factory=dict)

    def step_of(self, key: StepKey) -> StepKey:
        """Return the step that a member's fields belong to: its own, or that of all members."""
        return key.pooled if key.run.source in self.pools else key

    def slots(self, key: StepKey) -> tuple[Slot, ...]:
        """Return what a step consists of, in the order of its fields."""
        run = key.run
        members = self.pools[run.source] if run.is_pooled else (run.member,)
        return tuple((m, name) for m in members for name in self.parameters_at(key.minutes))

    def wants_member(self, run: RunKey) -> bool:
        """Whether a member's run is wanted, as far as its number goes."""
        return run.member in self.pools.get(run.source, (run.member,))

    def steps(self, run: RunKey) -> tuple[int, ...]:
        """Return the lead times of a run at which any parameter exists."""
        return tuple(m for m in self.expected(run) if self.parameters_at(m))

    def parameters_at(self, minutes: int) -> tuple[str, ...]:
        """Return the parameters that exist at a lead time, in the bundle's order."""
        if not self.accumulated:
            return self.parameters
        return tuple(name for name in self.parameters if self.exists(name, minutes))

    def exists(self, parameter: str, minutes: int) -> bool:
        """Whether a parameter exists at a lead time."""
        return minutes >= self.accumulated.get(parameter, minutes)

    def before(self, key: StepKey) -> StepKey | None:
        """Return the step before in the run; None for the first."""
        earlier = [m for m in self.expected(key.run) if m < key.minutes]
        return StepKey(key.run, max(earlier)) if earlier else None

    def after(self, key: StepKey) -> StepKey | None:
        """Return the step after in the run; None for the last, and for one that is not of it."""
        expected = self.expected(key.run)
        later = [m for m in expected if m > key.minutes]
        return StepKey(key.run, min(later)) if later and key.minutes in expected else None

    def needs_before(self, field: Field) -> bool:
        """Whether a field is an amount that takes the one of the step before, which exists."""
        if field.interval is None:
            return False
        before = self.before(self.step_of(field.key))
        if before is None or not self.exists(field.parameter, before.minutes):
            return False
        return needs_before(field.interval, before.minutes)

    def missing(
        self, key: StepKey, fields: Mapping[Slot, Field], before: Collection[Slot]
    ) -> tuple[str, ...]:
        """Name what a step lacks: parameters, then accumulations of the step before (`tp@+3h`).

        fields: those it has. before: those of which it has the accumulation before. A pooled step
        names the member, too: `tp@+3h of member 7`.
        """
        slots = self.slots(key)
        lacks = [(member, name) for member, name in slots if (member, name) not in fields]
        lacks += self._missing_before(key, fields, before)
        return tuple(
            f"{name} of member {member}" if key.run.is_pooled else name for member, name in lacks
        )

    def _missing_before(
        self, key: StepKey, fields: Mapping[Slot, Field], before: Collection[Slot]
    ) -> Iterator[Slot]:
        earlier = self.before(key) if self.accumulated else None
        if earlier is None:
            return
        lead = step_text(earlier.minutes) + ("" if earlier.minutes % 60 else "h")
        for slot in self.slots(key):
            member, name = slot
            if slot in fields and slot not in before and self.needs_before(fields[slot]):
                yield member, f"{name}@+{lead}"
