"""Bad input gets one clear message: what was found, what was wanted, and where.

Every command runs as a person runs it, in a process of its own; none ends in a traceback.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.kafka_broker import Broker
from tests.wind import wind_message


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it said."""

    status: int
    out: str
    err: str


def downscaled(*words: str | Path) -> Said:
    """Run the command as a person does."""
    done = subprocess.run(
        [sys.executable, "-m", "streamer.commands.main", *map(str, words)],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def plain(small_wind_bundle: Path, tmp_path: Path) -> dict[str, Any]:
    """A configuration without fault, for the bus in memory."""
    return {
        "bus": {"memory": True},
        "input": {"topic": "coarse", "steps": "0/3/6"},
        "output": {"topic": "fine"},
        "model": {"bundle": str(small_wind_bundle), "draws": 1},
        "engine": {"backend": "gaussian", "cache": str(tmp_path / "cache")},
        "metrics": {"port": 0},
        "limits": {"workers": 1},
    }


def written(folder: Path, plain: dict[str, Any]) -> Path:
    path = folder / "wind.yaml"
    path.write_text(yaml.safe_dump(plain))
    return path


def test_records_that_cannot_be_used_are_told_one_by_one_and_the_rest_is_made(
    plain: dict[str, Any], tmp_path: Path
) -> None:
    sound = wind_message("10u", 0)
    files = {
        "a-sound.grib2": sound + wind_message("10v", 0),
        "b-corrupt.grib2": sound[:16] + bytes(len(sound) - 20) + sound[-4:],
        "c-truncated.grib2": sound[: len(sound) // 2],
        "d-oversized.grib2": wind_message("10u", 3) + bytes(20_000),
        "e-empty.grib2": b"",
        "f-foreign.nc": b"CDF\x01" + bytes(100),
        "g-hurricane.grib2": wind_message("10u", 6, mean=500.0),
        "h-sound.grib2": wind_message("10u", 6) + wind_message("10v", 6),
    }
    folder = tmp_path / "input"
    folder.mkdir()
    for name, value in files.items():
        (folder / name).write_bytes(value)
    plain["limits"]["grib"] = {"record_bytes": 15_000}
    output = tmp_path / "output"

    said = downscaled(
        "replay", written(tmp_path, plain), "--input", folder, "--output", output, "--json"
    )

    result = json.loads(said.out)
    letters = [json.loads(line) for line in (output / "dead_letters.jsonl").open()]
    told = {letter["dlq.reason"]: letter["dlq.text"] for letter in letters}
    assert said.status == 0
    assert (result["published"], result["failed"]) == (2, 0)
    assert set(told) == {
        "undecodable", "truncated", "too_large", "empty", "not_grib", "out_of_range",
    }  # fmt: skip
    assert len(letters) == 6
    assert "its sections do not fill it" in told["undecodable"]
    assert f"says it has {len(sound)} bytes, {len(sound) // 2} are there" in told["truncated"]
    assert "15000" in told["too_large"]
    assert "want GRIB" in told["not_grib"]
    assert "sound ones lie within -150 to 150" in told["out_of_range"]


def test_three_faults_of_a_configuration_are_told_together(
    plain: dict[str, Any], tmp_path: Path
) -> None:
    plain["input"]["stepz"] = plain["input"].pop("steps")
    plain["model"]["draws"] = 300
    plain["limits"]["workers"] = "many"
    config = written(tmp_path, plain)

    for verb in ("run", "check"):
        said = downscaled(verb, config)

        assert said.status == 2
        assert said.out == ""
        assert "input.stepz: unknown key; did you mean `steps`?" in said.err
        assert "draws: found 300, wanted 1 to 255" in said.err
        assert "limits.workers: found 'many', wanted a whole number" in said.err
        assert str(config) in said.err


def test_a_bundle_with_a_flipped_bit_is_refused_by_name(
    plain: dict[str, Any], tmp_path: Path
) -> None:
    bundle = shutil.copytree(plain["model"]["bundle"], tmp_path / "bundle")
    value = bytearray((bundle / "denoiser.onnx").read_bytes())
    value[len(value) // 2] ^= 1
    (bundle / "denoiser.onnx").write_bytes(value)
    plain["model"]["bundle"] = str(bundle)
    plain["bus"] = {"bootstrap_servers": ["localhost:1"], "group_id": "wind"}

    said = downscaled("run", written(tmp_path, plain))

    assert said.status == 2
    assert "denoiser.onnx" in said.err
    assert str(bundle) in said.err
    assert "SHA256SUMS" in said.err


def test_a_bundle_that_is_not_there_is_told_with_those_that_are(
    plain: dict[str, Any], tmp_path: Path
) -> None:
    plain["model"]["bundle"] = "no-such-bundle"
    plain["bus"] = {"bootstrap_servers": ["localhost:1"], "group_id": "wind"}

    said = downscaled("run", written(tmp_path, plain))

    assert said.status == 2
    assert "no-such-bundle" in said.err


def test_a_broker_that_is_not_there_is_told_in_time(plain: dict[str, Any], tmp_path: Path) -> None:
    with socket.socket() as taken:
        # Bound and not listening: nobody else can answer there.
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        plain["bus"] = {
            "bootstrap_servers": [address],
            "group_id": "wind",
            "connect_timeout_s": 2.0,
        }
        config = written(tmp_path, plain)

        run, check = downscaled("run", config), downscaled("check", config, "--connect")

    assert run.status == 1
    assert f"broker at {address}" in run.err
    assert check.status == 2
    assert f"broker at {address}" in check.err


@pytest.mark.kafka
def test_a_topic_that_does_not_exist_is_named(
    plain: dict[str, Any], tmp_path: Path, kafka_broker: Broker
) -> None:
    name = f"wind-{uuid.uuid4().hex[:8]}"
    for topic in (name, f"{name}.fine", f"{name}.fine.steps"):
        kafka_broker.create(topic)
    plain["bus"] = {"bootstrap_servers": [kafka_broker.address], "group_id": name}
    plain["input"]["topic"], plain["output"]["topic"] = name, f"{name}.fine"
    config = written(tmp_path, plain)

    run, check = downscaled("run", config), downscaled("check", config, "--connect")

    assert run.status == 1
    missing = f"topic does not exist at {kafka_broker.address}, or may not be seen by us: "
    assert f"{missing}{name}.fine.dead\n" in run.err
    assert check.status == 2
    assert f"{name}.fine.dead" in check.err
    assert f"{name}.fine.steps" not in check.err


@pytest.mark.kafka
def test_fields_above_the_limit_of_the_output_topic_are_foreseen(
    plain: dict[str, Any], tmp_path: Path, kafka_broker: Broker
) -> None:
    name = f"wind-{uuid.uuid4().hex[:8]}"
    for topic in (name, f"{name}.fine.steps", f"{name}.fine.dead"):
        kafka_broker.create(topic)
    kafka_broker.create(f"{name}.fine", configs={"max.message.bytes": "5000"})
    plain["bus"] = {"bootstrap_servers": [kafka_broker.address], "group_id": name}
    plain["input"]["topic"], plain["output"]["topic"] = name, f"{name}.fine"

    said = downscaled("check", written(tmp_path, plain), "--connect")

    assert said.status == 2
    assert "max.message.bytes" in said.err
    assert "5000" in said.err
    assert f"{name}.fine" in said.err


@pytest.mark.kafka
def test_a_folder_without_grib_is_told_with_what_is_in_it(
    plain: dict[str, Any], tmp_path: Path, kafka_broker: Broker
) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "readme.txt").write_text("no weather here\n")
    plain["bus"] = {"bootstrap_servers": [kafka_broker.address], "group_id": "wind"}
    plain["input"]["topic"] = kafka_broker.create(f"wind-{uuid.uuid4().hex[:8]}")
    config = written(tmp_path, plain)

    fed = downscaled("feed", config, folder)
    replayed = downscaled("replay", config, "--input", folder, "--output", tmp_path / "output")

    for said in (fed, replayed):
        assert said.status == 2
        assert "no GRIB" in said.err
        assert "1 with .txt" in said.err
        assert str(folder) in said.err


def test_a_daemon_needs_a_broker_that_others_reach(plain: dict[str, Any], tmp_path: Path) -> None:
    said = downscaled("run", written(tmp_path, plain))

    assert said.status == 2
    assert "bus.memory is true" in said.err
