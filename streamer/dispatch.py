"""From a complete step to records ready to be published: the engine, then GRIB, beside the loop."""

import dataclasses
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from engines.bundle import Bundle
from engines.calibration import sampler_to_plain
from engines.denoiser import EngineSpec
from engines.errors import DownscaledError
from monitoring.metrics import Metrics
from streamer.bus.record import Outgoing
from streamer.domain import Array, Field, Grid, Step, StepKey
from streamer.downscale.engine_room import EngineRoom, Result
from streamer.downscale.labels import labels
from streamer.downscale.prepared import Conditions
from streamer.downscale.products import out_of_range, ranges
from streamer.downscale.tiles import Layout
from streamer.downscale.work import Fusion, Recipe, Work, noise_keys
from streamer.grib.encode import Draw, FieldTarget, Imprint, Packing, encode_all, mars_keys
from streamer.grib.templates import Templates
from streamer.headers import Sender, field_headers
from streamer.intake.accumulation import rates, step_interval
from streamer.reception import Tenure
from streamer.records import FieldEntry, FieldNames, Plain, list_field
from streamer.sampling import Chosen

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Order:
    """What is made of every step: by which model, how, and under whose name.

    draws: their number. seed, noise: as in the config's `sampler`. product: its name.
    record_limit: the largest value that the output topic takes, in bytes. condition_bytes: what
    may be kept of conditions for steps that are asked again.
    """

    bundle: Bundle
    grid: Grid
    layout: Layout
    chosen: Chosen
    draws: int
    seed: int
    noise: Literal["step", "run"]
    product: str
    topic: str
    group: str
    packing: Packing
    imprint: Imprint
    record_limit: int
    fusion: Fusion = "end"
    condition_bytes: int = 0

    @property
    def sampler(self) -> Plain:
        """The sampler as the step's record tells it; infinity is null there."""
        made = {"fusion": self.fusion, "seed": self.seed, "noise": self.noise}
        why = {"profile": self.chosen.profile, "network": self.chosen.network}
        return {**made, **why, **sampler_to_plain(self.chosen.sampler)}


@dataclass(frozen=True, slots=True, eq=False)
class Maker:
    """Who made a step's fields, as its record tells: the bundle's digest, engine, sampler."""

    bundle: str
    engine: str
    sampler: Plain


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """What came of a step: its records, or the fault that made it fail."""

    step: Step
    tenure: Tenure
    maker: Maker
    entries: tuple[FieldEntry, ...] = ()
    records: tuple[Outgoing, ...] = ()
    calls: int = 0
    seconds: float = 0.0
    quality: Plain = dataclasses.field(default_factory=dict)
    fault: str = ""


class _Refused(DownscaledError):
    """A field that was made but cannot be sent."""

    reason = "output_too_large"


@dataclass(slots=True, eq=False)
class _Begun:
    """A step on its way. parts: one task a parameter, once the engine is done with it."""

    step: Step
    tenure: Tenure
    conditioning: Future[None] | None = None
    result: Result | None = None
    quality: Plain = dataclasses.field(default_factory=dict)
    parts: list[Future[list[tuple[FieldEntry, Outgoing]]]] = dataclasses.field(default_factory=list)


