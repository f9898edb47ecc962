"""What asks for honesty finds an honest ensemble honest, and shows a case of it."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from engines.bundle import Bundle, open_manifest
from engines.denoiser import GaussianDenoiser
from engines.errors import UsageError
from engines.sampler import SamplerSettings
from streamer.archive import StateKey
from streamer.grib.manifest import read_manifest
from streamer.skill import Trial, draw, measured
from tests.benchmarks import rows
from tests.benchmarks.beside import Beside
from tests.benchmarks.honesty import Honesty, footer_of
from tests.benchmarks.skill import against
from tests.benchmarks.storm import storm_of

DRAWS = 8
SETTINGS = SamplerSettings(steps=18, sigma_min=0.01, sigma_max=20.0)
STORM = ("Made-up", "2018-10-16", "2018-10-17", "60", "-90", "10", "-10")


@pytest.fixture(scope="module")
def bundle(small_wind_bundle: Path) -> Bundle:
    return open_manifest(small_wind_bundle)


@pytest.fixture(scope="module")
def trial(bundle: Bundle) -> Trial:
    """Six states on three days, whose residual is what the Gaussian denoiser knows."""
    grid, rng = read_manifest(bundle.grib).grid, np.random.default_rng(0)
    twin = rng.normal(3.0, 8.0, (6, 2, *grid.shape)).astype(np.float32)
    normals = bundle.normalisation
    scale = np.array([n.residual_std * n.fine_std for n in normals])[:, None, None]
    shift = np.array([n.fine_mean - n.coarse_mean for n in normals])[:, None, None]
    mean, deviation = (
        np.array([getattr(n, name) for n in normals])[:, None, None]
        for name in ("coarse_mean", "coarse_std")
    )
    condition = ((twin - mean) / deviation).astype(np.float32)
    fine_std = np.array([n.fine_std for n in normals])[:, None, None]
    centre = condition * fine_std + mean + shift
    truth = (centre + scale * rng.standard_normal(twin.shape)).astype(np.float32)
    start = datetime(2018, 10, 15, tzinfo=UTC)
    keys = tuple(StateKey(start + timedelta(hours=12 * i), "0", 0) for i in range(6))
    return Trial(keys, truth, centre.astype(np.float32), condition, grid)


@pytest.fixture(scope="module")
def honesty(bundle: Bundle, trial: Trial) -> Honesty:
    asked = Honesty(trial, bundle, DRAWS, storm_of(STORM), (12.0,))
    drawn = draw(bundle, GaussianDenoiser(), SETTINGS, trial, DRAWS)
    for state, draws in enumerate(drawn):
        asked.add(state, draws)
    return asked


def test_an_honest_ensemble_is_found_honest_everywhere(honesty: Honesty) -> None:
    found = json.loads(json.dumps(honesty.plain()))

    for one in found["ranks"].values():
        assert one["outside"] == pytest.approx(1.0, abs=0.1)
        assert one["lean"] == pytest.approx(0.0, abs=0.03)
    for what, names in found["spread_and_error"].items():
        for classes in names.values():
            common = [one for one in classes if one["share"] > 0.1]
            ratios = [one["ratio"] for one in common]
            assert ratios == pytest.approx([1.0] * len(ratios), abs=0.1), what
    (exceedance,) = found["exceedance"]
    assert exceedance["forecast"] == pytest.approx(exceedance["observed"], rel=0.1)
    assert exceedance["fair_brier"] < exceedance["baseline_brier"]


def test_a_storm_is_kept_on_its_days_and_in_its_window(honesty: Honesty, trial: Trial) -> None:
    case = honesty.case
    assert case is not None

    assert {time.date() for time in case.times} == {date(2018, 10, 16), date(2018, 10, 17)}
    assert case.draws[0].shape == (DRAWS, 6, 9)
    truth, _, _, draws = case.strongest()
    assert truth[case.peak] == truth.max()
    assert draws.shape == (4, DRAWS)


def test_pictures_are_saved_with_what_they_were_made_from(
    honesty: Honesty, bundle: Bundle, trial: Trial, tmp_path: Path
) -> None:
    row = rows.Row("recommended", bundle, SETTINGS)

    paths = honesty.save(tmp_path, footer_of(row, trial, DRAWS))

    assert [path.name for path in paths] == [
        "ranks.png", "spread.png", "reliability.png", "made-up-maps.png", "made-up-strongest.png"
    ]  # fmt: skip
    assert "8 draws of 6 states, 2018-10-15 to 2018-10-17" in footer_of(row, trial, DRAWS)


def test_draws_of_the_same_noise_lie_side_by_side(
    bundle: Bundle, trial: Trial, tmp_path: Path
) -> None:
    beside = Beside(trial, bundle, (60.0, -90.0, 10.0, -10.0))
    for name in ("heun:2:3:0.3", "recommended"):
        row = rows.row_of(bundle, name)
        taker = beside.of(row)
        for state, draws in enumerate(draw(bundle, GaussianDenoiser(), row.sampler, trial, 1)):
            taker.add(state, draws)

    beside.save(tmp_path / "beside.png")

    assert [row.calls for row, _ in beside.draws] == [3, 5]
    assert (tmp_path / "beside.png").stat().st_size > 10_000


def test_a_way_of_drawing_is_no_different_from_itself(bundle: Bundle, trial: Trial) -> None:
    states = measured(bundle, GaussianDenoiser(), SETTINGS, trial, 2)

    found = against(states, states)

    assert found["patch_energy"]["change"] == 0.0
    for name in bundle.channels:
        assert found[name]["crps"]["change"] == 0.0
        assert found[name]["spread_skill_ratio"] == 1.0


def test_without_a_table_the_reference_is_the_many_levels(bundle: Bundle) -> None:
    assert rows.row_of(bundle, "reference").calls == 35
    with pytest.raises(UsageError, match=r"names no way of drawing.*no table"):
        rows.row_of(bundle, "fast")


def test_too_few_draws_are_refused(bundle: Bundle, trial: Trial) -> None:
    with pytest.raises(UsageError, match="3 draws tell nothing of honesty, wanted at least 4"):
        Honesty(trial, bundle, 3, None, ())
