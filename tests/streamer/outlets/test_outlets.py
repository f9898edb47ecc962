"""What every outlet promises, whatever its format."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from engines.errors import UsageError
from streamer.domain import Grid
from streamer.outlets.open import open_outlets
from streamer.outlets.outlet import OutletError, write_or_refuse
from streamer.outlets.settings import PATTERNS, FileSettings, Format
from streamer.records import FieldNames
from tests.conftest import REPOSITORY
from tests.published import publish_step, publish_two_grids
from tests.streamer.outlets.files import STEPS, contents, outlet

FORMATS: tuple[Format, ...] = tuple(PATTERNS)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_step_again_is_the_same_files(kind: Format, tmp_path: Path) -> None:
    step = publish_step(parameters=("10u", "tp"), statistics=("mean", "above-1"))
    first = outlet(kind, tmp_path)
    count = first.write_step(step.record, step.messages)
    before = contents(tmp_path)

    first.write_step(step.record, step.messages)
    outlet(kind, tmp_path).write_step(step.record, step.messages)

    assert first.format == kind
    assert count == (2 if kind == "geotiff" else 1)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("kind", FORMATS)
def test_steps_in_any_order_are_the_same_files(kind: Format, tmp_path: Path) -> None:
    steps = [publish_step(minutes, parameters=("10u", "2t")) for minutes in (0, 180, 360)]
    for folder, order in (("up", steps), ("down", steps[::-1])):
        for step in order:
            outlet(kind, tmp_path / folder).write_step(step.record, step.messages)

    assert contents(tmp_path / "up") == contents(tmp_path / "down")


@pytest.mark.parametrize("kind", ["netcdf", "geotiff", "zarr", "grib"])
def test_only_what_is_wanted_is_written(kind: Format, tmp_path: Path) -> None:
    step = publish_step(parameters=("10u", "2t"))
    (opened,) = open_outlets(
        [FileSettings(kind, tmp_path, parameters=("2t",), products=("draws",))], STEPS, "one"
    )
    (idle,) = open_outlets([FileSettings(kind, tmp_path, products=("europe",))], STEPS, "two")

    assert opened.write_step(step.record, step.messages) == 1
    assert idle.write_step(step.record, step.messages) == 0
    assert not any("10u" in name or "u10" in name for name in contents(tmp_path))


@pytest.mark.parametrize("kind", ["netcdf", "geotiff", "zarr"])
def test_fields_that_do_not_belong_together_leave_no_file(kind: Format, tmp_path: Path) -> None:
    mixed = publish_two_grids()

    with pytest.raises(OutletError, match="wanted one"):
        outlet(kind, tmp_path).write_step(mixed.record, mixed.messages)

    assert contents(tmp_path) == {}


@pytest.mark.parametrize("kind", ["netcdf", "geotiff", "zarr"])
def test_a_message_that_cannot_be_read_leaves_no_file(kind: Format, tmp_path: Path) -> None:
    step = publish_step(parameters=("10u",))

    with pytest.raises(OutletError, match="10u cannot be read"):
        outlet(kind, tmp_path).write_step(step.record, [step.messages[0], b"GRIB, but not much"])

    assert contents(tmp_path) == {}


def test_what_can_never_be_written_is_logged_once_and_counts_as_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mixed = publish_two_grids()
    netcdf, grib = (outlet(kind, tmp_path) for kind in ("netcdf", "grib"))

    assert write_or_refuse(grib, mixed.record, mixed.messages) == 1
    assert caplog.messages == []
    assert write_or_refuse(netcdf, mixed.record, mixed.messages) is None
    (told,) = caplog.messages
    assert told.startswith(f"{mixed.record.key.text}: no netcdf: ")
    assert told.count("wanted one") == 1


def test_what_cannot_be_written_now_is_no_refusal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    step, opened = publish_step(), outlet("grib", tmp_path / "fine")
    (tmp_path / "fine").rename(tmp_path / "aside")
    (tmp_path / "fine").write_bytes(b"no folder any more")

    with pytest.raises(OSError):
        write_or_refuse(opened, step.record, step.messages)

    assert caplog.messages == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(UsageError, match=r"grib files: the folder .*file/below cannot be used"):
        outlet("grib", tmp_path / "file" / "below")


def test_a_missing_library_is_named_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("rasterio", "rasterio.io"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "streamer.outlets.geotiff", raising=False)

    with pytest.raises(UsageError, match=r"package rasterio.*pip install 'downscaled\[files\]'"):
        outlet("geotiff", tmp_path)


#: Run in a process whose files may not grow: a disk that is full.
_FULL = """
import sys
import tracemalloc
from tests.published import publish_step, publish_two_grids
from tests.streamer.outlets.files import outlet
from pathlib import Path
import resource
kind, folder = sys.argv[1], Path(sys.argv[2])
step = publish_step(parameters=("10u", "2t"), statistics=("mean",))
opened = outlet(kind, folder)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (900, hard))
try:
    opened.write_step(step.record, step.messages)
except OSError:
    print("no room")
"""


@pytest.mark.parametrize("kind", ["netcdf", "geotiff", "zarr", "grib"])
def test_a_disk_without_room_is_an_error_that_may_pass_and_tears_nothing(
    kind: Format, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FULL, kind, str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.stdout.strip() == "no room", done.stderr
    files = contents(tmp_path)
    assert not any(name.endswith((".nc", ".tif", ".grib2", "/complete/c.1")) for name in files)

    step = publish_step(parameters=("10u", "2t"), statistics=("mean",))
    outlet(kind, tmp_path).write_step(step.record, step.messages)
    outlet(kind, tmp_path / "beside").write_step(step.record, step.messages)

    healed = {n: v for n, v in contents(tmp_path).items() if not n.startswith("beside/")}
    assert healed == contents(tmp_path / "beside")


def test_names_of_fields_part_files(tmp_path: Path) -> None:
    step = publish_step(parameters=("10u",), product="a/b")

    outlet("netcdf", tmp_path).write_step(step.record, step.messages)

    assert list(contents(tmp_path)) == ["ecmf/ifs/201810080000/0/a%2Fb/3.nc"]
    assert step.record.fields[0].names == FieldNames("a/b", "10u", draw=0)


@pytest.mark.parametrize("kind", ["netcdf", "zarr"])
def test_a_large_ensemble_is_not_held_at_once(kind: Format, tmp_path: Path) -> None:
    grid = Grid(90.0, 0.0, 1.0, 1.0, 181, 360)
    few, many = (publish_step(parameters=("10u",), draws=d, grid=grid) for d in (2, 20))
    outlet(kind, tmp_path / "warm").write_step(few.record, few.messages)

    peaks = []
    for step in (few, many):
        opened = outlet(kind, tmp_path / f"{len(step.messages)}")
        tracemalloc.start()
        opened.write_step(step.record, step.messages)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    # Twenty draws as values take 5 MB.
    assert peaks[1] - peaks[0] < 1_000_000
