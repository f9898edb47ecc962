"""The configuration: the shipped examples load, defaults are what the full example says."""

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from streamer.config import Config, ConfigError, load, parse

SMALLEST: dict[str, Any] = {
    "bus": {"memory": True},
    "input": {"topic": "coarse", "steps": "0/to/6/by/3"},
    "output": {"topic": "fine"},
    "model": {"bundle": "gfs-wind-4to1"},
}


def changed(**sections: dict[str, Any]) -> dict[str, Any]:
    return {name: {**SMALLEST.get(name, {}), **sections.get(name, {})} for name in
            {**SMALLEST, **sections}}  # fmt: skip


def test_the_full_example_names_every_option_with_its_default(repository: Path) -> None:
    full = load(repository / "deployment" / "downscaled.yaml")
    smallest = load(repository / "deployment" / "examples" / "wind.yaml")

    ours = dataclasses.replace(
        full,
        bus=dataclasses.replace(full.bus, instance=smallest.bus.instance),
        input=dataclasses.replace(full.input, sources=(), max_age_h=None),
    )

    assert ours == smallest


def test_the_full_example_leaves_no_option_out(repository: Path) -> None:
    text = (repository / "deployment" / "downscaled.yaml").read_text(encoding="utf-8")

    missing = [name for name in _options(Config) if f"{name}:" not in text]

    assert not missing


def _options(kind: type) -> list[str]:
    names = []
    for field in dataclasses.fields(kind):
        value = field.default_factory() if callable(field.default_factory) else field.default
        nested = dataclasses.is_dataclass(value) and not hasattr(value, "from_plain")
        is_section = field.name in ("bus", "input", "output", "model")
        if is_section:
            names += _options(Config.__annotations__[field.name])
        elif nested:
            names += _options(type(value))
        else:
            names.append(field.name)
    return names


def test_side_topics_are_named_after_the_output() -> None:
    config = parse(SMALLEST, "test")

    assert config.output.steps_topic == "fine.steps"
    assert config.output.dead_letter_topic == "fine.dead"


def test_three_faults_are_told_at_once_with_their_places() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(
            changed(model={"draws": 0}, input={"topci": "x"}, metrics={"port": "high"}), "wind.yaml"
        )

    lines = str(caught.value).splitlines()
    assert lines[0] == "wind.yaml: 3 faults"
    assert sorted(lines[1:]) == [
        "  input.topci: unknown key; did you mean `topic`?",
        "  metrics.port: found 'high', wanted a whole number",
        "  model: draws: found 0, wanted 1 to 255 (GRIB counts in 8 bits)",
    ]


def test_one_topic_cannot_serve_two_ends() -> None:
    with pytest.raises(ConfigError, match=r"output\.topic: found 'coarse', which is input\.topic"):
        parse(changed(output={"topic": "coarse"}), "test")


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ("2018-10-08T00:00Z", datetime(2018, 10, 8, tzinfo=UTC)),
        ("2018-10-08T02:00+02:00", datetime(2018, 10, 8, tzinfo=UTC)),
        (datetime(2018, 10, 8), datetime(2018, 10, 8, tzinfo=UTC)),  # noqa: DTZ001 - as YAML gives it
    ],
)
def test_a_start_time_is_utc_unless_it_says_otherwise(found: object, wanted: datetime) -> None:
    config = parse(changed(input={"start_at": found}), "test")

    assert config.input.start_at.time == wanted


def test_a_start_that_is_no_time_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"input\.start_at: found 'soon', wanted earliest"):
        parse(changed(input={"start_at": "soon"}), "test")


def test_a_file_that_is_not_yaml_says_so(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("bus: [", encoding="utf-8")

    with pytest.raises(ConfigError, match="this is not YAML"):
        load(path)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.yaml")
