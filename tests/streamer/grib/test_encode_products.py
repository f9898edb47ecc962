"""Statistics, derived parameters and regions leave as what they are, and nothing else does."""

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.domain import Array, Grid, Interval, RunKey, Statistic, StepKey
from streamer.grib import codes
from streamer.grib.encode import (
    PARAM_TARGETS,
    Draw,
    EncodeError,
    FieldTarget,
    Imprint,
    Packing,
    Template,
    encode,
    encode_statistic,
    mars_keys,
    prepare,
)
from streamer.grib.packing import AS_USUAL, rounding_error
from streamer.grib.templates import Templates

SMALL = Grid(62.0, -11.0, 0.25, 0.5, 7, 9)
TIME = datetime(2018, 10, 8, 6, 30, tzinfo=UTC)
ALL = [
    Statistic("mean"),
    Statistic("variance"),
    Statistic("spread"),
    Statistic("minimum"),
    Statistic("maximum"),
    Statistic("quantile", 0.9),
    Statistic("above", 17.2),
    Statistic("below", 3.0),
]
#: Templates at a point in time and over an interval, and what tells a statistic within them.
TOLD = {
    "mean": (2, 12, {"derivedForecast": "0"}),
    "variance": (2, 12, {"derivedForecast": "10"}),
    "spread": (2, 12, {"derivedForecast": "4"}),
    "minimum": (2, 12, {"derivedForecast": "8"}),
    "maximum": (2, 12, {"derivedForecast": "9"}),
    "quantile-0.9": (6, 10, {"percentileValue": "90"}),
    "above-17.2": (5, 9, {"probabilityType": "1", "upperLimit": "17.2"}),
    "below-3": (5, 9, {"probabilityType": "4", "upperLimit": "3"}),
}


def name(statistic: Statistic) -> str:
    return statistic.text


def message(sample: str = "regular_ll_sfc_grib2", /, **keys: float | str) -> bytes:
    """A coarse 10u of +6 h from one of ecCodes' own samples, with other keys set."""
    with codes.sample(sample) as handle:
        wanted = {"dataDate": 20181008, "dataTime": 630, "paramId": 165, "step": 6, **keys}
        for key, value in wanted.items():
            handle.set(key, value)
        return handle.message()


def target(
    statistic: Statistic | None = None,
    parameter: str = "10u",
    *,
    factor: float = 1.0,
    interval: Interval | None = None,
    minutes: int = 360,
) -> FieldTarget:
    key = StepKey(RunKey("ecmf", "-", "-", TIME, 0), minutes)
    return FieldTarget(
        key, parameter, SMALL, factor, interval, statistic, param=PARAM_TARGETS.get(parameter)
    )


def wavy(low: float = -9.0, high: float = 31.0) -> Array:
    """A field unlike in every direction, so that no flip or shift goes unseen."""
    rows, columns = np.meshgrid(np.arange(SMALL.rows), np.arange(SMALL.columns), indexing="ij")
    waves = 7 * np.sin(rows / 3) + 0.31 * columns
    scaled = (waves - waves.min()) / (waves.max() - waves.min())
    found: Array = (low + (high - low) * scaled).astype(np.float32)
    return found


def keys_of(encoded: bytes, names: Sequence[str]) -> list[str]:
    with codes.opened(encoded) as handle:
        return [handle.text(key) for key in names]


def values_of(encoded: bytes) -> codes.Values:
    with codes.opened(encoded) as handle:
        return handle.values().reshape(SMALL.shape)


@pytest.mark.parametrize("statistic", ALL, ids=name)
@pytest.mark.parametrize("member", [0, 1, 2])
def test_at_a_point_in_time_a_statistic_takes_the_members_place(
    statistic: Statistic, member: int
) -> None:
    coarse = message(productDefinitionTemplateNumber=member)
    number, _, told = TOLD[statistic.text]

    encoded = encode_statistic(wavy(), prepare(coarse, target(statistic)), 8)

    assert keys_of(encoded, list(told)) == list(told.values())
    assert keys_of(
        encoded, ["productDefinitionTemplateNumber", "paramId", "stepRange", "level", "edition"]
    ) == [str(number), "165", "6", "10", "2"]
    with codes.opened(encoded) as handle:
        assert not handle.has("perturbationNumber")
        assert not handle.has("number")
        assert handle.integer("numberOfMissing") == 0


