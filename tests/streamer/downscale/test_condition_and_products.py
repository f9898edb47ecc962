"""What the network is told, and what is made of its answer."""

from dataclasses import replace

import numpy as np
import pytest

from engines.bundle import Bundle
from engines.manifest import Normalisation
from streamer.domain import Array
from streamer.downscale.condition import coarse, condition, interpolated
from streamer.downscale.products import physical, ranges
from tests.streamer.downscale.small import bundle_of, step_of

WIND = {
    "parameters": {
        "10u": {"vector": {"partner": "10v", "component": "u"}, "range": [-100, 100]},
        "10v": {"vector": {"partner": "10u", "component": "v"}, "range": [-90.5, 90.5]},
    }
}
SHAPE = (19, 36)


def winds() -> dict[str, Array]:
    rng = np.random.default_rng(4)
    return {n: rng.standard_normal(SHAPE).astype(np.float32) for n in ("10v", "10u")}


def test_fields_are_normalised_in_the_bundles_order_and_constants_follow() -> None:
    fields, bundle = winds(), bundle_of(constants=2)

    found = condition(step_of(fields), bundle)

    assert found.shape == (4, *SHAPE)
    assert found.dtype == np.float32
    assert found[0] == pytest.approx((fields["10u"] - 1.0) / 5.0, abs=1e-6)
    assert found[1] == pytest.approx((fields["10v"] + 1.0) / 4.0, abs=1e-6)
    np.testing.assert_array_equal(found[2:], bundle.constants)


def test_the_step_itself_is_left_as_it_was() -> None:
    fields = winds()
    kept = {name: values.copy() for name, values in fields.items()}

    condition(step_of(fields), bundle_of())

    for name, values in fields.items():
        np.testing.assert_array_equal(values, kept[name])


def test_the_two_parts_of_a_turned_wind_are_joined() -> None:
    """A wind of speed 1 along the grid's x-axis, turned by 30 degrees at every point."""
    cosine, sine = np.cos(np.pi / 6), np.sin(np.pi / 6)
    ones = np.ones(SHAPE, dtype=np.float32)
    step = step_of(
        {"10u": ones * cosine, "10v": ones * 0.0}, crossed={"10u": ones * sine, "10v": ones * 0.0}
    )

    u, v = interpolated(step, bundle_of(grib=WIND))

    assert u == pytest.approx(ones * cosine)
    assert v == pytest.approx(ones * sine)


def test_each_component_takes_its_partners_share_on_both_grids() -> None:
    fields, crossed = winds(), {n: v + 10 for n, v in winds().items()}
    step, bundle = step_of(fields, crossed), bundle_of(grib=WIND)

    fine, rough = interpolated(step, bundle), coarse(step, bundle)

    for i, (name, partner) in enumerate((("10u", "10v"), ("10v", "10u"))):
        assert fine[i] == pytest.approx(fields[name] + crossed[partner])
        assert rough[i] == pytest.approx((fields[name] + crossed[partner])[::4, ::4])


def test_a_residual_of_zero_gives_the_coarse_field_in_fine_statistics() -> None:
    fields, bundle = winds(), bundle_of()
    told = condition(step_of(fields), bundle)

    found = physical(np.zeros((3, 2, *SHAPE), dtype=np.float32), told, bundle)

    assert found.shape == (3, 2, *SHAPE)
    assert found[2, 0] == pytest.approx((fields["10u"] - 1.0) / 5.0 * 6.0 + 1.5, abs=1e-5)


def test_the_residual_that_training_saw_gives_back_the_fine_field() -> None:
    """The definition turned round: residual = (fine_norm - coarse_norm) / residual_std."""
    fields, bundle = winds(), bundle_of()
    told = condition(step_of(fields), bundle)
    fine = np.random.default_rng(5).standard_normal((2, *SHAPE)) * 8
    residual = np.stack([
        ((fine[i] - n.fine_mean) / n.fine_std - told[i]) / n.residual_std
        for i, n in enumerate(bundle.normalisation)
    ]).astype(np.float32)  # fmt: skip

    found = physical(residual[None], told, bundle)

    assert found[0] == pytest.approx(fine, abs=1e-4)


def rainy(bundle: Bundle, fine_mean: float, fine_std: float) -> Bundle:
    """The bundle with a second channel that is normalised after log1p."""
    normal = Normalisation(0.3, 0.6, fine_mean, fine_std, 0.5, "log1p")
    return replace(bundle, normalisation=(bundle.normalisation[0], normal))


def test_a_channel_may_be_normalised_after_a_logarithm() -> None:
    fields = winds() | {"10v": np.full(SHAPE, np.e - 1, np.float32)}

    found = condition(step_of(fields), rainy(bundle_of(), 0.3, 0.6))

    assert found[0] == pytest.approx((fields["10u"] - 1.0) / 5.0, abs=1e-6)
    assert found[1] == pytest.approx((1.0 - 0.3) / 0.6, abs=1e-6)


def test_equal_statistics_and_no_residual_give_the_coarse_field_back() -> None:
    rain = np.random.default_rng(6).gamma(0.3, 4.0, SHAPE).astype(np.float32)
    fields, bundle = winds() | {"10v": rain}, rainy(bundle_of(), 0.3, 0.6)

    found = physical(
        np.zeros((2, 2, *SHAPE), np.float32), condition(step_of(fields), bundle), bundle
    )

    np.testing.assert_allclose(found[:, 1], np.stack([rain, rain]), rtol=2e-6, atol=2e-7)


def test_the_inverse_of_the_logarithm_is_not_cut_off_at_zero() -> None:
    """f(fine) = (0 + residual / 2) * 0.6 + 0.3 is -0.3 for a residual of -2."""
    told, bundle = np.zeros((3, *SHAPE), np.float32), rainy(bundle_of(), 0.3, 0.6)

    found = physical(np.full((1, 2, *SHAPE), -2.0, np.float32), told, bundle)

    assert found[0, 1] == pytest.approx(np.exp(-0.3) - 1.0)


def test_fine_statistics_count_after_the_logarithm_too() -> None:
    """f(fine) = (f(coarse) - 0.3) / 0.6 * 1.2 + 0.1, so 1 + fine = (1 + coarse)^2 exp(-0.5)."""
    rain = np.random.default_rng(7).gamma(0.3, 4.0, SHAPE).astype(np.float32)
    fields, bundle = winds() | {"10v": rain}, rainy(bundle_of(), 0.1, 1.2)

    found = physical(
        np.zeros((1, 2, *SHAPE), np.float32), condition(step_of(fields), bundle), bundle
    )

    assert 1 + found[0, 1] == pytest.approx((1 + rain) ** 2 * np.exp(-0.5), rel=1e-5)


def test_ranges_come_from_the_manifest() -> None:
    assert ranges(bundle_of(grib=WIND)) == {"10u": (-100.0, 100.0), "10v": (-90.5, 90.5)}
    assert ranges(bundle_of()) == {}
