"""Gains are told apart by day and by place, and the interval is the textbook's."""

from datetime import date

import numpy as np
import pytest

from streamer.domain import Grid
from streamer.verify.details import Details, DetailScorer, interval

GLOBE = Grid(90.0, 0.0, 5.0, 5.0, 37, 72)
DAYS = (date(2018, 10, 15), date(2018, 10, 16))


def scored(spoilt: tuple[slice, slice] | None = None, grid: Grid = GLOBE) -> Details:
    """Two days of draws about a truth that the baseline misses by 1; the second spreads more."""
    rng = np.random.default_rng(0)
    scorer = DetailScorer(grid)
    for spread, day in zip((0.5, 1.0), DAYS, strict=True):
        for _ in range(20):
            truth = rng.standard_normal(grid.shape)
            draws = truth + spread * rng.standard_normal((4, *grid.shape))
            if spoilt is not None:
                draws[:, spoilt[0], spoilt[1]] += 3.0
            scorer.add(day, draws, truth, truth + 1.0)
    return scorer.details()


def test_each_day_has_its_gain() -> None:
    found = dict(scored().days)

    # Fair CRPS of N(0, s^2) around its own centre: s (sqrt(2 / pi) - 1 / sqrt(pi)).
    unit = (2 / np.pi) ** 0.5 - np.pi**-0.5
    assert found["2018-10-15"] == pytest.approx(0.5 * unit, rel=0.03)
    assert found["2018-10-16"] == pytest.approx(unit, rel=0.03)


def test_places_that_are_like_all_others_are_told_as_such() -> None:
    found = scored()

    assert found.polar == pytest.approx(1.0, abs=0.1)
    assert found.date_line == pytest.approx(1.0, abs=0.05)
    assert found.first_column == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("where", "name"),
    [
        ((slice(0, 3), slice(None)), "polar"),
        ((slice(None), slice(30, 43)), "date_line"),
        ((slice(None), slice(0, 3)), "first_column"),
    ],
)
def test_a_place_that_is_worse_stands_out(where: tuple[slice, slice], name: str) -> None:
    found = scored(where)

    ratios = {one: getattr(found, one) for one in ("polar", "date_line", "first_column")}
    assert max(ratios, key=lambda one: ratios[one]) == name
    assert ratios[name] > 1.5


def test_spectra_tell_the_power_that_draws_add() -> None:
    found = scored()

    # White noise of variance 1 and draws of variance 1 + (0.25 + 1) / 2 have flat spectra.
    assert np.array([band.ratio for band in found.bands]) == pytest.approx(1.625, rel=0.12)
    assert found.bands[-1].highest == 36


def test_a_limited_area_has_neither_date_line_nor_spectra() -> None:
    found = scored(grid=Grid(60.0, 0.0, 1.0, 1.0, 20, 20))

    assert (found.polar, found.date_line, found.first_column, found.bands) == (None, None, None, ())


def test_the_interval_is_students() -> None:
    low, high = interval([1.0, 2.0, 3.0, 4.0]) or (0.0, 0.0)

    # t at 97.5 % with 3 degrees of freedom is 3.182; the deviation is 1.291.
    assert (low + high) / 2 == pytest.approx(2.5)
    assert (high - low) / 2 == pytest.approx(3.182 * 1.291 / 2, rel=1e-3)
    assert interval([1.0]) is None
