"""What every draw must obey: identities of what comes out, and nothing changed without need."""

from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.noise import Window
from streamer.demands import Bounds, Conservation, Constraints, Relation
from streamer.domain import Array
from streamer.downscale.boxes import Boxes
from streamer.downscale.constraints import Change, Coarse, constrain
from streamer.grib.box_means import box_means
from streamer.grib.known import resized_globe
from streamer.grib.manifest import Coarse as Operator
from streamer.grib.manifest import lattice, read_manifest

NAMES = ("2t", "2d", "tp")
POSITIVE = Bounds("tp", low=0.0)
DEW = Relation(below="2d", above="2t")

#: The wind bundle's boxes, which share the points on their edges; and boxes that share none.
FINE = lattice(2.0, 2.0, None)
SHARED = Operator(lattice(8.0, 8.0, None), "grid-box-average")
OWN = Operator(lattice(6.0, 6.0, None), "grid-box-average")


def resized() -> Boxes:
    """IPSL-AID's boxes, which overlap by half, on a smaller globe."""
    part = read_manifest(resized_globe(["2t"], shape=(91, 180), coarse=(10, 16)))
    return Boxes(*box_means(part.coarse, part.grid))


def boxes_of(operator: Operator, window: Window | None = None) -> Boxes:
    return Boxes(*box_means(operator, FINE), window)


KINDS = {"shared": boxes_of(SHARED), "own": boxes_of(OWN), "resized": resized()}


