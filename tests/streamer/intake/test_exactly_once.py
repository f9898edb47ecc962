"""Daemons are killed, and partitions moved, at thousands of random moments in a small world."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from streamer.domain import Field, Origin, Reason, Rejected, RunKey, Slot, StepKey, Unwanted
from streamer.intake.events import Outcome
from streamer.intake.ledger import METADATA_BYTES
from tests.streamer.intake.world import (
    MEMBERS,
    PARAMETERS,
    RAINY,
    START,
    Daemon,
    LogRecord,
    Message,
    World,
    make_field,
    make_rain,
    make_run,
)

MINUTES = (0, 180, 360)
DAY = timedelta(days=1)
#: A member that no pool has.
STRANGER = 7
KINDS = pytest.mark.parametrize(
    ("is_rainy", "is_pooled"),
    [(False, False), (True, False), (False, True), (True, True)],
    ids=["winds", "rain", "pools", "pools of rain"],
)


def expected(run: RunKey) -> tuple[int, ...]:
    return MINUTES


@dataclass(frozen=True, slots=True)
class Trouble:
    """What goes wrong in the feed and with the daemons; shares of 1 unless named otherwise.

    split: fields that come to the other partition too; only one daemon can see that, so no move.
    is_rainy: whether steps need an accumulation, and that of the step before it. is_pooled: whether
    all members of a run make one step together.
    """

    crash: float = 0.03
    move: float = 0.02
    missing: float = 0.1
    grouped: float = 0.3
    late: float = 0.0
    tomorrow: float = 0.0
    split: float = 0.0
    is_rainy: bool = False
    is_pooled: bool = False
    span: timedelta = timedelta(hours=2)
    limit_bytes: int = METADATA_BYTES


def feed(chance: random.Random, trouble: Trouble) -> dict[int, list[LogRecord]]:
    """Make the logs of two partitions: runs and members interleaved, duplicates, bad messages."""
    messages: dict[int, list[Message]] = {0: [], 1: []}
    for number, run in runs(chance, trouble):
        for minutes in MINUTES:
            if chance.random() > trouble.missing / 2:
                messages[number] += step_messages(StepKey(run, minutes), chance, trouble)
    for number, texts in messages.items():
        others: list[Message] = [Rejected(Reason.TRUNCATED, "cut"), Unwanted("source")]
        texts.extend(others * chance.randint(0, 2))
        chance.shuffle(texts)
        if trouble.split:
            moved = [m for m in texts if isinstance(m, Field) and chance.random() < trouble.split]
            messages[1 - number] += moved
    return {number: list(records(texts, chance, trouble)) for number, texts in messages.items()}


def runs(chance: random.Random, trouble: Trouble) -> list[tuple[int, RunKey]]:
    """Return runs with their partitions: those that are pooled share one."""
    if trouble.is_pooled:
        members = (*MEMBERS, STRANGER)
        return [(hour // 6, make_run(member, hour)) for hour in (0, 6) for member in members]
    return [(member % 2, make_run(member, 6 * chance.randint(0, 1))) for member in MEMBERS]


def step_of(field: Field, trouble: Trouble) -> StepKey:
    """Return the step that a field is to be a part of."""
    key = field.key
    return key.pooled if trouble.is_pooled else key


def step_messages(key: StepKey, chance: random.Random, trouble: Trouble) -> list[Message]:
    found: list[Message] = []
    for parameter in PARAMETERS:
        if chance.random() > trouble.missing:
            found.append(make_field(key, parameter))
        if chance.random() < 0.15:
            found.append(make_field(key, parameter))
        if chance.random() < 0.1:
            found.append(make_field(key, parameter, digest=b"other"))
        if chance.random() < 0.07:
            found.append(make_field(key, parameter, grid="2x2"))
    return found + (rain_messages(key, chance, trouble) if trouble.is_rainy else [])


def rain_messages(key: StepKey, chance: random.Random, trouble: Trouble) -> list[Message]:
    """Make what fell since the start or the step before; each message says which as it likes."""

    def since() -> int:
        return chance.choice([0, before(key.minutes)])

    if not key.minutes:
        return [make_rain(key, 0)] if chance.random() < 0.3 else []
    found: list[Message] = []
    if chance.random() > trouble.missing:
        found.append(make_rain(key, since()))
    if chance.random() < 0.3:
        found.append(make_rain(key, since(), digest=chance.choice([b"first", b"other"])))
    if chance.random() < 0.07:
        found.append(make_rain(key, since(), grid="2x2"))
    return found


def before(minutes: int) -> int:
    return max([m for m in MINUTES if m < minutes], default=0)


def records(
    messages: list[Message], chance: random.Random, trouble: Trouble
) -> Iterator[LogRecord]:
    offset, time = chance.randint(0, 3), START
    rest = list(messages)
    pace = trouble.span / max(len(rest), 1)
    while rest:
        count = chance.randint(2, 3) if chance.random() < trouble.grouped else 1
        group, rest = tuple(rest[:count]), rest[count:]
        time += pace * count
        if chance.random() < trouble.late:
            time += timedelta(hours=chance.choice([2, 4]))
        stamped = time + DAY if chance.random() < trouble.tomorrow else time
        yield LogRecord(offset, stamped, group)
        offset += 1 + (chance.random() < 0.2)


@dataclass(slots=True)
class Fleet:
    """Two daemons that share two partitions, until everything is read and ended."""

    world: World
    chance: random.Random
    trouble: Trouble
    daemons: list[Daemon] = field(default_factory=list)

    def start(self) -> None:
        self.daemons = [self._new(), self._new()]
        self.daemons[0].assign([0, 1])

    def disturb(self) -> None:
        """Kill a daemon, or move a partition to the other one, by chance."""
        if self.chance.random() < self.trouble.crash:
            killed = self.chance.randrange(2)
            partitions = sorted(self.daemons[killed].holdings)
            self.daemons[killed] = self._new()
            self.daemons[killed].assign(partitions)
        if self.chance.random() < self.trouble.move:
            partition = self.chance.randrange(2)
            giver = next(d for d in self.daemons if partition in d.holdings)
            giver.revoke(partition)
            self.chance.choice(self.daemons).assign([partition])

    def work(self) -> None:
        for daemon in self.daemons:
            daemon.act()

    def is_idle(self) -> bool:
        return all(daemon.is_idle() for daemon in self.daemons)

    def _new(self) -> Daemon:
        trouble = self.trouble
        return Daemon(
            self.world,
            self.chance,
            expected,
            is_rainy=trouble.is_rainy,
            is_pooled=trouble.is_pooled,
        )


def live(logs: dict[int, list[LogRecord]], seed: int, trouble: Trouble) -> World:
    """Let a fleet read a feed that is all there, a day old, and return what was written."""
    world = World(logs, START + DAY)
    fleet = Fleet(world, random.Random(seed), trouble)
    fleet.start()
    for _ in range(150):
        fleet.work()
        fleet.disturb()
    settle(fleet)
    return world


def live_through(logs: dict[int, list[LogRecord]], seed: int, trouble: Trouble) -> World:
    """The same with records that arrive while the daemons work and die."""
    world = World({0: [], 1: []}, START, trouble.limit_bytes)
    fleet = Fleet(world, random.Random(seed), trouble)
    fleet.start()
    coming = {number: list(log) for number, log in logs.items()}
    while any(coming.values()):
        number = fleet.chance.choice([n for n, log in coming.items() if log])
        record = coming[number].pop(0)
        honest = record.time if record.time < START + DAY else record.time - DAY
        world.logs[number].append(record)
        world.now = max(world.now, honest + timedelta(seconds=1))
        for _ in range(fleet.chance.randint(0, 6)):
            fleet.work()
            fleet.disturb()
    world.now += DAY / 4
    settle(fleet)
    return world


def settle(fleet: Fleet) -> None:
    for _ in range(4000):
        fleet.work()
        fleet.world.now += timedelta(seconds=30)
        if fleet.is_idle():
            return
    pytest.fail("work is left that nothing ends")


def told(world: World) -> tuple[Counter[object], Counter[object], Counter[object]]:
    steps: Counter[object] = Counter(
        (s.key, s.outcome, s.origins, s.digests) for s in world.steps()
    )
    runs: Counter[object] = Counter((r.key, r.outcomes) for r in world.runs())
    return steps, runs, Counter(world.letters())


@KINDS
def test_what_is_published_does_not_depend_on_when_daemons_die(
    is_rainy: bool, is_pooled: bool
) -> None:
    usual = Trouble(is_rainy=is_rainy, is_pooled=is_pooled)
    calm = replace(usual, crash=0, move=0)
    for seed in range(400):
        logs = feed(random.Random(seed), usual)

        undisturbed = live(logs, seed, calm)
        disturbed = live(logs, seed + 10_000, usual)

        assert told(disturbed) == told(undisturbed), f"seed {seed}"


@KINDS
def test_undisturbed_every_step_and_run_ends_once(is_rainy: bool, is_pooled: bool) -> None:
    calm = Trouble(crash=0, move=0, is_rainy=is_rainy, is_pooled=is_pooled)
    for seed in range(100):
        logs = feed(random.Random(seed), calm)
        world = live(logs, seed, calm)

        keys = Counter(step.key for step in world.steps())
        runs = {key.run for key in keys}

        assert set(keys.values()) == {1}
        assert set(keys) == {StepKey(run, minutes) for run in runs for minutes in MINUTES}
        assert Counter(run.key for run in world.runs()) == Counter(runs)
        for step in world.steps():
            is_complete = is_whole(step.key, logs, calm)
            assert step.outcome is (Outcome.COMPLETE if is_complete else Outcome.EXPIRED)


def is_asked_for(field: Field) -> bool:
    """Whether a field belongs to any step at all."""
    return exists(field) and field.key.run.member != STRANGER


def is_whole(key: StepKey, logs: dict[int, list[LogRecord]], trouble: Trouble) -> bool:
    """Whether a step's first field finds its partners on the same grid, and what fell before."""
    fields = [f for f in fields_of(logs).values() if step_of(f, trouble) == key and is_asked_for(f)]
    on_grid: dict[Slot, Field] = {}
    for one in fields:
        if one.grid == fields[0].grid:
            on_grid.setdefault(one.slot, one)
    names = RAINY if trouble.is_rainy and key.minutes else PARAMETERS
    members = MEMBERS if trouble.is_pooled else (key.run.member,)
    if on_grid.keys() != {(member, name) for member in members for name in names}:
        return False
    rains = [one for one in on_grid.values() if one.parameter == "tp"]
    return all(is_rain_whole(rain, logs) for rain in rains)


