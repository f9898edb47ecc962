"""Which sampler draws: the configuration, the bundle's table, and what is refused."""

import dataclasses
import math
from typing import Any

import pytest

from engines.calibration import Calibration, Row
from engines.errors import UsageError
from engines.manifest import Preconditioning
from engines.multistep import MultistepSettings
from engines.sampler import SamplerSettings, levels
from streamer.config import ConfigError, parse
from streamer.sampling import Chosen, SamplerChoice
from tests.streamer.downscale.small import bundle_of

FITTED = MultistepSettings((12.55, 3.352, 0.651), (1.116, 0.78), 0.177)
TUNED = MultistepSettings((7.6, 1.2), (1.9,), 0.07)
REFERENCE = SamplerSettings(steps=18)
TABLE = Calibration(
    (Row(FITTED, 3), Row(TUNED, 2, network="tuned"), Row(REFERENCE, 35)),
    {"fast": 1, "standard": 0, "reference": 2},
    default="standard",
)
PLAIN = bundle_of()
MEASURED = dataclasses.replace(PLAIN, calibration=TABLE)


def sampler_section(**named: Any) -> SamplerChoice:
    """Read a configuration with this section, as a daemon does."""
    plain = {
        "bus": {"memory": True},
        "input": {"topic": "coarse", "steps": "0/to/6/by/3"},
        "output": {"topic": "fine"},
        "model": {"bundle": "gfs-wind-4to1"},
        "sampler": named,
    }
    return parse(plain, "test").sampler


def test_without_a_table_the_bundles_eight_draw() -> None:
    assert sampler_section().chosen(PLAIN) == Chosen(PLAIN.sampler, "denoiser", None)


def test_with_a_table_its_default_profile_draws() -> None:
    assert sampler_section(seed=4, noise="run").chosen(MEASURED) == Chosen(
        FITTED, "denoiser", "standard"
    )


@pytest.mark.parametrize(
    ("profile", "wanted"),
    [
        ("fast", Chosen(TUNED, "tuned", "fast")),
        ("standard", Chosen(FITTED, "denoiser", "standard")),
        ("reference", Chosen(REFERENCE, "denoiser", "reference")),
    ],
)
def test_a_profile_is_a_row_of_the_table_with_its_network(profile: str, wanted: Chosen) -> None:
    assert sampler_section(profile=profile).chosen(MEASURED) == wanted


@pytest.mark.parametrize(
    ("bundle", "told"),
    [
        (PLAIN, "it has no table of samplers"),
        (
            dataclasses.replace(
                PLAIN, calibration=dataclasses.replace(TABLE, profiles={"standard": 0})
            ),
            "its table has standard",
        ),
    ],
)
def test_a_profile_that_the_bundle_has_not_says_what_it_has(bundle: Any, told: str) -> None:
    with pytest.raises(UsageError, match=rf"found fast, .*{told}.*`downscaled bundle calibrate`"):
        sampler_section(profile="fast").chosen(bundle)


def test_naming_any_of_the_eight_leaves_the_table_aside() -> None:
    found = sampler_section(steps=9, s_churn=4).chosen(MEASURED)

    assert found == Chosen(dataclasses.replace(PLAIN.sampler, steps=9, s_churn=4.0))


def test_naming_heun_leaves_the_table_aside() -> None:
    assert sampler_section(solver="heun").chosen(MEASURED) == Chosen(PLAIN.sampler)


def test_multistep_without_a_profile_is_two_m_on_the_levels_of_the_eight() -> None:
    found = sampler_section(solver="multistep", steps=6, rho=5.0).chosen(MEASURED)

    eight = dataclasses.replace(PLAIN.sampler, steps=6, rho=5.0)
    assert found == Chosen(MultistepSettings.two_m(levels(eight)))
    assert found.sampler.steps == 6


def test_multistep_keeps_to_the_levels_that_the_kind_knows() -> None:
    bundle = dataclasses.replace(PLAIN, preconditioning=Preconditioning("ve", 1.0))

    found = sampler_section(solver="multistep", steps=6, sigma_max=500.0).chosen(bundle).sampler

    assert isinstance(found, MultistepSettings)
    assert found.levels[0] == 100.0


def test_churn_that_the_bundle_recommends_is_not_dropped_in_silence() -> None:
    churned = dataclasses.replace(
        PLAIN, sampler=dataclasses.replace(PLAIN.sampler, s_churn=40.0, s_max=math.inf)
    )

    with pytest.raises(UsageError, match=r"recommends s_churn 40, .* name s_churn: 0"):
        sampler_section(solver="multistep").chosen(churned)
    assert sampler_section(solver="multistep", s_churn=0).chosen(churned).sampler.steps == 3


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ({"profile": "fast", "steps": 4}, "sampler: profile: found fast beside steps"),
        ({"profile": "fast", "solver": "multistep"}, "profile: found fast beside solver"),
        ({"profile": "fast", "s_churn": 0}, "profile: found fast beside s_churn"),
        ({"profile": "quick"}, "sampler.profile: found 'quick', wanted one of fast, standard"),
        ({"solver": "multistep", "s_churn": 3}, "solver: found multistep beside s_churn"),
        ({"solver": "multistep", "s_noise": 1.01}, "solver: found multistep beside s_noise"),
        ({"solver": "euler"}, "sampler.solver: found 'euler', wanted one of heun, multistep"),
    ],
)
def test_a_section_that_contradicts_itself_is_refused(named: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        sampler_section(**named)


def test_a_choice_tells_solver_cost_profile_and_network() -> None:
    fast = sampler_section(profile="fast").chosen(MEASURED)

    assert fast.told("edm") == (
        "multistep, 2 levels, 2 network calls a tile and draw, profile fast, network tuned"
    )
    assert sampler_section().chosen(PLAIN).told("edm") == (
        "heun, 3 levels, 5 network calls a tile and draw"
    )
    assert sampler_section().chosen(PLAIN).told("direct") == (
        "none, a plain regression, 1 network call a tile and draw"
    )
