"""What is encoded is what was meant: keys, values within the stated error, the same bytes."""

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engines.errors import UsageError
from streamer.domain import Array, Grid, RunKey, StepKey
from streamer.grib import codes
from streamer.grib.encode import (
    Draw,
    EncodeError,
    FieldTarget,
    Imprint,
    Packing,
    _header,
    _membership,
    _refuse_changed,
    _renumbered,
    encode,
    encode_all,
    ensemble_size,
    mars_keys,
    prepare,
    refuse_unknown,
)
from streamer.grib.packing import rounding_error

GLOBE = Grid(90.0, 0.0, 1.0, 1.0, 181, 360)
SMALL = Grid(62.0, -11.0, 0.25, 0.5, 7, 9)
TIME = datetime(2018, 10, 8, 6, 30, tzinfo=UTC)
PACKINGS = [
    Packing(kind, bits) for kind in ("grid_simple", "grid_ccsds") for bits in (8, 13, 16, 24)
]


def message(**keys: float | str) -> bytes:
    """A coarse 10u of +6 h from ecCodes' own sample, with other keys set."""
    with codes.sample("regular_ll_sfc_grib2") as handle:
        wanted: dict[str, float | str] = {
            "dataDate": 20181008,
            "dataTime": 630,
            "paramId": 165,
            "step": 6,
            **keys,
        }
        for key, value in wanted.items():
            handle.set(key, value)
        return handle.message()


def target(
    grid: Grid = SMALL, member: int = 0, minutes: int = 360, name: str = "10u"
) -> FieldTarget:
    return FieldTarget(StepKey(RunKey("ecmf", "-", "-", TIME, member), minutes), name, grid)


def wavy(grid: Grid = SMALL) -> Array:
    """A field unlike in every direction, so that no flip or shift goes unseen."""
    rows, columns = np.meshgrid(np.arange(grid.rows), np.arange(grid.columns), indexing="ij")
    waves: Array = (7 * np.sin(rows / 3) + 0.31 * columns - 3).astype(np.float32)
    return waves


def first_message(path: Path) -> bytes:
    with path.open("rb") as file:
        start = file.read(16)
        edition = start[7]
        size = int.from_bytes(start[4:7] if edition == 1 else start[8:16], "big")
        file.seek(0)
        return file.read(size)


def keys_of(encoded: bytes, *names: str) -> list[str]:
    with codes.opened(encoded) as handle:
        return [handle.text(name) for name in names]


@example(np.full(SMALL.shape, 2.549e-42, dtype=np.float32), Packing(bits=8))
@given(
    values=arrays.arrays(
        np.float32, SMALL.shape, elements=st.floats(-(2.0**60), 2.0**60, width=32)
    ),
    packing=st.sampled_from(PACKINGS),
)
def test_no_value_moves_further_than_its_packing_says(values: Array, packing: Packing) -> None:
    encoded = encode(values, prepare(message(), target(), packing), Draw(0, 1))

    with codes.opened(encoded) as handle:
        found = handle.values().reshape(SMALL.shape)
    bound = rounding_error(float(values.min()), float(values.max()), packing.bits)
    assert np.abs(found - values).max() <= bound


@pytest.mark.parametrize("packing", PACKINGS, ids=str)
def test_the_stated_error_is_not_much_more_than_the_error(packing: Packing) -> None:
    values = np.linspace(-31.7, 48.2, SMALL.rows * SMALL.columns, dtype=np.float32)
    values = values.reshape(SMALL.shape)

    encoded = encode(values, prepare(message(), target(), packing), Draw(0, 1))

    with codes.opened(encoded) as handle:
        assert handle.text("packingType") == packing.type
        assert handle.integer("bitsPerValue") == packing.bits
        worst = np.abs(handle.values().reshape(SMALL.shape) - values).max()
    assert worst >= 0.2 * rounding_error(-31.7, 48.2, packing.bits)


