"""The regression finds what is linear, and nothing where there is nothing."""

import numpy as np
import pytest

from streamer.domain import Array
from streamer.verify.ridge import fit_ridge, predictors


def states(count: int, seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal((count, 2, 30, 24), dtype=np.float32)


def error(guess: Array, fine: Array) -> float:
    return float(np.sqrt(((guess - fine) ** 2).mean()))


def linear(twin: Array) -> Array:
    """Add to each twin what its neighbours and its partner tell, in another way at every point."""
    own = np.linspace(-1.0, 1.0, 24, dtype=np.float32)
    beside = np.roll(twin, -2, axis=-1)
    fine: Array = twin + own * beside + 0.5 * twin[:, ::-1] + 3.0
    return fine


def test_what_is_linear_is_found_at_every_point() -> None:
    twin, held, other = states(300, 0), states(60, 1), states(40, 2)

    ridge = fit_ridge((linear(twin), twin), (linear(held), held), reach=2)

    assert ridge.penalty == 0.1
    missed = error(other, linear(other))
    assert error(ridge.predict(other), linear(other)) < 0.15 * missed


def test_where_nothing_can_be_told_the_mean_is_the_guess() -> None:
    twin, held, other = states(40, 0), states(60, 1), states(40, 2)
    noise = [states(len(one), 9 + i) + 2.0 for i, one in enumerate((twin, held, other))]

    ridge = fit_ridge((twin + noise[0], twin), (held + noise[1], held), reach=2)

    # A strong penalty, since every slope is chance; what is left is the noise itself.
    assert ridge.penalty >= 30.0
    assert error(ridge.predict(other), other + noise[2]) == pytest.approx(1.0, abs=0.05)


def test_predictors_wrap_in_longitude_and_stop_at_the_edges() -> None:
    rows, columns = np.mgrid[:5, :8].astype(np.float32)
    twin = np.stack([rows, columns])[None]

    up_right = predictors(twin, [(-1, 1)], slice(None))

    assert up_right[0, 0, :, 0].tolist() == [0, 0, 1, 2, 3]
    assert up_right[0, 1, 0].tolist() == [1, 2, 3, 4, 5, 6, 7, 0]
    assert np.array_equal(predictors(twin, [(-1, 1)], slice(2, 4)), up_right[:, :, 2:4])


def test_predictors_of_a_limited_area_stop_at_its_first_and_last_column() -> None:
    rows, columns = np.mgrid[:5, :8].astype(np.float32)
    twin = np.stack([rows, columns])[None]

    found = predictors(twin, ((0, -2), (0, 2)), slice(0, 5), periodic=False)

    assert found[0, 1, 0].tolist() == [0, 0, 0, 1, 2, 3, 4, 5]
    assert found[0, 3, 0].tolist() == [2, 3, 4, 5, 6, 7, 7, 7]


def test_a_regression_within_an_area_finds_what_lies_beside_a_point() -> None:
    twin, held, other = states(300, 0), states(60, 1), states(40, 2)

    def shifted(values: Array) -> Array:
        beside = np.clip(np.arange(24) + 2, 0, 23)
        fine: Array = values + values[..., beside]
        return fine

    ridge = fit_ridge((shifted(twin), twin), (shifted(held), held), 2, periodic=False)

    assert error(ridge.predict(other), shifted(other)) < 0.15 * error(other, shifted(other))
