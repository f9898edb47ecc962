"""A network is tuned through its few calls: it gets better, resumes, and repeats."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engines.errors import EngineError, UsageError
from engines.multistep import MultistepSettings
from engines.networks import build
from engines.training.task import PRECONDITIONING
from engines.training.tune import Start, Tuned, Until, tune
from engines.training.tune_settings import TuneSettings, rate
from tests.engines.training.known import NETWORK, known_lesson

TWO = MultistepSettings((5.0, 1.0), (0.5,), 0.05)
SETTINGS = TuneSettings(
    steps=6,
    workers=2,
    batch=4,
    tile=(16, 16),
    learning_rate=3e-3,
    warmup=1,
    report_every=3,
    judged_tiles=4,
    judged_draws=2,
    checkpoint_every_s=0.0,
)


def start() -> Start:
    torch.manual_seed(5)
    return Start(build(NETWORK), TWO, PRECONDITIONING, "ab12")


def run(checkpoint: Path, settings: TuneSettings = SETTINGS, until: Until | None = None) -> Tuned:
    return tune(known_lesson(), start(), settings, checkpoint, until or Until())


def weights(tuned: Tuned) -> dict[str, Any]:
    return {name: value.numpy() for name, value in tuned.network.state_dict().items()}


def same(one: Tuned, other: Tuned) -> bool:
    pairs = zip(weights(one).values(), weights(other).values(), strict=True)
    return one.sampler == other.sampler and all(np.array_equal(a, b) for a, b in pairs)


def test_draws_get_better_and_the_best_is_kept(tmp_path: Path) -> None:
    told: list[float] = []
    settings = replace(SETTINGS, steps=36, report_every=12, learning_rate=5e-3)

    found = run(tmp_path / "tuned", settings, Until(report=lambda one: told.append(one.crps)))

    # The condition tells the residual entirely, so there is much to gain.
    assert found.is_finished
    assert [one.step for one in found.history] == [0, 12, 24, 36]
    assert told[-1] < 0.95 * told[0]
    assert found.step == min(found.history, key=lambda one: one.held_back_loss).step
    assert math.isnan(found.history[0].loss)
    assert found.history[-1].loss < found.history[1].loss


def test_the_start_is_kept_where_nothing_is_gained(tmp_path: Path) -> None:
    found = run(tmp_path / "tuned", replace(SETTINGS, learning_rate=0.0, sampler_rate=0.0))

    assert found.step == 0
    assert all(
        torch.equal(value, start().network.state_dict()[name])
        for name, value in found.network.state_dict().items()
    )
    assert found.sampler.levels == pytest.approx(TWO.levels, rel=1e-5)


def test_levels_and_coefficients_move_unless_they_are_frozen(tmp_path: Path) -> None:
    free = run(tmp_path / "free", replace(SETTINGS, steps=9, sampler_rate=1e-2))
    frozen = run(tmp_path / "frozen", replace(SETTINGS, steps=9, sampler_rate=0.0))

    assert free.step > 0
    assert frozen.step > 0
    assert frozen.sampler.levels == pytest.approx(TWO.levels, rel=1e-5)
    assert abs(free.sampler.levels[1] - TWO.levels[1]) > 1e-3


def test_a_tuning_that_was_interrupted_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")

    broken = run(tmp_path / "broken", until=Until(seconds=0.0))
    while not broken.is_finished:
        broken = run(tmp_path / "broken", until=Until(seconds=0.05))

    assert same(whole, broken)
    assert [one.step for one in whole.history] == sorted({one.step for one in whole.history})


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    first, second = run(tmp_path / "first"), run(tmp_path / "second")
    other = run(tmp_path / "other", replace(SETTINGS, seed=2))

    assert same(first, second)
    assert not same(first, other)


def test_workers_share_one_batch(tmp_path: Path) -> None:
    # Without the term that is pooled over a part, the mean of the parts is the whole, but for
    # what the rows of each part weigh.
    settings = replace(SETTINGS, steps=1, warmup=0, terms=replace(SETTINGS.terms, band=0.0))

    alone = run(tmp_path / "one", replace(settings, workers=1))
    shared = run(tmp_path / "two", replace(settings, workers=2))

    assert alone.history[-1].loss == pytest.approx(shared.history[-1].loss, rel=1e-3)


def test_what_is_given_is_not_changed(tmp_path: Path) -> None:
    given = start()
    before = {name: value.clone() for name, value in given.network.state_dict().items()}

    tune(known_lesson(), given, SETTINGS, tmp_path / "tuned", Until())

    assert all(torch.equal(before[n], value) for n, value in given.network.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"draws": 3}, "draws"), ({"learning_rate": 1e-3}, "learning_rate"), ({"seed": 9}, "seed")],
)
def test_a_checkpoint_of_another_tuning_is_refused(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    run(tmp_path / "tuned", replace(SETTINGS, steps=1))

    with pytest.raises(UsageError, match=f"was made with {named}"):
        run(tmp_path / "tuned", replace(SETTINGS, **changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"draws": 1}, "at least 2"),
        ({"batch": 3}, "2 workers cannot share batches of 3"),
        ({"tile": (64, 64)}, "tiles are 64x64"),
    ],
)
def test_what_no_tuning_can_use_is_refused(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        run(tmp_path / "tuned", replace(SETTINGS, **changes))


def test_a_rate_that_destroys_the_network_ends_with_a_word(tmp_path: Path) -> None:
    settings = replace(SETTINGS, steps=20, learning_rate=1e30)

    with pytest.raises(EngineError, match="want a smaller rate"):
        run(tmp_path / "tuned", settings)


def test_the_rate_rises_and_falls_to_nothing() -> None:
    assert rate(0, 0.0, 40) == pytest.approx(1 / 40)
    assert rate(100, 0.5, 40) == pytest.approx(0.5)
    assert rate(400, 1.0, 40) == pytest.approx(0.0)
