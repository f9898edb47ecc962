"""GRIB files become records: one message each, keyed by the forecast; the rest is told."""

from pathlib import Path

import pytest

from engines.errors import UsageError
from streamer.domain import Reason
from streamer.feeding import Label, describe, files_under, read_file
from streamer.grib.wants import Pool, Source
from tests.wind import wind_message

WIND = [wind_message(name, step) for step in (0, 6) for name in ("10u", "10v")]


def test_each_message_of_a_file_is_a_record_keyed_by_run_and_member(tmp_path: Path) -> None:
    path = tmp_path / "wind.grib2"
    path.write_bytes(b"".join([*WIND, wind_message("10u", 6, member=3)]))

    found = read_file(path, Label("coarse"))

    assert [record.value for record in found.records[:4]] == WIND
    assert {record.topic for record in found.records} == {"coarse"}
    keys = [(record.key or b"").decode().split("/") for record in found.records]
    assert [key[-1] for key in keys] == ["0", "0", "0", "0", "3"]
    assert all(len(key) == 5 and len(key[3]) == 12 and key[1] == "-" for key in keys)
    assert not found.broken


def test_the_source_that_matches_stands_in_the_key_and_strangers_stay_behind(
    tmp_path: Path,
) -> None:
    path = tmp_path / "wind.grib2"
    path.write_bytes(b"".join(WIND))

    sources = (Source("zonal", {"shortName": "10u"}),)
    found = read_file(path, Label("coarse", sources))

    assert {(record.key or b"").split(b"/")[1] for record in found.records} == {b"zonal"}
    assert (len(found.records), found.unwanted) == (2, 2)


def test_members_that_a_source_pools_share_a_key(tmp_path: Path) -> None:
    path = tmp_path / "wind.grib2"
    path.write_bytes(b"".join(wind_message("10u", 6, member) for member in range(4)))

    sources = (Source("ens", pool=Pool((0, 1, 3))),)
    found = read_file(path, Label("coarse", sources))

    assert {(record.key or b"").split(b"/")[-1] for record in found.records} == {b"all"}
    assert (len(found.records), found.unwanted) == (3, 1)


def test_again_is_a_header_of_every_record(tmp_path: Path) -> None:
    path = tmp_path / "wind.grib2"
    path.write_bytes(WIND[0])

    [record] = read_file(path, Label("coarse", again="second try")).records

    assert record.headers == (("again", b"second try"),)


def test_a_broken_message_is_told_and_the_others_are_used(tmp_path: Path) -> None:
    path = tmp_path / "wind.grib2"
    path.write_bytes(WIND[0] + WIND[1][:-4] + b"oops" + WIND[2])

    found = read_file(path, Label("coarse"))

    assert [record.value for record in found.records] == [WIND[0], WIND[2]]
    assert [line.split(":")[0] for line in found.broken] == ["undecodable"]
    assert found.is_grib
    assert not found.is_cut


def test_a_file_that_ends_inside_a_message_is_still_being_written(tmp_path: Path) -> None:
    path = tmp_path / "wind.grib2"
    path.write_bytes(WIND[0] + WIND[1][:100])

    found = read_file(path, Label("coarse"))

    assert found.is_cut
    assert found.reasons == {Reason.TRUNCATED}


@pytest.mark.parametrize("content", [b"", b"\x89PNG and so on", b"\0" * 100])
def test_a_file_without_grib_is_known_as_such(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)

    found = read_file(path, Label("coarse"))

    assert not found.is_grib
    assert len(found.broken) == 1


def test_folders_are_searched_and_hidden_or_half_moved_files_left_alone(tmp_path: Path) -> None:
    for name in ("b.grib", "sub/a.grib", ".hidden/c.grib", "sub/d.grib.part", "sub/.e.grib"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")

    found = files_under([tmp_path / "b.grib", tmp_path])

    assert [str(path.relative_to(tmp_path)) for path in found] == ["b.grib", "sub/a.grib"]


def test_every_path_that_does_not_exist_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"one, .*two"):
        files_under([tmp_path / "one", tmp_path, tmp_path / "two"])


def test_what_was_found_instead_of_grib_is_counted_by_ending() -> None:
    assert describe([]) == "no files"
    assert describe([Path("a.nc"), Path("b.nc"), Path("c")]) == (
        "3 files (2 with .nc, 1 with no ending)"
    )
