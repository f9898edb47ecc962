"""Fit the levels and coefficients of the multistep sampler through a frozen network.

Few parameters and a smooth loss: some thirty steps of Adam on random tiles find them. Where a
fit ends depends on where it starts, so several starts race on the same tiles before one is
carried on, and what is taken is what did best on tiles of states that no step has seen.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from engines.errors import EngineError, UsageError
from engines.multistep import MultistepSettings
from engines.precondition import Around, sigma_range
from engines.training.crops import Crop, Cropper
from engines.training.ensemble_loss import band_penalty, fair_crps
from engines.training.unrolled import surrounded, unrolled

#: Told after every step: how many network calls a tile are made of how many.
Report = Callable[[int, int], None]

#: Where fits through one network of winds ended, in units of its residual's deviation: levels,
#: extrapolations, remainder. Good starts for others; not good enough to be taken as they are.
KNOWN = {
    2: ((7.6, 1.196), (1.887,), 0.067),
    3: ((12.55, 3.352, 0.651), (1.116, 0.78), 0.177),
    4: ((12.76, 4.57, 1.185, 0.341), (0.514, 1.034, 0.608), 0.228),
    5: ((17.86, 7.34, 2.426, 0.3905, 0.0982), (0.728, 0.772, 0.666, 0.522), 0.02),
}
#: Where 2M starts from: highest and lowest level, in the same units, and a remainder. A level
#: falls by no more than a factor of FALL, so few levels end higher.
SPANS = ((14.0, 0.1, 0.1), (9.0, 0.2, 0.1))
FALL = 5.0
#: No two levels come nearer to each other.
LEAST_FALL = 1.05
#: The remainder is learned through a logistic function, which never reaches 0.
LEAST_REMAINDER = 0.01
#: Share of the steps in which all starts race, and of the last ones that are averaged.
RACE, AVERAGED = 1 / 3, 1 / 3
BETAS = (0.9, 0.99)


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How to fit. steps: of the start that wins, its race counted. rate: falls from here to 0.

    tiles, draws: in a step; draws at least 2. tile: (height, width). band_weight: of the power
    at all scales beside the fair CRPS. held_tiles: on which ends are compared.
    """

    steps: int = 36
    rate: float = 0.1
    tiles: int = 4
    draws: int = 2
    tile: tuple[int, int] = (64, 64)
    band_weight: float = 0.15
    held_tiles: int = 24
    seed: int = 1
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class FittedSampler:
    """What a fit found. loss: on the tiles that no step saw. started: the best start's there."""

    sampler: MultistepSettings
    loss: float
    started: float


