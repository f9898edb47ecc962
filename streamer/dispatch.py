"""From a complete step to records ready to be published: the engine, then GRIB, beside the loop."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from engines.denoiser import EngineSpec
from monitoring.metrics import Metrics
from streamer.begun import Begun, Made, Maker
from streamer.domain import Array, Step, StepKey
from streamer.downscale.condition import coarse
from streamer.downscale.engine_room import EngineRoom, Gauge
from streamer.downscale.labels import labels
from streamer.downscale.prepared import Conditions
from streamer.downscale.work import Work, noise_keys
from streamer.finishing import Finishing
from streamer.intake.accumulation import rates
from streamer.products.ensemble import Ensemble
from streamer.products.order import Order
from streamer.products.plan import Drawn, Strand
from streamer.reception import Tenure
from streamer.verification.live import LiveVerification

#: Members of a pooled step that are prepared while the engines draw the one before.
_AHEAD = 1

#: Whose a step is and which, and of its works which member and strand.
_StepName = tuple[int, StepKey]
_WorkName = tuple[_StepName, tuple[int, int]]


class Dispatch:
    """The steps between complete and published; belongs to the loop's thread.

    Conditioning, gathering and encoding run in `pool`, each network on its room's own threads.
    rooms: by the number of their bundle and the name of their network. live: shown the draws.
    """

    def __init__(
        self,
        order: Order,
        engine: EngineSpec,
        rooms: Mapping[tuple[int, str], EngineRoom],
        pool: ThreadPoolExecutor,
        metrics: Metrics,
        wake: Callable[[], None],
        live: LiveVerification | None = None,
    ) -> None:
        self._order = order
        self._rooms = tuple(rooms.values())
        words = f"{engine.backend} {engine.version} {engine.precision} {engine.device}"
        #: what the records of its steps say of their making
        self.maker = Maker(order.digest, words, order.sampler)
        ways = [order.plan.ways[strand.way] for strand in order.plan.strands]
        self._room_of = [rooms[way.bundle, way.network] for way in ways]
        self._pool = pool
        self._metrics = metrics
        self._wake = wake
        self._begun: dict[_StepName, Begun] = {}
        self._submitting = threading.Lock()
        bundles = {number: bundle for (number, _), bundle in order.bundles.items()}
        share = order.condition_bytes // len(bundles)
        self._conditions = {n: Conditions(bundle, share) for n, bundle in bundles.items()}
        self._patterns = tuple(order.pattern(one) for one in order.plan.makings)
        self._finishing = Finishing(order, self.maker, pool, metrics, wake, live)

    @property
    def pending(self) -> int:
        """How many steps are begun and not made."""
        return len(self._begun)

    @property
    def gauges(self) -> tuple[Gauge, ...]:
        """The engines of this line."""
        return tuple(gauge for room in self._rooms for gauge in room.gauges)

    @property
    def is_alive(self) -> bool:
        """Whether any of its engines runs."""
        return any(room.alive for room in self._rooms)

    def close(self, timeout_s: float) -> None:
        """Stop the engines after their running calls."""
        for room in self._rooms:
            room.close(timeout_s)

    @property
    def waiting_bytes(self) -> int:
        """What those steps hold: their fields, conditions and draws."""
        fields = sum(begun.step.size_bytes for begun in self._begun.values())
        gathered = sum(one.held_bytes for begun in self._begun.values() for one in begun.ensembles)
        return fields + gathered + sum(room.pending_bytes for room in self._rooms)

    def begin(self, step: Step, tenure: Tenure) -> None:
        """Send a complete step on its way."""
        key = (tenure.epoch, step.key)
        channels = self._order.bundle.channels
        absent = set(channels) - {field.parameter for field in step.fields}
        members = step.members
        ensembles = tuple(Ensemble(one, absent, len(members)) for one in self._patterns)
        strands = len(self._order.plan.strands)
        self._begun[key] = Begun(step, tenure, members, ensembles, strands)
        self._go_on(key)

    def forget(self, tenure: Tenure) -> None:
        """Give up the steps of a partition that is no longer ours."""
        for key in [key for key, begun in self._begun.items() if begun.tenure is tenure]:
            with self._submitting:
                begun = self._begun.pop(key)
            self._cancel(key, begun)

    def made(self) -> list[Made]:
        """Take the steps that are ready to be published, and see to it that the rest goes on."""
        for room in self._rooms:
            if room.death is not None:
                raise room.death
        for result in [result for room in self._rooms for result in room.finished()]:
            begun = self._begun.get(result.key[0])  # type: ignore[index]  # as `_condition` named it
            if begun is not None:
                begun.results.append(result)
        for key, begun in self._begun.items():
            if begun.parts is None and begun.is_drawn:
                self._finishing.begin(begun)
            else:
                self._go_on(key)
        done = [key for key, begun in self._begun.items() if begun.is_done]
        return [self._finishing.gather(self._begun.pop(key)) for key in done]

    def _go_on(self, key: _StepName) -> None:
        """Begin members of a step, no further ahead of the engines than keeps them busy.

        A member's conditions take as much memory as all its fields.
        """
        begun = self._begun[key]
        while (
            len(begun.conditioning) < len(begun.members)
            and begun.under_way <= _AHEAD
            and not begun.fault
        ):
            place = len(begun.conditioning)
            begun.conditioning.append(self._pool.submit(self._condition, begun, key, place))

    def _cancel(self, key: _StepName, begun: Begun) -> None:
        for place in range(len(begun.conditioning)):
            for number, room in enumerate(self._room_of):
                room.cancel((key, (place, number)))

    def _condition(self, begun: Begun, key: _StepName, place: int) -> None:
        order, step = self._order, begun.members[place]
        with self._metrics.timed("condition"):
            rated = rates(step, order.bundle.channels)
            made = {number: one.of(rated) for number, one in self._conditions.items()}
            given = None if order.boxes is None else coarse(rated, order.bundle)
        works = [
            self._work(begun, (key, (place, number)), made, given)
            for number in range(len(order.plan.strands))
        ]
        with self._submitting:
            # A step that was forgotten meanwhile must not be computed.
            if key in self._begun:
                for work, room in zip(works, self._room_of, strict=True):
                    room.submit(work)

    def _work(
        self,
        begun: Begun,
        key: _WorkName,
        conditions: Mapping[int, Array],
        given: Array | None,
    ) -> Work:
        _, (place, number) = key
        order, step = self._order, begun.members[place]
        strand = order.plan.strands[number]
        names = order.bundle_of(strand).labels
        return Work(
            key,
            order.recipe(strand),
            conditions[order.plan.ways[strand.way].bundle],
            noise_keys(step.key, strand.numbers, order.seed, order.noise),
            labels=labels(names, step.key.valid_time) if names else None,
            wanted=strand.wanted,
            on_draw=partial(self._take, begun, strand, place, given),
        )

    def _take(
        self, begun: Begun, strand: Strand, place: int, given: Array | None, i: int, values: Array
    ) -> None:
        """Pass a draw on from an engine's thread, which has better things to do."""
        drawn = Drawn(strand.way, strand.numbers[i])
        begun.settling.append(self._pool.submit(self._settle, begun, drawn, place, values, given))

    def _settle(
        self, begun: Begun, drawn: Drawn, place: int, values: Array, given: Array | None
    ) -> None:
        for ensemble in begun.ensembles:
            ensemble.take(drawn, values, given, place)
        self._wake()
