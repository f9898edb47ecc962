"""Tiles are cut, mirrored and made noisy as they say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from engines.training.batches import Batch, Store, chance_of
from engines.training.settings import Pairs, TrainingSettings
from tests.engines.training.known import SETTINGS, known_pairs, upright_is_negative


def drawn(pairs: Pairs, size: int, settings: TrainingSettings = SETTINGS, seed: int = 0) -> Batch:
    return Store(pairs, "cpu").draw(settings, size, chance_of(seed, 1, "cpu"))


def test_tiles_wrap_keep_their_constants_and_reach_both_edges() -> None:
    pairs = known_pairs(4, 0)

    batch = drawn(pairs, 200)

    clean, condition = batch.clean.numpy(), batch.condition.numpy()
    rows, columns = condition[:, 1], condition[:, 2]
    assert np.array_equal(clean[:, 0], condition[:, 0])
    assert np.all(np.diff(rows, axis=1) == 1)
    assert np.all(np.diff(columns, axis=2) % 32 == 1)
    assert (columns[:, 0, 0] > columns[:, 0, -1]).any(), "no tile wrapped"
    assert (rows.min(), rows.max()) == (0, 19)
    state = [
        np.flatnonzero((pairs.residual[:, 0] == tile[0, 0]).any((1, 2))) for tile in clean[:, 0]
    ]
    assert {int(found[0]) for found in state} == {0, 1, 2, 3}


def test_half_of_the_tiles_are_seen_from_the_other_pole() -> None:
    pairs = replace(known_pairs(4, 0), mirror=upright_is_negative())

    batch = drawn(pairs, 200)

    rows, columns = batch.condition[:, 1].numpy(), batch.condition[:, 2].numpy()
    # The mirror counts the rows back, so that what a tile is told of its place stays true.
    assert np.all(np.diff(rows, axis=1) == 1)
    for tile, row, column in zip(batch.clean[:, 0].numpy(), rows, columns, strict=True):
        r, c = row.astype(int), column.astype(int)
        upright = [np.array_equal(tile, field[r, c]) for field in pairs.residual[:, 0]]
        mirrored = [np.array_equal(tile, 0.5 - field[19 - r, c]) for field in pairs.residual[:, 0]]
        assert sum(upright) + sum(mirrored) == 1


def test_a_fit_may_refuse_the_mirror() -> None:
    pairs = replace(known_pairs(4, 0), mirror=upright_is_negative())

    plain = drawn(known_pairs(4, 0), 50)
    refused = drawn(pairs, 50, replace(SETTINGS, mirror=False))

    assert torch.equal(plain.clean, refused.clean)


def test_tiles_of_a_limited_area_never_wrap() -> None:
    batch = drawn(replace(known_pairs(4, 0), periodic=False), 200)

    assert np.all(np.diff(batch.condition[:, 2].numpy(), axis=2) == 1)


def test_every_row_counts_as_asked_however_seldom_a_tile_holds_it() -> None:
    asked = np.linspace(1.0, 2.0, 20, dtype=np.float32)

    batch = drawn(replace(known_pairs(4, 0), row_weights=asked), 20_000)

    rows = batch.condition[:, 1, :, 0].numpy().astype(int)
    counted = np.bincount(rows.ravel(), weights=batch.weights[:, 0, :, 0].numpy().ravel())
    seen = np.bincount(rows.ravel())
    assert seen.max() > 1.5 * seen.min()
    assert counted / counted.mean() == pytest.approx(asked / asked.mean(), rel=0.06)


@pytest.mark.parametrize("is_closed", [True, False])
def test_towards_its_edges_a_tile_counts_what_its_neighbours_leave(is_closed: bool) -> None:
    pairs = replace(known_pairs(4, 0), periodic=is_closed)
    height, width = SETTINGS.tile
    overlap = (3, 4)

    batch = Store(pairs, "cpu").draw(SETTINGS, 400, chance_of(0, 1, "cpu"), overlap)

    rows, columns = batch.condition[:, 1].numpy().astype(int), batch.condition[:, 2].numpy()
    tops, lefts = rows[:, 0, 0], columns[:, 0, 0].astype(int)
    weights = batch.weights[:, 0].numpy()
    # What a row counts in a tile that holds it whole.
    whole = np.array([weights[rows[:, :, 0] == row].max() for row in range(20)])
    shares = weights / whole[rows[:, :, :1]]
    is_inner = (tops > 0) & (tops < 20 - height) & (lefts > 0) & (lefts < 32 - width)
    inner = shares[is_inner][0]
    # Of two tiles that share so many points, the one's end and the other's start add up to 1.
    middle = height // 2, width // 2
    assert inner[:3, middle[1]] + inner[-3:, middle[1]] == pytest.approx(np.ones(3), abs=1e-5)
    assert inner[middle[0], :4] + inner[middle[0], -4:] == pytest.approx(np.ones(4), abs=1e-5)
    assert inner[3:-3, 4:-4] == pytest.approx(1.0, abs=1e-5)
    # The edge of the area is no tile's edge.
    assert shares[tops == 0][:, 0, middle[1]] == pytest.approx(1.0, abs=1e-5)
    assert np.all((shares[lefts == 0][:, middle[0], 0] < 0.2) == is_closed)


def test_every_row_counts_as_asked_where_tiles_fade() -> None:
    asked = np.linspace(1.0, 2.0, 20, dtype=np.float32)
    store = Store(replace(known_pairs(4, 0), row_weights=asked), "cpu")

    batch = store.draw(SETTINGS, 20_000, chance_of(0, 1, "cpu"), (3, 0))

    rows = batch.condition[:, 1, :, 0].numpy().astype(int)
    counted = np.bincount(rows.ravel(), weights=batch.weights[:, 0, :, 0].numpy().ravel())
    assert counted / counted.mean() == pytest.approx(asked / asked.mean(), rel=0.06)


def test_levels_are_drawn_from_the_stated_distribution() -> None:
    logarithms = np.log(drawn(known_pairs(4, 0), 4000).sigma.numpy())

    assert logarithms.mean() == pytest.approx(-0.4, abs=0.08)
    assert logarithms.std() == pytest.approx(1.6, abs=0.07)


def test_fixed_tiles_spread_their_levels_evenly() -> None:
    store = Store(known_pairs(4, 0), "cpu")

    batch = store.spread(SETTINGS, 100, chance_of(0, 0, "cpu"))

    logarithms = np.sort(np.log(batch.sigma.numpy()))
    # The middle of 100 even shares is the median; the quarters lie 0.6745 deviations off.
    assert np.median(logarithms) == pytest.approx(-0.4, abs=0.06)
    assert logarithms[[24, 74]].mean() == pytest.approx(-0.4, abs=0.06)
    assert logarithms[74] - logarithms[24] == pytest.approx(2 * 0.6745 * 1.6, abs=0.13)


def test_a_step_draws_the_same_whoever_asks() -> None:
    pairs = known_pairs(4, 0)

    first, second, other = drawn(pairs, 8), drawn(pairs, 8), drawn(pairs, 8, seed=1)

    assert torch.equal(first.noise, second.noise)
    assert torch.equal(first.sigma, second.sigma)
    assert not torch.equal(first.noise, other.noise)


def test_parts_make_the_whole() -> None:
    batch = drawn(known_pairs(4, 0), 8)

    parts = batch.split(4)

    assert [len(part.sigma) for part in parts] == [2, 2, 2, 2]
    assert torch.equal(torch.cat([part.clean for part in parts]), batch.clean)


def test_half_precision_pairs_are_learnt_from_as_they_are() -> None:
    pairs = known_pairs(4, 0)
    half = replace(
        pairs,
        residual=pairs.residual.astype(np.float16),
        condition=pairs.condition.astype(np.float16),
    )

    exact, rounded = drawn(pairs, 8), drawn(half, 8)

    assert rounded.clean.dtype == torch.float32
    assert torch.allclose(exact.clean, rounded.clean, atol=2e-3)
