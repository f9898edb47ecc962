"""Cases: windows drawn as maps, one kind with one scale, and the strongest value by time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import matplotlib.image
import numpy as np

from streamer.domain import Grid
from streamer.verify.cases import Map, Page, Strongest, save_maps, save_strongest

WINDOW, COARSE = Grid(42.0, -85.0, 1.0, 1.0, 18, 26), Grid(44.0, -88.0, 4.0, 4.0, 6, 9)
#: What GitHub and a slow line still bear.
LARGEST = 150_000


def page(**changes: object) -> Page:
    rng = np.random.default_rng(0)
    maps = [
        Map("Truth", rng.random(WINDOW.shape) * 30, WINDOW),
        Map("Coarse", rng.random(COARSE.shape) * 20, COARSE),
        Map("Spread", rng.random(WINDOW.shape) * 3, WINDOW, "spread"),
        Map("Anomaly", rng.standard_normal(WINDOW.shape), WINDOW, "difference"),
    ]
    return replace(Page("A storm", maps, columns=2), **changes)  # type: ignore[arg-type]


def saved(one: Page, path: Path) -> np.ndarray:
    save_maps(one, path)
    return matplotlib.image.imread(path)


def test_maps_are_a_small_png_with_every_kind_of_map(tmp_path: Path) -> None:
    image = saved(page(), tmp_path / "a.png")

    assert (tmp_path / "a.png").stat().st_size < LARGEST
    assert 300 < image.shape[0] < 1200
    assert 500 < image.shape[1] < 1400


def test_coasts_and_values_change_the_picture(tmp_path: Path) -> None:
    plain = saved(page(), tmp_path / "a.png")
    land = np.zeros(WINDOW.shape)
    land[:, :10] = 1.0

    changed = [saved(page(land=land, land_grid=WINDOW), tmp_path / "b.png")]
    for i in (1, 3):
        maps = list(page().maps)
        maps[i] = replace(maps[i], values=maps[i].values[::-1])
        changed.append(saved(page(maps=maps), tmp_path / f"{i}.png"))

    for image in changed:
        assert image.shape != plain.shape or not np.array_equal(image, plain)


def test_maps_that_fill_no_row_leave_it_empty(tmp_path: Path) -> None:
    image = saved(page(maps=page().maps[:3]), tmp_path / "a.png")

    rows, columns = image.shape[:2]
    last = image[rows // 2 + 60 : rows - 60, columns // 2 + 20 : int(columns * 0.7), :3]
    assert (last > 0.99).mean() > 0.95


def test_the_strongest_by_time_is_a_small_png_that_shows_its_draws(tmp_path: Path) -> None:
    start, rng = datetime(2018, 10, 8, tzinfo=UTC), np.random.default_rng(0)
    truth = 20 + rng.random(6)
    found = Strongest(
        "A storm", "m/s", [start + timedelta(hours=6 * i) for i in range(6)],
        truth, truth - 5, truth - 3, truth[:, None] + rng.standard_normal((6, 8)),
    )  # fmt: skip

    save_strongest(found, tmp_path / "a.png")
    save_strongest(replace(found, draws=found.draws + 2), tmp_path / "b.png")

    first, second = (matplotlib.image.imread(tmp_path / name) for name in ("a.png", "b.png"))
    assert first.shape == (400, 800, 4)
    assert not np.array_equal(first, second)
    assert (tmp_path / "a.png").stat().st_size < LARGEST
