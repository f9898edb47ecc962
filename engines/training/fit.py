"""Fit a denoiser to arrays of pairs: the EDM loss on random tiles, Adam, averaged networks.

Knows no weather: residuals and conditions arrive as arrays, rows and columns as indices. Every
step draws from its own generator, keyed by seed and step, so a run that was interrupted and
resumed sees the tiles it would have seen.

Source: Karras et al. 2022, section 5 and appendix B.6 (https://arxiv.org/abs/2206.00364).
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engines.errors import EngineError, UsageError
from engines.networks import build
from engines.training.averages import Averages
from engines.training.batches import Batch, Chance, Store, chance_of
from engines.training.files import refuse_other, write_checkpoint
from engines.training.fitted import Fitted
from engines.training.loss import batch_loss, losses_by_level, mean_loss
from engines.training.pairs_file import Lesson
from engines.training.schedule import cut_short, planned, rate
from engines.training.settings import Array, LevelLoss, Progress, revive
from engines.training.task import Task, refuse_what_does_not_fit
from engines.training.team import Team

CLIP = 1.0
BETAS = (0.9, 0.99)
#: Looks at the held-back pairs besides the regular ones, so that a fit shows early that it works.
EARLY = (20, 100)
#: Settings that a resumed fit may change: how long, where and how fast, not what.
MAY_CHANGE = (
    "steps", "minutes", "device", "precision", "compile", "workers", "report_every",
    "checkpoint_every_s",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Until:
    """When this life of a fit ends though the fit may not, and whom it tells meanwhile.

    seconds: of this call. report: told at every look at the held-back pairs. better: handed the
    best network so far when it has changed, at most once a checkpoint.
    """

    seconds: float = math.inf
    report: Callable[[Progress], None] = lambda _: None
    say: Callable[[str], None] = lambda _: None
    better: Callable[[Fitted], None] = lambda _: None


def fit(
    lesson: Lesson,
    task: Task,
    checkpoint: Path,
    until: Until,
    start: Mapping[str, Array] | None = None,
) -> Fitted:
    """Return the averaged network that did best on the held-back pairs, and the course of its fit.

    Continues from `checkpoint` if it exists and was made with the same settings, else raises
    UsageError naming the difference. start: weights to begin with where there is no checkpoint.
    The same seed, workers and steps give the same weights on the same kind of machine; with
    dropout only if workers is 1. Raises EngineError when the loss is no longer a number.
    """
    refuse_what_does_not_fit(lesson.learn, task)
    if task.settings.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device is cuda, but PyTorch finds no NVIDIA GPU here")
    _set_up_torch(task)
    running = _Fit(lesson, task, checkpoint, until, start)
    try:
        return running.run()
    finally:
        running.close()


class _Fit:
    """A fit under way; `step` steps of it are done."""

    def __init__(
        self,
        lesson: Lesson,
        task: Task,
        checkpoint: Path,
        until: Until,
        start: Mapping[str, Array] | None,
    ) -> None:
        self._task, self._until, self._checkpoint = task, until, checkpoint
        self._material = lesson.material
        settings, device = task.settings, task.settings.device
        self._learn, self._held_back = Store(lesson.learn, device), Store(lesson.held_back, device)
        self._network = _placed(task)
        self._judge = _placed(task).eval()
        self._fixed = self._held_back.spread(
            settings, settings.held_back_tiles, chance_of(settings.seed, 0, device)
        )
        self._optimiser = _optimiser(self._network, task)
        self._averages = Averages(self._network, settings.averages)
        self._team = Team(
            self._network, self._loss, workers=settings.workers, device=device,
            precision=settings.precision,
        )  # fmt: skip
        self._course = planned(settings)
        self._history: list[Progress] = []
        self.step, self._seconds_before = 0, 0.0
        if checkpoint.exists():
            self._restore()
        elif start is not None:
            weights = {name: torch.from_numpy(value) for name, value in start.items()}
            self._network.load_state_dict(weights)
            self._averages.start_from(self._network.state_dict())
        self._started = self._saved = time.monotonic()
        self._handed_over = self._averages.best_step

    def close(self) -> None:
        """Let the team's threads go."""
        self._team.close()

    def run(self) -> Fitted:
        """Learn until the course or the caller's time is over, and return what did best.

        A checkpoint is written on the way and at the end. Raises EngineError when the loss is no
        longer a number.
        """
        settings = self._task.settings
        if settings.compile and not self._is_over():
            self._team.compile(self._learn.draw(settings, settings.batch, self._chance(0)))
            for note in self._team.notes:
                self._until.say(note)
        losses: list[Tensor] = []
        while not self._is_over():
            losses.append(self._learn_one())
            if self._looks():
                self._look(losses)
                losses = []
            self._keep()
        if losses:
            self._look(losses)
        self._save()
        return self._fitted(is_finished=self._share() >= self._course.end)

    def _loss(self, network: nn.Module, part: Batch) -> Tensor:
        return batch_loss(network, part, self._task.preconditioning, self._task.settings.precision)

    def _learn_one(self) -> Tensor:
        settings = self._task.settings
        share = rate(self.step, self._share(), self._course, settings)
        for group in self._optimiser.param_groups:
            group["lr"] = settings.learning_rate * share
        # What dropout draws is also the step's own.
        chance = self._chance(self.step)
        torch.manual_seed(chance.key)
        batch = self._learn.draw(settings, settings.batch, chance)
        loss = self._team.learn(batch, self._optimiser, CLIP)
        self.step += 1
        self._averages.blend(self.step)
        return loss

    def _look(self, losses: list[Tensor]) -> None:
        """Measure the averages on the held-back pairs; turn to the end where they got no better."""
        settings = self._task.settings
        share = min(1.0, self._share())
        mean = float(torch.stack(losses).mean())
        if not math.isfinite(mean):
            raise EngineError(f"the loss is {mean} after {self.step} steps, want a smaller rate")
        found = [self._loss_of(state) for state in self._averages.states()]
        self._averages.judge(found, self.step, share)
        self._history.append(
            Progress(
                self.step, share, mean, min(found),
                rate(self.step, share, self._course, settings), self._seconds(),
            )
        )  # fmt: skip
        self._until.report(self._history[-1])
        waited = share - self._averages.best_share
        if share < self._course.falls_from and waited > settings.patience:
            self._course = cut_short(share, self._averages.best_share, settings)
            self._network.load_state_dict(self._averages.best)
            self._until.say(
                f"no better since step {self._averages.best_step}: the best network so far "
                "starts its decay"
            )

    def _loss_of(self, state: Mapping[str, Tensor]) -> float:
        self._judge.load_state_dict(state)
        around = self._task.preconditioning
        return mean_loss(self._judge, self._fixed, around, self._task.settings.batch)

    def _keep(self) -> None:
        """Save and hand over what there is, now and then."""
        if time.monotonic() - self._saved > self._task.settings.checkpoint_every_s:
            self._save()
            if self._averages.best_step > self._handed_over:
                self._handed_over = self._averages.best_step
                self._until.better(self._fitted(is_finished=False))

    def _looks(self) -> bool:
        return self.step % self._task.settings.report_every == 0 or self.step in EARLY

    def _is_over(self) -> bool:
        is_late = time.monotonic() - self._started >= self._until.seconds
        return is_late or self._share() >= self._course.end

    def _share(self) -> float:
        settings = self._task.settings
        if settings.minutes > 0.0:
            return self._seconds() / (60.0 * settings.minutes)
        return self.step / settings.steps

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._started

    def _chance(self, step: int) -> Chance:
        # Step 0's chance belongs to the fixed tiles.
        return chance_of(self._task.settings.seed, step + 1, self._task.settings.device)

    def _fitted(self, *, is_finished: bool) -> Fitted:
        levels: tuple[LevelLoss, ...] = ()
        if is_finished:
            self._judge.load_state_dict(self._averages.best)
            tiles = self._task.settings.held_back_tiles
            levels = tuple(
                losses_by_level(self._judge, self._learn, self._held_back, self._task, tiles)
            )
        return Fitted(
            network=self._task.network,
            settings=self._task.settings,
            weights={name: value.cpu().numpy() for name, value in self._averages.best.items()},
            step=self._averages.best_step,
            held_back_loss=self._averages.best_loss,
            history=tuple(self._history),
            levels=levels,
            material=self._material,
            is_finished=is_finished,
        )

    def _save(self) -> None:
        seconds = self._seconds()
        self._saved = time.monotonic()
        held = {
            "settings": _plain(self._task),
            "material": self._material,
            "network": self._network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "averages": self._averages.plain(),
            "course": asdict(self._course),
            "step": self.step,
            "seconds": seconds,
            "history": [asdict(entry) for entry in self._history],
        }
        write_checkpoint(self._checkpoint, held)

    def _restore(self) -> None:
        path, device = self._checkpoint, self._task.settings.device
        held = torch.load(path, weights_only=True, map_location=device)
        found = {**held["settings"], "material": held["material"]}
        wanted = {**_plain(self._task), "material": self._material}
        refuse_other(path, found, wanted, MAY_CHANGE)
        self._network.load_state_dict(held["network"])
        self._optimiser.load_state_dict(held["optimiser"])
        self._averages.restore(held["averages"])
        self._course = type(self._course)(**held["course"])
        self.step, self._seconds_before = held["step"], held["seconds"]
        self._history = [revive(Progress, entry) for entry in held["history"]]


def _set_up_torch(task: Task) -> None:
    # One thread a part: threads that share one operation wait for each other at every operation,
    # which costs a neighbour's whole time slice wherever the cores are shared.
    torch.set_num_threads(1)
    torch.manual_seed(task.settings.seed)
    if task.settings.device == "cuda":
        torch.backends.cudnn.benchmark = True


def _placed(task: Task) -> nn.Module:
    network = build(task.network).to(task.settings.device)
    return network.to(memory_format=torch.channels_last)


def _optimiser(network: nn.Module, task: Task) -> torch.optim.Optimizer:
    """Return AdamW; only kernels decay, since biases and norms hold no lessons by heart."""
    kernels = [weight for weight in network.parameters() if weight.ndim > 1]
    others = [weight for weight in network.parameters() if weight.ndim <= 1]
    return torch.optim.AdamW(
        [
            {"params": kernels, "weight_decay": task.settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=task.settings.learning_rate,
        betas=BETAS,
        fused=task.settings.device == "cuda",
    )


def _plain(task: Task) -> dict[str, Any]:
    """Return all that makes a fit this one, as a checkpoint holds it."""
    both = {**asdict(task.settings), **{f"network {n}": v for n, v in asdict(task.network).items()}}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in both.items()}
