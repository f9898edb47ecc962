"""`downscaled sink`: wrong use ends with 2 and clear lines."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from streamer.commands import main
from streamer.commands.sink import sink_bus
from streamer.config import load, parse
from streamer.outlets.settings import PATTERNS, SinkSettings

PLAIN: dict[str, Any] = {
    "bus": {"bootstrap_servers": ["localhost:9"], "group_id": "wind"},
    "input": {"topic": "in", "steps": "0/3/6"},
    "output": {"topic": "out"},
    "model": {"bundle": "gfs-wind-4to1"},
}


def ends_with(
    plain: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    path = folder / "sink.yaml"
    path.write_text(yaml.safe_dump(plain))
    status = main.main(["sink", str(path)])
    return status, capsys.readouterr().err


def test_a_config_without_a_sink_is_wrong_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, told = ends_with(PLAIN, tmp_path, capsys)

    assert status == 2
    assert "found no section `sink`" in told


def test_a_sink_needs_a_broker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sink = {"files": [{"format": "grib", "folder": str(tmp_path)}]}
    status, told = ends_with({**PLAIN, "bus": {"memory": True}, "sink": sink}, tmp_path, capsys)

    assert status == 2
    assert "bus.memory is true" in told


def test_every_fault_of_the_section_is_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [
        {"format": "grib2", "folder": "a"},
        {"format": "netcdf", "folder": "a", "pattern": "{step}.nc"},
        {"format": "zarr"},
    ]
    status, told = ends_with({**PLAIN, "sink": {"files": files, "prot": 1}}, tmp_path, capsys)

    assert status == 2
    assert "4 faults" in told
    assert "sink.prot: unknown key; did you mean `port`?" in told
    assert "sink.files[0].format: found 'grib2', wanted one of grib, netcdf" in told
    assert "sink.files[1]: pattern: found '{step}.nc' without {product}" in told
    assert "sink.files[2].folder: missing" in told


def test_a_folder_that_cannot_be_used_is_told_before_the_broker_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    sink = {"files": [{"format": "grib", "folder": str(tmp_path / "file" / "below")}], "port": 0}

    status, told = ends_with({**PLAIN, "sink": sink}, tmp_path, capsys)

    assert status == 2
    assert "cannot be used" in told
    assert "Traceback" not in told


def test_the_sinks_are_a_group_of_their_own() -> None:
    config = parse(PLAIN, "a test")
    files = load_files("a")

    assert sink_bus(config.bus, SinkSettings(files)).group_id == "wind.sink"
    assert sink_bus(config.bus, SinkSettings(files, group_id="maps")).group_id == "maps"


def test_the_example_is_a_configuration(repository: Path) -> None:
    config = load(repository / "deployment" / "examples" / "sink.yaml")

    assert config.sink is not None
    assert {one.format for one in config.sink.files} == set(PATTERNS)


def load_files(folder: str) -> Any:
    plain = {**PLAIN, "sink": {"files": [{"format": "grib", "folder": folder}]}}
    sink = parse(plain, "a test").sink
    assert sink is not None
    return sink.files
