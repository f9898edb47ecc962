"""Carries a residual from noise to a clean draw: schedule, derivative, solver.

A solver is a generator: it yields `(x, sigma)` whenever it needs the denoiser and is sent the
answer, so that whoever drives it may serve many solvers, at different levels, by one call.

Source: Karras et al. 2022, algorithm 2 and table 1 (https://arxiv.org/abs/2206.00364), and for
`multistep` Lu et al. 2022 (https://arxiv.org/abs/2211.01095).
"""

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from engines.denoiser import Array
from engines.errors import UsageError
from engines.multistep import MultistepSettings
from engines.precondition import Around, sigma_range

#: Standard normal noise for one tile, (C, h, w), by index: 0 starts, i + 1 churns level i.
#: The array belongs to the caller, who may write on it.
Noise = Callable[[int], Array]

#: Yields (x, sigma), is sent D(x, sigma), and returns the clean residual. What it yields is
#: its own and changes later: use it before the next `send`, and do not keep it.
Solver = Generator[tuple[Array, float], Array, Array]

#: The most that a level may be raised by churn, so that no step adds more noise than there is.
LARGEST_GAMMA = math.sqrt(2.0) - 1.0


@dataclass(frozen=True, slots=True)
class SamplerSettings:
    """The eight parameters of Heun's stochastic sampler; sigma in units of the residual."""

    #: number of levels above zero; the sampler costs 2 steps - 1 network calls
    steps: int = 18
    #: lowest level above zero
    sigma_min: float = 0.002
    #: level that sampling starts at
    sigma_max: float = 80.0
    #: crowding of the levels towards sigma_min
    rho: float = 7.0
    #: noise added over the whole way; 0 makes the sampler deterministic
    s_churn: float = 0.0
    #: lowest and highest level that churn acts on
    s_min: float = 0.0
    s_max: float = math.inf
    #: factor on the noise that churn adds
    s_noise: float = 1.0

    def __post_init__(self) -> None:
        """Refuse settings that no schedule fits, all faults at once."""
        faults = _faults(self)
        if faults:
            raise UsageError(f"sampler: {'; '.join(faults)}")


#: How a residual is drawn: by Heun's method, or by one call a level.
Sampler = SamplerSettings | MultistepSettings


def levels(settings: Sampler, within: tuple[float, float] = (0.0, math.inf)) -> NDArray[np.float64]:
    """Return the noise levels, (steps + 1,), falling, the last one that of a finished draw.

    That is 0, and for a multistep sampler the share of the level before it that stays.
    within: lowest and highest level that the network knows (`precondition.sigma_range`). Heun's
    two ends are clamped to it before the levels between them are chosen: clamping each level
    would bunch them at the ends. Fitted levels mean nothing elsewhere: UsageError outside it.
    """
    if isinstance(settings, MultistepSettings):
        return np.array(settings.schedule(within))
    low = min(max(settings.sigma_min, within[0]), within[1])
    high = min(max(settings.sigma_max, within[0]), within[1])
    if settings.steps == 1:
        return np.array([high, 0.0])
    inverse = 1.0 / settings.rho
    ramp = np.linspace(high**inverse, low**inverse, settings.steps) ** settings.rho
    # The ends are given, so rounding of the powers must not move them.
    ramp[0], ramp[-1] = high, low
    return np.append(ramp, 0.0)


def calls(settings: Sampler, kind: str = "edm") -> int:
    """Return how often a draw of one tile calls a network of this kind of preconditioning."""
    if kind == "direct":
        return 1
    is_multistep = isinstance(settings, MultistepSettings)
    return settings.steps if is_multistep else 2 * settings.steps - 1


def noises(settings: Sampler) -> int:
    """Return how many indices of noise a draw may ask for: 1, or one a level more with churn."""
    has_churn = isinstance(settings, SamplerSettings) and settings.s_churn > 0.0
    return settings.steps + 1 if has_churn else 1


def derivative(x: Array, denoised: Array, sigma: float, out: Array | None = None) -> Array:
    """Return dx/dsigma = (x - D) / sigma of the probability-flow equation, in `out` if given."""
    slope = np.subtract(x, denoised, out=out)
    # A factor is several times cheaper than a division and as good to rounding.
    slope *= 1.0 / sigma
    return slope


def heun(
    x: Array, schedule: NDArray[np.float64], settings: SamplerSettings, noise: Noise
) -> Solver:
    """Carry `x` from the first level of `schedule` to the last with Heun's method.

    x: (C, h, w) float32, drawn from N(0, schedule[0]^2); it is written on. schedule: falling,
    the last one 0. With churn, each level inside [s_min, s_max] is first raised by fresh noise.
    Yields 2N - 1 times for N levels above zero; float32 throughout.
    """
    slope, trial = np.empty_like(x), np.empty_like(x)
    way = [float(s) for s in schedule]
    for i, (level, after) in enumerate(pairwise(way)):
        sigma = raised(level, settings)
        if sigma > level:
            added = noise(i + 1)
            added *= math.sqrt(sigma**2 - level**2) * settings.s_noise
            x += added
        derivative(x, (yield x, sigma), sigma, out=slope)
        np.multiply(slope, after - sigma, out=trial)
        trial += x
        if after > 0.0:
            # The slope at the trial point takes the trial's own memory, which nobody needs then.
            slope += derivative(trial, (yield trial, after), after, out=trial)
            slope *= 0.5 * (after - sigma)
            x += slope
        else:
            x, trial = trial, x
    return x