def weather(seed: int = 1, shape: tuple[int, int] = FINE.shape) -> Array:
    """Return 2t, 2d and tp, (3, H, W), that obey everything."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((3, *shape))
    temperature = 280.0 + 10.0 * noise[0]
    dew_point = temperature - np.abs(3.0 * noise[1])
    rain = np.where(noise[2] > 0.3, np.expm1(noise[2]), 0.0)
    return np.stack([temperature, dew_point, rain]).astype(np.float32)


def coarse_of(values: Array, boxes: Boxes) -> Coarse:
    return Coarse(np.stack([boxes.means(one) for one in values]).astype(np.float32), boxes)


def lacks(values: Array, coarse: Coarse, channel: int) -> Array:
    return np.asarray(coarse.boxes.means(values[channel]) - coarse.fields[channel])


def test_bounds_hold_and_tell_what_they_moved() -> None:
    values = weather()
    values[2, 0, :3] = [-0.5, -1.5, 902.0]

    (change,) = constrain(values, NAMES, Constraints(bounds=(Bounds("tp", 0.0, 900.0),)))

    np.testing.assert_array_equal(values[2, 0, :3], [0.0, 0.0, 900.0])
    assert (change.constraint, change.parameter) == ("bounds", "tp")
    assert change.share == pytest.approx(3 / values[2].size)
    # Half, one and a half, and two too much.
    assert change.size == pytest.approx(4.0 / 3.0)


def test_a_dew_point_comes_down_to_the_temperature_and_not_the_other_way() -> None:
    values = weather()
    values[1, 5, 7] = values[0, 5, 7] + 2.0
    kept = values.copy()

    (change,) = constrain(values, NAMES, Constraints(relations=(DEW,)))

    assert values[1, 5, 7] == values[0, 5, 7] == kept[0, 5, 7]
    assert (change.constraint, change.parameter) == ("relation", "2d")
    assert change.share == pytest.approx(1 / values[1].size)
    assert change.size == pytest.approx(2.0, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_what_obeys_comes_out_as_it_came_in(kind: str) -> None:
    values = weather()
    coarse = coarse_of(values, KINDS[kind])
    kept = values.tobytes()
    every = Constraints(
        (POSITIVE,),
        (DEW,),
        (Conservation("2t", "additive"), Conservation("tp", "multiplicative")),
    )

    changes = constrain(values, NAMES, every, coarse)

    assert values.tobytes() == kept
    assert [(one.constraint, one.parameter) for one in changes] == [
        ("bounds", "tp"),
        ("relation", "2d"),
        ("conservation", "2t"),
        ("conservation", "tp"),
    ]
    assert all(one.share == one.size == 0.0 for one in changes)
    assert all(one.remainder < 1e-4 for one in changes)


@pytest.mark.parametrize("kind", KINDS)
def test_adding_gives_every_box_its_mean_to_rounding(kind: str) -> None:
    truth, values = weather(1), weather(2)
    coarse = coarse_of(truth, KINDS[kind])

    (change,) = constrain(
        values, NAMES, Constraints(conservation=(Conservation("2t", "additive"),)), coarse
    )

    # Float32 keeps 280 K to 1.5e-5.
    assert np.abs(lacks(values, coarse, 0)).max() < 3e-5
    assert change.remainder < 1e-5
    assert change.share > 0.9
    np.testing.assert_array_equal(values[1:], weather(2)[1:])


def test_with_boxes_of_their_own_every_point_gets_what_its_box_lacks() -> None:
    """Three points a box, each way; a difference of 1 to 8 K a box comes back as it went."""
    values = weather()
    coarse = coarse_of(values, KINDS["own"])
    lacking = np.repeat(np.repeat(np.arange(31 * 60).reshape(31, 60) % 8 + 1.0, 3, 0), 3, 1)
    # The first and last row of boxes end at the poles, and the first column begins before 0 E.
    moved = np.roll(lacking, -1, axis=1)[1:-1]
    spoilt = values.copy()
    spoilt[0] -= moved.astype(np.float32)

    constrain(spoilt, NAMES, Constraints(conservation=(Conservation("2t", "additive"),)), coarse)

    np.testing.assert_allclose(spoilt[0], values[0], atol=1e-4)


def test_with_boxes_of_their_own_scaling_is_one_factor_a_box_and_exact() -> None:
    values = weather()
    values[2] += 0.5
    coarse = coarse_of(values, KINDS["own"])
    factors = np.repeat(np.repeat(np.arange(31 * 60).reshape(31, 60) % 8 + 1.0, 3, 0), 3, 1)
    spoilt = values.copy()
    spoilt[2] *= np.roll(factors, -1, axis=1)[1:-1].astype(np.float32)
    demands = Constraints((POSITIVE,), (), (Conservation("tp", "multiplicative"),))

    constrain(spoilt, NAMES, demands, coarse)

    np.testing.assert_allclose(spoilt[2], values[2], rtol=1e-6)


def test_adding_is_the_nearest_field_with_these_means() -> None:
    """The change is at right angles, by area, to every change that no box can see."""
    truth, values = weather(1), weather(2)
    boxes = KINDS["resized"]
    coarse = coarse_of(truth, boxes)
    moved = values.copy()

    constrain(moved, NAMES, Constraints(conservation=(Conservation("2t", "additive"),)), coarse)

    change = moved[0].astype(np.float64) - values[0]
    rows, columns = boxes.rows.means, boxes.columns.means
    # The share of all boxes that is a point's.
    area = np.outer(np.asarray(rows.sum(axis=0)), np.asarray(columns.sum(axis=0)))
    anything = np.random.default_rng(3).standard_normal(change.shape)
    unseen = anything - boxes.spread(boxes.solved(boxes.means(anything)))
    assert np.abs(boxes.means(unseen)).max() < 1e-12
    assert abs((area * change * unseen).sum()) < 1e-4 * (area * np.abs(change * unseen)).sum()


@pytest.mark.parametrize(
    ("kind", "parameter", "way"),
    [
        ("own", "2t", "additive"),
        ("shared", "2t", "additive"),
        ("resized", "2t", "additive"),
        ("own", "tp", "multiplicative"),
    ],
)
def test_a_second_time_changes_nothing(
    kind: str, parameter: str, way: Literal["additive", "multiplicative"]
) -> None:
    truth, values = weather(1), weather(2)
    coarse = coarse_of(truth, KINDS[kind])
    demands = Constraints((POSITIVE,), (DEW,), (Conservation(parameter, way),))

    constrain(values, NAMES, demands, coarse)
    kept = values.tobytes()
    changes = constrain(values, NAMES, demands, coarse)

    assert values.tobytes() == kept
    assert not any(change.share for change in changes)


def test_boxes_that_overlap_come_nearer_with_every_scaling() -> None:
    truth, values = weather(1), weather(2)
    coarse = coarse_of(truth, KINDS["resized"])
    demands = Constraints((POSITIVE,), (), (Conservation("tp", "multiplicative"),))

    left = [constrain(values, NAMES, demands, coarse)[-1].remainder for _ in range(4)]

    assert left == sorted(left, reverse=True)
    assert left[-1] < left[0] / 2


@pytest.mark.parametrize(("kind", "left"), [("own", 1e-6), ("shared", 2e-3), ("resized", 2e-2)])
def test_scaling_keeps_rain_positive_and_dry_boxes_dry(kind: str, left: float) -> None:
    """Other rain altogether: what overlapping boxes leave of it is told."""
    truth, values = weather(1), weather(2)
    truth[2, 30:60, 50:100] = 0.0
    coarse = coarse_of(truth, KINDS[kind])
    demands = Constraints((POSITIVE,), (), (Conservation("tp", "multiplicative"),))

    changes = constrain(values, NAMES, demands, coarse)

    apart = np.abs(lacks(values, coarse, 2))
    assert changes[-1].remainder == pytest.approx(apart.mean(), rel=1e-3, abs=1e-8)
    assert apart.mean() < left * coarse.fields[2].mean()
    assert values[2].min() == 0.0
    assert (lacks(values, coarse, 2)[coarse.fields[2] == 0.0] == 0.0).all()
    assert (coarse.fields[2] == 0.0).sum() >= 4


def test_rain_that_a_draw_has_lost_comes_back() -> None:
    truth, values = weather(1), weather(2)
    values[2] = 0.0
    coarse = coarse_of(truth, KINDS["shared"])
    demands = Constraints((POSITIVE,), (), (Conservation("tp", "multiplicative"),))

    constrain(values, NAMES, demands, coarse)

    assert np.abs(lacks(values, coarse, 2)).max() < 1e-4 * coarse.fields[2].max()
    # Smoothly: nowhere more than a few times what the boxes around hold.
    assert values[2].max() < 3.0 * coarse.fields[2].max()


@pytest.mark.parametrize(("kind", "left"), [("own", 1e-3), ("shared", 2e-2), ("resized", 1e-2)])
def test_bounds_hold_after_conservation_that_would_break_them(kind: str, left: float) -> None:
    """What is added would make a draw negative where it is three times too wet: they take turns."""
    truth, values = weather(1), weather(2)
    values[2] *= 3.0
    coarse = coarse_of(truth, KINDS[kind])
    demands = Constraints((POSITIVE,), (), (Conservation("tp", "additive"),))

    changes = constrain(values, NAMES, demands, coarse)

    apart = np.abs(lacks(values, coarse, 2)).mean()
    assert values[2].min() >= 0.0
    assert changes[-1].remainder == pytest.approx(apart, rel=1e-6)
    assert apart < left * truth[2].mean()


def test_related_parameters_are_conserved_together() -> None:
    truth, values = weather(1), weather(2)
    values[1] += 2.0
    coarse = coarse_of(truth, KINDS["shared"])
    both = (Conservation("2t", "additive"), Conservation("2d", "additive"))

    changes = constrain(values, NAMES, Constraints((), (DEW,), both), coarse)

    assert (values[1] <= values[0]).all()
    assert all(one.remainder < 2e-3 for one in changes[1:])


def test_what_cannot_be_kept_is_told() -> None:
    """A box mean below the bound is nothing that a field can have."""
    truth, values = weather(1), weather(2)
    truth[2] = -1.0
    coarse = coarse_of(truth, KINDS["own"])
    demands = Constraints((POSITIVE,), (), (Conservation("tp", "additive"),))

    changes = constrain(values, NAMES, demands, coarse)

    assert not values[2].any()
    assert changes[-1].remainder == pytest.approx(1.0)


@pytest.mark.parametrize("columns", [(40, 100), (150, 210)])
@pytest.mark.parametrize("rows", [(0, 40), (25, 66), (50, 91)])
def test_a_window_keeps_the_boxes_that_lie_wholly_within(
    rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    """The second window wraps over the grid's last column."""
    truth, other = weather(1), weather(2)
    window = Window(rows, columns, FINE.columns)
    boxes = boxes_of(SHARED, window)
    coarse = Coarse(coarse_of(truth, KINDS["shared"]).fields, boxes)
    values = np.take(other, np.arange(*columns), axis=2, mode="wrap")[:, slice(*rows)]
    kept = values.copy()

    constrain(values, NAMES, Constraints(conservation=(Conservation("2t", "additive"),)), coarse)

    there = np.take(truth, np.arange(*columns), axis=2, mode="wrap")[:, slice(*rows)]
    assert boxes.shape[0] * boxes.shape[1] > 50
    assert np.abs(boxes.means(values[0]) - boxes.means(there[0])).max() < 3e-5
    # What lies in no whole box stays as it is.
    is_outside = boxes.spread(np.ones(boxes.shape)) == 0.0
    np.testing.assert_array_equal(values[0][is_outside], kept[0][is_outside])


