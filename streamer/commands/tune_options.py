"""What `downscaled bundle tune` takes; needs no torch, so that any parser may declare it."""

import argparse
from pathlib import Path
from typing import Any

from engines.choice import BACKENDS
from engines.training.tune_settings import Terms, TuneProgress, TuneSettings

DEFAULTS = TuneSettings()
#: How a report shows what is done, in letters.
BAR = 30


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("bundle", metavar="BUNDLE", help="a folder, or a name that ships")
    add("--truth", type=Path, nargs="+", required=True, metavar="PATH",
        help="GRIB on the bundle's fine grid, files or folders, several days of it")  # fmt: skip
    add("--output", type=Path, metavar="DIR", help="the new bundle (default: in place)")
    add("--calls", type=int, default=2, help="network calls of a draw of one tile (default: 2)")
    add("--hold-back-days", type=int, metavar="DAYS",
        help="last days, to choose and measure on (default: what training held back)")  # fmt: skip
    add(
        "--checkpoint", type=Path, help="where to continue from (default: OUTPUT.tuning.checkpoint)"
    )
    add("--again", action="store_true", help="begin with the bundle's tuned network, not its first")
    add("--keep", action="store_true", help="write it even if it breaks a rule, served by nothing")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="to tune and to measure on")
    add("--progress", action="store_true", help="show progress in a pipe too")
    add("--json", action="store_true", help="one JSON object instead of the table")
    _configure_learning(parser.add_argument_group("the tuning"))
    _configure_loss(parser.add_argument_group("the loss, beside the fair CRPS"))
    add = parser.add_argument_group("the measuring").add_argument
    add("--states", type=int, default=8, help="spread over the days held back (default: 8)")
    add("--measured-draws", type=int, default=4, help="a state, at least 2 (default: 4)")
    add("--backend", choices=BACKENDS, default="auto", help="engine to measure on")


def settings(arguments: argparse.Namespace, overlap: tuple[int, int]) -> TuneSettings:
    """Return how to tune; overlap: of the bundle's tiles."""
    is_cpu = arguments.device == "cpu"
    named = ("steps", "minutes", "device", "batch", "draws", "seed", "learning_rate",
             "sampler_rate", "warmup", "report_every", "judged_tiles", "judged_draws")  # fmt: skip
    given: dict[str, Any] = {name: getattr(arguments, name) for name in named}
    terms = Terms(
        band=arguments.band,
        patch=arguments.patch,
        gradient=arguments.gradient,
        spread=arguments.spread,
        aim=arguments.spread_aim,
    )
    return TuneSettings(
        **given,
        precision=arguments.precision or ("f32" if is_cpu else "bf16"),
        workers=arguments.workers or (2 if is_cpu else 1),
        tile=tuple(arguments.training_tile),
        overlap=overlap,
        mirror=not arguments.no_mirror,
        terms=terms,
    )


def words(progress: TuneProgress) -> str:
    """Return a report as one line: a bar, the scores on the days held back, the time left."""
    bar = "#" * round(BAR * progress.share)
    done = f"[{bar:{BAR}}] {progress.share:4.0%}  step {progress.step}"
    parts = [
        f"{done}: held back {progress.held_back_loss:.4f}",
        f"CRPS {progress.crps:.4f}",
        f"spread/skill {progress.spread_skill:.3f}",
    ]
    if progress.step:
        # Before the first step there is neither a loss nor a pace.
        parts += [f"loss {progress.loss:.4f}", f"{progress.seconds_left / 60:.1f} min left"]
    return ", ".join(parts)


def _configure_learning(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--steps", type=int, default=DEFAULTS.steps, help="default: %(default)s")
    add("--minutes", type=float, default=0.0, help="as many steps as fit into this time instead")
    add("--precision", choices=("f32", "bf16", "fp16"), help="inner arithmetic; on cuda bf16")
    add("--workers", type=int, choices=(1, 2, 4, 8), help="threads that share a batch; 2 on a CPU")
    add("--batch", type=int, default=DEFAULTS.batch, help="tiles a step (default: %(default)s)")
    add("--draws", type=int, default=DEFAULTS.draws, help="of each tile (default: %(default)s)")
    add("--training-tile", type=int, nargs=2, default=list(DEFAULTS.tile), help="their size")
    add("--seed", type=int, default=DEFAULTS.seed)
    add("--learning-rate", type=float, default=DEFAULTS.learning_rate,
        help="of the network, at its highest (default: %(default)s)")  # fmt: skip
    add("--sampler-rate", type=float, default=DEFAULTS.sampler_rate,
        help="of levels and coefficients; 0 freezes them (default: %(default)s)")  # fmt: skip
    add("--warmup", type=int, default=DEFAULTS.warmup, help="steps until the rate is highest")
    add("--no-mirror", action="store_true", help="never show a state as seen from the other pole")
    add("--report-every", type=int, default=DEFAULTS.report_every, help="steps between looks")
    add("--judged-tiles", type=int, default=DEFAULTS.judged_tiles, help="at each look")
    add("--judged-draws", type=int, default=DEFAULTS.judged_draws, help="of each of them")


def _configure_loss(group: argparse._ArgumentGroup) -> None:
    add, terms = group.add_argument, DEFAULTS.terms
    add("--band", type=float, default=terms.band,
        help="weight of the power in three bands (default: %(default)s)")  # fmt: skip
    add("--patch", type=float, default=terms.patch,
        help="weight of the energy score of 8x8 patches (default: %(default)s)")  # fmt: skip
    add("--gradient", type=float, default=terms.gradient,
        help="weight of the CRPS of the gradient (default: %(default)s)")  # fmt: skip
    add("--spread", type=float, default=terms.spread,
        help="weight of ln^2 of spread over skill (default: %(default)s)")  # fmt: skip
    add("--spread-aim", type=float, default=terms.aim,
        help="what spread over skill is held against (default: %(default)s)")  # fmt: skip