def update(x: Array, denoised: Array, before: Array, keep: float, beyond: float) -> None:
    """Make x = q x + (1 - q) (D + k (D - D')) in place; then D takes the place of D'.

    denoised: D, only read. before: D', written on. keep: q, the next level over this one.
    beyond: k, how far to go beyond D.
    """
    x *= keep
    before *= (keep - 1.0) * beyond
    x += before
    x += np.multiply(denoised, (1.0 - keep) * (1.0 + beyond), out=before)
    # What is sent is another's array and may be a part of a whole batch's, so it is copied.
    before[...] = denoised


def multistep(x: Array, schedule: NDArray[np.float64], extrapolations: Sequence[float]) -> Solver:
    """Carry `x` along `schedule` with one answer a level, each going beyond the one before.

    x: (C, h, w) float32; it is written on. schedule: (N + 1,), falling; only its last may be 0.
    extrapolations: k_2 ... k_N, N - 1 of them. Yields N times; float32 throughout.
    """
    before = np.zeros_like(x)
    # The first answer has none before it to go beyond.
    way = zip(pairwise(map(float, schedule)), (0.0, *extrapolations), strict=True)
    for (level, after), beyond in way:
        update(x, (yield x, level), before, after / level, beyond)
    return x


def direct(x: Array) -> Solver:
    """Ask once and return the answer: a plain regression, which looks at neither x nor sigma."""
    # An array of its own: what is sent may be a part of a whole batch's.
    return np.array((yield x, 1.0), dtype=np.float32)


def solver(settings: Sampler, noise: Noise, around: Around) -> Solver:
    """Return the solver that the settings ask for, started from `noise(0)`.

    around: the network's preconditioning, whose kind bounds the levels (`direct` is one call,
    without a level) and whose deviation of the residual a multistep sampler starts from, too.
    """
    x = noise(0)
    if around.kind == "direct":
        return (yield from direct(x))
    schedule = levels(settings, sigma_range(around.kind))
    x *= start(settings, schedule, around.sigma_data)
    if isinstance(settings, MultistepSettings):
        return (yield from multistep(x, schedule, settings.extrapolations))
    return (yield from heun(x, schedule, settings, noise))


def start(settings: Sampler, schedule: NDArray[np.float64], sigma_data: float) -> float:
    """Return the deviation of the state that a run starts from.

    Heun starts from noise alone, as its source does. A multistep sampler starts lower, where the
    residual's own variance counts: as a residual of mean 0 would look at its first level.
    """
    first = float(schedule[0])
    return math.hypot(first, sigma_data) if isinstance(settings, MultistepSettings) else first


def run(solving: Solver, denoise: Callable[[Array, float], Array]) -> Array:
    """Drive one solver to its end with a denoiser of its own and return its residual."""
    asked = next(solving)
    while True:
        try:
            asked = solving.send(denoise(*asked))
        except StopIteration as end:
            return np.asarray(end.value, dtype=np.float32)


def raised(level: float, settings: SamplerSettings) -> float:
    """Return the level that churn raises `level` to, before the step from it is made."""
    if settings.s_churn == 0.0 or not settings.s_min <= level <= settings.s_max:
        return level
    return level * (1.0 + min(settings.s_churn / settings.steps, LARGEST_GAMMA))


def _faults(settings: SamplerSettings) -> list[str]:
    found = {f.name: getattr(settings, f.name) for f in fields(settings)}
    odd = [f"{n} is {v!r}, wanted a number" for n, v in found.items() if not _is_number(v)]
    if odd:
        return odd
    low, high = settings.sigma_min, settings.sigma_max
    checks = [
        (f"{n} is {v}, wanted a finite number", math.isinf(v) and n != "s_max")
        for n, v in found.items()
    ]
    checks += [
        (f"{n} is {found[n]}, wanted at least 0", found[n] < 0.0) for n in ("s_churn", "s_noise")
    ]
    checks += [
        (
            f"steps is {settings.steps}, wanted a whole number of at least 1",
            settings.steps < 1 or not isinstance(settings.steps, int),
        ),
        (
            f"sigma_min is {low} and sigma_max {high}, wanted 0 < sigma_min <= sigma_max",
            not 0.0 < low <= high,
        ),
        (f"rho is {settings.rho}, wanted above 0", settings.rho <= 0.0),
        (
            f"s_min is {settings.s_min} and s_max {settings.s_max}, wanted 0 <= s_min <= s_max",
            not 0.0 <= settings.s_min <= settings.s_max,
        ),
    ]
    return [text for text, is_wrong in checks if is_wrong]


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return not math.isnan(value)
