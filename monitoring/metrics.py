"""Every metric of the house, declared once; the only door to prometheus-client.

Names and labels are what dashboards and alerts rely on. A label takes few, known values: never a
run, step, member, draw or tile.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import choose_encoder

PREFIX = "downscaled"

#: What becomes of a message besides the reasons it is dead-lettered for.
RECORD_OUTCOMES = ("used", "duplicate", "differing_duplicate", "unwanted", "late", "skipped")

STEP_OUTCOMES = ("complete", "expired", "failed", "dropped")

#: What becomes of a bundle that is put in another's place.
BUNDLE_OUTCOMES = ("taken", "refused")

#: The way of one message, in the order of the way.
STAGES = ("decode", "condition", "denoise", "encode", "files", "publish")

#: Around the objective of a step: seconds on a GPU, a minute or two on two cores.
DELAY_BUCKETS_S = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)

#: From a decoded message (a millisecond) to a globe of draws on a CPU (minutes).
STAGE_BUCKETS_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)

CONSTRAINT_LABELS = ("constraint", "parameter")

FILL_BUCKETS = (0.125, 0.25, 0.5, 0.75, 0.9, 1.0)


#: What becomes of a step that a sink reads.
SINK_OUTCOMES = ("written", "refused", "unannounced", "torn")


class Board:
    """A registry of meters, and the words that every process says of itself."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.build = Info("build", "What is running", namespace=PREFIX, registry=self.registry)

    def describe_build(self, told: Mapping[str, str]) -> None:
        """Say which version runs: the labels of `build_info`."""
        self.build.info(dict(told))

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Return all metrics as Prometheus text and its content type, as `accept` asks for it."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def _counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(name, text, labels, namespace=PREFIX, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(name, text, labels, namespace=PREFIX, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()
    ) -> Histogram:
        return Histogram(
            name, text, labels, namespace=PREFIX, registry=self.registry, buckets=buckets
        )