@pytest.mark.parametrize("kind", ["grid_simple", "grid_ccsds"])
@pytest.mark.parametrize("allowed", [0.5, 0.005, 1e-4])
def test_a_precision_is_kept_whatever_the_range(kind: str, allowed: float) -> None:
    packing = Packing(kind, precision={"10u": allowed})  # type: ignore[arg-type]
    for reach in (1e-3, 1.0, 40.0, 200.0):
        values = (wavy() / np.abs(wavy()).max() * reach).astype(np.float32)

        encoded = encode(values, prepare(message(), target(), packing), Draw(0, 1))

        with codes.opened(encoded) as handle:
            assert np.abs(handle.values().reshape(SMALL.shape) - values).max() <= allowed * 1.0001


def test_a_precision_that_needs_too_many_bits_is_refused() -> None:
    packing = Packing(precision={"10u": 1e-9})

    with pytest.raises(EncodeError, match=r"10u of .*/6, draw 0: values .* need \d\d bits"):
        encode(wavy(), prepare(message(), target(), packing), Draw(0, 1))


@pytest.mark.parametrize("packing", [Packing(), Packing("grid_ccsds")], ids=str)
@pytest.mark.parametrize("value", [0.0, 9999.0, -1e30, 273.16])
def test_a_constant_field_is_kept_and_no_value_means_missing(
    packing: Packing, value: float
) -> None:
    template = prepare(message(bitmapPresent=1), target(), packing)

    for values in (np.full(SMALL.shape, value, np.float32), wavy()):
        values[0, 0] = 9999.0
        with codes.opened(encode(values, template, Draw(0, 1))) as handle:
            assert handle.integer("numberOfMissing") == 0
            assert handle.integer("bitmapPresent") == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_never_leaves(bad: float) -> None:
    values = wavy()
    values[3, 4] = bad

    with pytest.raises(EncodeError, match="1 of 63 values are not finite, wanted none"):
        encode(values, prepare(message(), target()), Draw(0, 1))


def test_a_field_of_another_shape_is_refused() -> None:
    with pytest.raises(EncodeError, match=r"shape \(9, 7\), grid \(7, 9\)"):
        encode(wavy().T, prepare(message(), target()), Draw(0, 1))


def test_rows_run_south_and_columns_east_from_the_first_point() -> None:
    encoded = encode(wavy(), prepare(message(), target(), Packing(bits=24)), Draw(0, 1))

    with codes.opened(encoded) as handle:
        latitudes, longitudes = handle.numbers("latitudes"), handle.numbers("longitudes")
        values = handle.values()
    rows = np.round((SMALL.north - latitudes) / SMALL.spacing_lat).astype(int)
    columns = np.round(((longitudes - SMALL.west) % 360) / SMALL.spacing_lon).astype(int)
    assert np.allclose(values, wavy()[rows, columns], atol=1e-5)
    assert sorted(set(zip(rows.tolist(), columns.tolist(), strict=True))) == [
        (i, j) for i in range(7) for j in range(9)
    ]


@pytest.mark.parametrize(
    "keys",
    [
        {"jScansPositively": 1},
        {"iScansNegatively": 1},
        {"jPointsAreConsecutive": 1},
        {"alternativeRowScanning": 1},
        {"uvRelativeToGrid": 1},
        {"shapeOfTheEarth": 6},
    ],
    ids=str,
)
def test_the_order_of_the_input_does_not_reach_the_product(keys: dict[str, int]) -> None:
    plain = encode(wavy(), prepare(message(shapeOfTheEarth=6), target()), Draw(0, 1))

    other = encode(wavy(), prepare(message(**{"shapeOfTheEarth": 6, **keys}), target()), Draw(0, 1))

    assert other == plain


def test_the_same_field_is_the_same_bytes_on_any_thread() -> None:
    values = [wavy(GLOBE) + np.float32(i) for i in range(4)]
    templates = [
        prepare(message(), target(GLOBE), packing) for packing in (Packing(), Packing("grid_ccsds"))
    ]
    jobs = [(v, t, Draw(d, 4)) for d, v in enumerate(values) for t in templates]
    alone = [encode(*job) for job in jobs]

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda job: encode(*job), jobs * 5))

    assert together == alone * 5
    assert prepare(message(), target(GLOBE)) == templates[0]


