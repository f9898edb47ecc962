"""Powers are those of waves that are known, and bands hold each wavenumber once."""

import numpy as np
import pytest

from streamer.domain import Grid
from streamer.verify.spectra import Belt, bands, belts, row_power, third_octaves, zonal_power

ROWS = np.array([0.25, 0.5, 0.25])
ANGLE = 2.0 * np.pi * np.arange(36) / 36


def test_a_wave_has_half_its_squared_amplitude_at_its_own_wavenumber() -> None:
    wave = 3.0 * np.cos(5 * ANGLE + 0.7)
    fields = np.broadcast_to(wave, (2, 3, 36))

    power = zonal_power(fields, ROWS)

    assert power.shape == (19,)
    assert power[5] == pytest.approx(4.5)
    assert np.delete(power, 5) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("columns", [35, 36])
def test_powers_sum_to_the_variance_along_the_rows(columns: int) -> None:
    fields = np.random.default_rng(0).standard_normal((4, 3, columns))

    power = zonal_power(fields, ROWS)

    variance = fields.var(axis=-1).mean(axis=0) @ ROWS
    assert power[1:].sum() == pytest.approx(variance)
    assert power[0] == pytest.approx((fields.mean(axis=-1) ** 2).mean(axis=0) @ ROWS)


@pytest.mark.parametrize("highest", [1, 18, 180])
def test_bands_hold_each_wavenumber_once(highest: int) -> None:
    found = third_octaves(highest)

    held = [m for low, high in found for m in range(low, high + 1)]
    assert held == list(range(1, highest + 1))
    # A third of an octave: its ends are less than 2^(1/3) apart.
    assert all(high / low < 2 ** (1 / 3) + 1e-9 for low, high in found)


def test_draws_with_twice_the_amplitude_have_four_times_the_power() -> None:
    truth = np.random.default_rng(1).standard_normal((3, 36))

    found = bands(zonal_power(2.0 * truth, ROWS), zonal_power(truth, ROWS))

    assert [one.ratio for one in found] == pytest.approx([4.0] * len(found))
    assert found[-1].highest == 18


GLOBE = Grid(90.0, 0.0, 10.0, 10.0, 19, 36)
REGION = Grid(62.0, -11.0, 1.0, 1.0, 25, 40)


@pytest.mark.parametrize("grid", [GLOBE, REGION])
def test_powers_of_each_row_sum_to_its_variance_on_globes_and_regions(grid: Grid) -> None:
    fields = np.random.default_rng(1).normal(5.0, 2.0, (3, *grid.shape))

    power = row_power(fields, grid)

    variance = fields.var(axis=-1).mean(axis=0)
    np.testing.assert_allclose(power[:, 1:].sum(axis=-1), variance)
    np.testing.assert_allclose(power[:, 0], (fields.mean(axis=-1) ** 2).mean(axis=0))


def test_half_waves_between_the_edges_of_a_region_have_their_own_wavenumber() -> None:
    half_waves = 7
    wave = 2.0 * np.cos(np.pi * half_waves * (np.arange(40) + 0.5) / 40)

    power = row_power(np.broadcast_to(wave, REGION.shape), REGION)

    assert power[3, half_waves] == pytest.approx(2.0)
    assert np.delete(power[3], half_waves) == pytest.approx(0.0, abs=1e-12)


def test_belts_hold_each_row_once_and_weigh_it_by_area() -> None:
    found = belts(GLOBE)

    assert [one.name for one in found] == [
        "60 N to 90 N", "30 N to 60 N", "30 S to 30 N", "60 S to 30 S", "90 S to 60 S",
    ]  # fmt: skip
    held = np.sum([one.rows > 0 for one in found], axis=0)
    np.testing.assert_array_equal(held, 1)
    for one in found:
        assert one.rows.sum() == pytest.approx(1.0)


def test_a_region_has_only_the_belts_that_it_reaches() -> None:
    assert [one.name for one in belts(REGION)] == ["60 N to 90 N", "30 N to 60 N"]


def test_wavelengths_are_those_of_the_earth() -> None:
    tropics = belts(GLOBE)[2]
    equator = Belt(-1.0, 1.0, np.eye(19)[9])

    # 40 031 km round the equator of a sphere of 6371.229 km.
    assert equator.wavelength_km(10.0, GLOBE) == pytest.approx(4003.16, abs=0.1)
    assert tropics.wavelength_km(10.0, GLOBE) < 4003.0
    # Half waves: 40 columns of 1 degree are the half of a wave of 80 degrees.
    middle = Belt(50.0, 52.0, np.eye(25)[2])
    expected = 40031.6 * np.cos(np.deg2rad(60.0)) * 80.0 / 360.0
    assert middle.wavelength_km(1.0, REGION) == pytest.approx(expected, rel=1e-4)
