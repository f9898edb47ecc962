"""What a manifest demands of every draw, and the coarse operator as matrices."""

import math
from typing import Any

import numpy as np
import pytest

from engines.errors import BundleError
from streamer.demands import Bounds, Conservation, Constraints, Relation
from streamer.domain import Array, Grid
from streamer.grib import regrid
from streamer.grib.box_means import box_means
from streamer.grib.known import resized_globe
from streamer.grib.manifest import Coarse, lattice, read_manifest
from streamer.grib.resize import resize
from tests.streamer.grib.conftest import wind_part

GLOBE = lattice(1.0, 1.0, None)


def demanded(constraints: object) -> Constraints:
    return read_manifest({**wind_part(), "constraints": constraints}).constraints


def noise(grid: Grid) -> Array:
    return np.random.default_rng(2).normal(280.0, 20.0, grid.shape).astype(np.float32)


def test_a_bundle_may_demand_nothing() -> None:
    assert read_manifest(wind_part()).constraints == Constraints()
    assert demanded({}) == Constraints()


def test_what_is_demanded_is_read_as_it_says() -> None:
    found = demanded(
        {
            "bounds": {"10u": [0, None], "10v": [None, 50.5]},
            "relations": [{"below": "10u", "above": "10v"}],
            "conservation": {"10u": "multiplicative", "10v": "additive"},
        }
    )

    assert found.bounds == (Bounds("10u", 0.0, math.inf), Bounds("10v", -math.inf, 50.5))
    assert found.relations == (Relation("10u", "10v"),)
    assert found.conservation == (
        Conservation("10u", "multiplicative"),
        Conservation("10v", "additive"),
    )


def test_none_conserves_nothing() -> None:
    assert demanded({"conservation": {"10u": "none"}}) == Constraints()


def test_only_what_concerns_the_parameters_at_hand_is_demanded() -> None:
    every = Constraints(
        (Bounds("tp", 0.0),), (Relation("2d", "2t"),), (Conservation("2t", "additive"),)
    )

    assert every.among(["2t", "2d", "tp"]) == every
    assert every.among(["2t", "tp"]) == Constraints(every.bounds, (), every.conservation)
    assert every.among([]) == Constraints()


@pytest.mark.parametrize(
    ("constraints", "said"),
    [
        ([], "grib.constraints is [], wanted an object"),
        ({"limits": {}}, "grib.constraints.limits is not known, known are bounds, relations"),
        ({"bounds": [1]}, "bounds is [1], wanted an object by parameter"),
        ({"bounds": {"10u": 3}}, "bounds.10u is 3, wanted [lowest, highest]"),
        ({"bounds": {"10u": [2, 1]}}, "bounds.10u: 2 is not below 1"),
        ({"bounds": {"10u": ["low", 1]}}, "bounds.10u is 'low', not a number"),
        ({"bounds": {"tp": [0, 1]}}, "constraints names tp, the bundle has 10u, 10v"),
        ({"relations": {"below": "10u"}}, "relations is {'below': '10u'}, wanted a list"),
        ({"relations": [{"below": "10u"}]}, "relations[0].above is None, not text"),
        ({"relations": [{"below": "10u", "above": "10u"}]}, "10u is related to itself"),
        ({"conservation": {"10u": "yes"}}, "wanted one of additive, multiplicative, none"),
        ({"conservation": {"10u": "multiplicative"}}, "which needs a lower bound of at least 0"),
    ],
)
def test_what_cannot_be_demanded_is_refused(constraints: object, said: str) -> None:
    with pytest.raises(BundleError) as told:
        demanded(constraints)

    assert said in str(told.value)


def test_nothing_is_conserved_through_an_operator_that_is_no_mean() -> None:
    part: dict[str, Any] = wind_part()
    part["coarse"]["interpolation"] = "linear"
    read_manifest(part)
    part["constraints"] = {"conservation": {"10u": "additive"}}

    with pytest.raises(BundleError, match="conservation: the coarse operator is no mean over"):
        read_manifest(part)
    with pytest.raises(BundleError, match="linear is no mean over boxes"):
        box_means(Coarse(GLOBE, "linear"), GLOBE)


@pytest.mark.usefixtures("mir_cache")
@pytest.mark.parametrize("spacing", [4.0, 2.5])
def test_the_matrices_do_what_mir_does(spacing: float) -> None:
    coarse = Coarse(lattice(spacing, spacing, None), "grid-box-average")
    values = noise(GLOBE)

    rows, columns = box_means(coarse, GLOBE)

    wanted = regrid.to_coarse(values, GLOBE, coarse)
    np.testing.assert_allclose((columns @ (rows @ values).T).T, wanted, rtol=2e-7)


@pytest.mark.usefixtures("mir_cache")
def test_within_a_limited_area_they_do_what_mir_does_where_boxes_are_whole() -> None:
    fine = lattice(0.5, 0.5, (60.0, 0.0, 40.0, 20.0))
    coarse = Coarse(lattice(2.0, 2.0, (60.0, 0.0, 40.0, 20.0)), "grid-box-average")
    values = noise(fine)

    rows, columns = box_means(coarse, fine)

    wanted = regrid.to_coarse(values, fine, coarse)
    found = (columns @ (rows @ values).T).T
    is_whole = np.outer(rows.sum(axis=1) > 0.999, columns.sum(axis=1) > 0.999)
    assert is_whole.sum() == 9 * 9
    np.testing.assert_allclose(found[is_whole], wanted[is_whole], rtol=1e-6)


def test_the_matrices_do_what_a_resize_does() -> None:
    part = read_manifest(resized_globe(["2t"], shape=(91, 180)))
    values = noise(part.grid)

    rows, columns = box_means(part.coarse, part.grid)

    wanted = resize(values, part.coarse.grid.shape)
    np.testing.assert_allclose((columns @ (rows @ values).T).T, wanted, rtol=2e-7)
