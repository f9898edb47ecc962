"""The demo's GRIB: labelled for what it is, exact, and nothing lost on a rough journey."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.bus.record import Outgoing
from streamer.demo.messages import REFERENCE_TIME, coarse_step, rough_journey, synthetic_step
from streamer.demo.weather import Generator, amplitudes, load
from streamer.domain import Field
from streamer.downscale.condition import coarse
from streamer.grib import codes
from streamer.grib.decode import decode
from streamer.grib.manifest import read_manifest
from streamer.grib.wants import Source, Wants
from streamer.scoring import complete_steps
from tests.streamer.downscale.small import bundle_of
from tests.streamer.grib.conftest import wind_part

MANIFEST = read_manifest(wind_part())
WANTS = Wants(MANIFEST, (Source("synthetic", {"productionStatusOfProcessedData": 2}),))


@pytest.fixture(scope="module")
def generator() -> Generator:
    return load()


def test_a_synthetic_message_says_that_it_is_nobodys_forecast(generator: Generator) -> None:
    (state,) = amplitudes(generator, 0, (0,))

    for message in synthetic_step(generator, state, 6):
        with codes.opened(message) as handle:
            # Code table 1.3: 2 is research products. Centre and process 255 are missing.
            assert handle.integer("productionStatusOfProcessedData") == 2
            assert handle.integer("centre") == 255
            assert handle.integer("generatingProcessIdentifier") == 255
            assert handle.integer("dataDate") == 22221015
    assert REFERENCE_TIME.year == 2222


def test_the_daemon_decodes_synthetic_weather_as_it_was_made(generator: Generator) -> None:
    (state,) = amplitudes(generator, 0, (0,))
    made = generator.fields(state)

    messages = synthetic_step(generator, state, 6)
    fields = [decode(message, WANTS, "")[0] for message in messages]

    for field, name, values in zip(fields, generator.parameters, made, strict=True):
        assert isinstance(field, Field), field
        assert (field.parameter, field.key.minutes, field.key.run.source) == (
            name, 360, "synthetic",
        )  # fmt: skip
        rounding = (values.max() - values.min()) / 2**16
        np.testing.assert_allclose(field.coarse, values, rtol=0, atol=rounding)


def test_a_real_step_is_coarsened_as_the_daemon_would_do_it(
    shared_data: Path,
) -> None:
    path = shared_data / "gfs-wind-1deg/validate/gfs.t00z.pgrb2.1p00.f000.2018091500.grib2"
    wants, bundle = Wants(MANIFEST), bundle_of(grib=wind_part())
    (step,) = complete_steps([path], wants)

    messages = coarse_step(step, bundle, MANIFEST.coarse.grid)
    again = [decode(message, wants, "")[0] for message in messages]

    for field, values in zip(again, coarse(step, bundle), strict=True):
        assert isinstance(field, Field), field
        assert field.key == step.key
        np.testing.assert_allclose(field.coarse, values, rtol=0, atol=1e-3)


@given(st.integers(1, 20), st.integers(0, 2**32))
def test_on_a_rough_journey_nothing_is_lost_one_comes_twice_and_one_is_torn(
    count: int, seed: int
) -> None:
    sent = [(f"key {i}".encode(), bytes([i]) * 10) for i in range(count)]

    journey = rough_journey(sent, "topic", seed)

    whole = [record for record in journey.records if len(record.value) == 10]
    torn = [record for record in journey.records if len(record.value) == 5]
    assert {record.value for record in whole} == {value for _, value in sent}
    assert len(whole) == count + 1
    assert len(torn) == 1
    assert {record.key for record in whole} == {key for key, _ in sent}


def test_a_rough_journey_is_out_of_order_and_the_same_for_the_same_seed() -> None:
    sent = [(b"key", bytes([i]) * 10) for i in range(12)]

    first, again = rough_journey(sent, "topic", 1), rough_journey(sent, "topic", 1)

    assert first == again
    values = [record.value for record in first.records if len(record.value) == 10]
    assert values != sorted(values)
    assert all(isinstance(record, Outgoing) for record in first.records)
