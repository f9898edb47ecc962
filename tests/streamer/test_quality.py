"""How far a step's draws went, and whether that can be true."""

import numpy as np
import pytest

from streamer.domain import Array
from streamer.quality import Extent

CHANNELS = ("10u", "10v")
SOUND = {"10u": (-100.0, 100.0), "10v": (-90.5, 90.5)}


def outside(*draws: Array, parameters: tuple[str, ...] = CHANNELS) -> tuple[str, ...]:
    extent = Extent()
    for draw in draws:
        extent.look(draw, CHANNELS)
    return extent.outside(SOUND, parameters)


def still() -> Array:
    return np.zeros((2, 8, 9), dtype=np.float32)


@pytest.mark.parametrize("value", [-91.0, 1e9, np.inf])
def test_a_value_that_cannot_be_true_is_told_with_its_parameter(value: float) -> None:
    wild = still()
    wild[1, 7, 7] = value

    for found in (outside(still(), wild), outside(wild, still())):
        assert len(found) == 1
        assert found[0].startswith("10v is ")
        assert found[0].endswith(", wanted -90.5 to 90.5")


def test_sound_values_and_parameters_without_a_range_or_a_field_are_passed() -> None:
    extent = Extent()
    extent.look(np.full((2, 8, 9), 95.0, dtype=np.float32), CHANNELS)

    assert extent.outside({"10u": SOUND["10u"]}, CHANNELS) == ()
    assert extent.outside(SOUND, ("10u",)) == ()
    assert len(extent.outside(SOUND, CHANNELS)) == 1


def test_points_that_were_not_computed_are_not_judged() -> None:
    partly = still()
    partly[:, :4] = np.nan

    assert outside(partly) == ()
    nothing = np.full((2, 8, 9), np.nan, dtype=np.float32)
    # Nothing at all is no sound field.
    assert len(outside(nothing)) == 2
