"""What an accumulation covers: read from any centre's message, and written into the product."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer.domain import (
    Array,
    Field,
    Grid,
    Interval,
    Reason,
    Rejected,
    RunKey,
    StepKey,
    Unwanted,
)
from streamer.grib import codes
from streamer.grib.codes import opened
from streamer.grib.decode import decode
from streamer.grib.encode import Draw, FieldTarget, Packing, encode, prepare
from streamer.grib.frame import split
from streamer.grib.intervals import NoInterval, read_interval, rounding
from streamer.grib.known import resized_globe
from streamer.grib.manifest import read_manifest
from streamer.grib.wants import Limits, Wants
from tests.conftest import require_tool
from tests.streamer.grib.rain import SHAPE, SPELLINGS, Spelling, rain

TIME = datetime(2018, 10, 8, tzinfo=UTC)
FINE = Grid(62.0, -11.0, 0.25, 0.5, 7, 9)
ECMWF, GFS = SPELLINGS[0], SPELLINGS[1]
every_spelling = pytest.mark.parametrize("spelling", SPELLINGS, ids=[s.text for s in SPELLINGS])


def showers(scale: float = 0.01) -> Array:
    """Much nothing, a little rain, and a few cloudbursts, in metres."""
    found: Array = np.random.default_rng(7).gamma(0.3, scale, SHAPE).astype(np.float32)
    return found


@every_spelling
@pytest.mark.parametrize(
    ("steps", "units", "wanted"),
    [
        ("0-6", "h", Interval(0, 360)),
        ("3-6", "h", Interval(180, 360)),
        ("0-48", "h", Interval(0, 2880)),
        ("30-90", "m", Interval(30, 90)),
    ],
)
def test_the_interval_is_in_minutes_whatever_the_units(
    spelling: Spelling, steps: str, units: str, wanted: Interval
) -> None:
    with opened(rain(spelling, showers(), steps, units)) as handle:
        assert read_interval(handle) == wanted


def test_days_are_minutes_too() -> None:
    day = rain(GFS, showers(), "0-24", more={"indicatorOfUnitForTimeRange": 2})
    with opened(day) as handle:
        handle.set("lengthOfTimeRange", 1)

        assert read_interval(handle) == Interval(0, 1440)


def test_ecmwfs_edition_1_means_since_the_start() -> None:
    with codes.sample("regular_ll_sfc_grib1") as handle:
        handle.set("centre", "ecmf")
        handle.set("paramId", 228)
        handle.set("step", 12)

        assert handle.text("stepType") == "instant"
        assert read_interval(handle) == Interval(0, 720)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"typeOfStatisticalProcessing": 0}, "its stepType is avg from 0 to 360 minutes"),
        ({"stepRange": "6-6"}, "its stepType is accum from 360 to 360 minutes"),
    ],
)
def test_what_gathers_nothing_is_told_as_what_it_is(keys: dict[str, Any], words: str) -> None:
    message = rain(GFS, showers(), "0-6", more=keys)

    with opened(message) as handle, pytest.raises(NoInterval, match=words):
        read_interval(handle)


@pytest.mark.parametrize("kind", ["grid_simple", "grid_ccsds", "grid_complex"])
@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("decimals", [0, 2])
def test_no_value_was_rounded_by_more_than_is_told(kind: str, bits: int, decimals: int) -> None:
    metres = showers().astype(np.float64).ravel()
    with codes.sample("regular_ll_sfc_grib2") as handle:
        handle.set("packingType", kind)
        handle.set("bitsPerValue", bits)
        handle.set("decimalScaleFactor", decimals)
        handle.set_values(metres)

        worst = float(np.abs(handle.values() - metres).max())

        # Beside the step, the reference value is a float32.
        assert 0.2 * rounding(handle) <= worst <= rounding(handle) + 1e-9


def test_values_that_are_not_packed_are_not_rounded() -> None:
    with codes.sample("regular_ll_sfc_grib2") as handle:
        handle.set_values(np.full(handle.integer("numberOfDataPoints"), 0.25))
        assert rounding(handle) == 0.0
        handle.set("packingType", "grid_ieee")
        assert rounding(handle) == 0.0


def wants(**accumulation: Any) -> Wants:
    part = resized_globe(["2t", "tp"], shape=(19, 36), coarse=(6, 9))
    part["parameters"]["tp"]["accumulation"].update(accumulation)
    return Wants(read_manifest(part))


def globe(spelling: Spelling, metres: float, steps: str, **keys: str | int) -> bytes:
    """Encode the same rain everywhere, on a globe of 10 degrees."""
    grid = {
        "Ni": 36,
        "Nj": 19,
        "latitudeOfFirstGridPointInDegrees": 90,
        "latitudeOfLastGridPointInDegrees": -90,
        "longitudeOfFirstGridPointInDegrees": 0,
        "longitudeOfLastGridPointInDegrees": 350,
        "iDirectionIncrementInDegrees": 10,
        "jDirectionIncrementInDegrees": 10,
    }
    with opened(rain(spelling, showers(), steps)) as handle:
        for key, value in {**grid, **keys}.items():
            handle.set(key, value)
        handle.set_values(np.linspace(0, 2 * metres * spelling.per_metre, 19 * 36))
        return handle.message()


@pytest.mark.usefixtures("mir_cache")
@every_spelling
def test_a_decoded_amount_has_its_interval_and_rounding(spelling: Spelling) -> None:
    (found,) = decode(globe(spelling, 0.01, "3-6"), wants(), "")

    assert isinstance(found, Field)
    assert found.interval == Interval(180, 360)
    assert found.key.minutes == 360
    # 16 bits of 20 mm, in steps that are powers of two in the message's units
    assert 0.5 <= found.rounding / (0.02 / 2**17) <= 2.0
    np.testing.assert_allclose(found.coarse.mean(), 0.01, rtol=0.05)


@pytest.mark.usefixtures("mir_cache")
def test_all_else_has_no_interval() -> None:
    with opened(globe(ECMWF, 140.0, "0-6")) as handle:
        handle.set("paramId", 167)
        handle.set_values(np.full(19 * 36, 280.0))
        temperature = handle.message()

    (found,) = decode(temperature, wants(), "")

    assert isinstance(found, Field)
    assert (found.interval, found.rounding) == (None, 0.0)


def test_what_is_fed_before_it_exists_is_unwanted() -> None:
    assert decode(globe(ECMWF, 0.0, "0-0"), wants(), "") == [Unwanted("step")]
    assert decode(globe(ECMWF, 0.01, "0-3"), wants(from_step=6), "") == [Unwanted("step")]


def test_a_mean_is_refused_as_not_accumulated() -> None:
    (found,) = decode(globe(GFS, 0.01, "0-6", typeOfStatisticalProcessing=0), wants(), "")

    assert isinstance(found, Rejected)
    assert found.reason in (Reason.NOT_ACCUMULATED, Reason.UNDECODABLE)
    assert "tp at +6 h: its stepType is avg" in found.text


@pytest.mark.usefixtures("mir_cache")
def test_what_is_sound_depends_on_the_hours() -> None:
    """Half a metre an hour is the most: a metre in three hours is sound, in one it is not."""
    (sound,) = decode(globe(ECMWF, 0.5, "3-6"), wants(), "")
    (odd,) = decode(globe(ECMWF, 0.5, "5-6"), wants(), "")

    assert isinstance(sound, Field)
    assert isinstance(odd, Rejected)
    assert odd.reason is Reason.OUT_OF_RANGE
    assert "from +5 to +6 h, sound ones lie within -0.001 to 0.5" in odd.text


def product(spelling: Spelling, template: bytes, interval: Interval, rate: Array) -> bytes:
    """Encode a rate on the fine grid, metres an hour, as the amount of an interval."""
    key = StepKey(RunKey(spelling.centre, "-", "-", TIME, 0), interval.end)
    factor = 1 / spelling.per_metre / interval.hours
    target = FieldTarget(key, "tp", FINE, factor, interval)
    return encode(rate, prepare(template, target, Packing(bits=24)), Draw(1, 4))


def drizzle() -> Array:
    """A rate of up to 2 mm an hour, unlike in every direction."""
    rows, columns = np.meshgrid(np.arange(FINE.rows), np.arange(FINE.columns), indexing="ij")
    found: Array = (1e-3 + 1e-3 * np.sin(rows / 3 + columns)).astype(np.float32)
    return found


@pytest.mark.parametrize(
    ("spelling", "number"),
    [(s, number) for s in SPELLINGS for number in (8, 11) if (s.edition, number) != (1, 11)],
    ids=lambda part: part.text if isinstance(part, Spelling) else str(part),
)
def test_the_product_covers_the_steps_interval_in_the_units_that_came(
    spelling: Spelling, number: int
) -> None:
    more: dict[str, str | int] = {"productDefinitionTemplateNumber": number}
    coarse = rain(spelling, showers(), "0-6", more=more if spelling.edition == 2 else None)

    encoded = product(spelling, coarse, Interval(180, 360), drizzle())

    with opened(coarse) as before, opened(encoded) as after:
        told = ("stepRange", "stepType", "productDefinitionTemplateNumber", "number")
        assert [after.text(key) for key in told] == ["3-6", "accum", "11", "1"]
        assert after.text("units") == before.text("units")
        assert after.text("shortName") == "tp"
        assert after.integer("hourOfEndOfOverallTimeInterval") == 6
        metres = after.values().reshape(FINE.shape) / spelling.per_metre
    np.testing.assert_allclose(metres, 3 * drizzle(), rtol=1e-6, atol=1e-9)


def test_an_interval_of_minutes_is_told_in_minutes() -> None:
    coarse = rain(GFS, showers(), "0-90", "m")

    with opened(product(GFS, coarse, Interval(30, 90), drizzle())) as handle:
        assert read_interval(handle) == Interval(30, 90)
        assert handle.text("validityTime") == "0130"


def test_ecmwfs_edition_1_becomes_an_accumulation() -> None:
    with codes.sample("regular_ll_sfc_grib1") as handle:
        handle.set("centre", "ecmf")
        handle.set("paramId", 228)
        handle.set("dataDate", 20181008)
        handle.set("dataTime", 0)
        handle.set("step", 12)
        coarse = handle.message()

    with opened(product(ECMWF, coarse, Interval(540, 720), drizzle())) as handle:
        assert handle.text("stepRange") == "9-12"
        assert read_interval(handle) == Interval(540, 720)


def test_cdo_reads_the_amount_at_the_end_of_its_interval(tmp_path: Path) -> None:
    cdo = require_tool("cdo")
    coarse = rain(GFS, showers(), "0-6")
    path = tmp_path / "fine.grib2"
    path.write_bytes(product(GFS, coarse, Interval(180, 360), drizzle()))

    def ask(*arguments: str) -> str:
        done = subprocess.run([cdo, "-s", *arguments], capture_output=True, text=True, check=True)
        return done.stdout

    assert ask("showtimestamp", str(path)).split() == ["2018-10-08T06:00:00"]
    values = np.array(ask("output", str(path)).split(), dtype=float).reshape(FINE.shape)
    np.testing.assert_allclose(values, 3000 * drizzle(), rtol=1e-4)


def test_real_precipitation_of_ecmwf_gathers_since_the_start(shared_data: Path) -> None:
    path = shared_data / "conformance" / "cfgrib" / "tp_on_different_grid_resolutions.grib"
    pieces = [p for p in split(path.read_bytes(), Limits()) if isinstance(p, bytes)]

    for piece in pieces:
        with opened(piece) as handle:
            told = handle.number("packingError")
            assert read_interval(handle) == Interval(0, 720)
            assert rounding(handle) == pytest.approx(told, rel=1e-6)
    assert len(pieces) > 1
