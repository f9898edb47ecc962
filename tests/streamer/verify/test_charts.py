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


@pytest.mark.parametrize("days", [DAYS, DAYS[:1]])
def test_charts_change_with_what_they_show_with_intervals_and_without(
    days: tuple[date, ...], tmp_path: Path
) -> None:
    honest, narrow = (drawn([found(spread, days)], tmp_path / str(spread)) for spread in (1.0, 0.5))

    for one, other in zip(honest, narrow, strict=True):
        assert one.shape != other.shape or not np.array_equal(one, other)


def test_two_findings_stand_side_by_side(tmp_path: Path) -> None:
    single = drawn([found(1.0)], tmp_path / "one")
    double = drawn([found(1.0), found(0.5)], tmp_path / "two")

    for one, two in zip(single, double, strict=True):
        assert two.shape[1] == 2 * one.shape[1]
        assert two.shape[0] == one.shape[0]
