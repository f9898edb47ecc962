"""Tiles hold what their states hold, and the same generator cuts the same ones."""

from dataclasses import replace

import numpy as np
import torch

from engines.training.crops import Cropper
from tests.engines.training.known import known_pairs


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_a_tile_is_a_window_of_one_state_with_what_it_is_told() -> None:
    pairs = known_pairs(4, 0)
    labels = np.arange(4, dtype=np.float32)[:, None]

    crop = Cropper(pairs, labels=labels).draw(12, (8, 16), rng())

    assert crop.labels is not None
    for clean, told, label in zip(crop.clean, crop.condition, crop.labels, strict=True):
        top, columns = int(told[1, 0, 0]), told[2, 0].long()
        state = pairs.residual[int(label)]
        np.testing.assert_array_equal(clean, state[:, top : top + 8][..., columns])
        np.testing.assert_array_equal(told[:1], clean)


def test_tiles_go_over_the_last_column_of_a_globe_and_of_nothing_else() -> None:
    wraps = []
    for periodic in (True, False):
        pairs = replace(known_pairs(2, 0), periodic=periodic)
        crop = Cropper(pairs).draw(64, (8, 16), rng())
        wraps.append(bool((crop.condition[:, 2, 0].diff(dim=-1) < 0).any()))

    assert wraps == [True, False]


def test_both_edges_are_met_and_rows_keep_their_weights() -> None:
    pairs = replace(known_pairs(2, 0), row_weights=np.arange(20, dtype=np.float32))

    crop = Cropper(pairs).draw(200, (8, 8), rng())

    tops = crop.condition[:, 1, 0, 0]
    assert {0, 12} <= set(tops.tolist())
    torch.testing.assert_close(crop.weights[:, 0, 0, 0], tops)


def test_the_same_generator_cuts_the_same_tiles() -> None:
    cropper = Cropper(known_pairs(2, 0))

    one, other = (cropper.draw(4, (8, 8), rng()).clean for _ in range(2))

    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_the_deviation_is_that_of_the_residuals() -> None:
    pairs = known_pairs(4, 0)
    scaled = replace(pairs, residual=3.0 * pairs.residual)

    assert abs(Cropper(scaled).deviation / Cropper(pairs).deviation - 3.0) < 1e-5