class Dispatch:
    """The steps between complete and published; belongs to the loop's thread.

    Conditioning and encoding run in `pool`, the network on the engine room's own thread.
    """

    def __init__(
        self,
        order: Order,
        engine: EngineSpec,
        room: EngineRoom,
        pool: ThreadPoolExecutor,
        metrics: Metrics,
        wake: Callable[[], None],
    ) -> None:
        self._order = order
        #: the engines of this line, for whoever looks after them
        self.room = room
        told = f"{engine.backend} {engine.version} {engine.precision} {engine.device}"
        #: what the records of its steps say of their making
        self.maker = Maker(order.bundle.digest, told, order.sampler)
        self._pool = pool
        self._metrics = metrics
        self._wake = wake
        self._begun: dict[tuple[int, StepKey], _Begun] = {}
        self._submitting = threading.Lock()
        self._conditions = Conditions(order.bundle, order.condition_bytes)
        self._ranges = ranges(order.bundle)
        self._templates = Templates(order.packing, order.imprint)

    @property
    def pending(self) -> int:
        """How many steps are begun and not made."""
        return len(self._begun)

    @property
    def waiting_bytes(self) -> int:
        """What those steps hold: their fields, conditions and draws."""
        fields = sum(begun.step.size_bytes for begun in self._begun.values())
        return fields + self.room.pending_bytes

    def begin(self, step: Step, tenure: Tenure) -> None:
        """Send a complete step on its way."""
        key = (tenure.epoch, step.key)
        begun = self._begun[key] = _Begun(step, tenure)
        begun.conditioning = self._pool.submit(self._condition, step, key)

    def forget(self, tenure: Tenure) -> None:
        """Give up the steps of a partition that is no longer ours."""
        for key in [key for key, begun in self._begun.items() if begun.tenure is tenure]:
            with self._submitting:
                del self._begun[key]
            self.room.cancel(key)

    def made(self) -> list[Made]:
        """Take the steps that are ready to be published, and see to it that the rest goes on."""
        if self.room.death is not None:
            raise self.room.death
        for result in self.room.finished():
            self._encode(result)
        done = [key for key, begun in self._begun.items() if _is_done(begun)]
        return [self._gather(self._begun.pop(key)) for key in done]

    def _condition(self, step: Step, key: tuple[int, StepKey]) -> None:
        order = self._order
        with self._metrics.timed("condition"):
            made = self._conditions.of(rates(step, order.bundle.channels))
        draws = noise_keys(step.key, order.draws, order.seed, order.noise)
        recipe = Recipe(order.bundle, order.layout, order.chosen.sampler, order.fusion)
        told = labels(order.bundle.labels, step.key.valid_time) if order.bundle.labels else None
        with self._submitting:
            # A step that was forgotten meanwhile must not be computed.
            if key in self._begun:
                self.room.submit(Work(key, recipe, made, draws, labels=told))

    def _encode(self, result: Result) -> None:
        begun = self._begun.get(result.key)  # type: ignore[call-overload]
        if begun is None:
            return
        begun.result = result
        self._metrics.stage.labels(stage="denoise").observe(result.seconds)
        if result.draws is None:
            return
        fields = {field.parameter: field for field in begun.step.fields}
        # A parameter that does not exist yet at this step is neither judged nor published.
        sound = {name: found for name, found in self._ranges.items() if name in fields}
        odd = out_of_range(result.draws, self._order.bundle.channels, sound)
        begun.quality = {"out_of_range": list(odd)} if odd else {}
        for i, name in enumerate(self._order.bundle.channels):
            if name in fields:
                draws = result.draws[:, i]
                part = self._pool.submit(self._encode_parameter, fields[name], draws, begun)
                part.add_done_callback(lambda _: self._wake())
                begun.parts.append(part)

    def _encode_parameter(
        self, field: Field, draws: Array, begun: _Begun
    ) -> list[tuple[FieldEntry, Outgoing]]:
        """Encode all draws of one parameter, (D, H, W), as records."""
        order, key = self._order, begun.step.key
        sender = Sender(order.group, begun.tenure.traceparent(begun.step.origins))
        with self._metrics.timed("encode"):
            interval = step_interval(field, begun.step.since)
            # Rates leave as amounts, as they came.
            factor = field.factor / (1.0 if interval is None else interval.hours)
            target = FieldTarget(key, field.parameter, order.grid, factor, interval)
            template = self._templates.prepare(field.message, target)
            made = []
            for number, message in enumerate(encode_all(draws, template)):
                draw = Draw(number, of=order.draws)
                if len(message) > order.record_limit:
                    raise _Refused(
                        f"{field.parameter} of {key.text}, draw {number}: {len(message)} bytes, "
                        f"topic {order.topic} takes {order.record_limit}; raise its "
                        "max.message.bytes or lower output.packing.bits"
                    )
                names = FieldNames(order.product, field.parameter, draw=number)
                entry = list_field(message, key, names, template.param_id)
                mars = mars_keys(template, draw)
                headers = field_headers(key, entry, order.bundle.digest, mars, sender)
                made.append((entry, Outgoing(order.topic, key.text.encode(), message, headers)))
        return made

    def _gather(self, begun: _Begun) -> Made:
        made = Made(begun.step, begun.tenure, self.maker)
        if begun.conditioning is not None and (error := _failure(begun.conditioning)):
            return dataclasses.replace(made, fault=error)
        result = begun.result
        assert result is not None
        made = dataclasses.replace(
            made, calls=result.calls, seconds=result.seconds, quality=begun.quality
        )
        faults = [fault for part in begun.parts if (fault := _failure(part))]
        if result.fault or faults:
            return dataclasses.replace(made, fault=result.fault or faults[0])
        pairs = [pair for part in begun.parts for pair in part.result()]
        return dataclasses.replace(
            made,
            entries=tuple(entry for entry, _ in pairs),
            records=tuple(record for _, record in pairs),
        )


def _is_done(begun: _Begun) -> bool:
    conditioning = begun.conditioning
    if conditioning is not None and conditioning.done() and conditioning.exception() is not None:
        return True
    return begun.result is not None and all(part.done() for part in begun.parts)


def _failure(task: Future[None] | Future[list[tuple[FieldEntry, Outgoing]]]) -> str:
    """Return why a task failed, "" if it did not.

    Even a fault of ours fails only the step: a restart would meet it again, and again.
    """
    error = task.exception()
    if error is None:
        return ""
    if isinstance(error, DownscaledError):
        return str(error)
    log.error("a fault of ours", exc_info=error)
    return f"{type(error).__name__}: {error}"
