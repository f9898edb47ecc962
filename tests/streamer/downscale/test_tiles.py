"""Tiles cover every point, and blending gives back what was cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.errors import UsageError
from streamer.domain import Array
from streamer.downscale.tiles import Layout, cut, stitch

GLOBE, TILE, OVERLAP = (181, 360), (96, 144), (8, 16)


def field_of(shape: tuple[int, int], channels: int = 2) -> Array:
    values = np.random.default_rng(3).standard_normal((channels, *shape)) * 10
    return values.astype(np.float32)


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    sizes = []
    for _ in range(2):
        length = draw(st.integers(1, 24))
        size = draw(st.integers(1, length))
        sizes.append((length, size, draw(st.integers(0, size - 1)), draw(st.integers(0, 30))))
    shape, tile, overlap, offset = zip(*sizes, strict=True)
    return Layout.cover(shape, tile, overlap, periodic=draw(st.booleans()), offset=offset)


@given(layouts())
def test_stitching_what_was_cut_gives_it_back(layout: Layout) -> None:
    whole = field_of(layout.shape)

    found = stitch(cut(whole, layout), layout)

    assert found == pytest.approx(whole, rel=1e-6, abs=1e-5)


@given(layouts())
def test_every_tile_has_the_size_of_a_tile_and_the_layouts_order(layout: Layout) -> None:
    rows, columns = np.indices(layout.shape).astype(np.float32)

    tiles = cut(np.stack([rows, columns]), layout)

    for tile, values in zip(layout.tiles, tiles, strict=True):
        assert values.shape == (2, tile.height, tile.width)
        assert values[:, 0, 0].tolist() == [tile.row, tile.column]


@given(layouts())
def test_every_share_of_a_tile_is_above_zero(layout: Layout) -> None:
    assert layout.rows.weights.min() > 0
    assert layout.columns.weights.min() > 0


def test_the_wind_globe_takes_two_rows_of_three_tiles() -> None:
    layout = Layout.cover(GLOBE, TILE, OVERLAP, periodic=True)

    assert layout.rows.starts == (0, 85)
    assert layout.columns.starts == (0, 120, 240)
    assert [t.row + t.height for t in layout.tiles][-1] == 181
    assert [t.column + t.width for t in layout.tiles][-1] == 384


def test_a_quarter_degree_globe_is_covered_to_its_last_row() -> None:
    layout = Layout.cover((721, 1440), (144, 360), (16, 32), periodic=True)

    assert (len(layout.rows.starts), len(layout.columns.starts)) == (6, 5)
    assert layout.rows.starts[-1] + 144 == 721


@given(layouts())
def test_neighbours_share_at_least_what_was_asked(layout: Layout) -> None:
    for axis in (layout.rows, layout.columns):
        assert all(0 <= start < axis.length for start in axis.starts)
        assert len(set(axis.starts)) == len(axis.starts)


def test_the_overlap_is_kept_where_tiles_do_not_fit_evenly() -> None:
    layout = Layout.cover((50, 100), (20, 30), (7, 9), periodic=True)

    rows = np.diff(layout.rows.starts)
    columns = np.diff([*layout.columns.starts, layout.columns.starts[0] + 100])
    assert max(rows) <= 20 - 7
    assert max(columns) <= 30 - 9


def test_a_border_between_tiles_that_disagree_is_blended_smoothly() -> None:
    """One tile says 0, its neighbours 1: the step between them is spread over the overlap."""
    layout = Layout.cover((10, 60), (10, 20), (0, 10), periodic=True)
    tiles = [np.full((1, 10, 20), i % 2, dtype=np.float32) for i in range(len(layout.tiles))]

    blended = stitch(tiles, layout)[0, 0]

    jumps = np.abs(np.diff(np.append(blended, blended[0])))
    # A straight ramp would rise by 0.1 a point, a raised cosine by at most pi / 2 of that.
    assert jumps.max() < 0.1 * np.pi / 2 + 0.01
    assert (blended.min(), blended.max()) == (
        pytest.approx(0, abs=0.03),
        pytest.approx(1, abs=0.03),
    )


def test_blending_always_gives_the_same_bytes() -> None:
    layout = Layout.cover(GLOBE, TILE, OVERLAP, periodic=True)
    tiles = [field_of(TILE) + i for i in range(6)]

    first, second = (stitch(tiles, layout) for _ in range(2))

    assert first.tobytes() == second.tobytes()


def test_shifting_by_half_a_tile_moves_every_inner_border() -> None:
    plain = Layout.cover(GLOBE, TILE, OVERLAP, periodic=True)
    shifted = Layout.cover(GLOBE, TILE, OVERLAP, periodic=True, offset=(48, 72))

    assert shifted.columns.starts == (72, 192, 312)
    assert shifted.rows.starts == (0, 48, 85)
    assert set(plain.rows.starts) <= set(shifted.rows.starts)


def test_a_whole_grid_is_one_tile_that_is_not_copied_to_be_cut() -> None:
    layout = Layout.whole(GLOBE)
    whole = field_of(GLOBE)

    tiles = cut(whole, layout)

    assert len(tiles) == 1
    assert np.shares_memory(tiles[0], whole)
    np.testing.assert_array_equal(stitch(tiles, layout), whole)


def test_stitching_writes_where_it_is_told() -> None:
    layout = Layout.cover(GLOBE, TILE, OVERLAP, periodic=True)
    out = np.full((2, *GLOBE), np.nan, dtype=np.float32)

    assert stitch(cut(field_of(GLOBE), layout), layout, out=out) is out
    assert np.isfinite(out).all()


@pytest.mark.parametrize(
    ("tile", "overlap"), [((200, 144), (8, 16)), ((96, 361), (8, 16)), ((96, 144), (96, 16))]
)
def test_tiles_that_do_not_fit_are_refused(tile: tuple[int, int], overlap: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="do not fit a grid of"):
        Layout.cover(GLOBE, tile, overlap, periodic=True)
