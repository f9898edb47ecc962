"""Tune a network through its own unrolled few-call sampler, with a proper score of its draws.

Training teaches a network to denoise at every level; here it learns what its few calls make of
noise together. It serves those calls only: the network that it came from stays for all others.

Source: the idea is that of AIFS-CRPS, Lang et al. 2024 (https://arxiv.org/abs/2412.15832), and of
FGN, Alet et al. 2025 (https://arxiv.org/abs/2506.10772), applied to a denoiser's sampler.
"""

import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engines.errors import EngineError, UsageError
from engines.multistep import MultistepSettings
from engines.precondition import Around
from engines.training.averages import Averages
from engines.training.batches import Batch, Store
from engines.training.draws_loss import draws_loss
from engines.training.few_calls import FewCalls
from engines.training.files import refuse_other, write_checkpoint
from engines.training.judge import Judge, drawn_tiles
from engines.training.pairs_file import Lesson
from engines.training.settings import revive
from engines.training.team import Team
from engines.training.tune_settings import TuneProgress, TuneSettings, rate

CLIP = 1.0
BETAS = (0.9, 0.999)
#: Settings that a resumed tuning may change: how long, where and how fast, not what.
MAY_CHANGE = (
    "steps", "minutes", "device", "precision", "workers", "report_every", "checkpoint_every_s",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """What is tuned: a raw network, its sampler, what surrounds it, and the name of its making."""

    network: nn.Module
    sampler: MultistepSettings
    around: Around
    digest: str


@dataclass(frozen=True, slots=True, eq=False)
class Tuned:
    """The average that did best on the held-back days: the network, and its sampler.

    step: when it was best; 0 where nothing was gained. history: with the start as its first.
    """

    network: nn.Module
    sampler: MultistepSettings
    step: int
    history: tuple[TuneProgress, ...]
    is_finished: bool


@dataclass(frozen=True, slots=True)
class Until:
    """When this life of a tuning ends though the tuning may not, and whom it tells meanwhile."""

    seconds: float = math.inf
    report: Callable[[TuneProgress], None] = lambda _: None


def tune(
    lesson: Lesson, start: Start, settings: TuneSettings, checkpoint: Path, until: Until
) -> Tuned:
    """Return the network that did best on the held-back pairs, tuned from `start`.

    Continues from `checkpoint` if it exists and was made with the same settings, else raises
    UsageError naming the difference. The same seed, workers and steps give the same weights on
    the same kind of machine. Raises EngineError when the loss is no longer a number.
    """
    _refuse_what_does_not_fit(lesson, settings)
    torch.set_num_threads(1)
    running = _Tuning(lesson, start, settings, checkpoint, until)
    try:
        return running.run()
    finally:
        running.close()


def sampler_of(checkpoint: Path) -> MultistepSettings | None:
    """Return the sampler that a checkpoint's tuning started from; None where there is none."""
    if not checkpoint.exists():
        return None
    told = torch.load(checkpoint, weights_only=True, map_location="cpu").get("identity", {})
    names = [one.name for one in fields(MultistepSettings)]
    if any(name not in told for name in names):
        raise UsageError(f"{checkpoint} is no checkpoint of a tuning; remove it to start afresh")
    return revive(MultistepSettings, told)


class _Tuning:
    """A tuning under way; `step` steps of it are done."""

    def __init__(
        self,
        lesson: Lesson,
        start: Start,
        settings: TuneSettings,
        checkpoint: Path,
        until: Until,
    ) -> None:
        self._settings, self._until, self._checkpoint = settings, until, checkpoint
        self._identity = _plain(settings, start, lesson.material)
        self._learn = Store(lesson.learn, settings.device)
        self._module = _placed(start, settings)
        # In units of it the terms of the loss weigh alike on any bundle.
        self._scale = lesson.learn.deviation
        held_back = Store(lesson.held_back, settings.device)
        self._judge = Judge(self._module, held_back, settings, self._scale)
        self._optimiser = torch.optim.Adam(
            [
                {"params": list(self._module.network.parameters()), "peak": settings.learning_rate},
                {"params": self._module.own(), "peak": settings.sampler_rate},
            ],
            betas=BETAS,
        )
        self._averages = Averages(self._module, settings.averages)
        self._team = Team(
            self._module, self._loss, workers=settings.workers, device=settings.device,
            precision=settings.precision,
        )  # fmt: skip
        self._history: list[TuneProgress] = []
        self.step, self._seconds_before = 0, 0.0
        if checkpoint.exists():
            self._restore()
        self._started = self._saved = time.monotonic()

    def close(self) -> None:
        """Let the threads of team and judge go."""
        self._team.close()
        self._judge.close()

    def run(self) -> Tuned:
        """Tune until the course or the caller's time is over, and return what did best.

        The first look is at the start itself, so that on the held-back tiles no tuning is worse
        than none. A checkpoint is written on the way and at the end. Raises EngineError when the
        loss is no longer a number.
        """
        losses: list[Tensor] = []
        if not self._history:
            self._look(losses)
        while not self._is_over():
            losses.append(self._learn_one())
            if self.step % self._settings.report_every == 0:
                self._look(losses)
                losses = []
            if time.monotonic() - self._saved > self._settings.checkpoint_every_s:
                self._save()
        if losses:
            self._look(losses)
        self._save()
        return self._tuned()

    def _loss(self, module: nn.Module, part: Batch) -> Tensor:
        drawn = module(part.noise, part.condition)
        scale, terms = self._scale, self._settings.terms
        return draws_loss(drawn / scale, part.clean / scale, part.weights, terms)

    def _learn_one(self) -> Tensor:
        settings = self._settings
        share = rate(self.step, self._share(), settings.warmup)
        for group in self._optimiser.param_groups:
            group["lr"] = group["peak"] * share
        self.step += 1
        batch = drawn_tiles(self._learn, settings, (settings.batch, settings.draws), self.step)
        loss = self._team.learn(batch, self._optimiser, CLIP)
        self._averages.blend(self.step)
        return loss

    def _look(self, losses: list[Tensor]) -> None:
        """Measure the averages on the held-back tiles."""
        mean = float(torch.stack(losses).mean()) if losses else math.nan
        if losses and not math.isfinite(mean):
            raise EngineError(f"the loss is {mean} after {self.step} steps, want a smaller rate")
        found = [self._judge.verdict(state) for state in self._averages.states()]
        share = min(1.0, self._share())
        self._averages.judge([one.loss for one in found], self.step, share)
        self._history.append(
            TuneProgress(self.step, share, mean, *min(found), seconds=self._seconds())
        )
        self._until.report(self._history[-1])

    def _is_over(self) -> bool:
        is_late = time.monotonic() - self._started >= self._until.seconds
        return is_late or self._share() >= 1.0

    def _share(self) -> float:
        settings = self._settings
        if settings.minutes > 0.0:
            return self._seconds() / (60.0 * settings.minutes)
        return self.step / settings.steps

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._started

    def _tuned(self) -> Tuned:
        best = self._judge.module(self._averages.best)
        return Tuned(
            network=best.network,
            sampler=best.sampler(),
            step=self._averages.best_step,
            history=tuple(self._history),
            is_finished=self._share() >= 1.0,
        )

    def _save(self) -> None:
        seconds = self._seconds()
        self._saved = time.monotonic()
        held = {
            "identity": self._identity,
            "module": self._module.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "averages": self._averages.plain(),
            "step": self.step,
            "seconds": seconds,
            "history": [asdict(entry) for entry in self._history],
        }
        write_checkpoint(self._checkpoint, held)

    def _restore(self) -> None:
        path = self._checkpoint
        held = torch.load(path, weights_only=True, map_location=self._settings.device)
        refuse_other(path, held.get("identity", {}), self._identity, MAY_CHANGE)
        self._module.load_state_dict(held["module"])
        self._optimiser.load_state_dict(held["optimiser"])
        self._averages.restore(held["averages"])
        self.step, self._seconds_before = held["step"], held["seconds"]
        self._history = [revive(TuneProgress, entry) for entry in held["history"]]


def _placed(start: Start, settings: TuneSettings) -> FewCalls:
    network = deepcopy(start.network).to(memory_format=torch.channels_last)
    # Without dropout: draws would count its noise as spread, and lose it at work.
    module = FewCalls(network.eval(), start.sampler, start.around, settings.precision)
    for weight in module.parameters():
        weight.requires_grad = True
    for weight in module.own():
        weight.requires_grad = settings.sampler_rate > 0.0
    return module.to(settings.device)


def _plain(settings: TuneSettings, start: Start, material: str) -> dict[str, Any]:
    """Return all that makes a tuning this one, as a checkpoint holds it."""
    both = {**asdict(settings), "sampler": asdict(start.sampler)}
    told = {**both.pop("terms"), **both.pop("sampler"), **both}
    plain = {name: list(v) if isinstance(v, tuple) else v for name, v in told.items()}
    return {**plain, "start": start.digest, "material": material}


def _refuse_what_does_not_fit(lesson: Lesson, settings: TuneSettings) -> None:
    rows, columns = lesson.learn.residual.shape[2:]
    height, width = settings.tile
    if height > rows or width > columns:
        raise UsageError(f"tiles are {height}x{width}, want some that fit {rows}x{columns}")
    if settings.batch % settings.workers:
        raise UsageError(
            f"{settings.workers} workers cannot share batches of {settings.batch} tiles equally"
        )
    if min(settings.draws, settings.judged_draws) < 2:
        raise UsageError("draws: found 1, want at least 2, since a score of draws needs two")
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device is cuda, but PyTorch finds no NVIDIA GPU here")
