"""Powers are those of waves that are known, and bands hold each wavenumber once."""

import numpy as np
import pytest

from streamer.verify.spectra import bands, third_octaves, zonal_power

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
