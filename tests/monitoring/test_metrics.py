"""The metrics as Prometheus reads them."""

import math

import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitoring.metrics import STAGES, STEP_OUTCOMES, Metrics

#: What dashboards and alerts rely on: the family as Prometheus names it, and its labels.
PROMISED = {
    "downscaled_records": {"outcome"},
    "downscaled_steps": {"outcome"},
    "downscaled_fields_published": set(),
    "downscaled_files": {"format"},
    "downscaled_files_refused": {"format"},
    "downscaled_out_of_range": {"parameter"},
    "downscaled_constraint_points": {"constraint", "parameter"},
    "downscaled_constraint_change": {"constraint", "parameter"},
    "downscaled_verification_score": {"parameter", "score"},
    "downscaled_verification_steps": {"outcome"},
    "downscaled_step_delay_seconds": set(),
    "downscaled_stage_seconds": {"stage"},
    "downscaled_denoiser_calls": {"device"},
    "downscaled_denoiser_busy_seconds": {"device"},
    "downscaled_batch_fill_ratio": set(),
    "downscaled_denoiser_batch": {"device"},
    "downscaled_denoiser_shortages": {"device"},
    "downscaled_denoiser_engines": {"device"},
    "downscaled_open_steps": set(),
    "downscaled_frontier_age_seconds": {"partition"},
    "downscaled_lag_records": {"partition"},
    "downscaled_forecast_age_seconds": set(),
    "downscaled_bundle_changes": {"outcome"},
    "downscaled_engine_info": {"backend"},
    "downscaled_build_info": {"version"},
}


def filled() -> Metrics:
    metrics = Metrics(reasons=("empty", "not_grib"))
    metrics.describe_build({"version": "0.1.0"})
    metrics.describe_engine({"backend": "gaussian"})
    metrics.denoiser_calls.labels(device="cpu").inc(35)
    metrics.denoiser_busy_seconds.labels(device="cpu").inc(0.25)
    metrics.denoiser_batch.labels(device="cpu").set(1)
    metrics.denoiser_shortages.labels(device="cpu").inc(0)
    metrics.denoiser_engines.labels(device="cpu").set(1)
    metrics.files.labels(format="grib").inc(1)
    metrics.files_refused.labels(format="grib").inc(0)
    metrics.out_of_range.labels(parameter="10u").inc(0)
    metrics.constraint_points.labels(constraint="bounds", parameter="tp").inc(0.5)
    metrics.constraint_change.labels(constraint="bounds", parameter="tp").inc(1e-3)
    metrics.verification_score.labels(parameter="10u", score="crps").set(0.5)
    metrics.verification_steps.labels(outcome="matched").inc(1)
    metrics.lag.labels(partition="0").set(3)
    metrics.frontier_age.labels(partition="0").set(1.5)
    return metrics


def test_every_promised_metric_is_exposed_with_its_labels_and_no_other() -> None:
    text = filled().render()[0].decode()

    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        if family.name.startswith("downscaled_") and not family.name.endswith("_created"):
            labels = {name for sample in family.samples for name in sample.labels}
            found[family.name] = labels - {"le"}

    assert found == PROMISED


def test_counters_end_in_total() -> None:
    text = filled().render()[0].decode()

    for family in text_string_to_metric_families(text):
        if family.name.startswith("downscaled_") and family.type == "counter":
            assert {sample.name for sample in family.samples} == {f"{family.name}_total"}


def test_known_outcomes_stand_at_zero_from_the_start() -> None:
    registry = Metrics(reasons=("empty",)).registry

    for outcome in ("used", "duplicate", "unwanted", "empty"):
        sample = registry.get_sample_value("downscaled_records_total", {"outcome": outcome})
        assert sample == 0.0
    for outcome in STEP_OUTCOMES:
        assert registry.get_sample_value("downscaled_steps_total", {"outcome": outcome}) == 0.0
    for stage in STAGES:
        assert registry.get_sample_value("downscaled_stage_seconds_count", {"stage": stage}) == 0.0


def test_the_age_of_the_newest_forecast_is_unknown_before_the_first() -> None:
    age = Metrics().registry.get_sample_value("downscaled_forecast_age_seconds")

    assert age is not None
    assert math.isnan(age)


def test_two_daemons_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()

    one.fields_published.inc(8)

    assert one.registry.get_sample_value("downscaled_fields_published_total") == 8.0
    assert other.registry.get_sample_value("downscaled_fields_published_total") == 0.0


def test_a_partition_that_left_is_no_longer_shown() -> None:
    metrics = filled()

    metrics.forget_partition(0)
    metrics.forget_partition(7)

    label = {"partition": "0"}
    assert metrics.registry.get_sample_value("downscaled_lag_records", label) is None
    assert metrics.registry.get_sample_value("downscaled_frontier_age_seconds", label) is None


def test_a_stage_that_fails_is_timed_too() -> None:
    metrics = Metrics()

    with pytest.raises(ValueError, match="no"), metrics.timed("encode"):
        raise ValueError("no")

    label = {"stage": "encode"}
    assert metrics.registry.get_sample_value("downscaled_stage_seconds_count", label) == 1.0


def test_an_openmetrics_scraper_gets_openmetrics() -> None:
    body, content_type = Metrics().render("application/openmetrics-text; version=1.0.0")

    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
