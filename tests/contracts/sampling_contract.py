"""What a denoiser must do that offers whole runs of the sampler.

A module that offers the fixture `opened` and names these tests runs them on its runtime.
"""

import numpy as np
import pytest

from engines import sampler
from engines.denoiser import Array, Sampling
from engines.errors import EngineError
from engines.golden import relative_error
from engines.multistep import MultistepSettings
from engines.precondition import sigma_range
from engines.sampler import Sampler, SamplerSettings
from tests.contracts import small_networks
from tests.contracts.network_contract import Opened

#: Two runs by the same kernels differ by how the host and the device round what is around the
#: network; half precision makes steps of its own of that.
SAME = {"f32": 2e-5, "fp16": 1e-2, "bf16": 8e-2}

RUNS: dict[str, Sampler] = {
    "deterministic": SamplerSettings(steps=4, sigma_min=0.05, sigma_max=20.0),
    "churned": SamplerSettings(
        steps=4, sigma_min=0.05, sigma_max=20.0, s_churn=3.0, s_min=0.1, s_max=15.0, s_noise=1.01
    ),
    "one level": SamplerSettings(steps=1, sigma_max=10.0),
    "multistep": MultistepSettings((15.0, 4.0, 0.6), (1.2, 0.7), 0.15),
    "multistep of one level": MultistepSettings((10.0,)),
}


@pytest.fixture(params=list(RUNS))
def settings(request: pytest.FixtureRequest) -> Sampler:
    return RUNS[request.param]


def _given(opened: Opened, settings: Sampler, count: int) -> tuple[Array, Array, Array | None]:
    """Return noise, condition and labels."""
    labels = len(opened.bundle.labels)
    x, _, condition, told = small_networks.tiles(np.ones(count, np.float32), labels)
    many = sampler.noises(settings)
    noise = np.random.default_rng(4).standard_normal((many, *x.shape), dtype=np.float32)
    return noise, condition, told


def _looped(
    opened: Opened,
    settings: Sampler,
    noise: Array,
    condition: Array,
    labels: Array | None,
) -> Array:
    """Drive the sampler's own solver with the denoiser, all tiles in lockstep."""

    def denoise(x: Array, sigma: float) -> Array:
        return opened.denoiser.denoise(x, np.full(len(x), sigma, np.float32), condition, labels)

    around = opened.bundle.preconditioning
    return sampler.run(sampler.solver(settings, lambda i: noise[i].copy(), around), denoise)


def test_a_whole_run_is_the_solver_s_to_rounding(opened: Opened, settings: Sampler) -> None:
    assert isinstance(opened.denoiser, Sampling)
    noise, condition, labels = _given(opened, settings, 3)

    found = opened.denoiser.sample(noise, settings, condition, labels)

    wanted = _looped(opened, settings, noise, condition, labels)
    assert found.dtype == np.float32
    assert relative_error(found, wanted) <= SAME[opened.denoiser.spec.precision]


def test_the_noise_decides_where_a_run_ends(opened: Opened, settings: Sampler) -> None:
    assert isinstance(opened.denoiser, Sampling)
    noise, condition, labels = _given(opened, settings, 1)
    found = opened.denoiser.sample(noise, settings, condition, labels)

    kind = opened.bundle.preconditioning.kind
    schedule = sampler.levels(settings, sigma_range(kind))
    for i in range(len(noise)):
        other = noise.copy()
        other[i] *= -1.0
        differs = opened.denoiser.sample(other, settings, condition, labels)
        # Noise raises levels from s_min to s_max only, and a direct network hears none at all.
        is_heard = i == 0 or (
            isinstance(settings, SamplerSettings)
            and settings.s_min <= schedule[i - 1] <= settings.s_max
        )
        assert np.array_equal(found, differs) == (kind == "direct" or not is_heard)


def test_a_run_takes_any_number_of_tiles_and_repeats(opened: Opened, settings: Sampler) -> None:
    assert isinstance(opened.denoiser, Sampling)
    noise, condition, labels = _given(opened, settings, 5)

    found = opened.denoiser.sample(noise, settings, condition, labels)
    again = opened.denoiser.sample(noise, settings, condition, labels)

    assert found.shape == noise.shape[1:]
    assert found.tobytes() == again.tobytes()


def test_noise_for_other_levels_is_refused(opened: Opened) -> None:
    assert isinstance(opened.denoiser, Sampling)
    if opened.bundle.preconditioning.kind == "direct":
        pytest.skip("a direct network has no levels")
    noise, condition, labels = _given(opened, RUNS["churned"], 2)

    with pytest.raises(EngineError, match="noise holds 5 arrays a tile, wanted 1"):
        opened.denoiser.sample(noise, RUNS["deterministic"], condition, labels)
