"""The engines that a configuration asks for: how many, where, with how many threads."""

from pathlib import Path

import pytest

from engines.bundle import open_manifest
from streamer.config import Config, ConfigError, parse
from streamer.opening import EngineSettings, missing_parts, open_engines
from tests.engines import tiny


def parsed(engine: dict[str, object]) -> Config:
    plain = {
        "bus": {"memory": True},
        "input": {"topic": "coarse", "steps": "0"},
        "output": {"topic": "fine"},
        "model": {"bundle": "gfs-wind-4to1"},
        "engine": engine,
    }
    return parse(plain, "a test")


@pytest.mark.parametrize(
    ("settings", "threads"),
    [
        (EngineSettings(), None),
        (EngineSettings(engines=2), 4),
        (EngineSettings(engines=3), 2),
        (EngineSettings(devices=("cuda:0", "cuda:1")), 4),
        (EngineSettings(devices=("cuda:0", "cuda:1"), engines=16), 1),
        (EngineSettings(engines=2, threads=8), 8),
    ],
)
def test_engines_share_out_eight_cores_unless_told_otherwise(
    settings: EngineSettings, threads: int | None
) -> None:
    assert settings.threads_of_one(8) == threads


def test_as_many_engines_are_opened_as_asked_for(tmp_path: Path) -> None:
    bundle = open_manifest(tiny.write_bundle(tmp_path / "tiny"))

    engines = open_engines(bundle, EngineSettings("gaussian", engines=3))

    assert len(set(map(id, engines))) == 3
    assert {engine.spec.backend for engine in engines} == {"gaussian"}


def test_compiled_networks_lie_where_the_config_says_or_in_the_users_cache() -> None:
    environment = {"XDG_CACHE_HOME": "/c"}

    assert EngineSettings(cache=Path("/there")).cache_of_engines(environment) == Path(
        "/there/engines"
    )
    assert EngineSettings().cache_of_engines(environment) == Path("/c/downscaled/engines")


def test_a_configuration_may_name_devices_and_numbers() -> None:
    engine = parsed({"backend": "torch", "devices": ["cuda:0", "cuda:1"], "batch": 8}).engine

    assert engine == EngineSettings("torch", devices=("cuda:0", "cuda:1"), batch=8)


def test_every_fault_of_the_engine_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parsed({"engines": 0, "batch": -1, "devices": ["cuda:0", "cuda:0"]})

    for words in (
        "engines: found 0, wanted at least 1",
        "batch: found -1, wanted at least 1",
        "devices: found cuda:0, cuda:0, wanted each once",
    ):
        assert words in str(caught.value)


def test_a_backend_that_nobody_knows_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ConfigError, match=r"engine\.backend: found 'tensorflow', wanted one of"):
        parsed({"backend": "tensorflow"})


def test_devices_that_are_not_there_are_told_before_anything_is_opened() -> None:
    found = missing_parts(EngineSettings("torch", devices=("cuda:97", "tpu")))

    assert len(found) == 2
    assert all(fault.startswith("engine.devices: ") for fault in found)
    assert "'tpu', wanted cpu, cuda or cuda:1" in found[1]


def test_a_machine_with_all_parts_has_no_fault() -> None:
    assert missing_parts(EngineSettings("openvino", devices=("cpu",))) == ()
    assert missing_parts(EngineSettings("gaussian")) == ()


def test_the_network_of_each_engine_answers_alike(tmp_path: Path) -> None:
    bundle = open_manifest(tiny.write_bundle(tmp_path / "tiny"))
    settings = EngineSettings("openvino", engines=2, threads=1, cache=tmp_path / "cache")
    golden = tiny.golden()
    inputs = (golden["x"][:1], golden["sigma"][:1], golden["condition"][:1])

    one, other = open_engines(bundle, settings)

    assert one.denoise(*inputs).tobytes() == other.denoise(*inputs).tobytes()
