"""`python -m engines.training PAIRS --output WEIGHTS`: a fit where the archive is not.

Needs this package, PyTorch, numpy and safetensors. `downscaled bundle train --pairs-to` writes
the pairs, `downscaled bundle train --weights` makes a bundle of what comes back.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from engines.errors import DownscaledError, UsageError
from engines.training import options
from engines.training.fit import Until, fit
from engines.training.fitted import Fitted, read_fitted, write_fitted
from engines.training.pairs_file import read_pairs
from engines.training.task import task_of


def main(words: Sequence[str] | None = None) -> int:
    """Fit, or go on with a fit, and leave the best weights so far in the output."""
    arguments = _parser().parse_args(words)
    try:
        return _run(arguments)
    except DownscaledError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, UsageError) else 1


def _run(arguments: argparse.Namespace) -> int:
    started = time.monotonic()

    def say(text: str) -> None:
        clock = f"{arguments.name}{time.monotonic() - started:6.0f} s"
        sys.stdout.write("".join(f"{clock}  {line}\n" for line in text.splitlines()))
        sys.stdout.flush()

    lesson = read_pairs(arguments.pairs)
    task = task_of(arguments, lesson.learn)
    is_there = arguments.start is not None and arguments.start.exists()
    start = read_fitted(arguments.start).weights if is_there else None

    def keep(fitted: Fitted) -> None:
        command = options.told("python -m engines.training", sys.argv[1:])
        write_fitted(arguments.output, replace(fitted, command=command), half=arguments.half)

    until = Until(
        seconds=60.0 * arguments.stop_after,
        report=lambda progress: say(options.words(progress)),
        say=say,
        better=keep,
    )
    arguments.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    say("goes on" if arguments.checkpoint.exists() else "starts")
    fitted = fit(lesson, task, arguments.checkpoint, until, start)
    keep(fitted)
    say(_summary(fitted))
    return 0


def _summary(fitted: Fitted) -> str:
    state = "finished" if fitted.is_finished else "stopped before its end"
    lines = [f"{state}; best held back {fitted.held_back_loss:.4f} at step {fitted.step}"]
    lines += [
        f"  sigma {one.sigma:5.2f}: learnt {one.learnt:.4f}, held back {one.held_back:.4f}"
        for one in fitted.levels
    ]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m engines.training", description=__doc__)
    add = parser.add_argument
    add("pairs", type=Path, metavar="PAIRS", help="what `bundle train --pairs-to` wrote")
    add("--output", type=Path, required=True, help="file of the best weights so far")
    add("--checkpoint", type=Path, required=True, help="what a later call goes on from")
    add("--start", type=Path, help="weights to start from where there is no checkpoint")
    add("--stop-after", type=float, default=float("inf"), help="minutes of this call")
    add("--half", action="store_true", help="write the weights as float16")
    add("--name", default="", help="before every line, where several fits share a terminal")
    options.configure(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
