"""Pictures: every point at its place, every kind of map, and no synthetic one without its label."""

import dataclasses
from pathlib import Path

import matplotlib.image
import numpy as np

from streamer.domain import Grid
from streamer.verify.pictures import StepPicture, save_step

FINE, COARSE = Grid(90.0, 0.0, 5.0, 5.0, 37, 72), Grid(80.0, 0.0, 20.0, 20.0, 9, 18)


def picture() -> StepPicture:
    rng = np.random.default_rng(0)
    return StepPicture(
        title="A field",
        quantity="wind speed",
        units="m/s",
        coarse=rng.random(COARSE.shape) * 10,
        coarse_grid=COARSE,
        interpolated=rng.random(FINE.shape) * 10,
        draws=rng.random((3, *FINE.shape)) * 10,
        grid=FINE,
    )


def saved(one: StepPicture, path: Path) -> np.ndarray:
    save_step(one, path)
    return matplotlib.image.imread(path)


def test_a_picture_is_a_png_of_a_sensible_size(tmp_path: Path) -> None:
    image = saved(picture(), tmp_path / "a.png")

    assert 800 < image.shape[0] < 2000
    assert 1000 < image.shape[1] < 2500


def test_the_synthetic_label_is_seen_on_all_six_maps(tmp_path: Path) -> None:
    plain = saved(picture(), tmp_path / "a.png")
    labelled = saved(dataclasses.replace(picture(), warning="SYNTHETIC"), tmp_path / "b.png")

    orange = np.abs(labelled[..., :3] - [0xB3 / 255, 0x40 / 255, 0x0A / 255]).max(axis=-1) < 0.02
    rows, columns = orange.shape
    for row in range(3):
        for column in range(2):
            part = np.s_[
                rows * row // 3 : rows * (row + 1) // 3,
                columns * column // 2 : columns * (column + 1) // 2,
            ]
            assert orange[part].sum() > 300
    assert not np.array_equal(plain, labelled)


def test_one_draw_without_a_truth_leaves_the_maps_that_need_more_empty(tmp_path: Path) -> None:
    one = picture()

    image = saved(dataclasses.replace(one, draws=one.draws[:1]), tmp_path / "a.png")

    rows, columns = image.shape[:2]
    last = image[2 * rows // 3 + 40 :, columns // 2 + 20 : columns - 20, :3]
    assert (last > 0.99).mean() > 0.95


def test_a_truth_coasts_and_a_footer_change_the_picture(tmp_path: Path) -> None:
    one = picture()
    plain = saved(one, tmp_path / "a.png")

    land = np.zeros(FINE.shape)
    land[10:20, 30:40] = 1.0
    changes = [{"truth": one.draws[2]}, {"land": land}, {"footer": "By whom"}]
    for number, change in enumerate(changes):
        changed = saved(dataclasses.replace(one, **change), tmp_path / f"{number}.png")
        assert changed.shape != plain.shape or not np.array_equal(changed, plain)
