"""`feed` and `check` against a real broker, as a person runs them."""

import json
import os
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.kafka_broker import Broker
from tests.wind import SMALL, wind_message

CONFIG = """
bus: {{bootstrap_servers: ["{address}"], group_id: {name}, connect_timeout_s: 2}}
input: {{topic: {name}, steps: 0/to/6/by/6}}
output: {{topic: {name}.fine}}
model: {{bundle: "{bundle}"}}
"""


@dataclass(frozen=True)
class Chain:
    """A config with topics of its own."""

    broker: Broker
    name: str
    config: Path

    def run(self, verb: str, *options: str | Path) -> subprocess.CompletedProcess[str]:
        """Run `downscaled VERB CONFIG ...` to its end."""
        return subprocess.run(
            self.words(verb, *options),
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
            env=_environment(),
        )

    def words(self, verb: str, *options: str | Path) -> list[str]:
        words = [verb, self.config, *options]
        return [sys.executable, "-m", "streamer.commands.main", *(str(word) for word in words)]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def chain(broker: Broker, folder: Path, address: str | None = None) -> Chain:
    name = f"wind-{uuid.uuid4().hex[:8]}"
    bundle = SMALL.write_bundle(folder / "bundle")
    config = folder / "config.yaml"
    text = CONFIG.format(address=address or broker.address, name=name, bundle=bundle)
    config.write_text(text)
    return Chain(broker, name, config)


@pytest.fixture
def made(kafka_broker: Broker, tmp_path: Path) -> Chain:
    """A chain whose topics exist."""
    made = chain(kafka_broker, tmp_path)
    kafka_broker.create(made.name, 2)
    for ending in ("fine", "fine.steps", "fine.dead"):
        kafka_broker.create(f"{made.name}.{ending}")
    return made


@pytest.mark.kafka
def test_a_folder_goes_in_message_by_message(made: Chain, tmp_path: Path) -> None:
    wind = [wind_message(name, step) for step in (0, 6) for name in ("10u", "10v")]
    folder = tmp_path / "grib"
    folder.mkdir()
    (folder / "a.grib2").write_bytes(b"".join(wind[:2]))
    (folder / "b.grib2").write_bytes(b"".join(wind[2:]))
    (folder / "README").write_text("nothing to see")

    done = made.run("feed", folder, "--json", "--again", "twice")

    assert done.returncode == 0, done.stderr
    assert "README: skipped, not_grib" in done.stderr
    told = json.loads(done.stdout)
    assert (told["messages"], told["files"], told["skipped_files"]) == (4, 2, 1)
    found = made.broker.read(made.name)
    assert sorted(m.value() or b"" for m in found) == sorted(wind)
    assert len({m.partition() for m in found}) == 1, "a run's member has one partition"
    assert {tuple(m.headers() or ()) for m in found} == {(("again", b"twice"),)}


@pytest.mark.kafka
def test_a_named_file_that_is_cut_is_told_and_the_status_says_so(
    made: Chain, tmp_path: Path
) -> None:
    sound = wind_message("10u", 0)
    (tmp_path / "cut.grib2").write_bytes(sound + sound[:90])

    done = made.run("feed", tmp_path / "cut.grib2")

    assert done.returncode == 1
    assert "cut.grib2: truncated" in done.stderr
    assert "1 messages" in done.stdout
    assert [m.value() for m in made.broker.read(made.name)] == [sound]


@pytest.mark.kafka
def test_a_folder_without_grib_is_an_error_that_says_what_is_there(
    made: Chain, tmp_path: Path
) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "notes.txt").write_text("none")

    done = made.run("feed", folder)

    assert done.returncode == 2
    assert "found 1 files (1 with .txt)" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.kafka
def test_watching_takes_files_that_arrive_later_until_it_is_interrupted(
    made: Chain, tmp_path: Path
) -> None:
    folder = tmp_path / "watched"
    folder.mkdir()
    words = made.words("feed", folder, "--watch")
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environment()
    ) as process:
        assert process.stderr is not None
        assert "watching" in process.stderr.readline()
        (tmp_path / "half").write_bytes(wind_message("10u", 0))
        os.utime(tmp_path / "half", (0, 0))
        (tmp_path / "half").rename(folder / "whole.grib2")
        assert "whole.grib2: 1 messages" in process.stderr.readline()
        process.send_signal(2)
        out, _ = process.communicate(timeout=60)

    assert process.returncode == 0
    assert "1 messages" in out
    assert len(made.broker.read(made.name)) == 1


@pytest.mark.kafka
def test_a_sound_chain_passes_the_check(made: Chain) -> None:
    done = made.run("check", "--connect")

    assert done.returncode == 0, done.stderr
    assert "no fault found" in done.stdout


@pytest.mark.kafka
def test_missing_topics_are_all_told_with_the_bundles_fault(
    kafka_broker: Broker, tmp_path: Path
) -> None:
    lacking = chain(kafka_broker, tmp_path)
    model = tmp_path / "bundle" / "model.json"
    model.write_bytes(model.read_bytes().replace(b"1", b"2", 1))

    done = lacking.run("check", "--connect")

    assert done.returncode == 2
    assert "5 faults" in done.stderr
    assert "model.bundle: " in done.stderr
    for ending in ("", ".fine", ".fine.steps", ".fine.dead"):
        assert f"topic {lacking.name}{ending} does not exist" in done.stderr


def test_a_broker_that_is_not_there_is_one_clear_fault_in_time(tmp_path: Path) -> None:
    nowhere = Broker(1, tmp_path)
    lost = chain(nowhere, tmp_path)

    began = time.monotonic()
    checked = lost.run("check", "--connect")
    (tmp_path / "wind.grib2").write_bytes(wind_message("10u", 0))
    fed = lost.run("feed", tmp_path / "wind.grib2")

    assert (checked.returncode, fed.returncode) == (2, 1)
    for done in (checked, fed):
        assert "no answer from a broker at localhost:1" in done.stderr
        assert "Traceback" not in done.stderr
    assert time.monotonic() - began < 60
