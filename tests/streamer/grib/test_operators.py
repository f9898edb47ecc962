"""Regriddings as matrices: found from a few questions, or not at all."""

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.domain import Grid
from streamer.grib.manifest import lattice
from streamer.grib.operators import written_down

FINE, COARSE = lattice(1, 1, None), Grid(88.0, 0.0, 4.0, 4.0, 45, 90)
Values = NDArray[np.float64]


class Boxes:
    """Means over 3x5 fine points around each coarse one, counted as they are asked for."""

    asked = 0

    def __call__(self, values: Values) -> Values:
        self.asked += 1
        rows = np.sum([np.roll(values, shift, axis=1) for shift in (-2, -1, 0, 1, 2)], axis=0)
        means: Values = (rows[1:-3:4] + rows[2:-2:4] + rows[3:-1:4])[:, ::4] / 15
        return means


def test_the_matrix_repeats_what_was_asked_on_any_field() -> None:
    boxes = Boxes()
    matrix = written_down(boxes, FINE, COARSE)
    field = np.random.default_rng(5).standard_normal(FINE.shape)

    assert matrix is not None
    assert matrix.nnz == 15 * COARSE.rows * COARSE.columns
    np.testing.assert_allclose(
        (matrix @ field.ravel()).reshape(COARSE.shape), boxes(field), atol=1e-12
    )


def test_few_questions_tell_all_weights() -> None:
    boxes = Boxes()

    written_down(boxes, FINE, COARSE)

    assert boxes.asked <= 17, "65160 points, 16 questions and a proof"


def test_points_that_reach_across_a_pole_find_their_way_back() -> None:
    def beyond(values: Values) -> Values:
        mixed: Values = values.copy()
        mixed[0] = (values[0] + np.roll(values[1], COARSE.columns // 2)) / 2
        return mixed

    assert written_down(beyond, COARSE, COARSE) is not None


@pytest.mark.parametrize(
    "odd",
    [
        lambda values: values - values.mean(),
        np.abs,
        lambda values: values * np.arange(COARSE.columns),
    ],
    ids=["far reaching", "not linear", "other at other longitudes"],
)
def test_what_the_questions_do_not_tell_is_not_written_down(odd: object) -> None:
    assert written_down(odd, COARSE, COARSE) is None  # type: ignore[arg-type]


def test_grids_with_edges_and_grids_too_fine_to_ask_are_left_alone() -> None:
    def fail(values: Values) -> Values:
        raise AssertionError("nothing should be asked")

    area = lattice(1, 1, (60.0, -12.0, 36.0, 20.0))
    assert written_down(fail, area, lattice(4, 4, (60.0, -12.0, 36.0, 20.0))) is None
    assert written_down(fail, lattice(0.1, 0.1, None), COARSE) is None
