"""An archive is read as whole states and split by day, or refused with files and reasons."""

import shutil
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from engines.errors import UsageError
from streamer.archive import cut, fill_gaps, read_archive, split_by_day
from streamer.domain import Grid
from streamer.grib import codes

GRID = Grid(90.0, 0.0, 30.0, 30.0, 7, 12)


def message(parameter: int, day: int, hour: int = 0, **more: codes.Key) -> bytes:
    """Encode one field of paramId 165 or 166 on a 30-degree globe; its values tell when it is."""
    keys: Mapping[str, codes.Key] = {
        "Ni": 12,
        "Nj": 7,
        "latitudeOfFirstGridPointInDegrees": 90,
        "latitudeOfLastGridPointInDegrees": -90,
        "longitudeOfFirstGridPointInDegrees": 0,
        "longitudeOfLastGridPointInDegrees": 330,
        "iDirectionIncrementInDegrees": 30,
        "jDirectionIncrementInDegrees": 30,
        "dataDate": 20181000 + day,
        "dataTime": 100 * hour,
        "paramId": parameter,
        "bitsPerValue": 24,
    }
    with codes.sample("regular_ll_sfc_grib2") as handle:
        for key, value in {**keys, **more}.items():
            handle.set(key, value)
        shape = handle.integer("Nj"), handle.integer("Ni")
        values = np.full(shape, day + hour / 100.0) + np.arange(shape[0], dtype=np.float64)[:, None]
        handle.set_values(values.ravel())
        return handle.message()


def write(folder: Path, **files: bytes) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / f"{name}.grib2").write_bytes(content)
    return folder


def days(*numbers: int) -> dict[str, bytes]:
    return {f"day{n}": message(165, n) + message(166, n) for n in numbers}


def test_states_come_in_the_order_of_their_valid_times(tmp_path: Path) -> None:
    files = {
        "a": message(166, 9) + message(165, 9),
        "b": message(165, 7, hour=18, step=3) + message(166, 7, hour=18, step=3),
        "c": message(165, 8),
        "d": message(166, 8),
    }

    archive = read_archive(write(tmp_path / "fine", **files))

    assert [str(key) for key in archive.keys] == [
        "2018-10-07T21:00 (step 3)",
        "2018-10-08T00:00 (step 0)",
        "2018-10-09T00:00 (step 0)",
    ]
    assert [(p.name, p.units) for p in archive.parameters] == [
        ("10u", "m s**-1"),
        ("10v", "m s**-1"),
    ]
    assert archive.grid == GRID
    assert archive.fine.shape == (3, 2, 7, 12)
    assert archive.fine[:, 1, 0, 0] == pytest.approx([7.18, 8.0, 9.0], abs=1e-4)
    assert archive.fine[0, 0, :, 0] == pytest.approx(7.18 + np.arange(7), abs=1e-4)


def test_rows_from_the_south_are_turned(tmp_path: Path) -> None:
    files = {
        f"day{n}": message(
            165,
            n,
            jScansPositively=1,
            latitudeOfFirstGridPointInDegrees=-90,
            latitudeOfLastGridPointInDegrees=90,
        )
        for n in (8, 9)
    }

    archive = read_archive(write(tmp_path / "fine", **files))

    assert archive.grid == GRID
    assert archive.fine[0, 0, :, 0] == pytest.approx(8 + np.arange(7)[::-1], abs=1e-4)


def test_the_last_days_of_valid_time_are_held_back(tmp_path: Path) -> None:
    late = message(165, 8, hour=22, step=3) + message(166, 8, hour=22, step=3)
    archive = read_archive(write(tmp_path / "fine", **days(7, 8, 9, 10), late=late))

    split = split_by_day(archive, 2)

    # 8 October 22 UTC + 3 h is a state of the 9th.
    assert split.days == (date(2018, 10, 9), date(2018, 10, 10))
    held = [archive.keys[i].valid_time for i in split.held_back]
    assert held == [datetime(2018, 10, *t, tzinfo=UTC) for t in ((9, 0), (9, 1), (10, 0))]
    assert sorted(split.learn + split.held_back) == list(range(5))


@pytest.mark.parametrize("count", [0, 2, 3])
def test_a_split_must_leave_days_on_both_sides(tmp_path: Path, count: int) -> None:
    archive = read_archive(write(tmp_path / "fine", **days(7, 8)))

    with pytest.raises(UsageError, match=rf"2 days \(2018-10-07 to 2018-10-08\).*not {count}"):
        split_by_day(archive, count)


def with_missing(raw: bytes) -> bytes:
    with codes.opened(raw) as handle:
        values = handle.values()
        handle.set("bitmapPresent", 1)
        values[:3] = handle.number("missingValue")
        handle.set_values(values)
        return handle.message()


