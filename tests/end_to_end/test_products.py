"""The daemon's products: what the configuration asks for is published, each draw computed once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.errors import UsageError
from engines.noise import Window
from streamer.config import parse
from streamer.downscale import regions
from streamer.finishing import OutOfRange
from streamer.grib import codes
from streamer.grib.box_means import box_means
from streamer.model import open_model
from streamer.records import FieldEntry, StepRecord
from tests.end_to_end.daemons import STEPS, House, World, config_of, one_run, work_off
from tests.end_to_end.test_samplers import TABLE
from tests.engines import tiny
from tests.wind import SMALL, wind_message

DRAWS, LEVELS = 3, 3
CALLS = 2 * LEVELS - 1
#: 16 bits of some tens of metres a second.
PACKED = 2e-3


@dataclass(frozen=True)
class Published:
    """What one daemon made of one run."""

    steps: list[StepRecord]
    fields: Mapping[str, bytes]
    model: Any
    headers: tuple[Mapping[str, str], ...] = ()

    def entries(self, product: str, parameter: str) -> list[FieldEntry]:
        """Return what the first step's record lists."""
        return [
            entry
            for entry in self.steps[0].fields
            if (entry.names.product, entry.names.parameter) == (product, parameter)
        ]

    def values(self, entry: FieldEntry) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return a field's values on its grid."""
        with codes.opened(self.fields[entry.id]) as handle:
            shape = handle.integer("Nj"), handle.integer("Ni")
            return handle.values().reshape(shape)

    def one(self, product: str, parameter: str, statistic: str) -> Any:
        """Return the values of a statistic."""
        (entry,) = (e for e in self.entries(product, parameter) if e.names.statistic == statistic)
        return self.values(entry)

    def draws(self, product: str, parameter: str) -> Any:
        """Return all draws, (D, h, w)."""
        found = [e for e in self.entries(product, parameter) if e.names.draw is not None]
        assert [e.names.draw for e in found] == list(range(len(found)))
        return np.stack([self.values(entry) for entry in found])


