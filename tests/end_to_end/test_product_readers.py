"""Others read our products: grib_ls, grib_copy, CDO, cfgrib; as docs/grib_products.md says."""

import json
import re
import subprocess
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.errors import UsageError
from streamer.domain import Array, Grid, Interval, RunKey, Statistic, StepKey
from streamer.grib import codes
from streamer.grib.encode import (
    PARAM_TARGETS,
    Draw,
    FieldTarget,
    encode,
    encode_statistic,
    prepare,
    refuse_unencodable,
)
from tests.conftest import REPOSITORY, require_tool
from tests.end_to_end.readers import bound, opened, told

#: Where 10u of a real forecast of +3 h is, and the box that stands for Europe: over Greenwich.
GFS = "gfs-wind-1deg/train/gfs.t00z.pgrb2.1p00.f000.2018100618f3.grib2"
TIME = datetime(2018, 10, 6, 18, tzinfo=UTC)
STEP = StepKey(RunKey("kwbc", "-", "-", TIME, 0), 180)
EUROPE = Grid(60.0, -15.0, 1.0, 1.0, 21, 46)
DATE_LINE = Grid(10.0, 165.0, 1.0, 1.0, 21, 46)
PAGE = (REPOSITORY / "docs" / "grib_products.md").read_text()

STATISTICS = [
    Statistic("mean"),
    Statistic("spread"),
    Statistic("minimum"),
    Statistic("maximum"),
    Statistic("variance"),
    Statistic("quantile", 0.1),
    Statistic("quantile", 0.9),
    Statistic("above", 17.2),
    Statistic("above", 24.5),
    Statistic("below", 3.0),
]
#: What cfgrib calls the parameters of the file.
VARIABLES = {"10u": "u10", "10si": "si10", "2dd": "unknown", "tp": "tp"}


@dataclass(frozen=True)
class Made:
    """A published field, its values in the message's units, probabilities in percent."""

    message: bytes
    parameter: str
    statistic: str
    values: Array


def field(seed: int, statistic: Statistic | None, grid: Grid) -> Array:
    """A field that no other product has."""
    values: Array = np.random.default_rng(seed).random(grid.shape, dtype=np.float32)
    is_probability = statistic is not None and statistic.kind in ("above", "below")
    return values if is_probability else seed + 10 * values


def make(message: bytes, aim: FieldTarget, seed: int) -> list[Made]:
    """Four draws, or a statistic of four."""
    template, statistic = prepare(message, aim), aim.statistic
    if statistic is None:
        fields = [field(seed + number, None, aim.grid) for number in range(4)]
        return [
            Made(encode(one, template, Draw(number, 4)), aim.parameter, f"draw {number}", one)
            for number, one in enumerate(fields)
        ]
    values = field(seed, statistic, aim.grid)
    factor = 0.01 if statistic.kind in ("above", "below") else aim.factor
    message = encode_statistic(values, template, 4)
    return [Made(message, aim.parameter, statistic.text, values / np.float32(factor))]


def made_of(wind: bytes, rain: bytes, grid: Grid = EUROPE) -> list[Made]:
    """All that one step may publish."""
    found: list[Made] = []
    for parameter in ("10u", "10si", "2dd"):
        for statistic in (None, *STATISTICS):
            param = PARAM_TARGETS.get(parameter)
            aim = FieldTarget(STEP, parameter, grid, statistic=statistic, param=param)
            found += make(wind, aim, 10 * len(found))
    for statistic in (Statistic("mean"), Statistic("quantile", 0.9), Statistic("above", 1.0)):
        # Rates of the bundle, kg m-2 an hour, leave as amounts of three hours.
        aim = FieldTarget(STEP, "tp", grid, 1 / 3, Interval(0, 180), statistic)
        found += make(rain, aim, 10 * len(found))
    return found


@pytest.fixture(scope="module")
def wind(shared_data: Path) -> bytes:
    """The first message of a real forecast."""
    raw = (shared_data / GFS).read_bytes()
    return raw[: int.from_bytes(raw[8:16])]