REFUSED = {
    "no files": ({}, "holds no files"),
    "one state only": (days(7), r"one state only, 2018-10-07T00:00 \(step 0\), want several"),
    "a parameter lacks": (
        days(7, 8) | {"half": message(165, 9)},
        r"2018-10-09T00:00 \(step 0\) in half\.grib2 lacks 10v",
    ),
    "held twice": (
        days(7, 8) | {"twin": message(165, 8)},
        r"twin\.grib2 and day8\.grib2 both hold 10u of 2018-10-08",
    ),
    "not GRIB": (days(7, 8) | {"page": b"<html>404 Not Found</html>"}, r"page\.grib2: byte 0"),
    "truncated": (
        days(7, 8) | {"short": message(165, 9)[:-9]},
        r"short\.grib2: .*bytes, \d+ are there",
    ),
    "missing values": (
        days(7, 8) | {"holes": with_missing(message(165, 9))},
        r"holes\.grib2: 10u has 3 of 84 values missing \(3\.57%\), want none",
    ),
    "mixed grids": (
        days(7, 8) | {"other": message(165, 9, Ni=6, iDirectionIncrementInDegrees=60,
                                       longitudeOfLastGridPointInDegrees=300)
                      + message(166, 9)},
        r"other\.grib2: 10u is on Grid\(.*columns=6\), most are on Grid\(.*columns=12\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_nothing_can_be_learnt_from_is_refused(tmp_path: Path, case: str) -> None:
    files, words = REFUSED[case]

    with pytest.raises(UsageError, match=words):
        read_archive(write(tmp_path / "fine", **files))


def test_few_missing_values_are_taken_from_the_nearest_point(tmp_path: Path) -> None:
    holes = with_missing(message(165, 9)) + message(166, 9)
    folder = write(tmp_path / "fine", **days(7, 8), holes=holes)

    archive = read_archive(folder, missing_share=0.04)

    assert archive.filled == 3
    # Rows count from 0 at the pole; the first three points of the pole's row were missing.
    assert archive.fine[2, 0, 0] == pytest.approx(np.full(12, 9.0), abs=1.0)
    with pytest.raises(UsageError, match=r"3 of 84 values missing \(3\.57%\), want at most 3\.00%"):
        read_archive(folder, missing_share=0.03)


def test_gaps_are_filled_across_the_first_column_of_a_globe_only() -> None:
    values = np.tile(np.arange(8, dtype=np.float32), (3, 1))
    values[:, :2] = np.nan

    globe, area = fill_gaps(values, is_periodic=True), fill_gaps(values, is_periodic=False)

    assert globe[1].tolist() == [7, 2, 2, 3, 4, 5, 6, 7]
    assert area[1].tolist() == [2, 2, 2, 3, 4, 5, 6, 7]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere is not a folder"):
        read_archive(tmp_path / "nowhere")


def test_many_faults_are_counted_not_listed(tmp_path: Path) -> None:
    files = {f"page{i}": b"<html>" for i in range(9)}

    with pytest.raises(UsageError, match="; and 4 more"):
        read_archive(write(tmp_path / "fine", **files))


def test_a_part_of_an_archive_has_the_values_of_its_points(tmp_path: Path) -> None:
    archive = read_archive(write(tmp_path / "fine", **days(7, 8)))

    part = cut(archive, Grid(60.0, 90.0, 30.0, 30.0, 3, 2))

    assert np.array_equal(part.fine, archive.fine[:, :, 1:4, 3:5])
    assert part.keys == archive.keys
    assert cut(archive, GRID) is archive


@pytest.mark.parametrize(
    "grid",
    [
        Grid(60.0, 75.0, 30.0, 30.0, 3, 2),
        Grid(60.0, 90.0, 60.0, 30.0, 2, 2),
        Grid(60.0, 330.0, 30.0, 30.0, 3, 2),
        Grid(-60.0, 90.0, 30.0, 30.0, 3, 2),
    ],
)
def test_points_that_an_archive_has_not_are_refused(tmp_path: Path, grid: Grid) -> None:
    archive = read_archive(write(tmp_path / "fine", **days(7, 8)))

    with pytest.raises(
        UsageError, match=r"the archive is on Grid\(.*wanted one with the points of"
    ):
        cut(archive, grid)


def test_one_file_may_hold_a_month_of_messages(shared_data: Path) -> None:
    archive = read_archive(shared_data / "era5-uk-2t")

    split = split_by_day(archive, 6)
    assert archive.fine.shape == (744, 1, 33, 49)
    assert archive.grid == Grid(58.0, -10.0, 0.25, 0.25, 33, 49)
    assert [(p.name, p.units, p.param_id) for p in archive.parameters] == [("2t", "K", 167)]
    assert (len(split.learn), len(split.held_back)) == (600, 144)
    assert {archive.keys[i].valid_time.hour for i in split.held_back} == set(range(24))
    assert 250 < archive.fine.min() < archive.fine.max() < 300


def test_the_real_archive_is_ten_days_of_global_winds(shared_data: Path) -> None:
    archive = read_archive(shared_data / "gfs-wind-1deg" / "train")

    split = split_by_day(archive, 2)
    assert archive.fine.shape == (80, 2, 181, 360)
    assert archive.grid == Grid(90.0, 0.0, 1.0, 1.0, 181, 360)
    assert [p.name for p in archive.parameters] == ["10u", "10v"]
    assert (len(split.learn), len(split.held_back)) == (64, 16)
    assert np.abs(archive.fine).max() < 60


def test_pages_that_a_download_left_are_told_from_grib(shared_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(shared_data / "gfs-wind-1deg" / "broken", folder)

    with pytest.raises(UsageError, match="want GRIB"):
        read_archive(folder)