def test_a_window_within_one_box_is_left_alone() -> None:
    values = weather()[:, 20:23, 20:23].copy()
    boxes = boxes_of(SHARED, Window((20, 23), (20, 23), FINE.columns))
    coarse = Coarse(np.zeros((3, *SHARED.grid.shape), dtype=np.float32), boxes)
    kept = values.copy()

    changes = constrain(
        values, NAMES, Constraints(conservation=(Conservation("2t", "additive"),)), coarse
    )

    assert 0 in boxes.shape
    np.testing.assert_array_equal(values, kept)
    assert changes == (Change("conservation", "2t", 0.0, 0.0, 0.0),)


@given(st.integers(0, 2**31), st.sampled_from(sorted(KINDS)), st.floats(0.2, 5.0))
def test_whatever_the_draw_what_comes_out_obeys(seed: int, kind: str, factor: float) -> None:
    truth, values = weather(seed), weather(seed + 1)
    values[1] += 3.0
    values[2] = (values[2] - 0.2) * factor
    coarse = coarse_of(truth, KINDS[kind])
    ways = (Conservation("2t", "additive"), Conservation("tp", "multiplicative"))
    before = np.abs(lacks(np.maximum(values, 0.0), coarse, 2)).mean()

    constrain(values, NAMES, Constraints((POSITIVE,), (DEW,), ways), coarse)

    assert values[2].min() >= 0.0
    assert (values[1] <= values[0]).all()
    assert np.abs(lacks(values, coarse, 0)).max() < 5e-5
    assert np.abs(lacks(values, coarse, 2)).mean() < 0.1 * before