@given(members=st.integers(1, 60), draws=st.integers(1, 60), data=st.data())
def test_members_and_draws_number_one_ensemble_without_gaps(
    members: int, draws: int, data: st.DataObject
) -> None:
    member = data.draw(st.integers(0, members - 1))
    draw = data.draw(st.integers(0, draws - 1))
    coarse = message(
        productDefinitionTemplateNumber=1,
        perturbationNumber=member,
        numberOfForecastsInEnsemble=members,
    )
    template = prepare(coarse, target(member=member))

    if members * draws > 255:
        with pytest.raises(EncodeError, match=f"are {members * draws} forecasts"):
            encode(wavy(), template, Draw(draw, draws))
        return
    encoded = encode(wavy(), template, Draw(draw, draws))

    assert keys_of(encoded, "perturbationNumber", "numberOfForecastsInEnsemble") == [
        str(member * draws + draw),
        str(members * draws),
    ]
    assert mars_keys(template, Draw(draw, draws))["number"] == str(member * draws + draw)


def test_a_control_that_its_centre_does_not_count_still_finds_room() -> None:
    last = message(
        productDefinitionTemplateNumber=1, perturbationNumber=30, numberOfForecastsInEnsemble=30
    )

    encoded = encode(wavy(), prepare(last, target(member=30)), Draw(3, 4))

    assert keys_of(encoded, "number", "numberOfForecastsInEnsemble") == ["123", "124"]


def test_a_message_that_reads_back_with_another_key_never_leaves() -> None:
    template = prepare(message(), target())
    wanted = tuple((key, "100" if key == "level" else value) for key, value in template.wanted)

    with pytest.raises(EncodeError, match=r"10u of .*: level is 10, wanted 100"):
        encode(wavy(), dataclasses.replace(template, wanted=wanted), Draw(0, 1))


def test_a_message_that_reads_back_with_other_values_never_leaves() -> None:
    template = prepare(message(), target())
    with codes.opened(template.message) as handle:
        handle.set("bitmapPresent", 1)
        holed = handle.message()
    values = wavy()
    values[2, 2] = 9999.0

    with pytest.raises(EncodeError, match="numberOfMissing is 1, wanted 0"):
        encode(values, dataclasses.replace(template, message=holed), Draw(0, 1))


def test_values_that_read_back_too_far_away_are_told_with_error_and_bound() -> None:
    encoded = encode(wavy(), prepare(message(), target()), Draw(0, 1))
    others = wavy().astype(np.float64)
    others[6, 8] += 0.25

    with (
        codes.opened(encoded) as handle,
        pytest.raises(
            EncodeError, match=r"here: values read back differ by 0.2\d+, wanted at most"
        ),
    ):
        _refuse_changed(handle.values(), others, rounding_error(-10, 10, 16), "here")


def test_an_ensemble_that_eight_bits_cannot_count_is_refused_with_its_sum() -> None:
    assert ensemble_size(51, 5) == 255
    with pytest.raises(EncodeError, match="51 members of 6 draws are 306 forecasts"):
        ensemble_size(51, 6)


def test_all_draws_of_a_parameter_are_the_same_bytes_as_each_alone() -> None:
    template = prepare(message(), target(member=2))
    draws = np.stack([wavy(), wavy() * 3 - 40, np.zeros_like(wavy()), wavy() / 7])

    together = list(encode_all(draws, template))

    assert together == [encode(one, template, Draw(d, 4)) for d, one in enumerate(draws)]


def test_draws_differ_in_nothing_but_their_number_and_values() -> None:
    template = prepare(message(), target())
    first, second = encode_all(np.stack([wavy(), wavy()]), template)
    later = prepare(message(forecastTime=9), target(minutes=540))

    assert _header(second) == _renumbered(_header(first), _membership(template, Draw(1, 2)))
    assert _header(first) != _header(second)
    assert _header(encode(wavy(), later, Draw(0, 2))) != _header(first)


@pytest.mark.parametrize(("number", "made"), [(0, 1), (1, 1), (8, 11), (11, 11)])
def test_points_in_time_and_intervals_become_members_products(number: int, made: int) -> None:
    coarse = message(productDefinitionTemplateNumber=number)

    encoded = encode(wavy(), prepare(coarse, target()), Draw(0, 2))

    assert keys_of(encoded, "productDefinitionTemplateNumber", "endStep") == [str(made), "6"]