@pytest.mark.parametrize("statistic", ALL, ids=name)
@pytest.mark.parametrize("member", [8, 11, 12])
def test_over_an_interval_a_statistic_is_one_of_amounts(statistic: Statistic, member: int) -> None:
    coarse = message(paramId=228228, productDefinitionTemplateNumber=member, stepRange="0-6")
    _, number, told = TOLD[statistic.text]

    aim = target(statistic, "tp", interval=Interval(180, 360))
    encoded = encode_statistic(wavy(0, 30), prepare(coarse, aim), 8)

    assert keys_of(encoded, list(told)) == list(told.values())
    assert keys_of(
        encoded, ["productDefinitionTemplateNumber", "paramId", "stepType", "stepRange"]
    ) == [str(number), "228228", "accum", "3-6"]


@pytest.mark.parametrize("statistic", ALL, ids=name)
def test_editions_1_and_2_and_ecmwfs_sections_name_the_type(statistic: Statistic) -> None:
    types = {"mean": "em", "spread": "es", "quantile": "pb", "above": "ep", "below": "ep"}
    for sample in ("regular_ll_sfc_grib1", "regular_ll_sfc_grib2"):
        coarse = message(sample, setLocalDefinition=1, localDefinitionNumber=1, type="cf")

        template = prepare(coarse, target(statistic))
        encoded = encode_statistic(wavy(), template, 8)

        assert keys_of(encoded, ["edition", "type", "class", "expver"]) == [
            "2",
            types.get(statistic.kind, "est"),
            "od",
            "0001",
        ]
        told = mars_keys(template)
        assert told["type"] == types.get(statistic.kind, "est")
        assert "number" not in told


def test_another_centre_has_no_mars_type_and_still_the_statistic() -> None:
    coarse = message("regular_ll_sfc_grib1", setLocalDefinition=1, localDefinitionNumber=1)

    template = prepare(coarse, target(Statistic("spread")), imprint=Imprint("edzw", 7))
    encoded = encode_statistic(wavy(), template, 8)

    assert keys_of(encoded, ["centre", "derivedForecast"]) == ["edzw", "4"]
    assert "type" not in mars_keys(template)


def test_weights_make_a_mean_a_weighted_one() -> None:
    aim = dataclasses.replace(target(Statistic("mean")), weighted=True)

    encoded = encode_statistic(wavy(), prepare(message(), aim), 8)

    assert keys_of(encoded, ["derivedForecast"]) == ["1"]


@pytest.mark.parametrize("forecasts", [1, 40, 254, 255, 510])
def test_how_many_forecasts_it_was_made_of_is_told_where_there_is_room(forecasts: int) -> None:
    template = prepare(message(), target(Statistic("mean")))

    encoded = encode_statistic(wavy(), template, forecasts)

    assert keys_of(encoded, ["numberOfForecastsInEnsemble"]) == [str(min(forecasts, 255))]


def test_tables_are_raised_only_for_what_needs_them() -> None:
    told = {
        s.kind: keys_of(
            encode_statistic(wavy(), prepare(message(tablesVersion=2), target(s)), 4),
            ["tablesVersion"],
        )
        for s in ALL
    }

    assert told.pop("variance") == ["33"]
    assert set(map(tuple, told.values())) == {("28",)}
    newest = message(tablesVersion=36)
    assert keys_of(
        encode_statistic(wavy(), prepare(newest, target(Statistic("variance"))), 4),
        ["tablesVersion"],
    ) == ["36"]