def is_rain_whole(rain: Field, logs: dict[int, list[LogRecord]]) -> bool:
    if rain.interval is None or rain.interval.start >= before(rain.key.minutes):
        return True
    earlier = StepKey(rain.key.run, before(rain.key.minutes))
    return any(f.key == earlier and f.parameter == "tp" for f in fields_of(logs).values())


def exists(field: Field) -> bool:
    """Whether a field is one that a step needs: nothing has fallen by step 0."""
    return field.parameter != "tp" or field.key.minutes > 0


def fields_of(logs: dict[int, list[LogRecord]]) -> dict[Origin, Field]:
    return {
        Origin("in", number, record.offset, index): message
        for number, log in logs.items()
        for record in log
        for index, message in enumerate(record.messages)
        if isinstance(message, Field)
    }


def assert_each_message_had_its_effect_once(
    world: World, logs: dict[int, list[LogRecord]], seed: int, trouble: Trouble
) -> None:
    """Hold what was written against the feed: nothing lost, nothing doubled, nothing stuck."""
    found = fields_of(logs)
    home = {origin: step_of(one, trouble) for origin, one in found.items()}
    used = Counter(o for step in world.steps() for o in step.origins if home[o] == step.key)
    assert not used or max(used.values()) == 1, f"seed {seed}: a message is in two records"
    lent = [(o, step.key) for step in world.steps() for o in step.origins if o not in used]
    lent += [(o, s.key) for s in world.steps() for o in s.origins if home[o] < s.key]
    for origin, key in lent:
        assert found[origin].parameter == "tp", f"seed {seed}: lent"
        assert home[origin] == StepKey(key.run, before(key.minutes)), f"seed {seed}: lent"
    assert max(Counter(set(lent)).values(), default=1) == 1
    letters = Counter(letter.origin for letter in world.letters())
    bad = {
        Origin("in", number, record.offset, index)
        for number, log in logs.items()
        for record in log
        for index, message in enumerate(record.messages)
        if isinstance(message, Rejected)
    }
    assert all(letters[origin] == 1 for origin in bad), f"seed {seed}: dead letters"
    assert not letters or max(letters.values()) == 1, f"seed {seed}: a dead letter twice"
    assert not letters.keys() & used.keys(), f"seed {seed}: used and dead-lettered"
    accounted = {(found[o].key, found[o].parameter) for o in [*used, *letters] if o in found}
    wanted = {(f.key, f.parameter) for f in found.values() if is_asked_for(f)}
    assert accounted == wanted, f"seed {seed}: lost"
    outcomes = defaultdict(list)
    for step in world.steps():
        outcomes[step.key].append(step.outcome)
    for ends in outcomes.values():
        assert Outcome.COMPLETE not in ends[:-1], f"seed {seed}: complete, then {ends[-1]}"
    for number, log in logs.items():
        if log:
            assert world.committed[number] == (world.end(number), ""), f"seed {seed}: frontier"


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble(late=0.1),
        Trouble(late=0.1, tomorrow=0.1),
        Trouble(crash=0.2),
        Trouble(late=0.05, split=0.15, grouped=0.0, move=0),
        Trouble(late=0.05, limit_bytes=14),
        Trouble(late=0.1, tomorrow=0.05, is_rainy=True),
        Trouble(crash=0.2, is_rainy=True),
        Trouble(late=0.05, split=0.15, grouped=0.0, move=0, is_rainy=True),
        Trouble(late=0.05, limit_bytes=18, is_rainy=True),
        Trouble(late=0.1, is_pooled=True),
        Trouble(crash=0.2, is_rainy=True, is_pooled=True),
        Trouble(late=0.05, split=0.05, grouped=0.0, move=0, is_pooled=True),
        Trouble(late=0.05, limit_bytes=18, is_rainy=True, is_pooled=True),
    ],
    ids=[
        "late", "tomorrow", "crash loop", "split", "little room",
        "late rain", "crash loop in rain", "split rain", "little room for rain",
        "late pools", "crash loop in pools of rain", "split pools", "little room for pools",
    ],
)  # fmt: skip
def test_every_message_has_its_effect_once_whatever_dies(trouble: Trouble) -> None:
    for seed in range(300):
        logs = feed(random.Random(seed), trouble)

        world = live_through(logs, seed, trouble)

        assert_each_message_had_its_effect_once(world, logs, seed, trouble)


def test_a_commit_never_goes_back() -> None:
    for seed in range(50):
        logs = feed(random.Random(seed), Trouble())
        world = World(logs, START + DAY)
        fleet = Fleet(world, random.Random(seed), Trouble())
        fleet.start()
        furthest: dict[int, int] = {}
        for _ in range(300):
            fleet.work()
            fleet.disturb()
            for number, (offset, _) in world.committed.items():
                assert offset >= furthest.get(number, 0)
                furthest[number] = offset
