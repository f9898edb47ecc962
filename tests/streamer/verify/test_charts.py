"""Charts of honesty: small PNGs of any number of panels, that change with what they show."""

from datetime import date
from pathlib import Path

import matplotlib.image
import numpy as np

from streamer.verify.charts import ClassPanel, save_classes, save_ranks, save_reliability
from streamer.verify.conditional import Class, SpreadErrorScorer
from streamer.verify.ranks import RankCounter, RankHistogram
from streamer.verify.reliability import ExceedanceScorer, Reliability

ROWS, COLUMNS, DRAWS = 20, 40, 6
EVEN = np.full(ROWS, 1 / ROWS)
DAYS = (date(2018, 10, 15), date(2018, 10, 16))
LARGEST = 150_000

Found = tuple[RankHistogram, tuple[Class, ...], Reliability]


def found(spread: float, days: tuple[date, ...] = DAYS) -> Found:
    """What draws of a spread tell of a truth of deviation 1 about the same centre."""
    rng = np.random.default_rng(0)
    ranks, classes = RankCounter(EVEN, DRAWS), SpreadErrorScorer(EVEN, DRAWS, (0, 1, 2, np.inf))
    exceeding = ExceedanceScorer(EVEN, DRAWS, 1.0)
    for day in days:
        noise = rng.standard_normal((DRAWS + 1, ROWS, COLUMNS))
        draws, truth = spread * noise[1:], noise[0]
        ranks.add(day, draws, truth)
        classes.add(day, np.abs(noise[1]), draws, truth)
        exceeding.add(day, draws, truth, truth)
    return ranks.histogram(), classes.classes(), exceeding.reliability()


def drawn(of: list[Found], folder: Path) -> list[np.ndarray]:
    """Draw all three charts, with as many panels as there are findings."""
    folder.mkdir()
    paths = [folder / name for name in ("ranks.png", "classes.png", "reliability.png")]
    save_ranks({str(i): one[0] for i, one in enumerate(of)}, "By whom", paths[0])
    panels = [ClassPanel("speed, m/s", {"10u": one[1], "10v": one[1][:2]}) for one in of]
    save_classes(panels, "m/s", "By whom", paths[1])
    save_reliability([one[2] for one in of], "m/s", "By whom", paths[2])
    assert all(path.stat().st_size < LARGEST for path in paths)
    return [matplotlib.image.imread(path) for path in paths]


def test_charts_change_with_what_they_show_and_stand_side_by_side(tmp_path: Path) -> None:
    honest, narrow = found(1.0), found(0.5, DAYS[:1])

    single, other, double = (
        drawn(of, tmp_path / name)
        for name, of in (("a", [honest]), ("b", [narrow]), ("c", [honest, narrow]))
    )

    for one, two, both in zip(single, other, double, strict=True):
        assert one.shape == two.shape
        assert not np.array_equal(one, two)
        assert both.shape[:2] == (one.shape[0], 2 * one.shape[1])
