"""The picture of seams: its measure has closed forms, and it is drawn."""

from pathlib import Path

import numpy as np
import pytest

from streamer.domain import Array, Grid
from streamer.downscale.tiles import Layout
from tests.benchmarks.seams_picture import borders, jumps, save

GRID = Grid(90.0, 0.0, 10.0, 10.0, 19, 36)
BLOCKS = Layout.blocks(GRID.shape, (10, 18))


def chance(draws: int = 400) -> Array:
    """Draws of which no point knows another."""
    values = np.random.default_rng(5).standard_normal((draws, 1, *GRID.shape))
    return values.astype(np.float32)


def test_strangers_jump_by_one_and_twins_not_at_all() -> None:
    draws = chance()
    draws[..., 7] = draws[..., 6]

    found = jumps(draws, -1)

    assert found[:, 6] == pytest.approx(0.0)
    assert np.delete(found, 6, axis=1).mean() == pytest.approx(1.0, abs=0.01)


def test_neighbours_that_share_half_their_variance_jump_by_half() -> None:
    common, own = chance(), chance()[::-1]

    found = jumps(np.asarray(np.repeat(common[..., :1], 36, axis=-1) + own, np.float32), -1)

    assert found.mean() == pytest.approx(0.5, abs=0.03)


def test_what_all_draws_have_is_no_jump() -> None:
    step = np.zeros((1, 1, *GRID.shape), dtype=np.float32)
    step[..., 18:] = 100.0

    assert jumps(chance() + step, -1)[:, 17].mean() == pytest.approx(1.0, abs=0.05)


def test_the_last_row_has_no_neighbour_and_the_last_column_the_first() -> None:
    draws = chance()
    draws[..., 35] = draws[..., 0]

    assert np.isnan(jumps(draws, -2)[-1]).all()
    assert np.isfinite(jumps(draws, -2)[:-1]).all()
    assert jumps(draws, -1)[:, 35] == pytest.approx(0.0)


def test_borders_lie_where_a_block_ends_whoever_begins() -> None:
    east, south = borders(BLOCKS, -1), borders(BLOCKS, -2)

    assert np.flatnonzero(east.all(axis=0)).tolist() == [17, 35]
    assert np.flatnonzero(south.all(axis=1)).tolist() == [9]
    assert east.sum() == 2 * 19
    assert south.sum() == 36


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    land = np.zeros(GRID.shape, dtype=np.float32)
    land[5:9, 3:20] = 1.0

    save([chance(3), chance(3)], GRID, land, "small", tmp_path / "pictures" / "seams.png")

    assert (tmp_path / "pictures" / "seams.png").read_bytes().startswith(b"\x89PNG")
