"""Every rule that a tuned network must keep, one broken at a time, and its place in the table."""

from copy import deepcopy
from typing import Any

import pytest

from engines.calibration import Calibration, Row, parse_calibration, to_plain
from engines.multistep import MultistepSettings
from engines.sampler import SamplerSettings
from streamer.tuning import placed, rules

BANDS = [[1, 40, 1.0], [41, 120, 1.0], [121, 180, 1.0]]
GOOD = {
    "crps_change": -0.01,
    "gradient_crps_change": -0.005,
    "patch_energy_change": -0.01,
    "spread_skill_ratio": 0.98,
    "lag_correlation": 0.14,
    "true_lag_correlation": 0.15,
    "bands_vs_reference": BANDS,
    "bands": BANDS,
}
REFERENCE = {"parameters": {"10u": {**GOOD, "lag_correlation": 0.16}, "10v": GOOD}}


def measured(**odd: Any) -> dict[str, Any]:
    """What was measured of a network that keeps all rules but for 10v's `odd` values."""
    return {"parameters": {"10u": deepcopy(GOOD), "10v": {**deepcopy(GOOD), **odd}}}


def broken(**odd: Any) -> list[str]:
    return [rule.name for rule in rules(measured(**odd), REFERENCE) if not rule.is_kept]


def test_a_network_that_is_better_in_everything_keeps_every_rule() -> None:
    names = [rule.name for rule in rules(measured(), REFERENCE)]

    assert not broken()
    assert names == [
        "crps", "gradient_crps", "patch_energy", "spread_skill", "lag_correlation", "bands",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("odd", "name"),
    [
        ({"crps_change": 0.001}, "crps"),
        ({"gradient_crps_change": 0.001}, "gradient_crps"),
        ({"patch_energy_change": 0.001}, "patch_energy"),
        ({"spread_skill_ratio": 0.969}, "spread_skill"),
        ({"lag_correlation": 0.05}, "lag_correlation"),
        ({"bands_vs_reference": [[1, 40, 1.0], [41, 120, 0.89], [121, 180, 1.0]],
          "bands": [[1, 40, 1.0], [41, 120, 0.88], [121, 180, 1.0]]}, "bands"),
    ],
)  # fmt: skip
def test_one_parameter_that_breaks_one_rule_is_enough(odd: dict[str, Any], name: str) -> None:
    assert broken(**odd) == [name]


def test_what_is_nearer_to_the_truth_than_the_reference_is_no_fault() -> None:
    bands = [[1, 40, 1.0], [41, 120, 1.14], [121, 180, 1.0]]

    assert not broken(bands_vs_reference=bands)
    assert not broken(lag_correlation=0.22, true_lag_correlation=0.24)


def test_bands_above_two_thirds_of_the_highest_wavenumber_are_not_judged() -> None:
    bands = [[1, 120, 1.0], [121, 180, 0.3]]

    assert not broken(bands_vs_reference=bands, bands=bands)


def test_where_rows_do_not_close_there_is_no_rule_of_bands() -> None:
    area = {"parameters": {"2t": {**GOOD, "bands": [], "bands_vs_reference": []}}}

    assert [rule.name for rule in rules(area, area)][-1] == "lag_correlation"


def test_a_rule_says_what_was_found_where_and_what_was_wanted() -> None:
    words = {rule.name: rule.words for rule in rules(measured(spread_skill_ratio=0.9), REFERENCE)}

    assert (
        words["spread_skill"]
        == "spread/skill of 10v is 0.900 of the reference's, wanted at least 0.97"
    )


def row(calls: int, network: str = "denoiser") -> Row:
    levels = tuple(10.0 / 3**i for i in range(calls))
    return Row(MultistepSettings.two_m(levels), calls, network, {"crps_change": 0.01})


REFERENCE_ROW = Row(SamplerSettings(), 35, "denoiser", {"crps_change": 0.0})
TABLE = Calibration(
    (row(2), row(3), REFERENCE_ROW),
    {"fast": 0, "standard": 1, "reference": 2},
    "standard",
    {"a": 1},
)


def test_a_network_that_serves_is_fast_and_the_default() -> None:
    found = placed(TABLE, (REFERENCE_ROW, row(2, "tuned")), {"steps": 9}, serves=True)

    assert found.default == "fast"
    assert found.row("fast").network == "tuned"
    assert found.row("standard").calls == 3
    assert found.told == {"a": 1, "tuned": {"steps": 9}}
    faults: list[str] = []
    assert parse_calibration(to_plain(found), faults) is not None
    assert not faults


def test_a_network_that_is_kept_to_look_at_serves_nobody() -> None:
    found = placed(TABLE, (REFERENCE_ROW, row(2, "tuned")), {}, serves=False)

    assert {name: found.row(name) for name in found.profiles} == {
        name: TABLE.row(name) for name in TABLE.profiles
    }
    assert found.default == "standard"
    assert [one.network for one in found.rows].count("tuned") == 1
    assert all(found.row(name).network == "denoiser" for name in found.profiles)


def test_a_newer_tuned_network_takes_the_place_of_an_older_one() -> None:
    once = placed(TABLE, (REFERENCE_ROW, row(2, "tuned")), {}, serves=True)

    again = placed(once, (REFERENCE_ROW, row(3, "tuned")), {}, serves=True)
    refused = placed(once, (REFERENCE_ROW, row(3, "tuned")), {}, serves=False)

    assert [one.calls for one in again.rows if one.network == "tuned"] == [3]
    assert again.row("fast").calls == 3
    assert "fast" not in refused.profiles
    assert refused.default == "reference"


def test_without_a_table_the_reference_stands_beside_it() -> None:
    found = placed(None, (REFERENCE_ROW, row(2, "tuned")), {}, serves=True)

    assert [one.calls for one in found.rows] == [2, 35]
    assert dict(found.profiles) == {"reference": 1, "fast": 0}
