"""The daemon's own files: of the steps in a transaction, before it is committed."""

from pathlib import Path

import pytest

from monitoring.metrics import Metrics
from streamer.filing import FilesError, Filing
from streamer.outlets.outlet import Outlet
from tests.published import publish_step, publish_two_grids
from tests.streamer.outlets.files import contents, outlet


def filing(*outlets: Outlet) -> tuple[Filing, Metrics]:
    metrics = Metrics()
    return Filing(outlets, metrics), metrics


def counted(metrics: Metrics, meter: str, kind: str) -> float | None:
    return metrics.registry.get_sample_value(f"downscaled_{meter}_total", {"format": kind})


def test_a_step_that_a_kind_of_files_cannot_hold_is_counted_and_hinders_no_other(
    tmp_path: Path,
) -> None:
    mixed = publish_two_grids()
    files, metrics = filing(outlet("netcdf", tmp_path), outlet("grib", tmp_path))

    files.write(mixed.outgoing())

    assert list(contents(tmp_path).values()) == [b"".join(mixed.messages)]
    for kind, written, refused in (("netcdf", 0, 1), ("grib", 1, 0)):
        assert counted(metrics, "files", kind) == written
        assert counted(metrics, "files_refused", kind) == refused


def test_a_disk_that_does_not_take_the_files_is_told_with_step_and_format(tmp_path: Path) -> None:
    step = publish_step()
    folder = tmp_path / "fine"
    files, metrics = filing(outlet("grib", folder))
    folder.rename(tmp_path / "aside")
    folder.write_bytes(b"no folder any more")

    with pytest.raises(FilesError, match=f"{step.record.key.text}: its grib files cannot be"):
        files.write(step.outgoing())

    assert counted(metrics, "files", "grib") == 0
    assert counted(metrics, "files_refused", "grib") == 0
