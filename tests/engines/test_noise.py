"""Noise belongs to its place: whoever asks, in whatever order and window, sees the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.noise import Window, draw, keyed

HEIGHT, WIDTH = 40, 52
GLOBE = Window((0, HEIGHT), (0, WIDTH), WIDTH)


@st.composite
def windows(draws: st.DrawFn) -> Window:
    top = draws(st.integers(0, HEIGHT - 1))
    left = draws(st.integers(0, WIDTH - 1))
    height = draws(st.integers(1, HEIGHT - top))
    return Window((top, top + height), (left, left + draws(st.integers(1, WIDTH))), WIDTH)


@given(windows(), st.integers(0, 40))
def test_a_window_sees_its_part_of_the_globe_and_wraps_over_the_date_line(
    window: Window, level: int
) -> None:
    globe = draw(b"key", level, 2, GLOBE)

    found = draw(b"key", level, 2, window)

    columns = np.arange(*window.columns) % WIDTH
    np.testing.assert_array_equal(found, globe[:, slice(*window.rows)][..., columns])


def test_the_same_holds_where_many_rows_are_made_at_once_in_parts() -> None:
    large = Window((0, 721), (0, 1440), 1440)
    tile = Window((577, 721), (1300, 1660), 1440)

    found = draw(b"large", 0, 1, tile)

    rows = draw(b"large", 0, 1, large)[:, 577:]
    np.testing.assert_array_equal(found, np.concatenate([rows[..., 1300:], rows[..., :220]], -1))


def test_the_order_of_asking_changes_nothing() -> None:
    noise = keyed(b"order", 1, GLOBE)

    forward = [noise(level) for level in range(4)]
    backward = [noise(level) for level in reversed(range(4))]

    for first, second in zip(forward, reversed(backward), strict=True):
        np.testing.assert_array_equal(first, second)


def test_each_answer_is_a_fresh_array_that_may_be_written_on() -> None:
    noise = keyed(b"fresh", 1, GLOBE)
    first = noise(0)
    wanted = first.copy()

    first *= 0

    np.testing.assert_array_equal(noise(0), wanted)


def test_noise_is_standard_normal() -> None:
    found = draw(b"moments", 0, 4, Window((0, 500), (0, 500), 500)).astype(np.float64)

    # A million numbers: standard errors 0.001, 0.0014, 0.0024 and 0.01.
    assert found.mean() == pytest.approx(0.0, abs=0.004)
    assert (found**2).mean() == pytest.approx(1.0, abs=0.006)
    assert (found**3).mean() == pytest.approx(0.0, abs=0.016)
    assert (found**4).mean() == pytest.approx(3.0, abs=0.04)
    assert (np.abs(found) > 1.959964).mean() == pytest.approx(0.05, abs=0.001)
    assert np.abs(found).max() < 7.0


@pytest.mark.parametrize(
    ("first", "second"),
    [((b"a", 0), (b"b", 0)), ((b"a", 0), (b"a", 1)), ((b"seed 1", 3), (b"seed 2", 3))],
)
def test_other_keys_and_levels_are_independent(
    first: tuple[bytes, int], second: tuple[bytes, int]
) -> None:
    window = Window((0, 300), (0, 300), 300)

    one, other = draw(*first, 1, window), draw(*second, 1, window)

    # 90000 pairs: the standard error of a correlation is 0.0033.
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.013


def test_channels_and_neighbours_are_independent() -> None:
    field = draw(b"neighbours", 0, 2, Window((0, 300), (0, 301), 301))

    # A word of the stream makes two numbers of a row half a row apart: 152 columns here.
    pairs = [
        (field[0], field[1]),
        (field[0, :, 1:], field[0, :, :-1]),
        (field[0, 1:], field[0, :-1]),
        (field[0, :, :149], field[0, :, 152:]),
    ]

    for one, other in pairs:
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.019
        assert abs(np.corrcoef(one.ravel() ** 2, other.ravel() ** 2)[0, 1]) < 0.019