class MultistepFit:
    """A frozen network with the tiles that its samplers are fitted on."""

    def __init__(
        self,
        network: nn.Module,
        around: Around,
        tiles: tuple[Cropper, Cropper],
        how: FitSettings,
        units: Sequence[float] = (),
    ) -> None:
        """Take a network on `how.device`; tiles: to learn from, and to choose on.

        units: of each channel, what its residual is multiplied by before it is added to the
        condition's channel of the same number; () where no such channel tells the coarse field.
        Raises UsageError for a network without levels, or settings that no fit can use.
        """
        if around.kind == "direct":
            raise UsageError("a direct network has no noise levels, so nothing to fit")
        if how.steps < 3 or how.draws < 2 or how.tiles < 1:
            raise UsageError(
                f"{how.steps} steps of {how.tiles} tiles with {how.draws} draws, wanted at least "
                "3 steps, 1 tile and 2 draws"
            )
        self._network = network.eval().requires_grad_(requires_grad=False)
        self._around, self._how = around, how
        self._learn, self._choose = tiles
        self._scale = self._learn.deviation
        self._units = torch.tensor(units, device=how.device)[:, None, None] if units else None

    def fit(
        self, calls: int, before: MultistepSettings | None = None, report: Report | None = None
    ) -> FittedSampler:
        """Return the best sampler of `calls` network calls that was found.

        before: a fit of one call fewer, which makes one more start. Raises EngineError where the
        loss is no longer a number.
        """
        starts = list(self._starts(calls, before))
        race = max(1, round(self._how.steps * RACE))
        total = calls * (race * len(starts) + self._how.steps - race)
        done = 0

        def made() -> None:
            nonlocal done
            done += calls
            if report is not None:
                report(done, total)

        runners = [_Runner(self._first(start), self._how) for start in starts]
        for runner in runners:
            for step in range(race):
                runner.take(self._loss(runner.coefficients(self._within), calls, step), step)
                made()
        placed = [self._held_loss(runner.sampler(self._within)) for runner in runners]
        winner = runners[int(np.argmin(placed))]
        for step in range(race, self._how.steps):
            winner.take(self._loss(winner.coefficients(self._within), calls, step), step)
            made()
        ends = [winner.average(self._within), winner.sampler(self._within), *starts]
        losses = [self._held_loss(end) for end in ends]
        best = int(np.argmin(losses))
        if not math.isfinite(losses[best]):
            raise EngineError(f"no sampler of {calls} calls has a finite loss on this network")
        return FittedSampler(ends[best], losses[best], min(losses[2:]))

    @property
    def _within(self) -> tuple[float, float]:
        return sigma_range(self._around.kind)

    def _starts(self, calls: int, before: MultistepSettings | None) -> Iterator[MultistepSettings]:
        """Yield where to start from: what is known, a fit of one call fewer, and 2M."""
        found = 0
        if calls in KNOWN:
            levels, beyond, stays = KNOWN[calls]
            yield self._moved(levels, beyond, stays)
            found += 1
        if before is not None and before.steps == calls - 1:
            more = tuple(level / self._scale for level in before.levels)
            beyond = (*before.extrapolations, 0.5)
            yield self._moved((*more, more[-1] / 3), beyond, before.remainder)
            found += 1
        for high, low, stays in SPANS if found < 2 else SPANS[:1]:
            last = max(low, high / FALL ** (calls - 1))
            levels = tuple(float(s) for s in np.geomspace(high, last, calls))
            yield self._moved(levels, MultistepSettings.two_m(levels).extrapolations, stays)

    def _moved(
        self, levels: Sequence[float], beyond: Sequence[float], stays: float
    ) -> MultistepSettings:
        """Return a start in units of this network's residual, inside the levels it knows."""
        scaled = MultistepSettings(
            tuple(level * self._scale for level in levels), tuple(beyond), stays
        )
        return _settled(_written(scaled), self._within)

    def _first(self, start: MultistepSettings) -> Tensor:
        return _written(start).to(self._how.device)

    def _loss(self, found: "Coefficients", calls: int, step: int) -> Tensor:
        # The same tiles and noise for every start, so that their race is fair.
        rng = np.random.default_rng([self._how.seed, calls, step])
        crop = self._learn.draw(self._how.tiles, self._how.tile, rng)
        return self._loss_of(crop, found, rng)

    def _loss_of(self, crop: Crop, found: "Coefficients", rng: np.random.Generator) -> Tensor:
        draws = self._how.draws
        tiles = crop.clean.shape
        normal = rng.standard_normal((tiles[0] * draws, *tiles[1:]), dtype=np.float32)
        noise = torch.from_numpy(normal).to(crop.clean.device)
        labels = None if crop.labels is None else crop.labels.repeat_interleave(draws, dim=0)
        condition = crop.condition.repeat_interleave(draws, dim=0)
        denoise = surrounded(self._network, self._around, condition, labels)
        ends = unrolled(
            denoise, noise, found.levels, found.extrapolations, found.remainder,
            self._around.sigma_data,
        )  # fmt: skip
        drawn = ends.reshape(tiles[0], draws, *tiles[1:])
        # Power counts by area too: rows near the poles lie close together.
        share = (crop.weights / crop.weights.mean()).sqrt()
        bands = band_penalty(
            self._whole(drawn, crop.condition[:, None]) * share[:, None],
            self._whole(crop.clean, crop.condition) * share,
        )
        score = fair_crps(drawn, crop.clean, crop.weights) / self._scale
        return score + self._how.band_weight * bands

    def _whole(self, residual: Tensor, condition: Tensor) -> Tensor:
        """Return the fields that residuals make, (..., C, h, w), normalised.

        It is their power that is looked at in the end. Of residuals alone the longest waves have
        little, and that of a few tiles would be all chance.
        """
        if self._units is None:
            return residual
        return condition[..., : len(self._units), :, :] + self._units * residual

    @torch.no_grad()
    def _held_loss(self, sampler: MultistepSettings) -> float:
        """Return the loss on the tiles to choose on, which are the same for every sampler."""
        rng = np.random.default_rng([self._how.seed, 0])
        crop = self._choose.draw(self._how.held_tiles, self._how.tile, rng)
        found = _read(_written(sampler).to(self._how.device), self._within)
        return float(self._loss_of(crop, found, rng))


