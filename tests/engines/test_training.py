"""The fit learns what can be learnt, repeats, resumes, and draws tiles as it says."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from engines.errors import UsageError
from engines.manifest import Preconditioning
from engines.networks import NetworkSettings, build
from engines.training import (
    Batch,
    Pairs,
    Progress,
    TrainingSettings,
    batch_loss,
    draw_batch,
    fit,
    rate,
)

EDM = Preconditioning("edm", 1.0)
NETWORK = NetworkSettings(
    inputs=4, outputs=1, tile=(16, 16), width=16, multipliers=(1, 2), blocks=1, attention=(),
    bottleneck_attention=False,
)  # fmt: skip
SETTINGS = TrainingSettings(
    steps=6, batch=4, tile=(16, 16), warmup=2, report_every=1, checkpoint_every_s=0.0
)


Fitted = tuple[nn.Module, list[Progress]]


def known_pairs(states: int, seed: int) -> Pairs:
    """Residuals that their condition tells entirely: residual = condition, plus two constants."""
    rng = np.random.default_rng(seed)
    condition = rng.standard_normal((states, 1, 20, 32), dtype=np.float32)
    rows, columns = np.mgrid[:20, :32].astype(np.float32)
    constants = np.stack([rows, columns])
    return Pairs(condition, condition, constants, np.ones(20, np.float32), periodic=True)


def run(settings: TrainingSettings, checkpoint: Path, network: NetworkSettings = NETWORK) -> Fitted:
    return fit(
        known_pairs(4, 0), known_pairs(2, 1), network, settings, EDM, checkpoint, lambda _: None
    )


def loss_of_fresh(batch: Batch) -> float:
    with torch.no_grad():
        return float(batch_loss(build(NETWORK), batch, EDM))


def test_a_network_that_knows_nothing_has_a_loss_of_one() -> None:
    torch.manual_seed(0)
    batch = draw_batch(known_pairs(4, 0), SETTINGS, 64, np.random.default_rng(0))

    # The last layer starts at zero, so the fresh network is the best guess without a condition.
    assert loss_of_fresh(batch) == pytest.approx(1.0, abs=0.02)


def test_the_fit_learns_what_the_condition_tells(tmp_path: Path) -> None:
    settings = replace(SETTINGS, steps=60, learning_rate=6e-3, warmup=6, report_every=60)

    _, (last,) = run(settings, tmp_path / "fit.checkpoint")

    assert last.step == 60
    assert last.held_back_loss < 0.75


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    first, _ = run(SETTINGS, tmp_path / "first")
    second, _ = run(SETTINGS, tmp_path / "second")
    other, _ = run(replace(SETTINGS, seed=2), tmp_path / "other")

    ours, theirs = first.state_dict(), second.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert any(not torch.equal(ours[name], other.state_dict()[name]) for name in ours)


def test_a_fit_that_was_interrupted_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole, course = run(SETTINGS, tmp_path / "whole")

    class Interrupted(Exception):
        pass

    def interrupt(progress: Progress) -> None:
        if progress.step == 4:
            raise Interrupted

    def start(report: Callable[[Progress], None]) -> Fitted:
        path = tmp_path / "broken"
        return fit(known_pairs(4, 0), known_pairs(2, 1), NETWORK, SETTINGS, EDM, path, report)

    with pytest.raises(Interrupted):
        start(interrupt)
    resumed, resumed_course = start(lambda _: None)

    ours, theirs = whole.state_dict(), resumed.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert [(p.step, p.held_back_loss) for p in resumed_course] == [
        (p.step, p.held_back_loss) for p in course
    ]


def test_a_checkpoint_of_other_settings_is_refused_by_name(tmp_path: Path) -> None:
    run(SETTINGS, tmp_path / "fit.checkpoint")

    with pytest.raises(UsageError, match=r"fit\.checkpoint was made with width 16, .* wants 32"):
        run(SETTINGS, tmp_path / "fit.checkpoint", replace(NETWORK, width=32))


def test_two_workers_find_the_gradients_of_one(tmp_path: Path) -> None:
    alone, _ = run(replace(SETTINGS, steps=1, workers=1), tmp_path / "one")
    shared, _ = run(replace(SETTINGS, steps=1, workers=2), tmp_path / "two")

    for name, weight in alone.state_dict().items():
        # Adam's first step has the size of the rate wherever the gradient's sign is certain.
        assert torch.allclose(weight, shared.state_dict()[name], atol=2e-5), name


def test_tiles_wrap_keep_their_constants_and_reach_both_edges() -> None:
    pairs = known_pairs(4, 0)

    batch = draw_batch(pairs, SETTINGS, 200, np.random.default_rng(0))

    rows, columns = batch.condition[:, 1], batch.condition[:, 2]
    assert np.array_equal(batch.clean[:, 0], batch.condition[:, 0])
    assert np.all(np.diff(rows, axis=1) == 1)
    assert np.all(np.diff(columns, axis=2) % 32 == 1)
    assert (columns[:, 0, 0] > columns[:, 0, -1]).any(), "no tile wrapped"
    assert (rows.min(), rows.max()) == (0, 19)
    state = [np.flatnonzero((pairs.residual[:, 0] == tile[0, 0, 0]).any((1, 2))) for tile in
             batch.clean[:, None, 0]]  # fmt: skip
    assert {int(found[0]) for found in state} == {0, 1, 2, 3}


def test_tiles_of_a_limited_area_never_wrap() -> None:
    pairs = replace(known_pairs(4, 0), periodic=False)

    batch = draw_batch(pairs, SETTINGS, 200, np.random.default_rng(0))

    assert np.all(np.diff(batch.condition[:, 2], axis=2) == 1)


def test_levels_are_drawn_from_the_stated_distribution() -> None:
    batch = draw_batch(known_pairs(4, 0), SETTINGS, 4000, np.random.default_rng(0))

    logarithms = np.log(batch.sigma)
    assert logarithms.mean() == pytest.approx(-0.8, abs=0.06)
    assert logarithms.std() == pytest.approx(1.2, abs=0.05)


def test_rows_count_by_their_weights() -> None:
    weights = np.zeros(20, np.float32)
    weights[:4] = 1.0
    pairs = replace(known_pairs(4, 0), row_weights=weights)
    torch.manual_seed(0)
    batch = draw_batch(pairs, SETTINGS, 8, np.random.default_rng(3))
    silent = Batch(
        np.where(batch.weights > 0, batch.clean, 100.0).astype(np.float32),
        batch.noise,
        batch.condition,
        batch.sigma,
        batch.weights,
    )

    # What lies in rows of no weight must not matter.
    assert loss_of_fresh(silent) == pytest.approx(loss_of_fresh(batch), rel=1e-5)


def test_the_rate_warms_up_and_falls_to_zero() -> None:
    settings = TrainingSettings(steps=1000, warmup=100)

    rates = [rate(step, settings) for step in range(1001)]

    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(1.0)
    assert rates[550] == pytest.approx(0.5)
    assert rates[1000] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tile": (24, 16)}, "24x16, want sides divisible by 2 that fit the grid of 20x32"),
        ({"tile": (15, 16)}, "15x16, want sides divisible by 2"),
        ({"workers": 3}, "3 workers cannot share batches of 4"),
    ],
)
def test_tiles_and_workers_that_do_not_fit_are_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        run(replace(SETTINGS, **changes), tmp_path / "fit.checkpoint")
