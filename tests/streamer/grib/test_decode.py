"""Decoding: a message becomes a field with its identity, or a reason that says what was wrong."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer.domain import Decoded, Field, Reason, Rejected, RunKey, StepKey, Unwanted
from streamer.grib import regrid
from streamer.grib.codes import opened, sample
from streamer.grib.decode import decode
from streamer.grib.frame import split
from streamer.grib.manifest import GribManifest, read_manifest
from streamer.grib.wants import Limits, Source, Wants
from tests.streamer.grib.conftest import parameter, wind_part

pytestmark = pytest.mark.usefixtures("mir_cache")


@pytest.fixture(scope="module")
def wants(wind_manifest: GribManifest) -> Wants:
    return Wants(wind_manifest)


@pytest.fixture(scope="module")
def gfs(shared_data: Path) -> bytes:
    """10u and 10v at +3 h, one record."""
    folder = shared_data / "gfs-wind-1deg" / "train"
    return (folder / "gfs.t00z.pgrb2.1p00.f000.2018100618f3.grib2").read_bytes()


def made(values: float = 5.0, keys: Mapping[str, Any] | None = None, edition: int = 2) -> bytes:
    """A 10u message on the coarse grid with constant values; `keys` are set last."""
    with sample(f"regular_ll_sfc_grib{edition}") as handle:
        handle.set_all({"Ni": 90, "Nj": 45})
        for key, value in {
            "latitudeOfFirstGridPointInDegrees": 88,
            "latitudeOfLastGridPointInDegrees": -88,
            "longitudeOfFirstGridPointInDegrees": 0,
            "longitudeOfLastGridPointInDegrees": 356,
            "iDirectionIncrementInDegrees": 4,
            "jDirectionIncrementInDegrees": 4,
            "paramId": 165,
            "dataDate": 20240102,
            "dataTime": 600,
        }.items():
            handle.set(key, value)
        handle.set_values(np.full(45 * 90, values))
        for key, value in (keys or {}).items():
            handle.set(key, value)
        return handle.message()


def only(found: Sequence[Decoded]) -> Any:
    (one,) = found
    return one


def manifest_with(**changes: Any) -> GribManifest:
    """The wind bundle with changes to its 10u."""
    part = wind_part()
    part["parameters"] = {"10u": parameter(165, [-150, 150], **changes)}
    return read_manifest(part)


def test_a_real_record_gives_its_fields_on_both_grids(gfs: bytes, wants: Wants) -> None:
    found = decode(gfs, wants, "")

    assert [one.parameter for one in found if isinstance(one, Field)] == ["10u", "10v"]
    for one, message in zip(found, split(gfs, Limits()), strict=True):
        assert isinstance(one, Field)
        assert isinstance(message, bytes)
        run = RunKey("kwbc", "-", "-", datetime(2018, 10, 6, 18, tzinfo=UTC), 0)
        assert one.key == StepKey(run, 180)
        assert one.key.text == "kwbc/-/-/201810061800/0/3"
        assert one.grid == "regular_ll 181x360 from 90 N 0 E by 1x1"
        assert (one.coarse.shape, one.interpolated.shape) == ((45, 90), (181, 360))
        assert {one.coarse.dtype, one.interpolated.dtype} == {np.dtype(np.float32)}
        assert one.message == message
        assert one.digest == hashlib.sha256(message).digest()
        assert one.crossed is None


def test_the_daemon_makes_the_twin_that_training_makes(gfs: bytes, wants: Wants) -> None:
    manifest = wants.manifest
    for one in decode(gfs, wants, ""):
        assert isinstance(one, Field)
        with opened(one.message) as handle:
            values = handle.values().reshape(manifest.grid.shape)

        coarse = regrid.to_coarse(values, manifest.grid, manifest.coarse)
        fine = regrid.to_fine(coarse, manifest.coarse, manifest.grid, manifest.interpolation)

        np.testing.assert_array_equal(one.coarse, coarse)
        np.testing.assert_array_equal(one.interpolated, fine)


def test_the_same_bytes_decode_to_the_same_bytes(gfs: bytes, wants: Wants) -> None:
    for one, other in zip(decode(gfs, wants, ""), decode(gfs, wants, ""), strict=True):
        assert isinstance(one, Field)
        assert isinstance(other, Field)
        assert one.coarse.tobytes() == other.coarse.tobytes()
        assert one.interpolated.tobytes() == other.interpolated.tobytes()


def test_of_three_messages_the_bad_one_is_rejected_and_two_are_used(
    gfs: bytes, wants: Wants
) -> None:
    first, second = (one for one in split(gfs, Limits()) if isinstance(one, bytes))

    found = decode(first + second[:-4] + b"7787" + second, wants, "")

    assert [type(one) for one in found] == [Field, Rejected, Field]
    found = decode(first + second[:-400] + second, wants, "")
    assert [type(one) for one in found] == [Field, Rejected, Field]


def test_the_name_of_a_repeat_is_part_of_the_identity(gfs: bytes, wants: Wants) -> None:
    once, again = decode(gfs, wants, "")[0], decode(gfs, wants, "second try")[0]

    assert isinstance(once, Field)
    assert isinstance(again, Field)
    assert again.key.run.again == "second try"
    assert once.key != again.key


def test_a_field_on_the_coarse_grid_passes_as_it_is(wants: Wants) -> None:
    found = only(decode(made(5.0), wants, ""))

    np.testing.assert_array_equal(found.coarse, np.full((45, 90), 5.0, np.float32))
    np.testing.assert_allclose(found.interpolated, 5.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("keys", "minutes"),
    [
        ({}, 0),
        ({"stepUnits": "m", "step": 30}, 30),
        ({"indicatorOfUnitForForecastTime": 0, "forecastTime": 0}, 0),
        ({"indicatorOfUnitForForecastTime": 0, "forecastTime": 90}, 90),
        ({"indicatorOfUnitForForecastTime": 1, "forecastTime": 120}, 7200),
        ({"indicatorOfUnitForForecastTime": 2, "forecastTime": 3}, 4320),
    ],
)
def test_steps_are_minutes_whatever_their_units(
    keys: dict[str, Any], minutes: int, wants: Wants
) -> None:
    assert only(decode(made(keys=keys), wants, "")).key.minutes == minutes


def test_an_ensemble_member_and_an_experiment_are_part_of_the_key(shared_data: Path) -> None:
    path = shared_data / "conformance" / "cfgrib" / "era5-levels-members.grib"
    part = wind_part()
    part["parameters"] = {"t": parameter(130, [150, 350])}

    found = decode(path.read_bytes(), Wants(read_manifest(part)), "")

    fields = [one for one in found if isinstance(one, Field)]
    assert {one.key.run.member for one in fields} == set(range(10))
    assert {one.key.run.expver for one in fields} == {"0001"}
    assert {one.key.run.centre for one in fields} == {"ecmf"}


def test_the_first_source_that_matches_gives_its_name(wind_manifest: GribManifest) -> None:
    sources = (
        Source("nobody", {"centre": "kwbc"}),
        Source("numbers", {"centre": "ecmf", "dataTime": 600}),
        Source("any", {}),
    )

    found = only(decode(made(), Wants(wind_manifest, sources), ""))

    assert found.key.run.source == "numbers"


def test_a_message_of_no_source_is_unwanted(wind_manifest: GribManifest) -> None:
    sources = (Source("gfs", {"centre": "kwbc"}), Source("odd", {"noSuchKey": 1}))

    found = only(decode(made(), Wants(wind_manifest, sources), ""))

    assert found == Unwanted("source")


def test_a_parameter_that_the_bundle_does_not_know_is_unwanted(wants: Wants) -> None:
    assert only(decode(made(keys={"paramId": 167}), wants, "")) == Unwanted("parameter")


def test_a_vertical_level_counts_only_where_the_identity_names_it() -> None:
    at_2 = {"paramId": 165, "typeOfLevel": "heightAboveGround", "level": 2}
    message = made()

    free = Wants(manifest_with())
    bound = Wants(manifest_with(identities=[at_2]))
    either = Wants(manifest_with(identities=[at_2, {"paramId": 165, "level": 10}]))

    assert isinstance(only(decode(message, free, "")), Field)
    assert only(decode(message, bound, "")) == Unwanted("parameter")
    assert isinstance(only(decode(message, either, "")), Field)


def test_a_factor_takes_values_to_the_bundles_units() -> None:
    wants = Wants(manifest_with(identities=[{"paramId": 165, "factor": 0.5}], range=[0, 3]))

    found = only(decode(made(5.0), wants, ""))

    np.testing.assert_allclose(found.coarse, 2.5, rtol=1e-6)


def with_missing(edition: int = 2) -> bytes:
    with opened(made(5.0, edition=edition)) as handle:
        values = np.full(45 * 90, 5.0)
        values[100:112] = -999.0
        handle.set("bitmapPresent", 1)
        handle.set("missingValue", -999.0)
        handle.set_values(values)
        return handle.message()


@pytest.mark.parametrize("edition", [1, 2])
def test_missing_values_are_refused_with_their_count(edition: int, wants: Wants) -> None:
    found = only(decode(with_missing(edition), wants, ""))

    assert found.reason is Reason.MISSING_VALUES
    assert "10u at +0 h: 12 of 4050 values are missing" in found.text


@pytest.mark.parametrize("edition", [1, 2])
def test_missing_values_are_filled_where_the_bundle_says_with_what(edition: int) -> None:
    found = only(decode(with_missing(edition), Wants(manifest_with(fill_missing=-2)), ""))

    flat = found.coarse.ravel()
    np.testing.assert_array_equal(flat[100:112], -2)
    np.testing.assert_array_equal(np.delete(flat, range(100, 112)), 5)


def test_values_out_of_range_are_refused_with_what_was_found(wants: Wants) -> None:
    found = only(decode(made(1234.0), wants, ""))

    assert found.reason is Reason.OUT_OF_RANGE
    assert "1234" in found.text
    assert "-150 to 150" in found.text


def test_points_are_counted_before_values_are_decoded(wind_manifest: GribManifest) -> None:
    # A constant field costs no bytes: 40,000 by 25,000 points would be 8 GB of values.
    message = bytearray(made(5.0))
    at = message.index((90).to_bytes(4) + (45).to_bytes(4))
    message[at : at + 8] = (40_000).to_bytes(4) + (25_000).to_bytes(4)

    found = only(decode(bytes(message), Wants(wind_manifest), ""))

    assert found.reason is Reason.TOO_LARGE
    assert "1000000000 points, the limit is 10000000" in found.text


def test_a_coarser_input_is_refused(shared_data: Path, wants: Wants) -> None:
    path = shared_data / "conformance" / "earthkit-data" / "wind_20x20.grib"

    found = decode(path.read_bytes(), wants, "")

    assert [one.reason for one in found if isinstance(one, Rejected)] == [
        Reason.COARSER_THAN_BUNDLE
    ] * 2
    assert all("at most 4" in one.text for one in found if isinstance(one, Rejected))


def test_a_limited_area_is_refused_by_a_global_bundle_with_both_areas(
    shared_data: Path, wants: Wants
) -> None:
    path = shared_data / "era5-south-america" / "surface-20240203.grib"

    found = decode(path.read_bytes(), wants, "")[0]

    assert isinstance(found, Rejected)
    assert found.reason is Reason.OUTSIDE_AREA
    assert "15 N -90 E to -60 N -30 E" in found.text
    assert "88 N 0 E to -88 N 356 E" in found.text


def test_a_bundle_of_a_limited_area_takes_its_part_of_the_globe(gfs: bytes, wants: Wants) -> None:
    part = wind_part()
    part["grid"] |= {"north": 60.0, "west": -12.0, "rows": 25, "columns": 33}
    part["interpolation"] = "linear"
    limited = read_manifest(part)

    found = decode(gfs, Wants(limited), "")[0]
    whole = decode(gfs, wants, "")[0]

    assert isinstance(found, Field)
    assert isinstance(whole, Field)
    assert (found.coarse.shape, found.interpolated.shape) == ((7, 9), (25, 33))
    # 60 N is row 7 of the globe's boxes, 12 W is column 87. The outermost boxes end at the area.
    same = np.roll(whole.coarse, 3, axis=1)[7:14, :9]
    np.testing.assert_allclose(found.coarse[1:-1, 1:-1], same[1:-1, 1:-1], atol=1e-5)


@pytest.mark.parametrize("name", ["O32_global.grib1", "O32_global.grib2"])
def test_a_reduced_gaussian_field_keeps_its_global_mean(name: str, shared_data: Path) -> None:
    part = wind_part()
    part["parameters"] = {"t": {**parameter(130, [150, 350])}, "2t": parameter(167, [150, 350])}
    message = (shared_data / "conformance" / "earthkit-data" / name).read_bytes()
    (piece,) = (one for one in split(message, Limits()) if isinstance(one, bytes))
    with opened(piece) as handle:
        weights = np.cos(np.radians(handle.numbers("latitudes")))
        per_row = np.repeat(handle.numbers("pl"), handle.numbers("pl").astype(int))
        mean = np.average(handle.values(), weights=weights / per_row)

    found = only(decode(message, Wants(read_manifest(part)), ""))

    assert isinstance(found, Field)
    coarse = read_manifest(part).coarse.grid
    means = found.coarse.mean(axis=1)
    # Two quadratures of one smooth field, 2.8 degrees and 4.
    assert np.average(means, weights=np.cos(np.radians(coarse.latitudes))) == pytest.approx(
        mean, abs=0.3
    )


def test_a_lambert_field_serves_a_bundle_of_an_area_within_it(shared_data: Path) -> None:
    part = wind_part()
    part["grid"] |= {"north": 46.0, "west": -108.0, "spacing_lat": 1, "spacing_lon": 1}
    part["grid"] |= {"rows": 13, "columns": 21}
    part["coarse"]["grid"] = [2, 2]
    part["interpolation"] = "linear"
    part["parameters"] = {
        "t": parameter(
            130,
            [150, 350],
            identities=[{"paramId": 130, "typeOfLevel": "isobaricInhPa", "level": 500}],
        )
    }
    path = shared_data / "conformance" / "cfgrib" / "nam.t00z.awp21100.tm00.grib2"

    found = [
        one
        for one in decode(path.read_bytes(), Wants(read_manifest(part)), "")
        if not isinstance(one, Unwanted)
    ]

    field = only(found)
    assert isinstance(field, Field)
    with opened(field.message) as handle:
        latitudes, longitudes = handle.numbers("latitudes"), handle.numbers("longitudes")
        values = handle.values()
    grid = read_manifest(part).coarse.grid
    for row, column in [(1, 1), (3, 5), (5, 9)]:
        latitude, longitude = grid.latitudes[row], grid.longitudes[column] % 360
        near = (abs(latitudes - latitude) < 1) & (abs(longitudes - longitude) < 1)
        assert near.sum() >= 3
        assert field.coarse[row, column] == pytest.approx(values[near].mean(), abs=0.5)


def test_bytes_that_ecc_codes_cannot_read_are_undecodable(wants: Wants) -> None:
    message = bytearray(made())
    message[16 + 5 : 16 + 7] = b"\xff\xff"  # no such centre
    message[16 + 4] = 9

    found = only(decode(bytes(message), wants, ""))

    assert isinstance(found, Rejected)
    assert found.reason is Reason.UNDECODABLE


def test_a_reference_time_that_is_none_is_undecodable(shared_data: Path) -> None:
    part = wind_part()
    part["parameters"] = {"t": parameter(130, [150, 350])}
    path = shared_data / "conformance" / "earthkit-data" / "t_year_missing.grib"

    found = only(decode(path.read_bytes(), Wants(read_manifest(part)), ""))

    assert found.reason is Reason.UNDECODABLE
    assert "the reference time" in found.text
    assert "year 0 is out of range" in found.text


def test_a_damaged_gaussian_number_is_refused_and_not_tried(
    shared_data: Path, wants: Wants
) -> None:
    message = bytearray((shared_data / "conformance" / "cfgrib" / "reduced_gg.grib").read_bytes())
    message[85] = 128

    found = only(decode(bytes(message), wants, ""))

    assert found.reason is Reason.UNSUPPORTED_GRID
    assert "N32816" in found.text


def test_limits_and_sources_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="points: found 0"):
        Limits(points=0)
    with pytest.raises(ValueError, match="without a slash"):
        Source("a/b")
    assert dataclasses.replace(Limits(), points=7).points == 7
