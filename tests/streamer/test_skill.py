"""Skill: draws as at work, scored whole and state by state, by a denoiser of closed form."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from engines.bundle import Bundle, open_manifest
from engines.denoiser import Array, GaussianDenoiser
from engines.errors import UsageError
from engines.sampler import SamplerSettings
from streamer.archive import Archive, Found, StateKey
from streamer.grib.manifest import read_manifest
from streamer.skill import draw, measured, score, speed, trial_of, wind

SETTINGS = SamplerSettings(steps=3, sigma_min=0.05, sigma_max=5.0)
DRAWS = 3


@pytest.fixture
def bundle(small_wind_bundle: Path) -> Bundle:
    return open_manifest(small_wind_bundle)


def archive(bundle: Bundle, names: tuple[str, ...] = ("10u", "10v")) -> Archive:
    """Four states on two days, each of its own."""
    manifest = read_manifest(bundle.grib)
    known = {"10u": 165, "10v": 166, "2t": 167}
    start = datetime(2018, 10, 15, tzinfo=UTC)
    rng = np.random.default_rng(0)
    fine = rng.normal(2.0, 8.0, (4, len(names), *manifest.grid.shape))
    return Archive(
        parameters=tuple(Found(known[name], name, "m s-1") for name in names),
        grid=manifest.grid,
        keys=tuple(StateKey(start + timedelta(hours=12 * i), "0", 0) for i in range(4)),
        fine=fine.astype(np.float32),
    )


def test_a_trial_meets_parameters_in_the_bundles_order_whatever_the_archives(
    bundle: Bundle,
) -> None:
    held = archive(bundle, ("2t", "10v", "10u"))

    trial = trial_of(held, [1, 3], bundle)

    np.testing.assert_array_equal(trial.truth, held.fine[[1, 3]][:, [2, 1]])
    assert [key.valid_time.day for key in trial.keys] == [15, 16]
    normals = bundle.normalisation
    back = [n.coarse_mean + n.coarse_std * trial.condition[:, c] for c, n in enumerate(normals)]
    np.testing.assert_allclose(np.stack(back, axis=1), trial.twin, atol=1e-4)


def test_an_archive_without_a_parameter_or_on_another_grid_is_refused(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="lacks 10v"):
        trial_of(archive(bundle, ("10u", "2t")), [0], bundle)
    other = archive(bundle)
    with pytest.raises(UsageError, match="the archive is on"):
        trial_of(replace(other, grid=replace(other.grid, north=80.0)), [0], bundle)


def test_draws_have_the_spread_that_the_denoiser_knows(bundle: Bundle) -> None:
    trial = trial_of(archive(bundle), [0, 1], bundle)

    fine_levels = SamplerSettings(steps=18, sigma_min=0.01, sigma_max=20.0)
    drawn = np.stack(list(draw(bundle, GaussianDenoiser(), fine_levels, trial, 20)))

    assert drawn.shape == (2, 20, 2, *trial.grid.shape)
    anomalies = drawn - trial.twin[:, None]
    for c, normal in enumerate(bundle.normalisation):
        # Chance alone moves it by 1 %: 40 draws of about 600 points each.
        deviation = anomalies[:, :, c].std(axis=1, ddof=1).mean()
        assert deviation == pytest.approx(normal.residual_std * normal.fine_std, rel=0.03)


def test_measures_by_state_add_up_to_the_score(bundle: Bundle) -> None:
    trial = trial_of(archive(bundle), range(4), bundle)

    whole = score(bundle, GaussianDenoiser(), SETTINGS, trial, DRAWS)
    states = measured(bundle, GaussianDenoiser(), SETTINGS, trial, DRAWS)

    assert [str(one.day) for one in states] == ["2018-10-15"] * 2 + ["2018-10-16"] * 2
    for name in bundle.channels:
        crps = np.mean([one.parameters[name].crps for one in states])
        assert crps == pytest.approx(whole[name].score.crps)


def test_two_samplers_get_the_same_noise_whatever_else_is_scored(bundle: Bundle) -> None:
    held = archive(bundle)

    all_states = measured(bundle, GaussianDenoiser(), SETTINGS, trial_of(held, range(4), bundle), 2)
    (last,) = measured(bundle, GaussianDenoiser(), SETTINGS, trial_of(held, [3], bundle), 2)

    assert last.key == all_states[3].key
    assert last.patch_energy == all_states[3].patch_energy
    assert last.speed == all_states[3].speed


def test_a_single_draw_has_a_score_and_no_details(bundle: Bundle) -> None:
    trial = trial_of(archive(bundle), [0], bundle)

    found = score(bundle, GaussianDenoiser(), SETTINGS, trial, 1)["10u"]

    assert found.score.crps is None
    assert found.details is None


def test_each_state_is_reported(bundle: Bundle) -> None:
    told: list[tuple[int, int]] = []
    trial = trial_of(archive(bundle), [0, 1], bundle)

    score(bundle, GaussianDenoiser(), SETTINGS, trial, 2, lambda done, of: told.append((done, of)))

    assert told == [(1, 2), (2, 2)]


def test_the_winds_speed_is_the_length_of_its_components(bundle: Bundle) -> None:
    pair = wind(bundle)
    fields: Array = np.array([3.0, -4.0], dtype=np.float32)[:, None, None]

    assert pair == (0, 1)
    assert speed(fields, pair) == pytest.approx(5.0)
