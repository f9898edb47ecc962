"""Who reads which partition of a `MemoryBroker`: a consumer group without clocks or sockets.

Membership changes in two moves, as in Kafka's eager protocol: everyone gives back what they
hold, then everything is dealt out anew. A member that never polls holds the others up until it
is evicted, which is what a session timeout does in Kafka.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from streamer.bus.record import Commit, Fenced, Partition, Replaced


@dataclass(slots=True)
class _Member:
    epoch: int
    partitions: tuple[Partition, ...]
    held: tuple[Partition, ...] = ()
    generation: int = -1


@dataclass(slots=True)
class Group:
    """Members by instance name, and what was committed. Guarded by the broker's lock.

    generation: counts how often the partitions were dealt out; a publish that was prepared under
      an older one is fenced.
    """

    name: str
    generation: int = 0
    commits: dict[Partition, Commit] = field(default_factory=dict)
    _members: dict[str, _Member] = field(default_factory=dict)
    _epochs: int = 0
    _rebalancing: bool = False

    def join(self, instance: str, partitions: Sequence[Partition]) -> int:
        """Enter, or take the place of who is there under the same name; returns our epoch."""
        self._epochs += 1
        there = self._members.get(instance)
        member = _Member(self._epochs, tuple(partitions))
        self._members[instance] = member
        if there is None or self._rebalancing:
            self._rebalancing = True
            self._deal_when_free()
        else:
            member.held = there.held
        return self._epochs

    def leave(self, instance: str, epoch: int) -> None:
        """Go, and let the others have what we held."""
        if self._is_member(instance, epoch):
            self.evict(instance)

    def evict(self, instance: str) -> None:
        """Forget a member that is silent; it learns so at its next poll."""
        del self._members[instance]
        self._rebalancing = True
        self._deal_when_free()

    def is_lost(self, instance: str, epoch: int) -> bool:
        """Whether this member was evicted. Raises Replaced when another has its name."""
        there = self._members.get(instance)
        if there is not None and there.epoch != epoch:
            raise Replaced(self.name, instance)
        return there is None

    def to_give_back(self, instance: str) -> tuple[Partition, ...]:
        """Return what this member holds and must let go before anything is dealt out."""
        return self._members[instance].held if self._rebalancing else ()

    def give_back(self, instance: str, epoch: int) -> None:
        """Let go of everything this member holds; what it prepared before is fenced from now on."""
        if self._is_member(instance, epoch):
            self._members[instance].held = ()
            self._members[instance].generation = -1
            self._deal_when_free()

    def newly_dealt(self, instance: str, epoch: int) -> tuple[Partition, ...] | None:
        """Return this member's partitions once after each deal, None when there was none."""
        if self._rebalancing or not self._is_member(instance, epoch):
            return None
        member = self._members[instance]
        if member.generation == self.generation:
            return None
        member.generation = self.generation
        return member.held

    def check(self, instance: str, token: object) -> None:
        """Raise Fenced or Replaced unless `token` is the membership that holds now."""
        epoch, generation = token if isinstance(token, tuple) else (-1, -1)
        if generation == -1 or self.is_lost(instance, epoch) or token != self.token(instance):
            raise Fenced(
                f"group {self.name}: the partitions were dealt out anew after instance "
                f"{instance} prepared this work; nothing was written"
            )

    def token(self, instance: str) -> tuple[int, int] | None:
        """Return what proves the membership of this name, None when it was thrown out."""
        there = self._members.get(instance)
        return None if there is None else (there.epoch, there.generation)

    def _is_member(self, instance: str, epoch: int) -> bool:
        there = self._members.get(instance)
        return there is not None and there.epoch == epoch

    def _deal_when_free(self) -> None:
        if any(member.held for member in self._members.values()):
            return
        self.generation += 1
        self._rebalancing = False
        names = sorted(self._members)
        wanted = sorted({p for member in self._members.values() for p in member.partitions})
        for at, partition in enumerate(wanted):
            takers = [name for name in names if partition in self._members[name].partitions]
            member = self._members[takers[at % len(takers)]]
            member.held = (*member.held, partition)