def test_an_accumulation_keeps_its_interval() -> None:
    coarse = message(paramId=228228, productDefinitionTemplateNumber=8, stepRange="3-6")

    encoded = encode(wavy() + 20, prepare(coarse, target(name="tp")), Draw(0, 2))

    assert keys_of(
        encoded, "stepRange", "paramId", "stepType", "productDefinitionTemplateNumber"
    ) == [
        "3-6",
        "228228",
        "accum",
        "11",
    ]


def test_a_product_that_is_no_members_or_forecasts_is_refused_by_its_number() -> None:
    with pytest.raises(
        EncodeError, match="productDefinitionTemplateNumber is 6, wanted one of 0, 1"
    ):
        prepare(message(productDefinitionTemplateNumber=6), target())


def test_values_leave_in_the_units_in_which_they_came() -> None:
    metres = FieldTarget(target().key, "tp", SMALL, factor=1000.0)
    coarse = message(paramId=228)
    millimetres = wavy() - wavy().min()

    encoded = encode(millimetres, prepare(coarse, metres, Packing(bits=24)), Draw(0, 1))

    with codes.opened(encoded) as handle:
        assert handle.text("units") == "m"
        found = handle.values().reshape(SMALL.shape)
    assert np.abs(found * 1000 - millimetres).max() < 1e-4


@pytest.mark.parametrize(("data", "kind"), [("an", "12"), ("fc", "13"), ("pf", "13"), ("cf", "13")])
def test_the_product_says_that_it_was_processed_afterwards(data: str, kind: str) -> None:
    encoded = encode(wavy(), prepare(message(typeOfProcessedData=data), target()), Draw(0, 1))

    assert keys_of(encoded, "typeOfGeneratingProcess") == [kind]


def test_the_product_is_the_input_centres_unless_the_config_says_whose() -> None:
    coarse = message(
        centre="kwbc", subCentre=2, localTablesVersion=1, generatingProcessIdentifier=96
    )

    kept = encode(wavy(), prepare(coarse, target()), Draw(0, 1))
    signed = encode(wavy(), prepare(coarse, target(), imprint=Imprint("edzw", 201)), Draw(0, 1))

    names = ("centre", "subCentre", "localTablesVersion", "generatingProcessIdentifier", "paramId")
    assert keys_of(kept, *names) == ["kwbc", "2", "1", "96", "165"]
    assert keys_of(signed, *names) == ["edzw", "0", "0", "201", "165"]


def test_a_local_section_does_not_travel_to_another_centre() -> None:
    coarse = message(setLocalDefinition=1, localDefinitionNumber=1, expver="0077")

    kept = encode(wavy(), prepare(coarse, target()), Draw(0, 1))
    signed = encode(wavy(), prepare(coarse, target(), imprint=Imprint("kwbc")), Draw(0, 1))

    assert keys_of(kept, "expver", "class") == ["0077", "od"]
    with codes.opened(signed) as handle:
        assert not handle.has("expver")


@pytest.mark.parametrize(
    ("imprint", "message_"),
    [
        (Imprint(centre="nonsense"), "centre cannot be 'nonsense'"),
        (Imprint(centre=70000), "centre cannot be 70000"),
        (Imprint(generating_process=256), "generatingProcessIdentifier cannot be 256; wanted 0 to"),
    ],
)
def test_an_imprint_that_grib_cannot_hold_is_refused_before_work(
    imprint: Imprint, message_: str
) -> None:
    refuse_unknown(Imprint())
    refuse_unknown(Imprint("ecmf", 255))
    with pytest.raises(UsageError, match=message_):
        refuse_unknown(imprint)


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (target(minutes=180), "endStep is 360, wanted 180"),
        (
            FieldTarget(
                StepKey(RunKey("ecmf", "-", "-", TIME.replace(hour=7), 0), 360), "10u", SMALL
            ),
            "dataTime is 630, wanted 730",
        ),
    ],
)
def test_a_template_of_another_step_is_refused_by_key(wrong: FieldTarget, fault: str) -> None:
    with pytest.raises(EncodeError, match=fault):
        prepare(message(), wrong)


