"""From a step's draws to its records: judged, then encoded, one parameter at a time."""

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from engines.errors import DownscaledError
from monitoring.metrics import Metrics
from streamer.begun import Begun, Made, Maker, failure
from streamer.downscale.products import ranges
from streamer.grib.templates import Templates
from streamer.products.ensemble import Ensemble
from streamer.products.judgement import Judgement, judged, told
from streamer.products.order import Order
from streamer.products.printer import Pair, Printer
from streamer.verification.live import LiveVerification


class OutOfRange(DownscaledError):
    """A step whose draws cannot be true, where the daemon is to stop then."""

    reason = "out_of_range"


class Finishing:
    """The last part of a line; `begin` and `gather` belong to the loop's thread.

    live: shown the draws.
    """

    def __init__(
        self,
        order: Order,
        maker: Maker,
        pool: ThreadPoolExecutor,
        metrics: Metrics,
        wake: Callable[[], None],
        live: LiveVerification | None,
    ) -> None:
        self._order, self._maker, self._live = order, maker, live
        self._pool, self._metrics, self._wake = pool, metrics, wake
        self._sound = ranges(order.bundle)
        for parameter in order.bundle.channels:
            metrics.out_of_range.labels(parameter=parameter)
        for constraint, parameter in order.constraints.pairs:
            for counter in (metrics.constraint_points, metrics.constraint_change):
                counter.labels(constraint=constraint, parameter=parameter)
        templates = Templates(order.packing, order.imprint)
        self._printer = Printer(
            templates, order.digest, order.topic, order.group, order.record_limit
        )

    def begin(self, begun: Begun) -> None:
        """Judge a step whose draws are all there, and have its records made beside the loop.

        Raises OutOfRange where the configuration wants the daemon to stop then.
        """
        begun.parts = []
        self._metrics.stage.labels(stage="denoise").observe(
            sum(result.seconds for result in begun.results)
        )
        if begun.fault:
            return
        self._show(begun)
        for ensemble, parameters in zip(begun.ensembles, self._judge(begun), strict=True):
            for parameter in parameters:
                part = self._pool.submit(self._encode_parameter, begun, ensemble, parameter)
                part.add_done_callback(lambda _: self._wake())
                begun.parts.append(part)

    def _show(self, begun: Begun) -> None:
        """Let draws be verified, once their analyses come; no fault of that is the step's."""
        for ensemble in begun.ensembles:
            if self._live is not None and self._live.product == ensemble.making.name:
                task = self._pool.submit(self._live.take, begun.step, ensemble, self._order.bundle)
                task.add_done_callback(failure)

    def _judge(self, begun: Begun) -> list[tuple[str, ...]]:
        """Return which parameters of each product are published; note what is wrong with them."""
        order = self._order
        is_dropped = order.out_of_range == "drop"
        found = [judged(one, self._sound, is_dropped=is_dropped) for one in begun.ensembles]
        begun.quality = told(found)
        for judgement in found:
            self._count(judgement)
        if order.out_of_range == "stop" and any(one.odd for one in found):
            raise OutOfRange(
                f"{begun.step.key.text}: {'; '.join(begun.quality['out_of_range'])}; nothing of "
                "it was published, and output.out_of_range is stop"
            )
        return [one.published for one in found]

    def _count(self, judgement: Judgement) -> None:
        for parameter in judgement.odd:
            self._metrics.out_of_range.labels(parameter=parameter).inc()
        for move in judgement.moves:
            labels = {"constraint": move.constraint, "parameter": move.parameter}
            self._metrics.constraint_points.labels(**labels).inc(move.points)
            self._metrics.constraint_change.labels(**labels).inc(move.change)

    def _encode_parameter(self, begun: Begun, ensemble: Ensemble, parameter: str) -> list[Pair]:
        with self._metrics.timed("encode"):
            trace = begun.tenure.traceparent(begun.step.origins)
            return self._printer.records(begun.step, ensemble, parameter, trace)

    def gather(self, begun: Begun) -> Made:
        """Return what came of a step all of whose records are made, or why none were."""
        made = Made(
            begun.step,
            begun.tenure,
            self._maker,
            calls=sum(result.calls for result in begun.results),
            seconds=sum(result.seconds for result in begun.results),
        )
        faults = [fault for part in begun.parts or () if (fault := failure(part))]
        if fault := begun.fault or next(iter(faults), ""):
            return dataclasses.replace(made, fault=fault)
        pairs = [pair for part in begun.parts or () for pair in part.result()]
        if not pairs and begun.quality:
            odd = "; ".join(begun.quality["out_of_range"])
            return dataclasses.replace(made, fault=f"no field of it can be true: {odd}")
        return dataclasses.replace(
            made,
            entries=tuple(entry for entry, _ in pairs),
            records=tuple(record for _, record in pairs),
            quality=begun.quality,
        )
