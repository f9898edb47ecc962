"""The table of what fewer calls cost, as a manifest holds it."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.calibration import (
    Calibration,
    Row,
    parse_calibration,
    sampler_from_plain,
    sampler_to_plain,
    to_plain,
)
from engines.errors import UsageError
from engines.multistep import MultistepSettings
from engines.sampler import Sampler, SamplerSettings, calls

FITTED = MultistepSettings((12.55, 3.352, 0.651), (1.116, 0.78), 0.177)
HEUN = SamplerSettings(steps=18)
TABLE = Calibration(
    rows=(
        Row(FITTED, 3, measured={"crps_change": 0.0014, "interval": [0.0, 0.003]}),
        Row(MultistepSettings((7.6, 1.2), (1.9,), 0.07), 2, network="tuned"),
        Row(HEUN, 35, measured={"crps_change": 0.0}),
    ),
    profiles={"fast": 1, "standard": 0, "reference": 2},
    default="standard",
    told={"days": 4},
)


def samplers() -> st.SearchStrategy[Sampler]:
    level = st.floats(1e-3, 1e2)
    fitted = st.lists(level, min_size=1, max_size=5, unique=True).map(
        lambda found: MultistepSettings.two_m(sorted(found, reverse=True))
    )
    heun = st.builds(
        SamplerSettings,
        steps=st.integers(1, 40),
        s_churn=st.floats(0.0, 80.0),
        s_max=st.one_of(st.just(math.inf), st.floats(1.0, 100.0)),
    )
    return st.one_of(fitted, heun)


@given(samplers())
def test_a_sampler_survives_json(sampler: Sampler) -> None:
    text = json.dumps(sampler_to_plain(sampler), allow_nan=False)

    assert sampler_from_plain(json.loads(text)) == sampler


def test_a_table_survives_json() -> None:
    faults: list[str] = []

    found = parse_calibration(json.loads(json.dumps(to_plain(TABLE), allow_nan=False)), faults)

    assert faults == []
    assert found is not None
    assert to_plain(found) == to_plain(TABLE)
    assert found.row("fast").network == "tuned"
    assert found.row("standard").sampler == FITTED


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"rows": []}, "calibration.rows holds none"),
        ({"profiles": {"fast": 3}}, "calibration.profiles.fast is 3, wanted a row, 0 to 2"),
        ({"profiles": {"standard": True}}, "calibration.profiles.standard is True"),
        ({"profiles": {"standard": 0, "quick": 1}}, "calibration.profiles.quick: unknown"),
        ({"default": "best"}, "calibration.default is 'best', wanted one of fast, standard"),
        ({"default": ["fast"]}, "calibration.default is ['fast'], wanted one of fast"),
        ({"told": 7}, "calibration.told is 7, wanted an object"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(change: dict[str, Any], told: str) -> None:
    faults: list[str] = []

    found = parse_calibration({**to_plain(TABLE), **change}, faults)

    assert found is None
    assert any(told in fault for fault in faults), faults


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"calls": 4}, "calibration.rows[0].calls is 4, but its sampler makes 3"),
        ({"network": "denoised"}, "calibration.rows[0].network is 'denoised'"),
        ({"measured": []}, "calibration.rows[0].measured is []"),
        ({"sampler": None}, "calibration.rows[0]: sampler is None"),
        ({"sampler": {"solver": "euler"}}, "calibration.rows[0]: solver is 'euler'"),
    ],
)
def test_a_wrong_row_is_told_with_its_place(change: dict[str, Any], told: str) -> None:
    plain, faults = to_plain(TABLE), list[str]()
    plain["rows"][0] |= change

    assert parse_calibration(plain, faults) is None
    assert len(faults) == 1
    assert told in faults[0]


@pytest.mark.parametrize(
    ("plain", "told"),
    [
        ({"solver": "multistep"}, "multistep: .*levels"),
        ({"solver": "multistep", "levels": [1.0], "steps": 1}, "multistep has no steps; it has"),
        ({"solver": "multistep", "levels": ["a"]}, "levels is .*, wanted finite numbers"),
        ({"solver": "heun", "levels": [1.0]}, "heun has no levels; it has steps"),
        ({"solver": "heun", "steps": 0}, "steps is 0"),
        ({"solver": ["heun"]}, "solver is .*, wanted one of heun, multistep"),
    ],
)
def test_a_sampler_that_is_none_is_refused(plain: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        sampler_from_plain(plain)


def test_a_row_costs_what_its_sampler_costs() -> None:
    assert [calls(row.sampler) for row in TABLE.rows] == [row.calls for row in TABLE.rows]
