"""What a command line says of a fit, the same wherever it runs. Needs no torch."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engines.training.settings import Progress, TrainingSettings

DEFAULTS = TrainingSettings()
#: How many signs a whole fit's bar has.
BAR = 30


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the network and of its fit."""
    network = parser.add_argument_group("the network")
    add = network.add_argument
    add("--tile", type=int, nargs=2, default=[104, 144], help="rows and columns of the engine")
    add("--width", type=int, default=32, help="channels of the network's finest level")
    add("--multipliers", type=int, nargs="+", default=[1, 2, 2], help="of width, one a level")
    add("--blocks", type=int, default=2, help="blocks a level")
    add("--dropout", type=float, default=0.0, help="share of values that a step forgets")
    fit = parser.add_argument_group("the fit")
    add = fit.add_argument
    add("--steps", type=int, default=DEFAULTS.steps, help="training steps")
    add("--minutes", type=float, default=0.0, help="as many steps as fit into this time instead")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--precision", choices=("f32", "bf16", "fp16"), help="inner arithmetic; on cuda bf16")
    add("--compile", action="store_true", help="compile the network, where PyTorch can")
    add("--workers", type=int, choices=(1, 2, 4, 8), help="threads that share a batch; 2 on a CPU")
    add("--batch", type=int, default=DEFAULTS.batch, help="tiles a step")
    add("--training-tile", type=int, nargs=2, default=list(DEFAULTS.tile), help="their size")
    add("--seed", type=int, default=DEFAULTS.seed)
    add("--learning-rate", type=float, default=DEFAULTS.learning_rate, help="at its highest")
    add("--weight-decay", type=float, default=DEFAULTS.weight_decay)
    add("--no-mirror", action="store_true", help="never show a state as seen from the other pole")
    add("--warmup", type=int, default=DEFAULTS.warmup, help="steps until the rate is highest")
    add("--decay", type=float, default=DEFAULTS.decay, help="last share, in which it falls to 0")
    add("--patience", type=float, default=DEFAULTS.patience,
        help="share without a better loss on the days held back, after which it falls")  # fmt: skip
    add("--noise", type=float, nargs=2, default=list(DEFAULTS.noise),
        help="mean and deviation of ln sigma")  # fmt: skip
    add("--report-every", type=int, default=DEFAULTS.report_every, help="steps between reports")
    add("--held-back-tiles", type=int, default=DEFAULTS.held_back_tiles, help="looked at each time")


def training(arguments: argparse.Namespace) -> TrainingSettings:
    """Return how to fit."""
    is_cpu = arguments.device == "cpu"
    named = ("steps", "minutes", "device", "compile", "batch", "seed", "learning_rate",
             "weight_decay", "warmup", "decay", "patience", "report_every",
             "held_back_tiles")  # fmt: skip
    given: dict[str, Any] = {name: getattr(arguments, name) for name in named}
    return TrainingSettings(
        **given,
        precision=arguments.precision or ("f32" if is_cpu else "bf16"),
        workers=arguments.workers or (2 if is_cpu else 1),
        tile=tuple(arguments.training_tile),
        noise=tuple(arguments.noise),
        mirror=not arguments.no_mirror,
    )


def told(command: str, given: Sequence[str]) -> str:
    """Return a command as a card tells it: where files lay on some machine is nobody's affair."""
    short = [Path(word).name if Path(word).is_absolute() else word for word in given]
    return f"{command} {shlex.join(short)}"


def words(progress: Progress) -> str:
    """Return a report as one line: a bar, the loss, the pace, the time left."""
    pace = progress.step / progress.seconds if progress.seconds else 0.0
    bar = "#" * round(BAR * progress.share)
    return (
        f"[{bar:{BAR}}] {progress.share:4.0%}  step {progress.step}: loss {progress.loss:.4f}, "
        f"held back {progress.held_back_loss:.4f}, {pace:.3g} steps/s, "
        f"{progress.seconds_left / 60:.1f} min left"
    )