#: Thresholds for which ecCodes has parameters of their own in ECMWF's messages.
RENAMED = [
    (167, "2t", Statistic("below", 273.15), 0),
    (228228, "tp", Statistic("above", 1.0), 8),
    (228228, "tp", Statistic("above", 5.0), 8),
    (228, "tp", Statistic("above", 0.001), 8),
    (207, "ws", Statistic("above", 10.0), 0),
    (228029, "i10fg", Statistic("above", 15.0), 0),
]


@pytest.mark.parametrize(("param_id", "parameter", "statistic", "number"), RENAMED, ids=str)
def test_a_parameter_keeps_its_name_at_every_threshold(
    param_id: int, parameter: str, statistic: Statistic, number: int
) -> None:
    step: dict[str, float | str] = {"stepRange": "0-6"} if number else {}
    coarse = message(productDefinitionTemplateNumber=number, paramId=param_id, **step)
    interval = Interval(0, 360) if number else None

    encoded = encode_statistic(
        wavy(0, 1), prepare(coarse, target(statistic, parameter, interval=interval)), 8
    )

    assert keys_of(encoded, ["paramId"]) == [str(param_id)]


def test_the_lower_limits_own_twin_would_have_renamed_it() -> None:
    with codes.opened(message(paramId=167, productDefinitionTemplateNumber=5)) as handle:
        for key, value in {
            "probabilityType": 0,
            "scaleFactorOfLowerLimit": 2,
            "scaledValueOfLowerLimit": 27315,
        }.items():
            handle.set(key, value)

        assert handle.text("shortName") == "2tl273"


@given(
    factor=st.sampled_from([1.0, 1000.0, 1 / 3, 1000 / 6]),
    index=st.integers(0, len(ALL) - 1),
)
def test_values_leave_in_the_units_that_the_page_says(factor: float, index: int) -> None:
    statistic = ALL[index]
    values = wavy(0.0, 1.0)
    units = {"variance": factor**2, "above": 0.01, "below": 0.01}.get(statistic.kind, factor)

    aim = target(statistic, factor=factor)
    encoded = encode_statistic(values, prepare(message(), aim, Packing(bits=24)), 8)

    wanted = values.astype(np.float64) / units
    assert np.abs(values_of(encoded) - wanted).max() <= rounding_error(0.0, float(wanted.max()), 24)


@pytest.mark.parametrize(
    ("hours", "factor", "limit"), [(3, 1.0, "3"), (6, 1000.0, "0.006"), (1, 1.0, "1")]
)
def test_a_rates_threshold_is_told_as_an_amount_of_the_interval(
    hours: int, factor: float, limit: str
) -> None:
    coarse = message(paramId=228228, productDefinitionTemplateNumber=8, stepRange=f"0-{hours}")
    interval = Interval(0, 60 * hours)
    aim = target(
        Statistic("above", 1.0),
        "tp",
        factor=factor / hours,
        interval=interval,
        minutes=60 * hours,
    )

    encoded = encode_statistic(wavy(0, 1), prepare(coarse, aim), 8)

    assert keys_of(encoded, ["upperLimit", "stepRange"]) == [limit, f"0-{hours}"]


def test_certainty_and_impossibility_are_exact() -> None:
    template = prepare(message(), target(Statistic("above", 17.2)))

    for probability in (0.0, 1.0):
        field = np.full(SMALL.shape, probability, np.float32)
        assert np.all(values_of(encode_statistic(field, template, 8)) == 100 * probability)


def test_a_precision_is_one_of_the_parameters_units_only() -> None:
    packing = Packing(bits=11, precision={"10u": 0.5})
    bits = {
        s.kind: int(
            keys_of(
                encode_statistic(wavy(0, 1), prepare(message(), target(s), packing), 8),
                ["bitsPerValue"],
            )[0]
        )
        for s in ALL
    }

    others = {kind: bits.pop(kind) for kind in ("variance", "above", "below")}
    assert set(others.values()) == {11}
    assert set(bits.values()) == {2}