def published(
    bundle: object,
    engine: Mapping[str, Any],
    products: list[dict[str, Any]],
    **changes: Mapping[str, Any],
) -> Published:
    """Let one daemon publish the products of one run."""
    told: dict[str, Any] = {
        "engine": engine,
        **changes,
        "products": [{"draws": DRAWS, **product} for product in products],
    }
    world = one_run(bundle, **told)
    assert [step.outcome.value for step in world.steps] == ["complete"] * len(STEPS)
    sent = tuple(
        {name: value.decode() for name, value in record.headers}
        for record in world.broker.read("out")
    )
    return Published(world.steps, world.fields, world.house.model, sent)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of small tiles, and a second one that is tuned."""
    folder = tmp_path_factory.mktemp("bundles") / "small"
    return tiny.add_tuned(SMALL.write_bundle(folder, calibration=TABLE))


EIGHT = {"sampler": {"steps": LEVELS}}
OF = ["draws", "mean", "spread", "variance", "minimum", "maximum", {"quantile": 0.9}]


@pytest.fixture(scope="module")
def whole(bundle: Path, engine: Mapping[str, Any]) -> Published:
    """All that can be told of a whole globe, and a region beside it."""
    return published(
        bundle,
        engine,
        [
            {
                "name": "all",
                "of": [*OF, {"above": 5.0, "of": "10si"}, {"below": 0.0, "of": "10u"}],
                "parameters": ["10u", "10v", "10si"],
            },
            {"name": "corner", "region": {"centre": [60, -10]}, "of": ["draws", "mean"]},
        ],
        **EIGHT,
    )


def test_statistics_are_those_of_the_published_draws(whole: Published) -> None:
    for name in ("10u", "10v", "10si"):
        draws = whole.draws("all", name)
        assert draws.shape == (DRAWS, *SMALL.shape)
        for statistic, wanted in (
            ("mean", draws.mean(axis=0)),
            ("spread", draws.std(axis=0, ddof=1)),
            ("minimum", draws.min(axis=0)),
            ("maximum", draws.max(axis=0)),
            ("quantile-0.9", np.quantile(draws, 0.9, axis=0)),
        ):
            assert whole.one("all", name, statistic) == pytest.approx(wanted, abs=PACKED)
        assert whole.one("all", name, "variance") == pytest.approx(
            draws.var(axis=0, ddof=1), abs=0.1
        )


def test_derived_parameters_are_made_of_each_draw(whole: Published) -> None:
    speed = np.hypot(whole.draws("all", "10u"), whole.draws("all", "10v"))

    assert whole.draws("all", "10si") == pytest.approx(speed, abs=2 * PACKED)
    # The speed of the mean is less than the mean speed wherever draws differ.
    mean = np.hypot(whole.one("all", "10u", "mean"), whole.one("all", "10v", "mean"))
    assert (whole.one("all", "10si", "mean") > mean).mean() > 0.99


def test_probabilities_are_shares_of_the_draws_in_percent(whole: Published) -> None:
    speed, zonal = whole.draws("all", "10si"), whole.draws("all", "10u")

    assert whole.one("all", "10si", "above-5") == pytest.approx(
        100 * (speed > 5.0).mean(axis=0), abs=0.01
    )
    assert whole.one("all", "10u", "below-0") == pytest.approx(
        100 * (zonal < 0.0).mean(axis=0), abs=0.01
    )
    assert [e.names.statistic for e in whole.entries("all", "10v")].count("below-0") == 0


def test_a_region_is_cut_out_of_the_whole_and_costs_nothing_more(whole: Published) -> None:
    window = Window((0, 8), (29, 41), 36)
    draws = whole.draws("corner", "10u")

    assert draws == pytest.approx(
        regions.cropped(whole.draws("all", "10u"), window), abs=2 * PACKED
    )
    tiles = len(whole.model.plan.layouts[0].tiles)
    assert {step.calls for step in whole.steps} == {CALLS * tiles * DRAWS}
    with codes.opened(whole.fields[whole.entries("corner", "10u")[0].id]) as handle:
        assert handle.number("longitudeOfFirstGridPointInDegrees") == 290.0
        assert handle.number("longitudeOfLastGridPointInDegrees") == 40.0
        assert handle.number("latitudeOfFirstGridPointInDegrees") == 90.0


def test_a_region_alone_computes_the_tiles_that_it_needs(
    bundle: Path, engine: Mapping[str, Any], whole: Published
) -> None:
    alone = published(
        bundle,
        engine,
        [{"name": "corner", "region": "here", "of": ["draws", "mean"]}],
        regions={"here": {"centre": [60, -10], "size": [8, 12]}},
        **EIGHT,
    )

    every = len(whole.model.plan.layouts[0].tiles)
    (strand,) = alone.model.plan.strands
    assert strand.wanted is not None
    assert len(strand.wanted) < every
    assert {step.calls for step in alone.steps} == {CALLS * len(strand.wanted) * DRAWS}
    # The same bytes as beside the whole globe.
    for entry, other in zip(
        alone.entries("corner", "10v"), whole.entries("corner", "10v"), strict=True
    ):
        assert entry.sha256 == other.sha256


def test_several_samplers_are_one_ensemble_and_share_no_noise(
    bundle: Path, engine: Mapping[str, Any]
) -> None:
    made = published(
        bundle,
        engine,
        [
            {"name": "both", "sampler": ["fast", {"steps": LEVELS}], "draws": 2},
            {"name": "quick", "sampler": "fast", "draws": 3, "of": ["mean"]},
        ],
    )

    tiles = len(made.model.plan.layouts[0].tiles)
    # Three draws of two calls each, of which two are shared, and two of Heun's.
    assert {step.calls for step in made.steps} == {tiles * (3 * 2 + 2 * CALLS)}
    draws = made.draws("both", "10u")
    assert len(draws) == 4
    assert len({one.tobytes() for one in draws}) == 4
    told = made.steps[0].sampler["products"]
    assert [(one["draws"], one["network"], one["profile"]) for one in told["both"]] == [
        (2, "tuned", "fast"),
        (2, "denoiser", None),
    ]
    with codes.opened(made.fields[made.entries("both", "10u")[3].id]) as handle:
        assert handle.integer("perturbationNumber") == 3
        assert handle.integer("numberOfForecastsInEnsemble") == 4


def test_statistics_alone_hold_no_draw(bundle: Path, engine: Mapping[str, Any]) -> None:
    made = published(
        bundle, engine, [{"name": "mean", "of": ["mean", "spread"], "draws": 6}], **EIGHT
    )

    assert {headers["statistic"] for headers in made.headers} == {"mean", "spread"}
    assert not any("draw" in headers for headers in made.headers)

    entries = made.steps[0].fields
    assert [(e.names.parameter, e.names.statistic) for e in entries] == [
        (name, statistic) for name in ("10u", "10v") for statistic in ("mean", "spread")
    ]


@pytest.mark.parametrize(
    ("products", "said"),
    [
        ([{"of": ["median"]}], "products[0].of[0]: found 'median', wanted draws, mean"),
        ([{"of": [{"quantile": 0.999}]}], "quantile: found 0.999, wanted 0.01 to 0.99"),
        ([{"of": [{"above": 17.2}]}], "found above 17.2 for several parameters"),
        ([{"draws": 300}], "draws: found 300, wanted 1 to 255"),
        ([{"name": "a"}, {"name": "a"}], "products: found the names a, a, wanted each once"),
        ([{"region": {"centre": [95, 0]}}], "centre: found [95.0, 0.0]"),
    ],
)
def test_a_product_that_says_nothing_sound_is_refused(
    products: list[dict[str, Any]], said: str
) -> None:
    plain = {
        "bus": {"memory": True},
        "input": {"topic": "in", "steps": "0"},
        "output": {"topic": "out"},
        "model": {"bundle": "gfs-wind-4to1"},
        "products": products,
    }

    with pytest.raises(UsageError) as refused:
        parse(plain, "a test")

    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("product", "said"),
    [
        ({"parameters": ["10sii"]}, "products: draws: no parameter 10sii; did you mean 10si?"),
        ({"parameters": ["2r"]}, "2r is made from 2t and 2d, but the bundle has no"),
        ({"region": "europa"}, "no region is named europa"),
        ({"of": ["spread"], "draws": 1}, "needs at least 2 draws"),
        ({"of": [{"above": 1.0, "of": "tp"}]}, "of tp, wanted one of 10u, 10v"),
        ({"sampler": ["fast"] * 2, "draws": 200}, "400 draws, GRIB counts 255"),
        ({"region": {"centre": [50, 10], "size": [5, 5]}}, "found 5x5 points, wanted 8 or 16"),
        (
            {"of": ["mean"], "parameters": ["10wdir"]},
            "mean of 10wdir means nothing, since degrees go round",
        ),
    ],
)
def test_a_product_that_the_bundle_cannot_serve_is_refused(
    bundle: Path, product: dict[str, Any], said: str
) -> None:
    config = config_of(bundle, products=[product])

    with pytest.raises(UsageError) as refused:
        open_model(config)

    assert said in str(refused.value)


def constrained(folder: Path, engine: Mapping[str, Any], constraints: dict[str, Any]) -> Published:
    """Let a bundle with constraints publish its draws, and those of a region."""
    globe = {**SMALL.grib, "constraints": constraints}
    made = tiny.write_bundle(folder, SMALL.shape, grib=globe, name="strict")
    return published(
        made,
        engine,
        [{"name": "draws"}, {"name": "corner", "region": {"centre": [60, -10]}}],
        **EIGHT,
    )


def test_draws_obey_the_bounds_and_the_record_tells_what_that_changed(
    tmp_path: Path, engine: Mapping[str, Any], whole: Published
) -> None:
    made = constrained(tmp_path / "strict", engine, {"bounds": {"10u": [-4.0, None]}})

    free, bound = whole.draws("all", "10u"), made.draws("draws", "10u")
    assert bound == pytest.approx(np.maximum(free, -4.0), abs=2 * PACKED)
    assert made.draws("draws", "10v") == pytest.approx(whole.draws("all", "10v"), abs=2 * PACKED)
    (told,) = made.steps[0].quality["constraints"]["draws"]
    below = free < -4.0
    assert (told["constraint"], told["parameter"]) == ("bounds", "10u")
    assert told["share"] == pytest.approx(below.mean(), abs=1e-3)
    assert told["size"] == pytest.approx((-4.0 - free[below]).mean(), rel=1e-2)
    assert made.steps[0].quality["constraints"].keys() == {"draws", "corner"}


def test_box_means_of_draws_are_the_coarse_field(tmp_path: Path, engine: Mapping[str, Any]) -> None:
    made = constrained(tmp_path / "strict", engine, {"conservation": {"10u": "additive"}})
    manifest = made.model.manifest
    rows, columns = box_means(manifest.coarse, manifest.grid)

    means = [(columns @ (rows @ draw).T).T for draw in made.draws("draws", "10u")]

    # Draws that differ everywhere have the same coarse field.
    assert np.ptp(made.draws("draws", "10u"), axis=0).min() > 0.01
    for mean in means[1:]:
        assert mean == pytest.approx(means[0], abs=PACKED)
    assert np.ptp([rows @ draw for draw in made.draws("draws", "10v")], axis=0).max() > 0.1


#: Of a zonal wind of 5 m/s everywhere the statistics make one of 6.3, which is too much here.
NARROW = {
    **SMALL.grib,
    "parameters": {
        name: {**part, "range": [-5.5, 5.5] if name == "10u" else [-150, 150]}
        for name, part in SMALL.grib["parameters"].items()
    },
}


def narrow(folder: Path, engine: Mapping[str, Any], policy: str, parameters: list[str]) -> World:
    """Let a daemon answer one step whose zonal wind leaves its range."""
    told: dict[str, Any] = {
        "engine": engine,
        "output": {"out_of_range": policy},
        "products": [{"name": "draws", "parameters": parameters, "draws": 2}],
    }
    config = config_of(
        tiny.write_bundle(folder / "narrow", SMALL.shape, grib=NARROW, name="narrow"), **told
    )
    house = House(open_model(config), config)
    world = World(house)
    world.feed([wind_message("10u", 0, mean=5.0, deviation=0.0), wind_message("10v", 0)])
    try:
        work_off(world, **told)
    finally:
        house.close()
    return world


def parameters_of(step: StepRecord) -> set[str]:
    return {entry.names.parameter for entry in step.fields}


def test_a_field_out_of_range_is_published_with_a_flag(
    tmp_path: Path, engine: Mapping[str, Any]
) -> None:
    world = narrow(tmp_path, engine, "flag", ["10u", "10v", "10si"])

    (step,) = world.steps
    assert parameters_of(step) == {"10u", "10v", "10si"}
    (sentence,) = step.quality["out_of_range"]
    assert sentence.startswith("10u is ")
    assert sentence.endswith("wanted -5.5 to 5.5")
    told = world.meters[-1].metrics.registry.get_sample_value
    assert told("downscaled_out_of_range_total", {"parameter": "10u"}) == 1


def test_a_field_out_of_range_is_dropped_with_what_is_made_of_it(
    tmp_path: Path, engine: Mapping[str, Any]
) -> None:
    (step,) = narrow(tmp_path, engine, "drop", ["10u", "10v", "10si"]).steps

    assert step.outcome.value == "complete"
    assert parameters_of(step) == {"10v"}
    assert step.quality["dropped"] == [
        {"product": "draws", "parameter": "10u"},
        {"product": "draws", "parameter": "10si"},
    ]


def test_a_step_of_which_nothing_can_be_true_fails(
    tmp_path: Path, engine: Mapping[str, Any]
) -> None:
    (step,) = narrow(tmp_path, engine, "drop", ["10u"]).steps

    assert step.outcome.value == "failed"
    assert step.reason is not None
    assert "no field of it can be true: 10u is " in step.reason
    assert step.fields == ()


def test_a_daemon_that_is_to_stop_publishes_nothing_and_ends(
    tmp_path: Path, engine: Mapping[str, Any]
) -> None:
    with pytest.raises(OutOfRange, match="nothing of it was published"):
        narrow(tmp_path, engine, "stop", ["10u", "10v"])


def test_a_plain_regression_gives_its_one_answer(tmp_path: Path) -> None:
    around = {"kind": "direct", "sigma_data": 1.0}
    made = SMALL.write_bundle(tmp_path / "direct", preconditioning=around)
    config = config_of(made, products=[{"name": "answer", "of": ["draws", "mean"]}])

    (making,) = open_model(config).plan.makings

    assert len(making.draws) == 1
    for product in ({"draws": 2}, {"sampler": [{"steps": 2}, {"steps": 3}]}):
        with pytest.raises(UsageError, match="is a plain regression, which has one answer"):
            open_model(config_of(made, products=[product]))
    with pytest.raises(UsageError, match="spread needs at least 2 draws"):
        open_model(config_of(made, products=[{"of": ["spread"]}]))


def test_blocks_of_ipsl_aid_are_there_to_be_compared_with(
    bundle: Path, engine: Mapping[str, Any], whole: Published
) -> None:
    blocks = {**engine, "layout": "ipsl-aid"}
    made = published(bundle, blocks, [{"name": "all"}], **EIGHT)

    # 19x36 points in blocks of 8x12: three more are moved back for the three rows that are left.
    assert {step.calls for step in made.steps} == {CALLS * 9 * DRAWS}
    assert {step.sampler["layout"] for step in made.steps} == {"ipsl-aid"}
    assert made.draws("all", "10u").shape == (DRAWS, *SMALL.shape)
    # Other noise, so other draws everywhere.
    differs = np.abs(made.draws("all", "10u") - whole.draws("all", "10u")) > PACKED
    assert differs.mean() > 0.9
    with pytest.raises(UsageError, match="blocks share no points"):
        config_of(bundle, engine={"layout": "ipsl-aid", "fusion": "level"})
