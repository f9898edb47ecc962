"""Others read what we write: ecCodes' tools, CDO, cfgrib with xarray, kcat; as docs/output.md says.

The fields are real: forecasts and analyses of several centres, grids and editions as templates,
GFS winds as values.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import confluent_kafka
import numpy as np
import pytest
import yaml

from streamer.domain import Array, Grid, Origin, RunKey, StepKey
from streamer.grib import codes
from streamer.grib.encode import Draw, FieldTarget, Packing, encode, mars_keys, prepare
from streamer.grib.packing import rounding_error
from streamer.headers import Intake, Sender, field_headers, run_headers, step_headers
from streamer.intake.events import Outcome
from streamer.reading import read
from streamer.records import FieldEntry, FieldNames, RunRecord, StepRecord, list_field
from streamer.sections import OutputSettings
from tests.conftest import REPOSITORY, require_tool
from tests.end_to_end.readers import bound, opened, told
from tests.kafka_broker import Broker

GLOBE = Grid(90.0, 0.0, 1.0, 1.0, 181, 360)
GFS = "gfs-wind-1deg/train/gfs.t00z.pgrb2.1p00.f000.2018100618f3.grib2"
TIME = datetime(2018, 10, 6, 21, tzinfo=UTC)
SENDER = Sender("wind", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
PAGE = (REPOSITORY / "docs" / "output.md").read_text()


@dataclass(frozen=True)
class Made:
    """An encoded field, and what it was made of."""

    message: bytes
    values: Array
    template: Any
    draw: Draw


def messages(path: Path) -> Iterator[bytes]:
    data, at = path.read_bytes(), 0
    while (at := data.find(b"GRIB", at)) >= 0:
        size = data[at + 4 : at + 7] if data[at + 7] == 1 else data[at + 8 : at + 16]
        yield data[at : at + int.from_bytes(size, "big")]
        at += int.from_bytes(size, "big")


def target_of(message: bytes) -> FieldTarget:
    with codes.opened(message) as handle:
        handle.set("stepUnits", "m")
        text = f"{handle.integer('dataDate')}{handle.integer('dataTime'):04d}"
        time = datetime.strptime(text, "%Y%m%d%H%M").replace(tzinfo=UTC)
        member = handle.integer("number") if handle.has("number") else 0
        key = StepKey(
            RunKey(handle.text("centre"), "-", "-", time, member), handle.integer("endStep")
        )
        return FieldTarget(key, handle.text("shortName"), GLOBE)


def make(message: bytes, values: Array, draws: int, packing: Packing) -> list[Made]:
    """Encode some draws, each with an offset of its own so that none passes for another."""
    template = prepare(message, target_of(message), packing)
    fields = [values + np.float32(d) for d in range(draws)]
    return [
        Made(encode(field, template, Draw(d, draws)), field, template, Draw(d, draws))
        for d, field in enumerate(fields)
    ]


@pytest.fixture(scope="module")
def wind(shared_data: Path) -> list[bytes]:
    """10u and 10v of a real forecast, +3 h."""
    return list(messages(shared_data / GFS))


@pytest.fixture(scope="module")
def wind_values(wind: list[bytes]) -> list[Array]:
    fields = []
    for message in wind:
        with codes.opened(message) as handle:
            fields.append(handle.values().reshape(GLOBE.shape).astype(np.float32))
    return fields


@pytest.fixture(params=["grid_simple", "grid_ccsds"])
def fine(
    request: pytest.FixtureRequest, tmp_path: Path, wind: list[bytes], wind_values: list[Array]
) -> tuple[Path, list[Made]]:
    """Four draws of a real wind forecast as a file `fine.grib2`."""
    made = [
        one
        for message, values in zip(wind, wind_values, strict=True)
        for one in make(message, values, 4, Packing(request.param))
    ]
    path = tmp_path / "fine.grib2"
    path.write_bytes(b"".join(one.message for one in made))
    return path, made


def test_grib_ls_lists_every_draw_with_its_number(fine: tuple[Path, list[Made]]) -> None:
    path, _ = fine

    keys = "edition,centre,shortName,level,dataDate,dataTime,stepRange,number,totalNumber,gridType"
    rows = [line.split() for line in told("grib_ls", "-p", keys, path).splitlines()]

    assert [row for row in rows if row and row[0] == "2"][:8] == [
        ["2", "kwbc", name, "10", "20181006", "1800", "3", str(draw), "4", "regular_ll"]
        for name in ("10u", "10v")
        for draw in range(4)
    ]


def test_cdo_sees_grid_time_and_values(fine: tuple[Path, list[Made]]) -> None:
    path, made = fine

    facts = told("cdo", "-s", "sinfo", path)
    extremes = told("cdo", "-s", "outputkey,value", "-fldmax", path).split()[2:]

    assert "points=65160 (360x181)" in facts
    assert "lon : 0 to 359 by 1 degrees_east  circular" in facts
    assert "lat : 90 to -90 by -1 degrees_north" in facts
    assert "2018-10-06 21:00:00" in facts
    for text, one in zip(extremes, made, strict=True):
        # CDO prints six digits.
        assert float(text) == pytest.approx(one.values.max(), abs=bound(one.values) + 1e-4)


def test_cfgrib_opens_the_draws_as_a_dimension(fine: tuple[Path, list[Made]]) -> None:
    path, made = fine

    found = opened(path)

    assert dict(found.sizes) == {"number": 4, "latitude": 181, "longitude": 360}
    assert found.number.values.tolist() == [0, 1, 2, 3]
    assert np.array_equal(found.latitude, GLOBE.latitudes)
    assert np.array_equal(found.longitude, GLOBE.longitudes)
    assert found.valid_time.values == np.datetime64("2018-10-06T21:00")
    for name, some in (("u10", made[:4]), ("v10", made[4:])):
        for draw, one in enumerate(some):
            error = np.abs(found[name].sel(number=draw).values.astype(float) - one.values).max()
            assert error <= bound(one.values)


@pytest.mark.parametrize(
    ("name", "variable", "level_type", "level"),
    [
        ("era5-uk-2t/era5-2mt-2019-03-uk.grib", "t2m", "heightAboveGround", 2.0),
        ("conformance/cfgrib/reduced_gg.grib", "u10", "heightAboveGround", 10.0),
        ("conformance/earthkit-data/rotated_wind_20x20.grib", "u10", "heightAboveGround", 10.0),
        ("conformance/earthkit-data/O32_global.grib2", "t", "hybrid", 137.0),
    ],
)
def test_any_edition_and_grid_becomes_a_field_that_all_readers_know(
    shared_data: Path,
    wind_values: list[Array],
    tmp_path: Path,
    name: str,
    variable: str,
    level_type: str,
    level: float,
) -> None:
    message = next(messages(shared_data / name))
    made = make(message, wind_values[0], 2, Packing())
    path = tmp_path / "fine.grib2"
    path.write_bytes(b"".join(one.message for one in made))

    found = opened(path)

    assert float(found[level_type]) == level
    assert found[variable].shape == (2, 181, 360)
    for draw, one in enumerate(made):
        error = np.abs(found[variable].sel(number=draw).values.astype(float) - one.values).max()
        assert error <= bound(one.values)
    assert "points=65160 (360x181)" in told("cdo", "-s", "sinfo", path)
    assert "2 of 2 messages" in told("grib_ls", path)


def test_draws_of_an_ensemble_join_into_one_larger_ensemble(
    shared_data: Path, wind_values: list[Array], tmp_path: Path
) -> None:
    members = list(messages(shared_data / "conformance/earthkit-data/ens_50.grib"))[:3]
    made = [one for m in members for one in make(m, wind_values[0], 4, Packing())]
    path = tmp_path / "fine.grib2"
    path.write_bytes(b"".join(one.message for one in made))

    found = opened(path)

    # Members 1 to 3 of 51, four draws of each.
    assert found.number.values.tolist() == list(range(4, 16))
    assert found.z.attrs["GRIB_totalNumber"] == 204
    for i, one in enumerate(made):
        error = np.abs(found.z.isel(number=i).values.astype(float) - one.values).max()
        assert error <= bound(one.values)


def blocks(mark: str) -> list[str]:
    return re.findall(rf"^```{mark}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def commands(*tools: str) -> list[str]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.split()[0] in tools]


def test_the_page_has_a_command_for_every_tool_that_it_names() -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines()]

    assert {line.split()[0] for line in lines} == {"kcat", "grib_ls", "grib_copy", "cdo"}
    assert len(lines) == len(commands("kcat", "grib_ls", "grib_copy", "cdo"))


def test_the_commands_of_the_page_do_what_it_says(fine: tuple[Path, list[Made]]) -> None:
    path, made = fine
    for tool in ("grib_ls", "cdo"):
        require_tool(tool)

    for line in commands("grib_ls", "grib_copy", "cdo"):
        done = subprocess.run(
            ["bash", "-c", line], cwd=path.parent, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"

    assert (path.parent / "draw2.grib2").read_bytes() == made[2].message + made[6].message
    with (path.parent / "draw2.nc").open("rb") as file:
        assert file.read(3) in (b"CDF", b"\x89HD")


def test_the_xarray_of_the_page_gives_mean_and_spread(
    fine: tuple[Path, list[Made]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, made = fine
    monkeypatch.chdir(path.parent)
    names: dict[str, Any] = {}

    exec(next(b for b in blocks("python") if "xarray" in b), names)  # noqa: S102 - our own page

    assert np.allclose(names["mean"].u10, made[0].values + 1.5, atol=0.002)
    # Draws that are apart by 1: the spread of 0, 1, 2, 3 is the root of 5/3.
    assert np.allclose(names["spread"].v10, np.sqrt(5 / 3), atol=0.003)


def varied(message: bytes, **keys: int | str) -> bytes:
    """The same message as another parameter or kind of product."""
    with codes.opened(message) as handle:
        for key, value in keys.items():
            handle.set(key, value)
        return handle.message()


#: What the page's filters choose from a file that holds a little of everything.
CHOSEN = {
    '{"shortName": "10u"}': {"u10"},
    '{"number": 2}': {"u10", "v10", "sp"},
    '{"typeOfLevel": "heightAboveGround", "level": 10}': {"u10", "v10"},
    '{"dataType": "fc", "level": 10}': {"u10", "v10"},
    '{"dataType": "an"}': {"sp"},
    '{"stepType": "accum"}': {"tp"},
}


def test_the_page_has_the_filters_that_are_tested() -> None:
    shown = re.findall(r'^\| [^|]+ \| `(\{"[^`]+\})` \|$', PAGE, re.MULTILINE)

    assert set(shown) == set(CHOSEN)


@pytest.mark.parametrize("filter_by_keys", CHOSEN)
def test_every_filter_of_the_page_chooses_what_it_says(
    filter_by_keys: str, wind: list[bytes], wind_values: list[Array], tmp_path: Path
) -> None:
    rain = {"productDefinitionTemplateNumber": 8, "typeOfStatisticalProcessing": 1}
    rain |= {"paramId": 228228, "typeOfFirstFixedSurface": 1}
    everything = [
        *wind,
        varied(wind[0], paramId=167),
        varied(wind[0], paramId=134, typeOfProcessedData="an"),
        varied(wind[0], **rain, scaledValueOfFirstFixedSurface=0, stepRange="0-3"),
    ]
    made = [one for message in everything for one in make(message, wind_values[0], 4, Packing())]
    path = tmp_path / "everything.grib2"
    path.write_bytes(b"".join(one.message for one in made))

    found = opened(path, **json.loads(filter_by_keys))

    assert CHOSEN[filter_by_keys] <= set(found.data_vars)
    if "number" in filter_by_keys:
        assert found.number.values.tolist() == 2
    else:
        assert set(found.data_vars) == CHOSEN[filter_by_keys]
        assert found.number.values.tolist() == [0, 1, 2, 3]


def test_the_json_of_the_page_is_what_ships() -> None:
    shown = [json.loads(block) for block in blocks("json")]

    assert shown == [
        json.loads((REPOSITORY / "streamer" / "schemas" / f"{kind}.example.json").read_text())
        for kind in ("step", "run")
    ]


def test_the_settings_of_the_page_are_ours() -> None:
    faults: list[str] = []

    plain = yaml.safe_load(blocks("yaml")[0])
    settings = read(OutputSettings, plain["output"], "output", faults)

    assert faults == []
    assert settings is not None
    assert settings.packing == Packing("grid_ccsds", precision={"10u": 0.005, "10v": 0.005})


def test_the_rounding_errors_of_the_page_are_those_of_the_packing() -> None:
    rows = re.findall(
        r"^\| (`[^|]+`) \| [^|]+ \| (\S+) to (\S+) \| ([\d.]+) \|$", PAGE, re.MULTILINE
    )

    assert len(rows) == 6
    for name, low, high, error in rows:
        exact = rounding_error(float(low), float(high), Packing().bits)
        assert float(error) == pytest.approx(exact, rel=0.05), name


def test_the_headers_of_the_page_are_those_that_we_send(wind: list[bytes]) -> None:
    listed: dict[str, set[str]] = {"field": set(), "step": set(), "run": set()}
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[0].startswith("`"):
            for kind, cell in zip(listed, cells[1:4], strict=True):
                assert cell in ("", "x")
                listed[kind] |= set(re.findall(r"`([^`]+)`", cells[0])) if cell else set()

    _, fields, (_, step) = published(make(wind[0], np.zeros(GLOBE.shape, np.float32), 1, Packing()))
    run = RunRecord(RunKey("kwbc", "-", "-", TIME, 0), ((180, Outcome.EXPIRED),))

    # What only some records have: local sections of some centres, statistics in place of draws,
    # repeats, expired steps.
    rare = {"class", "stream", "type", "levelist", "statistic", "again"}
    rare |= {"input.offsets", "input.spread"}
    sent = {
        "field": fields[0],
        "step": step,
        "run": run_headers(run, run.encode(), Intake(0, TIME), SENDER),
    }
    for kind, headers in sent.items():
        names = {name for name, _ in headers}
        assert names <= listed[kind]
        assert listed[kind] - names <= rare


def published(
    made: list[Made],
) -> tuple[list[FieldEntry], list[tuple[tuple[str, bytes], ...]], tuple[bytes, Any]]:
    """What goes with some fields of one step: entries, headers, and the record of the step."""
    entries, headers = [], []
    for one in made:
        target = one.template.target
        names = FieldNames("draws", target.parameter, one.draw.number)
        entry = list_field(one.message, target.key, names, one.template.param_id)
        mars = mars_keys(one.template, one.draw)
        entries.append(entry)
        headers.append(field_headers(target.key, entry, "b" * 64, mars, SENDER))
    key = made[0].template.target.key
    record = StepRecord(key, Outcome.COMPLETE, (Origin("in", 0, 7),), fields=tuple(entries))
    value = record.encode()
    intake = Intake(0, TIME)
    return entries, headers, (value, step_headers(record, value, intake, SENDER, delay_s=2.5))


@pytest.mark.kafka
def test_kcat_and_a_python_client_read_it_from_kafka_as_the_page_says(
    kafka_broker: Broker, tmp_path: Path, wind: list[bytes], wind_values: list[Array]
) -> None:
    require_tool("kcat")
    made = [
        one
        for message, values in zip(wind, wind_values, strict=True)
        for one in make(message, values, 2, Packing())
    ]
    _, headers, (value, step_header) = published(made)
    key = made[0].template.target.key.text
    producer = kafka_broker.producer()
    for topic in ("forecast.fine", "forecast.fine.steps"):
        kafka_broker.create(topic)
    for one, header in zip(made, headers, strict=True):
        producer.produce("forecast.fine", one.message, key, headers=list(header))
    producer.produce("forecast.fine.steps", value, key, headers=list(step_header))
    assert producer.flush(30) == 0

    outputs = [
        subprocess.run(
            ["bash", "-c", line.replace("localhost:9092", kafka_broker.address)],
            cwd=tmp_path,
            capture_output=True,
            timeout=60,
            check=True,
        ).stdout.decode()
        for line in commands("kcat")
    ]

    assert (tmp_path / "fine.grib2").read_bytes() == b"".join(one.message for one in made)
    assert outputs[1].count(f"{key} 130502 bytes ce_specversion=1.0,ce_id=") == 4
    assert outputs[2] == f"{key} {value.decode()}\n"
    assert [k for k, _ in completed_steps(kafka_broker)] == [key]


def completed_steps(broker: Broker) -> list[tuple[str, dict[str, Any]]]:
    """Run the page's own function against a broker."""
    names: dict[str, Any] = {}
    exec(next(b for b in blocks("python") if "confluent_kafka" in b), names)  # noqa: S102 - ours
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": broker.address,
            "group.id": "page",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe(["forecast.fine.steps"])
    try:
        found = names["completed_steps"](consumer, 20)
        return [next(found)]
    finally:
        consumer.close()
