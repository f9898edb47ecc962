"""The weather generator: stationary, repeatable, fitted right, and like the days it knows."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from engines.errors import UsageError
from streamer.archive import Archive, Found, StateKey, read_archive
from streamer.demo.fit import evolution, fit, leading_patterns
from streamer.demo.weather import SHIPPED, Generator, amplitudes, load, save
from streamer.domain import Grid
from streamer.grib.manifest import Coarse
from streamer.grib.regrid import to_coarse
from streamer.verify.scores import area_weights


@pytest.fixture(scope="module")
def shipped() -> Generator:
    return load()


def test_the_shipped_rotation_keeps_all_variance(shipped: Generator) -> None:
    product = shipped.rotation @ shipped.rotation.T

    np.testing.assert_allclose(product, np.eye(len(shipped.patterns)), atol=1e-10)
    assert 0 < shipped.memory < 1


def test_weather_neither_fades_nor_grows_with_lead_time(shipped: Generator) -> None:
    forecasts = [amplitudes(shipped, seed, (0, 24)) for seed in range(400)]

    for lead in (0, 1):
        drawn = np.array([states[lead] for states in forecasts])
        assert drawn.var() == pytest.approx(1.0, abs=5 * np.sqrt(2 / drawn.size))
        assert np.abs(drawn.mean(axis=0)).max() < 5 / np.sqrt(len(drawn))


def test_the_same_seed_gives_the_same_weather_and_another_seed_another(shipped: Generator) -> None:
    first, again, other = (amplitudes(shipped, seed, (0, 6)) for seed in (1, 1, 2))

    np.testing.assert_array_equal(first, again)
    assert np.abs(np.array(first) - np.array(other)).max() > 0.1


def test_a_lead_time_has_its_weather_whichever_others_are_asked_for(shipped: Generator) -> None:
    every = amplitudes(shipped, 3, (0, 3, 6, 9, 12))
    some = amplitudes(shipped, 3, (6, 12))

    np.testing.assert_array_equal([every[2], every[4]], some)


def test_lead_times_between_the_intervals_are_refused(shipped: Generator) -> None:
    with pytest.raises(UsageError, match=r"\[4\] h: the weather generator makes multiples of 3 h"):
        amplitudes(shipped, 0, (0, 4))


def test_neighbouring_steps_resemble_each_other_and_distant_ones_less(shipped: Generator) -> None:
    near, far = [], []
    for seed in range(30):
        now, soon, later = amplitudes(shipped, seed, (0, 3, 48))
        near.append(now @ soon)
        far.append(now @ later)

    assert np.mean(near) > 2 * np.abs(np.mean(far))


def travelling_wave(hours: np.ndarray, phase_per_hour: float) -> np.ndarray:
    """(N, 2, 5, 36) of one wave that moves east, in both components."""
    longitude = np.deg2rad(10.0 * np.arange(36))
    phase = longitude[None, :] - phase_per_hour * hours[:, None]
    wave = np.stack([np.cos(phase), np.sin(phase)], axis=1)[:, :, None, :]
    return np.broadcast_to(wave, (len(hours), 2, 5, 36)).copy()


def test_a_wave_that_travels_is_two_patterns_that_turn_into_each_other() -> None:
    hours, speed = np.arange(0.0, 240.0, 3.0), 2 * np.pi / 48.0
    states = travelling_wave(hours, speed).astype(np.float32)
    _, patterns, whitened = leading_patterns(states, np.ones(5), 2)

    rotation, memory = evolution(whitened[:-1], whitened[1:])

    angle = np.arctan2(abs(rotation[1, 0]), rotation[0, 0])
    assert angle == pytest.approx(3 * speed, abs=1e-3)
    assert memory == pytest.approx(1.0, abs=0.02)
    rebuilt = np.tensordot(whitened, patterns, axes=1)
    np.testing.assert_allclose(rebuilt, states - states.mean(axis=0), atol=1e-4)


def test_patterns_carry_the_variance_that_they_were_fitted_to() -> None:
    rng = np.random.default_rng(0)
    states = (rng.normal(size=(40, 2, 5, 8)) * [[[3.0]], [[1.0]]]).astype(np.float32)

    _, patterns, whitened = leading_patterns(states, np.ones(5), 39)

    np.testing.assert_allclose((patterns**2).sum(axis=0), states.var(axis=0), rtol=1e-3)
    np.testing.assert_allclose(whitened.T @ whitened / 40, np.eye(39), atol=1e-8)


def test_a_generator_comes_back_from_its_file(tmp_path: Path, shipped: Generator) -> None:
    save(shipped, tmp_path / "one.npz")

    found = load(tmp_path / "one.npz")

    np.testing.assert_array_equal(found.patterns, shipped.patterns)
    assert (found.parameters, found.memory) == (shipped.parameters, shipped.memory)


def test_a_file_that_is_no_generator_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "no.npz").write_bytes(b"PK\x03\x04 nothing")

    with pytest.raises(UsageError, match=r"no\.npz is no weather generator"):
        load(tmp_path / "no.npz")


def test_the_shipped_generator_is_small_and_names_whose_data_it_learned_from(
    shipped: Generator,
) -> None:
    assert SHIPPED.stat().st_size < 300_000
    assert "NOAA" in shipped.attribution


def test_an_archive_with_a_gap_is_fitted_across_no_gap() -> None:
    # Twice round the circle, so that both amplitudes have the same variance.
    hours = np.concatenate([np.arange(0, 48, 3), np.arange(72, 120, 3)])
    start = datetime(2018, 10, 8, tzinfo=UTC)
    grid = Grid(90.0, 0.0, 2.0, 2.0, 91, 180)
    longitude = np.deg2rad(grid.longitudes)
    phase = longitude[None, :] - (2 * np.pi / 48.0) * hours[:, None]
    fine = np.stack([np.cos(phase), np.sin(phase)], axis=1)[:, :, None, :]
    archive = Archive(
        (Found(165, "10u", "m s**-1"), Found(166, "10v", "m s**-1")),
        grid,
        tuple(StateKey(start + timedelta(hours=int(h)), "0", 0) for h in hours),
        np.broadcast_to(fine, (len(hours), 2, 91, 180)).astype(np.float32),
    )

    found = fit(archive, "nobody", patterns=2)

    # Over the gap of 27 h the wave turns half round; only pairs three hours apart may count.
    angle = np.arctan2(abs(found.rotation[1, 0]), found.rotation[0, 0])
    assert np.rad2deg(angle) == pytest.approx(22.5, abs=0.5)
    assert found.memory == pytest.approx(1.0, abs=0.02)


def test_the_shipped_weather_is_like_the_days_it_was_fitted_to(
    shared_data: Path, shipped: Generator
) -> None:
    archive = read_archive(shared_data / "gfs-wind-1deg" / "train")
    coarse = Coarse(shipped.grid, "grid-box-average")
    real = np.stack(
        [np.hypot(*(to_coarse(v, archive.grid, coarse) for v in fine)) for fine in archive.fine]
    )
    made = np.stack(
        [np.hypot(*shipped.fields(amplitudes(shipped, seed, (0,))[0])) for seed in range(200)]
    )
    rows = area_weights(shipped.grid.latitudes)

    def strength(speeds: np.ndarray) -> float:
        return float(np.sqrt((speeds**2).mean(axis=(0, 2)) @ rows))

    def windiest(speeds: np.ndarray) -> float:
        return float(np.median(speeds.max(axis=(1, 2))))

    assert strength(made) == pytest.approx(strength(real), rel=0.03)
    assert windiest(made) == pytest.approx(windiest(real), rel=0.1)
