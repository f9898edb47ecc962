"""Pairs and weights cross to another machine whole; the fit there needs only the machine room."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines.errors import UsageError
from engines.training.__main__ import main
from engines.training.fit import Until, fit
from engines.training.fitted import read_fitted, thinned, write_fitted
from engines.training.pairs_file import Lesson, read_pairs, write_pairs
from engines.training.settings import Progress
from tests.conftest import REPOSITORY
from tests.engines.training.known import TASK, known_lesson, upright_is_negative

#: What a machine with a GPU may lack: everything but PyTorch, numpy and safetensors.
FIT_ALONE = """
import sys
for name in ("streamer", "monitoring", "scipy", "eccodes", "mir", "openvino", "onnx", "yaml"):
    sys.modules[name] = None
from engines.training.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
SMALL = [
    *("--tile", "16", "16", "--width", "16", "--multipliers", "1", "2", "--blocks", "1"),
    *("--batch", "4", "--training-tile", "16", "16", "--warmup", "2", "--report-every", "2"),
]


@pytest.fixture
def lesson() -> Lesson:
    known = known_lesson()
    mirror = upright_is_negative()
    return replace(
        known,
        learn=replace(known.learn, mirror=mirror),
        held_back=replace(known.held_back, mirror=mirror),
    )


def test_pairs_come_back_in_half_precision(tmp_path: Path, lesson: Lesson) -> None:
    write_pairs(tmp_path / "pairs", lesson)

    found = read_pairs(tmp_path / "pairs")

    assert found.material == lesson.material
    for ours, theirs in ((lesson.learn, found.learn), (lesson.held_back, found.held_back)):
        assert theirs.residual.dtype == np.float16
        assert np.allclose(ours.residual, theirs.residual, rtol=5e-4, atol=1e-6)
        assert np.array_equal(ours.constants, theirs.constants)
        assert np.array_equal(ours.row_weights, theirs.row_weights)
        assert theirs.periodic
        assert theirs.mirror is not None
        assert np.array_equal(theirs.mirror.constants, upright_is_negative().constants)


def test_weights_come_back_with_their_story(tmp_path: Path, lesson: Lesson) -> None:
    fitted = fit(lesson, TASK, tmp_path / "checkpoint", Until())

    write_fitted(tmp_path / "exact", fitted)
    write_fitted(tmp_path / "rounded", fitted, half=True)

    exact, rounded = read_fitted(tmp_path / "exact"), read_fitted(tmp_path / "rounded")
    assert (exact.network, exact.settings) == (TASK.network, TASK.settings)
    assert (exact.history, exact.levels) == (fitted.history, fitted.levels)
    assert (exact.material, exact.is_finished) == (lesson.material, True)
    for name, value in fitted.weights.items():
        assert np.array_equal(exact.weights[name], value)
        assert np.allclose(rounded.weights[name], value, rtol=5e-4, atol=1e-6)
    assert (tmp_path / "rounded").stat().st_size < 0.7 * (tmp_path / "exact").stat().st_size


def test_a_fit_elsewhere_needs_only_the_machine_room(tmp_path: Path, lesson: Lesson) -> None:
    write_pairs(tmp_path / "pairs", lesson)
    options = [str(tmp_path / "pairs"), "--output", str(tmp_path / "weights"), "--checkpoint",
               str(tmp_path / "new" / "checkpoint"), *SMALL, "--steps", "6"]  # fmt: skip

    done = subprocess.run(
        [sys.executable, "-c", FIT_ALONE, *options],
        cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "100%  step 6: loss" in done.stdout
    assert "sigma 12.80: learnt" in done.stdout
    fitted = read_fitted(tmp_path / "weights")
    assert fitted.is_finished
    assert fitted.material == lesson.material
    assert fitted.command.startswith("python -m engines.training")


def test_a_second_call_goes_on_where_the_first_one_stopped(
    tmp_path: Path, lesson: Lesson, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pairs(tmp_path / "pairs", lesson)
    options = [str(tmp_path / "pairs"), "--output", str(tmp_path / "weights"), "--checkpoint",
               str(tmp_path / "checkpoint"), *SMALL, "--steps", "6"]  # fmt: skip

    assert main([*options, "--stop-after", "0"]) == 0
    assert "stopped before its end" in capsys.readouterr().out
    assert main(options) == 0
    said = capsys.readouterr().out

    assert "goes on" in said
    assert "finished; best held back" in said


@pytest.mark.parametrize("what", ["pairs", "weights"])
def test_a_file_that_is_neither_is_named(tmp_path: Path, what: str) -> None:
    (tmp_path / "file").write_text("neither")
    read = {"pairs": read_pairs, "weights": read_fitted}[what]

    with pytest.raises(UsageError, match=r"file cannot be read as"):
        read(tmp_path / "file")


def test_weights_are_no_pairs(tmp_path: Path, lesson: Lesson) -> None:
    write_pairs(tmp_path / "pairs", lesson)

    with pytest.raises(UsageError, match="is of format None"):
        read_fitted(tmp_path / "pairs")


def test_a_missing_file_ends_the_command_with_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--output", str(tmp_path / "w"), "--checkpoint", str(tmp_path / "c")]

    assert main([str(tmp_path / "nothing"), *options]) == 2
    assert "nothing cannot be read as pairs" in capsys.readouterr().err


def test_a_long_story_is_told_shortly() -> None:
    history = tuple(Progress(step, 0.0, 1.0, 1.0, 1.0, 0.0) for step in range(1, 501))

    short = thinned(history)

    assert 50 <= len(short) <= 60
    assert short[-1].step == 500
    assert thinned(history[:7]) == history[:7]