@pytest.fixture(scope="module")
def rain(wind: bytes) -> bytes:
    """The same message as precipitation of its first three hours."""
    with codes.opened(wind) as handle:
        keys = {"productDefinitionTemplateNumber": 8, "typeOfStatisticalProcessing": 1}
        for key, value in {**keys, "paramId": 228228}.items():
            handle.set(key, value)
        for key in ("typeOfFirstFixedSurface", "scaledValueOfFirstFixedSurface"):
            handle.set(key, 1 if key.startswith("type") else 0)
        handle.set("stepRange", "0-3")
        return handle.message()


@pytest.fixture(scope="module")
def products(
    tmp_path_factory: pytest.TempPathFactory, wind: bytes, rain: bytes
) -> tuple[Path, list[Made]]:
    """A file `products.grib2` of everything."""
    made = made_of(wind, rain)
    path = tmp_path_factory.mktemp("products") / "products.grib2"
    path.write_bytes(b"".join(one.message for one in made))
    return path, made


def find(made: list[Made], parameter: str, statistic: str) -> Made:
    return next(one for one in made if (one.parameter, one.statistic) == (parameter, statistic))


def blocks(mark: str) -> list[str]:
    return re.findall(rf"^```{mark}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


#: What the page's filters choose: which statistic of which parameters.
CHOSEN: dict[str, tuple[str, set[str]]] = {
    '{"productDefinitionTemplateNumber": 1, "level": 10}': ("draws", {"10u", "10si"}),
    '{"derivedForecast": 0, "level": 10}': ("mean", {"10u", "10si"}),
    '{"derivedForecast": 4, "level": 10}': ("spread", {"10u", "10si"}),
    '{"derivedForecast": 8, "level": 10}': ("minimum", {"10u", "10si"}),
    '{"derivedForecast": 9, "level": 10}': ("maximum", {"10u", "10si"}),
    '{"derivedForecast": 10, "level": 10}': ("variance", {"10u", "10si"}),
    '{"percentileValue": 10, "level": 10}': ("quantile-0.1", {"10u", "10si"}),
    '{"percentileValue": 90, "level": 10}': ("quantile-0.9", {"10u", "10si"}),
    '{"probabilityType": 1, "upperLimit": 17.2, "level": 10}': ("above-17.2", {"10u", "10si"}),
    '{"probabilityType": 1, "upperLimit": 24.5, "level": 10}': ("above-24.5", {"10u", "10si"}),
    '{"probabilityType": 4, "upperLimit": 3.0, "level": 10}': ("below-3", {"10u", "10si"}),
    '{"shortName": "10si", "derivedForecast": 4}': ("spread", {"10si"}),
    '{"discipline": 0, "parameterCategory": 0, "parameterNumber": 7, "derivedForecast": 0}': (
        "mean",
        {"2dd"},
    ),
    '{"stepType": "accum", "derivedForecast": 0}': ("mean", {"tp"}),
    '{"stepType": "accum", "percentileValue": 90}': ("quantile-0.9", {"tp"}),
    '{"stepType": "accum", "probabilityType": 1, "upperLimit": 3.0}': ("above-1", {"tp"}),
}


def test_the_page_has_the_filters_that_are_tested() -> None:
    shown = re.findall(r'^\| [^|]+ \| `(\{"[^`]+\})` \|$', PAGE, re.MULTILINE)

    assert shown == list(CHOSEN)


@pytest.mark.parametrize("filter_by_keys", CHOSEN)
def test_every_filter_of_the_page_chooses_one_product(
    filter_by_keys: str, products: tuple[Path, list[Made]]
) -> None:
    path, made = products
    statistic, parameters = CHOSEN[filter_by_keys]

    found = opened(path, **json.loads(filter_by_keys))

    assert set(found.data_vars) == {VARIABLES[name] for name in parameters}
    assert found.valid_time.values == np.datetime64("2018-10-06T21:00")
    assert np.array_equal(found.latitude, EUROPE.latitudes)
    assert np.array_equal(found.longitude, EUROPE.longitudes)
    for name in parameters:
        values = found[VARIABLES[name]]
        if statistic == "draws":
            pairs = [(values.sel(number=n), find(made, name, f"draw {n}")) for n in range(4)]
        else:
            assert "number" not in values.dims
            pairs = [(values, find(made, name, statistic))]
        for one, wanted in pairs:
            error = np.abs(one.values.astype(float) - wanted.values).max()
            assert error <= bound(wanted.values)


def test_a_filter_that_fits_two_quantiles_gives_the_first_and_says_nothing(
    products: tuple[Path, list[Made]],
) -> None:
    path, made = products

    found = opened(path, productDefinitionTemplateNumber=6, level=10)

    first = find(made, "10u", "quantile-0.1").values
    assert np.abs(found.u10.values.astype(float) - first).max() <= bound(first)


def test_the_xarray_of_the_page_opens_what_it_says(
    products: tuple[Path, list[Made]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, made = products
    monkeypatch.chdir(path.parent)
    names: dict[str, Any] = {}

    exec(blocks("python")[0], names)  # noqa: S102 - our own page

    assert np.allclose(names["mean"].u10, find(made, "10u", "mean").values, atol=1e-3)
    assert np.allclose(names["spread"].si10, find(made, "10si", "spread").values, atol=1e-3)
    chance = find(made, "10si", "above-17.2").values / 100
    assert np.allclose(names["chance"], chance, atol=1e-4)


def test_the_commands_of_the_page_do_what_it_says(products: tuple[Path, list[Made]]) -> None:
    path, made = products
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    assert {line.split()[0] for line in lines} == {"grib_ls", "grib_copy", "cdo"}
    for tool in ("grib_ls", "cdo"):
        require_tool(tool)

    for line in lines:
        done = subprocess.run(
            ["bash", "-c", line], cwd=path.parent, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"

    folder = path.parent
    assert (folder / "spread.grib2").read_bytes() == find(made, "10si", "spread").message
    assert (folder / "storm.grib2").read_bytes() == find(made, "10si", "above-17.2").message
    with (folder / "storm.nc").open("rb") as file:
        assert file.read(3) in (b"CDF", b"\x89HD")


def test_grib_ls_of_another_eccodes_names_every_product(
    products: tuple[Path, list[Made]],
) -> None:
    path, _ = products
    keys = "shortName,productDefinitionTemplateNumber,derivedForecast,percentileValue,upperLimit"

    rows = [line.split() for line in told("grib_ls", "-p", keys, path).splitlines()]

    none = "not_found"
    assert [row for row in rows if row and row[0] == "10si"] == [
        *[["10si", "1", none, none, none]] * 4,
        *[["10si", "2", str(code), none, none] for code in (0, 4, 8, 9, 10)],
        *[["10si", "6", none, percent, none] for percent in ("10", "90")],
        *[["10si", "5", none, none, limit] for limit in ("17.2", "24.5", "3")],
    ]
    assert [row for row in rows if row and row[0] == "tp"] == [
        ["tp", "12", "0", none, none],
        ["tp", "10", none, "90", none],
        ["tp", "9", none, none, "3"],
    ]


@pytest.mark.parametrize(
    ("grid", "longitudes"),
    [(EUROPE, "-15 to 30"), (DATE_LINE, "165 to 210")],
    ids=["greenwich", "date line"],
)
@pytest.mark.parametrize("statistic", [Statistic("quantile", 0.9), Statistic("above", 17.2)])
def test_cdo_finds_a_regions_place_and_values(
    grid: Grid, longitudes: str, statistic: Statistic, wind: bytes, tmp_path: Path
) -> None:
    (made,) = make(wind, FieldTarget(STEP, "10u", grid, statistic=statistic), 20)
    path = tmp_path / "region.grib2"
    path.write_bytes(made.message)

    facts = told("cdo", "-s", "sinfo", path)
    listed = told("cdo", "-s", "outputtab,lon,lat,value", path).split("\n")[1:]

    assert "points=966 (46x21)" in facts
    assert f"lon : {longitudes} by 1 degrees_east" in facts
    assert f"lat : {grid.north:g} to {grid.north - 20:g} by -1 degrees_north" in facts
    assert "2018-10-06 21:00:00" in facts
    values = made.values
    found = np.array([line.split() for line in listed if line], dtype=float)
    assert np.array_equal(found[:, 0].reshape(grid.shape)[0], grid.longitudes)
    assert np.array_equal(found[:, 1].reshape(grid.shape)[:, 0], grid.latitudes)
    # CDO prints six digits.
    assert np.abs(found[:, 2].reshape(grid.shape) - values).max() <= bound(values) + 1e-4


def test_cfgrib_keeps_a_regions_longitudes_rising_over_the_date_line(
    wind: bytes, tmp_path: Path
) -> None:
    (made,) = make(wind, FieldTarget(STEP, "10u", DATE_LINE, statistic=Statistic("mean")), 20)
    path = tmp_path / "region.grib2"
    path.write_bytes(made.message)

    found = opened(path)

    assert np.array_equal(found.longitude, DATE_LINE.longitudes)
    assert np.abs(found.u10.values.astype(float) - made.values).max() <= bound(made.values)


def rows_of(title: str) -> list[list[str]]:
    """The cells of the first table under a heading."""
    part = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize("row", rows_of("Which template, which keys"), ids=lambda row: row[0])
def test_the_pages_templates_are_those_that_we_write(
    row: list[str], wind: bytes, rain: bytes
) -> None:
    name, point, interval, what = row
    kind, values = name.split("`"), {"quantile": 0.9, "above": 17.2, "below": 3.0}
    statistic = Statistic(kind[1], values.get(kind[1])) if len(kind) > 1 else None  # type: ignore[arg-type]

    for message, span, number in ((wind, None, point), (rain, Interval(0, 180), interval)):
        aim = FieldTarget(STEP, "x", EUROPE, interval=span, statistic=statistic)
        with codes.opened(make(message, aim, 1)[0].message) as handle:
            assert f"4.{handle.integer('productDefinitionTemplateNumber')}" == number
            for key in re.findall(r"`(\w+)`", what):
                assert handle.has(key)
            for key, code in re.findall(r"`(derivedForecast|probabilityType)` (\d+)", what):
                assert handle.text(key) == code


def test_the_pages_derived_parameters_are_those_that_we_have() -> None:
    shown = {
        row[0].strip("`"): (*map(int, row[1].split(", ")), int(row[2].split()[0]), int(row[3]))
        for row in rows_of("Derived parameters")
    }

    assert shown == {
        name: (one.discipline, one.category, one.number, one.height_m, one.param_id)
        for name, one in PARAM_TARGETS.items()
    }


def test_the_pages_limits_of_precipitation_are_those_that_we_write(rain: bytes) -> None:
    rows = rows_of("Precipitation")
    assert len(rows) == 3
    for rate, hours, units, limit in rows:
        span = Interval(0, 60 * int(hours.split()[0]))
        factor = (1000.0 if units == "m" else 1.0) / span.hours
        threshold = float(re.findall(r"above: ([\d.]+)", rate)[0])
        with codes.opened(rain) as handle:
            handle.set("stepRange", f"0-{int(span.hours)}")
            message = handle.message()
        key = replace(STEP, minutes=span.end)
        aim = FieldTarget(key, "tp", EUROPE, factor, span, Statistic("above", threshold))

        with codes.opened(make(message, aim, 1)[0].message) as handle:
            assert handle.text("upperLimit") == limit


def test_a_quantile_of_no_whole_percent_is_refused_as_the_page_says() -> None:
    with pytest.raises(UsageError, match=r"0\.995"):
        refuse_unencodable(Statistic("quantile", 0.995))