@pytest.mark.parametrize("statistic", ALL, ids=name)
def test_what_reads_back_with_another_statistic_never_leaves(statistic: Statistic) -> None:
    template = prepare(message(), target(statistic))
    key, value = next(
        (key, value)
        for key, value in template.wanted
        if key in ("derivedForecast", "percentileValue", "scaledValueOfUpperLimit")
    )
    assert isinstance(value, int)
    wrong = value - 1 if value else 1
    with codes.opened(template.message) as handle:
        handle.set(key, wrong)
        damaged = dataclasses.replace(template, message=handle.message())

    with pytest.raises(EncodeError, match=rf"{statistic.text}: {key} is {wrong}, wanted {value}"):
        encode_statistic(wavy(), damaged, 8)


def test_a_value_that_is_not_finite_is_told_with_the_statistic() -> None:
    values = wavy()
    values[2, 3] = np.nan

    with pytest.raises(EncodeError, match=r"10u of .*/6, spread: 1 of 63 values are not finite"):
        encode_statistic(values, prepare(message(), target(Statistic("spread"))), 8)


@pytest.mark.parametrize("parameter", PARAM_TARGETS)
@pytest.mark.parametrize("sample", ["regular_ll_sfc_grib1", "regular_ll_sfc_grib2"])
@pytest.mark.parametrize("coarse_id", [165, 167])
def test_a_derived_parameter_is_made_from_any_message_of_its_step(
    parameter: str, sample: str, coarse_id: int
) -> None:
    units = {"10si": "m s**-1", "10wdir": "Degree true", "2r": "%", "2dd": "unknown"}
    derived = PARAM_TARGETS[parameter]
    coarse = message(sample, paramId=coarse_id)
    template = prepare(coarse, target(parameter=parameter))

    encoded = encode(wavy(0, 90), template, Draw(1, 4))
    statistic = encode_statistic(
        wavy(0, 90), prepare(coarse, target(Statistic("mean"), parameter)), 4
    )

    for one in (encoded, statistic):
        assert keys_of(
            one,
            ["discipline", "parameterCategory", "parameterNumber", "typeOfLevel", "level", "units"],
        ) == [
            str(derived.discipline),
            str(derived.category),
            str(derived.number),
            "heightAboveGround",
            str(derived.height_m),
            units[parameter],
        ]
        assert keys_of(one, ["paramId", "stepRange"]) == [str(derived.param_id), "6"]
    assert template.param_id == derived.param_id
    assert mars_keys(template, Draw(1, 4))["param"] == str(derived.param_id)
    if derived.param_id:
        assert keys_of(encoded, ["shortName", "number"]) == [parameter, "1"]


def test_a_derived_parameter_forgets_the_layer_of_its_message() -> None:
    coarse = message(
        typeOfSecondFixedSurface=103,
        scaleFactorOfSecondFixedSurface=0,
        scaledValueOfSecondFixedSurface=50,
    )

    encoded = encode(wavy(), prepare(coarse, target(parameter="10si")), Draw(0, 1))

    assert keys_of(encoded, ["typeOfSecondFixedSurface", "typeOfLevel"]) == [
        "255",
        "heightAboveGround",
    ]


@pytest.mark.parametrize(
    ("north", "west", "first", "last"),
    [
        (62.0, -11.0, 349.0, 353.0),
        (62.0, -2.0, 358.0, 2.0),
        (62.0, 358.0, 358.0, 2.0),
        (10.0, 178.0, 178.0, 182.0),
        (10.0, -182.0, 178.0, 182.0),
        (0.75, 0.0, 0.0, 4.0),
    ],
)
def test_a_region_keeps_its_place_across_greenwich_and_the_date_line(
    north: float, west: float, first: float, last: float
) -> None:
    grid = dataclasses.replace(SMALL, north=north, west=west)
    aim = dataclasses.replace(target(Statistic("mean")), grid=grid)

    encoded = encode_statistic(wavy(), prepare(message(), aim, Packing(bits=24)), 8)

    with codes.opened(encoded) as handle:
        assert handle.number("longitudeOfFirstGridPointInDegrees") == first
        assert handle.number("longitudeOfLastGridPointInDegrees") == last
        rows = np.round((north - handle.numbers("latitudes")) / 0.25).astype(int)
        east = (handle.numbers("longitudes") - west + 1e-6) % 360
        columns = np.round(east / 0.5).astype(int)
        assert np.allclose(handle.values(), wavy()[rows, columns], atol=1e-5)
    assert len({*zip(rows.tolist(), columns.tolist(), strict=True)}) == SMALL.rows * SMALL.columns