class Metrics(Board):
    """The meters of one daemon on one registry; made by the composition root and passed in.

    `reasons` are the dead letters' reasons, further outcomes of `records_total`. All known label
    values stand at zero from the start, so that the first event is a rise and not a new series.
    """

    def __init__(
        self, registry: CollectorRegistry | None = None, *, reasons: Iterable[str] = ()
    ) -> None:
        super().__init__(registry)
        self._declare_flow()
        self._declare_engine()
        self._declare_state()
        # Unknown, not zero, until something was published.
        self.forecast_age.set(float("nan"))
        for outcome in (*RECORD_OUTCOMES, *reasons):
            self.records.labels(outcome=outcome)
        for outcome in STEP_OUTCOMES:
            self.steps.labels(outcome=outcome)
        for stage in STAGES:
            self.stage.labels(stage=stage)
        for outcome in BUNDLE_OUTCOMES:
            self.bundle_changes.labels(outcome=outcome)

    def _declare_flow(self) -> None:
        self.records = self._counter(
            "records", "GRIB messages read, by what became of them", ("outcome",)
        )
        self.steps = self._counter("steps", "Steps that ended, by how", ("outcome",))
        self.files = self._counter("files", "Files written of complete steps", ("format",))
        self.files_refused = self._counter(
            "files_refused", "Complete steps that a kind of files cannot hold", ("format",)
        )
        self.fields_published = self._counter("fields_published", "GRIB2 messages published")
        self.out_of_range = self._counter(
            "out_of_range", "Products that left the bundle's range", ("parameter",)
        )
        self.constraint_points = self._counter(
            "constraint_points", "Points of draws that a constraint changed", CONSTRAINT_LABELS
        )
        self.constraint_change = self._counter(
            "constraint_change",
            "By how much, in the parameter's units, all points together",
            CONSTRAINT_LABELS,
        )
        self.verification_score = self._gauge(
            "verification_score",
            "Scores of what analyses told in the last hours, in the parameter's units",
            ("parameter", "score"),
        )
        self.verification_steps = self._counter(
            "verification_steps", "Parameters of steps, by whether they were scored", ("outcome",)
        )
        self.step_delay = self._histogram(
            "step_delay_seconds",
            "From the arrival of a step's last field to the commit of its output",
            DELAY_BUCKETS_S,
        )
        self.stage = self._histogram(
            "stage_seconds", "Seconds spent in one stage of the way", STAGE_BUCKETS_S, ("stage",)
        )

    def _declare_engine(self) -> None:
        self.denoiser_calls = self._counter(
            "denoiser_calls", "Calls of the network, each for one batch", ("device",)
        )
        self.denoiser_busy_seconds = self._counter(
            "denoiser_busy_seconds", "Seconds inside the network", ("device",)
        )
        self.batch_fill_ratio = self._histogram(
            "batch_fill_ratio", "Tiles in a batch over the batch's size", FILL_BUCKETS
        )
        self.denoiser_batch = self._gauge(
            "denoiser_batch",
            "Tiles that fit into one call; falls where a device ran out of memory",
            ("device",),
        )
        self.denoiser_shortages = self._counter(
            "denoiser_shortages", "Calls that did not fit in the device's memory", ("device",)
        )
        self.denoiser_engines = self._gauge(
            "denoiser_engines", "Engines in working order", ("device",)
        )
        self.bundle_changes = self._counter(
            "bundle_changes", "Bundles that were to take over, by whether they did", ("outcome",)
        )
        self.engine = Info("engine", "The engine in use", namespace=PREFIX, registry=self.registry)

    def _declare_state(self) -> None:
        self.open_steps = self._gauge("open_steps", "Steps begun and not ended")
        self.frontier_age = self._gauge(
            "frontier_age_seconds", "Age of the oldest record still needed", ("partition",)
        )
        self.lag = self._gauge(
            "lag_records", "Records between the position and the end", ("partition",)
        )
        self.forecast_age = self._gauge(
            "forecast_age_seconds", "Age of the newest run of which a step was published"
        )

    def describe_engine(self, told: Mapping[str, str]) -> None:
        """Say which model serves, and where: the labels of `engine_info`."""
        self.engine.info(dict(told))

    def records_by_outcome(self) -> dict[str, int]:
        """Return `records_total` by outcome, without those that never came about."""
        (found,) = self.records.collect()
        totals = (sample for sample in found.samples if sample.name.endswith("_total"))
        return {total.labels["outcome"]: int(total.value) for total in totals if total.value}

    def forget_partition(self, partition: int) -> None:
        """Take back the gauges of a partition that is somebody else's now."""
        for gauge in (self.frontier_age, self.lag):
            gauge.remove_by_labels({"partition": str(partition)})

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Observe how long the block takes, as `stage_seconds` of one of STAGES."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.stage.labels(stage=stage).observe(time.perf_counter() - started)


class SinkMetrics(Board):
    """The meters of one sink; `formats` are those that it writes."""

    def __init__(
        self, registry: CollectorRegistry | None = None, *, formats: Iterable[str] = ()
    ) -> None:
        super().__init__(registry)
        self.steps = self._counter("sink_steps", "Steps read, by what became of them", ("outcome",))
        self.files = self._counter("sink_files", "Files written", ("format",))
        self.write_seconds = self._histogram(
            "sink_write_seconds", "Seconds for one step's files", STAGE_BUCKETS_S, ("format",)
        )
        self.step_delay = self._histogram(
            "sink_step_delay_seconds",
            "From a step's publication until its files are durable",
            DELAY_BUCKETS_S,
        )
        self.waiting_bytes = self._gauge(
            "sink_waiting_bytes", "Fields of steps that are not whole yet"
        )
        self.lag = self._gauge(
            "sink_lag_records", "Records between the position and the end", ("partition",)
        )
        for outcome in SINK_OUTCOMES:
            self.steps.labels(outcome=outcome)
        for one in formats:
            self.files.labels(format=one)

    @contextmanager
    def timed(self, one_format: str) -> Iterator[None]:
        """Observe how long the block takes, as `sink_write_seconds` of a format."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.write_seconds.labels(format=one_format).observe(time.perf_counter() - started)
