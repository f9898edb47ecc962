"""The fit learns what can be learnt, repeats, resumes, stops in time, and ends early if it may."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engines.errors import EngineError, UsageError
from engines.networks import build
from engines.training.fit import Until, fit
from engines.training.fitted import Fitted
from engines.training.pairs_file import Lesson
from engines.training.settings import Progress
from engines.training.task import Task
from engines.training.team import _replica
from tests.engines.training.known import NETWORK, SETTINGS, TASK, known_lesson, known_pairs


def run(checkpoint: Path, task: Task = TASK, until: Until | None = None) -> Fitted:
    return fit(known_lesson(), task, checkpoint, until or Until())


def same(ours: Fitted, theirs: Fitted) -> bool:
    return all(np.array_equal(ours.weights[n], theirs.weights[n]) for n in ours.weights)


def losses(fitted: Fitted) -> list[float]:
    return [one.held_back_loss for one in fitted.history]


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    settings = replace(
        SETTINGS, steps=60, learning_rate=6e-3, warmup=6, report_every=30, held_back_tiles=32
    )
    return run(tmp_path_factory.mktemp("taught") / "checkpoint", Task(NETWORK, settings))


def test_the_fit_learns_what_the_condition_tells(taught: Fitted) -> None:
    assert taught.is_finished
    assert [one.step for one in taught.history] == [20, 30, 60]
    assert taught.held_back_loss < 0.75
    assert taught.held_back_loss == min(one.held_back_loss for one in taught.history)


def test_a_finished_fit_tells_its_loss_level_by_level(taught: Fitted) -> None:
    levels = {one.sigma: one for one in taught.levels}

    assert list(levels) == sorted(levels)
    # Where the noise is as strong as the residual the condition helps most; what is nearly clean
    # is hard to improve.
    assert levels[0.8].held_back < 0.75 < levels[0.05].held_back
    assert all(0.0 < one.learnt < 1.3 for one in taught.levels)


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    first, second = run(tmp_path / "first"), run(tmp_path / "second")
    other = run(tmp_path / "other", Task(NETWORK, replace(SETTINGS, seed=2)))

    assert same(first, second)
    assert not same(first, other)


def test_one_worker_repeats_what_dropout_forgets(tmp_path: Path) -> None:
    task = Task(replace(NETWORK, dropout=0.3), replace(SETTINGS, workers=1))

    first, second = run(tmp_path / "first", task), run(tmp_path / "second", task)
    sure = run(tmp_path / "sure", replace(task, network=NETWORK))

    assert same(first, second)
    assert losses(first) == losses(second) != losses(sure)


def test_a_fit_that_was_interrupted_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")

    class Interrupted(Exception):
        pass

    def interrupt(progress: Progress) -> None:
        if progress.step == 4:
            raise Interrupted

    with pytest.raises(Interrupted):
        run(tmp_path / "broken", until=Until(report=interrupt))
    resumed = run(tmp_path / "broken")

    assert same(whole, resumed)
    assert [(p.step, p.held_back_loss) for p in resumed.history] == [
        (p.step, p.held_back_loss) for p in whole.history
    ]


def test_a_call_that_must_end_hands_over_and_the_next_one_goes_on(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    handed: list[Fitted] = []

    stopped = run(tmp_path / "calls", until=Until(seconds=0.0, better=handed.append))
    resumed = run(tmp_path / "calls", until=Until(better=handed.append))

    assert not stopped.is_finished
    assert stopped.history == ()
    assert resumed.is_finished
    assert same(whole, resumed)
    assert handed, "the best network so far was never handed over"
    assert not any(one.is_finished for one in handed)


def test_a_fit_by_the_clock_ends_when_its_minutes_are_over(tmp_path: Path) -> None:
    settings = replace(SETTINGS, steps=10**9, minutes=2.0 / 60, report_every=10**6)

    fitted = run(tmp_path / "fit.checkpoint", Task(NETWORK, settings))

    assert fitted.is_finished
    assert fitted.history[-1].share == 1.0
    assert fitted.history[-1].rate == pytest.approx(0.0, abs=0.2)
    assert 1.9 < fitted.history[-1].seconds < 20.0


def test_a_fit_that_learns_nothing_more_ends_early_with_its_best(tmp_path: Path) -> None:
    # Noise for a residual: there is nothing to learn but the states themselves.
    learn, held_back = known_pairs(1, 0), known_pairs(2, 1)
    other = known_pairs(2, 2).residual
    lesson = Lesson(replace(learn, residual=other[:1]), replace(held_back, residual=other), "noise")
    settings = replace(
        SETTINGS, steps=200, learning_rate=6e-3, warmup=2, report_every=5, patience=0.1, decay=0.5
    )
    said: list[str] = []

    fitted = fit(lesson, Task(NETWORK, settings), tmp_path / "fit", Until(say=said.append))

    assert fitted.is_finished
    assert fitted.history[-1].step < 200
    assert fitted.held_back_loss == min(one.held_back_loss for one in fitted.history)
    assert "no better since step" in said[0]


def test_weights_to_start_from_replace_the_chance_of_the_beginning(
    tmp_path: Path, taught: Fitted
) -> None:
    one = Task(NETWORK, replace(SETTINGS, steps=1, learning_rate=0.0, held_back_tiles=32))

    after = fit(known_lesson(), one, tmp_path / "after", Until(), start=taught.weights)

    assert after.held_back_loss == pytest.approx(taught.held_back_loss, rel=1e-4)


def test_a_checkpoint_of_other_settings_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "fit.checkpoint"
    run(path)

    with pytest.raises(UsageError, match=r"made with network width 16, this run wants 32"):
        run(path, Task(replace(NETWORK, width=32), SETTINGS))
    with pytest.raises(UsageError, match=r"made with seed 1, this run wants 3"):
        run(path, Task(NETWORK, replace(SETTINGS, seed=3)))
    with pytest.raises(UsageError, match=r"made with material"):
        fit(replace(known_lesson(), material="other"), TASK, path, Until())


def test_two_workers_find_the_gradients_of_one(tmp_path: Path) -> None:
    alone = run(tmp_path / "one", Task(NETWORK, replace(SETTINGS, steps=1, workers=1)))
    shared = run(tmp_path / "two", Task(NETWORK, replace(SETTINGS, steps=1, workers=2)))

    for name, weight in alone.weights.items():
        # Adam's first step has the size of the rate wherever the gradient's sign is certain.
        assert np.allclose(weight, shared.weights[name], atol=2e-5), name


def test_a_loss_that_is_no_number_ends_the_fit(tmp_path: Path) -> None:
    lesson = known_lesson()
    lesson.learn.residual[0, 0, 10, 10] = math.nan
    settings = replace(SETTINGS, steps=40, batch=32)

    with pytest.raises(EngineError, match="the loss is nan after"):
        fit(lesson, Task(NETWORK, settings), tmp_path / "fit", Until())


def test_half_precision_learns_the_same_lesson(tmp_path: Path) -> None:
    settings = replace(SETTINGS, steps=30, learning_rate=6e-3, report_every=30, precision="bf16")

    assert run(tmp_path / "fit", Task(NETWORK, settings)).held_back_loss < 0.9


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tile": (24, 16)}, "24x16, want sides divisible by 2 that fit the grid of 20x32"),
        ({"tile": (15, 16)}, "15x16, want sides divisible by 2"),
        ({"workers": 3}, "3 workers cannot share batches of 4"),
        ({"decay": 0.0}, "decay is 0"),
        ({"averages": (0.3,)}, "want shares between 0 and 0.28"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        run(tmp_path / "fit.checkpoint", Task(NETWORK, replace(SETTINGS, **changes)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="finds no NVIDIA GPU here"):
        run(tmp_path / "fit", Task(NETWORK, replace(SETTINGS, device="cuda", workers=1)))


@pytest.mark.gpu
def test_a_gpu_learns_the_same_lesson(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no NVIDIA GPU here")
    settings = replace(SETTINGS, steps=60, learning_rate=6e-3, warmup=6, report_every=60)
    cpu = run(tmp_path / "cpu", Task(NETWORK, settings))

    gpu = run(
        tmp_path / "gpu",
        Task(NETWORK, replace(settings, device="cuda", workers=1, precision="bf16")),
    )

    assert gpu.held_back_loss == pytest.approx(cpu.held_back_loss, abs=0.1)


def test_workers_share_the_noise_features_that_are_drawn_at_random() -> None:
    network = build(replace(NETWORK, architecture="ncsnpp"))

    replica = _replica(network)

    names = {name for name, _ in network.named_buffers()}
    assert "map_noise.freqs" in names
    found = dict(replica.named_buffers())
    assert all(torch.equal(buffer, found[name]) for name, buffer in network.named_buffers())
