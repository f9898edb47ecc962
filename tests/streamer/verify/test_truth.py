"""Reading results and truth as a user does: right points, right times, clear refusals."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from engines.errors import UsageError
from streamer.domain import Grid
from streamer.grib import codes
from streamer.verify.truth import Choice, NotGrib, find, read_truth

GRID = Grid(90.0, 0.0, 30.0, 45.0, 7, 8)
TIME = datetime(2018, 10, 8, tzinfo=UTC)
WIND = Choice("10u", {"paramId": 165})
VALUES = np.arange(56.0).reshape(GRID.shape)


def message(
    values: np.ndarray = VALUES,
    *,
    step_h: int = 0,
    time: datetime = TIME,
    number: int | None = None,
    west: float = 0.0,
    south_first: bool = False,
) -> bytes:
    """A 10u field on the grid; `values` are given in the message's own order of points."""
    with codes.sample("regular_ll_sfc_grib2") as handle:
        if number is not None:
            handle.set("productDefinitionTemplateNumber", 1)
            handle.set("perturbationNumber", number)
        told: dict[str, codes.Key] = {
            "shortName": "10u", "dataDate": int(f"{time:%Y%m%d}"), "dataTime": int(f"{time:%H%M}"),
            "stepUnits": 1, "forecastTime": step_h, "Ni": 8, "Nj": 7,
            "iDirectionIncrementInDegrees": 45, "jDirectionIncrementInDegrees": 30,
            "longitudeOfFirstGridPointInDegrees": west,
            "longitudeOfLastGridPointInDegrees": (west + 315) % 360,
            "jScansPositively": int(south_first),
            "latitudeOfFirstGridPointInDegrees": -90 if south_first else 90,
            "latitudeOfLastGridPointInDegrees": 90 if south_first else -90,
            "packingType": "grid_simple", "bitsPerValue": 16,
        }  # fmt: skip
        for key, value in told.items():
            handle.set(key, value)
        handle.set_values(values.astype(np.float64).ravel())
        return handle.message()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "fields.grib2"


def test_values_lie_where_they_belong(file: Path) -> None:
    file.write_bytes(message())

    (found,) = find(file, [WIND])

    assert found.valid_time == TIME
    np.testing.assert_allclose(found.values(GRID)[0], VALUES, atol=1e-3)


@pytest.mark.parametrize("turned", [1, 3, 4])
def test_rows_and_columns_are_put_in_order(file: Path, turned: int) -> None:
    stored = np.roll(VALUES, -turned, axis=1)[::-1]
    file.write_bytes(message(stored, west=45.0 * turned, south_first=True))

    (found,) = find(file, [WIND])

    np.testing.assert_allclose(found.values(GRID)[0], VALUES, atol=1e-3)


def test_a_grid_that_begins_in_the_west_gets_its_own_columns(file: Path) -> None:
    file.write_bytes(message())

    (found,) = find(file, [WIND])

    west = Grid(90.0, -180.0, 30.0, 45.0, 7, 8)
    np.testing.assert_allclose(found.values(west)[0], np.roll(VALUES, 4, axis=1), atol=1e-3)


def test_draws_come_in_the_order_of_their_numbers(file: Path) -> None:
    file.write_bytes(b"".join(message(VALUES + n, number=n) for n in (2, 0, 1)))

    (found,) = find(file, [WIND])

    np.testing.assert_allclose(found.values(GRID)[:, 0, 0], [0, 1, 2], atol=1e-3)


def test_each_moment_of_a_ragged_file_is_found_once(file: Path) -> None:
    later = TIME + timedelta(hours=6)
    moments = [(TIME, 0), (TIME, 3), (later, 3)]
    file.write_bytes(b"".join(message(VALUES + h, time=t, step_h=h) for t, h in moments))

    found = list(find(file, [WIND]))

    assert [(one.valid_time, one.step) for one in found] == [
        (t + timedelta(hours=h), timedelta(hours=h)) for t, h in moments
    ]
    assert [round(one.values(GRID)[0, 0, 0]) for one in found] == [0, 3, 3]


def test_a_factor_takes_values_to_the_bundles_units(file: Path) -> None:
    file.write_bytes(message())

    (found,) = find(file, [Choice("10u", {"paramId": 165}, factor=2.0)])

    np.testing.assert_allclose(found.values(GRID)[0], 2 * VALUES, atol=2e-3)


def test_of_two_truths_at_once_the_one_with_the_shorter_lead_time_counts(tmp_path: Path) -> None:
    early, late = tmp_path / "a", tmp_path / "b"
    early.write_bytes(message(VALUES + 100, time=TIME - timedelta(hours=3), step_h=3))
    late.write_bytes(message())

    truth = read_truth([early, late], [WIND])

    known = truth.at("10u", TIME)
    assert known is not None
    assert known.values(GRID)[0, 0, 0] == pytest.approx(0, abs=1e-3)
    assert truth.at("10v", TIME) is None


@pytest.mark.parametrize(
    "grid",
    [
        Grid(90.0, 0.0, 1.0, 1.0, 181, 360),
        Grid(90.0, 22.5, 30.0, 45.0, 7, 8),
        Grid(75.0, 0.0, 25.0, 45.0, 7, 8),
    ],
)
def test_truth_on_another_grid_is_refused_with_both_grids(file: Path, grid: Grid) -> None:
    file.write_bytes(message())
    (found,) = find(file, [WIND])

    with pytest.raises(UsageError, match=r"regular_ll grid of 7 x 8 points, 90 N .*wanted"):
        found.values(grid)


def test_missing_values_are_refused_with_their_number(file: Path) -> None:
    with codes.opened(message()) as handle:
        handle.set("bitmapPresent", 1)
        handle.set("missingValue", 9999)
        handle.set_values(np.where(VALUES < 3, 9999.0, VALUES).ravel())
        file.write_bytes(handle.message())
    (found,) = find(file, [WIND])

    with pytest.raises(UsageError, match="3 missing values, wanted none"):
        found.values(GRID)


def test_a_file_that_is_no_grib_is_named(file: Path) -> None:
    file.write_text("<html>502</html>")

    with pytest.raises(NotGrib, match=r"fields\.grib2: found no GRIB message"):
        list(find(file, [WIND]))


def test_other_files_beside_the_truth_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("read me")
    (tmp_path / "b.grib2").write_bytes(message())

    assert read_truth(sorted(tmp_path.iterdir()), [WIND]).at("10u", TIME) is not None


def test_files_without_the_parameter_are_no_truth(file: Path) -> None:
    file.write_bytes(message())

    with pytest.raises(UsageError, match="found no 10v in the 1 files of truth"):
        read_truth([file], [Choice("10v", {"paramId": 166})])


def test_reading_leaves_nothing_beside_the_files(file: Path) -> None:
    file.write_bytes(message())

    list(find(file, [WIND]))

    assert list(file.parent.iterdir()) == [file]