def test_what_eccodes_cannot_convert_is_refused_with_its_own_words() -> None:
    with pytest.raises(EncodeError, match=r"10u of .*/6: ecCodes makes no GRIB 2 template"):
        prepare(b"GRIB is not enough", target())


@pytest.mark.parametrize(
    ("packing", "fault"),
    [
        ({"bits": 0}, "bits is 0, wanted 1 to 24"),
        ({"bits": 25}, "bits is 25, wanted 1 to 24"),
        ({"precision": {"10u": 0.0}}, "precision of 10u is 0.0, wanted more than 0"),
    ],
)
def test_a_packing_that_cannot_be_is_refused(packing: dict[str, object], fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        Packing(**packing)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def real(shared_data: Path) -> Callable[[str], bytes]:
    return lambda name: first_message(shared_data / name)


#: Real messages of both editions and many grids: paramId, vertical level in the product.
REAL = [
    ("gfs-wind-1deg/train/gfs.t00z.pgrb2.1p00.f000.2018100618f3.grib2", "165", "10"),
    ("era5-uk-2t/era5-2mt-2019-03-uk.grib", "167", "2"),
    ("era5-south-america/surface-20240203.grib", "165", "10"),
    ("conformance/cfgrib/reduced_gg.grib", "165", "10"),
    ("conformance/cfgrib/spherical_harmonics.grib", "129", "500"),
    ("conformance/cfgrib/nam.t00z.awp21100.tm00.grib2", None, None),
    ("conformance/cfgrib/alternate-scanning.grib", "167", "2"),
    ("conformance/cfgrib/tp_on_different_grid_resolutions.grib", "228", "0"),
    ("conformance/earthkit-data/rotated_wind_20x20.grib", "165", "10"),
    ("conformance/earthkit-data/O32_global.grib2", "130", "137"),
    ("conformance/earthkit-data/ens_50.grib", "129", "850"),
    ("conformance/earthkit-data/hdate.grib", "167", "2"),
    ("conformance/earthkit-data/healpix_H8.grib2", None, None),
    ("conformance/earthkit-data/missing.grib", "167", "2"),
    ("conformance/earthkit-data/test_icon.grib", None, None),
]


@pytest.mark.parametrize(("name", "param_id", "level"), REAL, ids=[name for name, *_ in REAL])
def test_real_messages_become_templates_and_keep_what_they_are(
    real: Callable[[str], bytes], name: str, param_id: str | None, level: str | None
) -> None:
    coarse = real(name)
    wanted = target_of(coarse, GLOBE)

    encoded = encode(wavy(GLOBE), prepare(coarse, wanted), Draw(1, 4))

    with codes.opened(coarse) as before, codes.opened(encoded) as after:
        for key in ("paramId", "shortName", "centre", "dataDate", "dataTime", "stepRange"):
            assert after.text(key) == before.text(key)
        for key in ("class", "stream", "expver", "type", "model"):
            assert not before.has(key) or after.text(key) == before.text(key)
        assert after.text("gridType") == "regular_ll"
        assert after.integer("edition") == 2
        assert param_id in (None, after.text("paramId"))
        assert level in (None, after.text("level"))


def target_of(coarse: bytes, grid: Grid) -> FieldTarget:
    with codes.opened(coarse) as handle:
        handle.set("stepUnits", "m")
        date, clock = handle.integer("dataDate"), handle.integer("dataTime")
        time = datetime.strptime(f"{date}{clock:04d}+0000", "%Y%m%d%H%M%z")
        member = handle.integer("number") if handle.has("number") else 0
        run = RunKey(handle.text("centre"), "-", "-", time, member)
        return FieldTarget(StepKey(run, handle.integer("endStep")), handle.text("shortName"), grid)


def test_a_parameter_that_edition_2_does_not_know_is_refused(
    real: Callable[[str], bytes],
) -> None:
    coarse = real("conformance/cfgrib/lambert_grid.grib")

    with pytest.raises(EncodeError, match=r"nlwrs of 96/-/-/199001250000/0/18: ecCodes makes no"):
        prepare(coarse, target_of(coarse, GLOBE))