def every_kind() -> list[FieldTarget]:
    aims = [target(), target(parameter="10si"), *(target(s) for s in ALL)]
    region = dataclasses.replace(SMALL, north=40.0)
    weighted = dataclasses.replace(target(ALL[0]), weighted=True)
    return [*aims, weighted, *(dataclasses.replace(aim, grid=region) for aim in aims)]


def moved(aim: FieldTarget, minutes: int) -> FieldTarget:
    return dataclasses.replace(aim, key=dataclasses.replace(aim.key, minutes=minutes))


def test_every_kind_of_product_has_a_remembered_template_of_its_own() -> None:
    templates = Templates(AS_USUAL, Imprint())
    aims = every_kind()
    for aim in aims:
        templates.prepare(message(), aim)
    assert len(templates) == len(aims)

    later = message(step=9)
    made: list[Template] = [templates.prepare(later, moved(aim, 540)) for aim in aims]

    assert made == [prepare(later, moved(aim, 540)) for aim in aims]
    assert len(templates) == len(aims)


def test_a_statistic_from_a_remembered_template_is_read_back_as_any_other() -> None:
    templates = Templates(AS_USUAL, Imprint())
    aim = target(Statistic("quantile", 0.25))
    templates.prepare(message(), aim)

    with pytest.raises(EncodeError, match=r"quantile-0.25: .*endStep is 720, wanted 540"):
        encode_statistic(wavy(), templates.prepare(message(step=12), moved(aim, 540)), 8)


@pytest.mark.parametrize(
    "file",
    [
        "gfs-wind-1deg/train/gfs.t00z.pgrb2.1p00.f000.2018100618f3.grib2",
        "era5-uk-2t/era5-2mt-2019-03-uk.grib",
        "conformance/earthkit-data/ens_50.grib",
        "conformance/earthkit-data/O32_global.grib2",
        "conformance/earthkit-data/rotated_wind_20x20.grib",
        "conformance/cfgrib/reduced_gg.grib",
        "conformance/cfgrib/step_60m.grib",
        "conformance/grib-rs/20240101000000-0h-oper-fc.grib2.0-10",
        "conformance/grib-rs/CMC_glb_TMP_ISBL_1_latlon.24x.24_2021051800_P000.grib2",
    ],
)
def test_real_messages_of_many_centres_carry_every_statistic(shared_data: Path, file: str) -> None:
    raw = (shared_data / file).read_bytes()
    size = raw[4:7] if raw[7] == 1 else raw[8:16]
    coarse = raw[: int.from_bytes(size)]
    with codes.opened(coarse) as handle:
        handle.set("stepUnits", "m")
        text = f"{handle.integer('dataDate')}{handle.integer('dataTime'):04d}"
        time = datetime.strptime(text, "%Y%m%d%H%M").replace(tzinfo=UTC)
        key = StepKey(RunKey(handle.text("centre"), "-", "-", time, 0), handle.integer("endStep"))
        kept = ["shortName", "paramId", "level", "centre"]
        before = [handle.text(name) for name in kept]
        is_at_surface = handle.text("typeOfLevel") == "surface"

    for statistic in ALL:
        aim = FieldTarget(key, before[0], SMALL, statistic=statistic)
        encoded = encode_statistic(wavy(), prepare(coarse, aim), 8)

        told = TOLD[statistic.text][2]
        assert keys_of(encoded, list(told)) == list(told.values())
        after = keys_of(encoded, kept)
        if is_at_surface:
            # ERA5's edition 1 has 2t at the surface; edition 2 has it 2 m above the ground.
            before[2] = after[2]
        assert after == before