@dataclass(frozen=True, slots=True)
class Coefficients:
    """The sampler as tensors: levels (N,), extrapolations (N - 1,), remainder ()."""

    levels: Tensor
    extrapolations: Tensor
    remainder: Tensor


class _Runner:
    """One fit under way."""

    def __init__(self, first: Tensor, how: FitSettings) -> None:
        self._values = first.clone().requires_grad_()
        self._how = how
        self._optimiser = torch.optim.Adam([self._values], lr=how.rate, betas=BETAS)
        self._path: list[Tensor] = []

    def coefficients(self, within: tuple[float, float]) -> Coefficients:
        """Return the sampler as it now is, for the loss to be led back through.

        within: the lowest and the highest level that the sampler may use.
        """
        return _read(self._values, within)

    def take(self, loss: Tensor, step: int) -> None:
        """Go one step down the slope; the rate falls as a cosine."""
        if not bool(torch.isfinite(loss)):
            raise EngineError(f"the loss is {loss.item()} at step {step}, want a smaller rate")
        for group in self._optimiser.param_groups:
            group["lr"] = self._how.rate * 0.5 * (1 + math.cos(math.pi * step / self._how.steps))
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        self._path.append(self._values.detach().clone())

    def sampler(self, within: tuple[float, float]) -> MultistepSettings:
        """Return the sampler as it now is, as settings."""
        return _settled(self._values.detach(), within)

    def average(self, within: tuple[float, float]) -> MultistepSettings:
        """Return the mean of the last iterates, which the noise of single steps leaves alone."""
        last = self._path[-max(1, round(len(self._path) * AVERAGED)) :]
        return _settled(torch.stack(last).mean(dim=0), within)


def _written(sampler: MultistepSettings) -> Tensor:
    """Return what is learned: ln s_1, the logarithms of the falls of ln s, k, and r's logit."""
    falls = [math.log(math.log(high / low)) for high, low in pairwise(sampler.levels)]
    stays = max(sampler.remainder, LEAST_REMAINDER)
    return torch.tensor(
        [
            math.log(sampler.levels[0]),
            *falls,
            *sampler.extrapolations,
            math.log(stays / (1.0 - stays)),
        ],
        dtype=torch.float32,
    )


def _read(values: Tensor, within: tuple[float, float]) -> Coefficients:
    """Return the sampler of what is learned; levels fall whatever the values are."""
    count = len(values) // 2
    falls = torch.cat([values.new_zeros(1), values[1:count].exp().cumsum(dim=0)])
    levels = (values[0] - falls).exp().clamp(*within)
    return Coefficients(levels, values[count:-1], values[-1].sigmoid())


def _settled(values: Tensor, within: tuple[float, float]) -> MultistepSettings:
    found = _read(values.double().cpu(), within)
    levels = [float(f"{level:.5g}") for level in found.levels]
    # Levels that met at an end of what the kind knows are parted again, upwards.
    for i in range(len(levels) - 1, 0, -1):
        levels[i - 1] = max(levels[i - 1], levels[i] * LEAST_FALL)
    return MultistepSettings(
        tuple(levels),
        tuple(float(f"{beyond:.4g}") for beyond in found.extrapolations),
        float(f"{float(found.remainder):.4g}"),
    )
