"""The rate rises, stays and falls; averages remember as long as they say."""

import numpy as np
import pytest
import torch
from torch import nn

from engines.training.averages import Averages
from engines.training.schedule import cut_short, exponent, keep, planned, rate
from engines.training.settings import TrainingSettings

SETTINGS = TrainingSettings(warmup=100, decay=0.4)


def test_the_rate_warms_up_stays_and_falls_to_zero() -> None:
    course = planned(SETTINGS)

    rates = [rate(step, step / 1000, course, SETTINGS) for step in range(1001)]

    assert rates[0] == pytest.approx(0.01)
    assert rates[99:601] == pytest.approx([1.0] * 502)
    assert rates[800] == pytest.approx(0.5)
    assert rates[1000] == pytest.approx(0.0, abs=1e-9)


def test_an_early_fall_is_as_long_for_its_way_as_the_planned_one() -> None:
    early = cut_short(0.4, 0.3, SETTINGS)

    assert (early.falls_from, early.falls_over) == pytest.approx((0.4, 0.2))
    assert early.falls_over / 0.3 == pytest.approx(SETTINGS.decay / (1.0 - SETTINGS.decay))
    assert rate(500, 0.5, early, SETTINGS) == pytest.approx(0.5)
    assert rate(600, early.end, early, SETTINGS) == pytest.approx(0.0)


def test_a_late_early_fall_ends_with_the_fit() -> None:
    assert cut_short(0.9, 0.8, SETTINGS).end == pytest.approx(1.0)


@pytest.mark.parametrize("width", [0.05, 0.1, 0.2])
def test_an_average_weighs_its_steps_as_the_power_says(width: float) -> None:
    steps = 2000
    weights = np.ones(0)
    for step in range(1, steps + 1):
        stays = keep(step, width)
        weights = np.append(weights * stays, 1.0 - stays)

    # Weights that grow as t^g have mean (g + 1) / (g + 2) and the stated deviation.
    when = (np.arange(steps) + 1.0) / steps
    mean = (weights * when).sum()
    deviation = np.sqrt((weights * (when - mean) ** 2).sum())
    assert weights.sum() == pytest.approx(1.0)
    assert mean == pytest.approx((exponent(width) + 1) / (exponent(width) + 2), rel=2e-3)
    assert deviation == pytest.approx(width, rel=1e-2)


def test_averages_follow_the_network_each_at_its_pace() -> None:
    network = nn.Linear(1, 1, bias=False)
    averages = Averages(network, (0.05, 0.2))
    for step in range(1, 101):
        with torch.no_grad():
            network.weight.fill_(step / 100)
        averages.blend(step)

    short, long = (float(state["weight"]) for state in averages.states())
    # The mean of t under t^g, t up to 1.
    assert short == pytest.approx((exponent(0.05) + 1) / (exponent(0.05) + 2), abs=0.01)
    assert long == pytest.approx((exponent(0.2) + 1) / (exponent(0.2) + 2), abs=0.01)


def test_the_best_average_is_kept_when_later_ones_are_worse() -> None:
    network = nn.Linear(1, 1, bias=False)
    averages = Averages(network, (0.05, 0.2))
    with torch.no_grad():
        network.weight.fill_(1.0)
    averages.blend(1)

    assert averages.judge([0.6, 0.5], 1, 0.1)
    with torch.no_grad():
        network.weight.fill_(9.0)
    averages.blend(2)
    assert not averages.judge([0.7, 0.5], 2, 0.2)

    assert (averages.best_loss, averages.best_step, averages.best_share) == (0.5, 1, 0.1)
    assert float(averages.best["weight"]) == 1.0
