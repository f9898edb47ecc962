"""How far a step's draws went, whether that can be true, and what constraints changed."""

import numpy as np
import pytest

from streamer.domain import Array
from streamer.downscale.constraints import Change
from streamer.products.quality import Quality

CHANNELS = ("10u", "10v")
SOUND = {"10u": (-100.0, 100.0), "10v": (-90.5, 90.5)}


def looked(*draws: Array) -> Quality:
    quality = Quality(CHANNELS)
    for place, draw in enumerate(draws):
        quality.look(place, draw)
    return quality


def still() -> Array:
    return np.zeros((2, 8, 9), dtype=np.float32)


@pytest.mark.parametrize("value", [-91.0, 1e9, np.inf, np.nan])
def test_a_value_that_cannot_be_true_is_told_with_its_parameter(value: float) -> None:
    wild = still()
    wild[1, 7, 7] = value

    for quality in (looked(still(), wild), looked(wild, still())):
        found = quality.outside(SOUND, CHANNELS)
        assert list(found) == ["10v"]
        assert found["10v"].startswith("10v is ")
        assert found["10v"].endswith(", wanted -90.5 to 90.5")


def test_sound_values_and_parameters_without_a_range_or_a_field_are_passed() -> None:
    quality = looked(np.full((2, 8, 9), 95.0, dtype=np.float32))

    assert quality.outside({"10u": SOUND["10u"]}, CHANNELS) == {}
    assert quality.outside(SOUND, ("10u",)) == {}
    assert list(quality.outside(SOUND, CHANNELS)) == ["10v"]


def test_changes_are_told_over_all_draws_whatever_order_they_came_in() -> None:
    changes = [
        (Change("bounds", "tp", 0.5, 2.0), Change("conservation", "tp", 1.0, 0.25, 0.125)),
        (Change("bounds", "tp", 0.25, 1.0), Change("conservation", "tp", 1.0, 0.75, 0.375)),
    ]

    for order in ((0, 1), (1, 0)):
        quality = Quality(CHANNELS)
        for place in order:
            quality.look(place, still(), changes[place])

        bounds, conservation = quality.changed()
        assert bounds == {
            "constraint": "bounds",
            "parameter": "tp",
            "share": 0.375,
            # (0.5 * 2 + 0.25 * 1) / 0.75 of the points that were changed.
            "size": pytest.approx(1.25 / 0.75),
            "remainder": 0.0,
        }
        assert (conservation["size"], conservation["remainder"]) == (0.5, 0.25)
        assert quality.points == 2 * 72


def test_a_constraint_that_changed_nothing_is_not_told() -> None:
    quality = Quality(CHANNELS)
    quality.look(0, still(), (Change("relation", "2d", 0.0, 0.0),))

    assert quality.changed() == []
