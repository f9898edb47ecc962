"""Files that are whole or not there."""

from pathlib import Path

import pytest

from streamer.outlets.durable import UNFINISHED, Desk
from tests.streamer.outlets.files import contents


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path, "one")
    desk.clear()
    return desk


def test_a_file_appears_when_it_is_whole(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.nc"

    with desk.replacing(path) as unfinished:
        unfinished.write_bytes(b"half")
        before = path.exists()
        unfinished.write_bytes(b"whole")

    assert not before
    assert unfinished.suffix == ".nc"
    assert contents(tmp_path) == {"a/b/file.nc": b"whole"}


def test_what_fails_leaves_what_was_there_before(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")

    def fail() -> None:
        with desk.replacing(path) as unfinished:
            unfinished.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert contents(tmp_path) == {"file": b"before"}


def test_what_a_dead_writer_left_is_removed_by_its_successor_only(tmp_path: Path) -> None:
    for writer in ("one", "two"):
        left = tmp_path / UNFINISHED / writer
        left.mkdir(parents=True)
        (left / "half").write_bytes(b"half")
        (left / "store").mkdir()
        (left / "store" / "half").write_bytes(b"half")

    Desk(tmp_path, "one").clear()

    assert list(contents(tmp_path)) == [
        f"{UNFINISHED}/two/half",
        f"{UNFINISHED}/two/store/half",
    ]


def test_names_of_any_length_and_the_same_in_many_folders_are_written_beside(
    desk: Desk, tmp_path: Path
) -> None:
    long = "x" * 250

    with (
        desk.replacing(tmp_path / "a" / long) as one,
        desk.replacing(tmp_path / "b" / long) as two,
    ):
        one.write_bytes(b"1")
        two.write_bytes(b"2")

    assert contents(tmp_path) == {f"a/{long}": b"1", f"b/{long}": b"2"}


def test_a_folder_appears_whole_and_the_first_founder_s_stays(desk: Desk, tmp_path: Path) -> None:
    other = Desk(tmp_path, "two")
    store = tmp_path / "run" / "draws.zarr"

    with desk.founding(store) as mine:
        (mine / "who").write_text("one")
        with other.founding(store) as theirs:
            (theirs / "who").write_text("two")

    assert contents(tmp_path) == {"run/draws.zarr/who": b"two"}
