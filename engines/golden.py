"""Holds an engine against what its bundle says the network must answer, before it may serve."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from engines.bundle import Bundle, read_arrays
from engines.denoiser import Array, Denoiser
from engines.errors import BundleError, EngineError, OutOfMemory

#: What rounding alone may cost a call of these networks: three to five times what was measured
#: (1.9e-3 for fp16, 1.6e-2 for bf16), and far below what a wrong kernel or an overflow does.
ROUNDING: Mapping[str, float] = MappingProxyType({"fp16": 1e-2, "bf16": 5e-2})
#: What a bundle may allow an engine of float32: more is no proof.
LARGEST_BOUND = 1e-2


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """Cases that an engine must reproduce, computed by the network that the bundle came from.

    x, denoised: (N, C, h, w). sigma: (N,). condition: (N, C + K, h, w). labels: (N, L) or None.
    bound: largest error allowed, relative to the largest value of the answer.
    """

    x: Array
    sigma: Array
    condition: Array
    denoised: Array
    labels: Array | None
    bound: float


def read_golden(bundle: Bundle) -> Golden:
    """Read the bundle's golden vectors. Raises BundleError where they do not fit the bundle."""
    channels, constants = len(bundle.channels), len(bundle.constants)
    wanted: dict[str, tuple[int | None, ...]] = {
        "x": (None, channels, *bundle.tile),
        "sigma": (None,),
        "condition": (None, channels + constants, *bundle.tile),
        "denoised": (None, channels, *bundle.tile),
        "bound": (),
    }
    if bundle.labels:
        wanted["labels"] = (None, len(bundle.labels))
    path = bundle.golden_path
    found = read_arrays(path, wanted)
    bound = float(found.pop("bound"))
    lengths = {name: len(array) for name, array in found.items()}
    # No case at all would let every engine pass, and so would a bound that allows anything.
    if len(set(lengths.values())) > 1 or not lengths["sigma"]:
        raise BundleError(f"{path}: holds {lengths}, wanted the same number of each, at least 1")
    if not 0.0 < bound <= LARGEST_BOUND or found["sigma"].min() <= 0.0:
        raise BundleError(
            f"{path}: bound is {bound:g} and the lowest sigma {found['sigma'].min():g}, wanted a "
            f"bound above 0 and at most {LARGEST_BOUND:g}, and sigma above 0"
        )
    return Golden(
        x=found["x"],
        sigma=found["sigma"],
        condition=found["condition"],
        denoised=found["denoised"],
        labels=found.get("labels"),
        bound=bound,
    )


@dataclass(frozen=True, slots=True)
class Case:
    """How an engine answered one golden case; errors are relative to the largest value wanted."""

    index: int
    sigma: float
    error: float
    bound: float

    @property
    def is_right(self) -> bool:
        """Whether the error is within the bound; one that is not a number is not."""
        return self.error <= self.bound


def cases(denoiser: Denoiser, golden: Golden) -> Iterator[Case]:
    """Yield how an engine answers each golden case, one tile a call."""
    bound = bound_of(golden, denoiser.spec.precision)
    for i, sigma in enumerate(golden.sigma):
        case = slice(i, i + 1)
        labels = None if golden.labels is None else golden.labels[case]
        found = denoiser.denoise(golden.x[case], golden.sigma[case], golden.condition[case], labels)
        error = relative_error(found, golden.denoised[case])
        yield Case(i, float(sigma), error, bound)


def together(denoiser: Denoiser, golden: Golden) -> Iterator[Case]:
    """Yield how an engine answers the cases in one call, as many times as its largest batch takes.

    Other kernels serve a large batch than a small one. Where the largest does not fit into the
    device's memory, the next one is taken; an engine of single tiles yields nothing.
    """
    bound = bound_of(golden, denoiser.spec.precision)
    for batch in reversed([size for size in denoiser.spec.buckets if size > 1]):
        which = np.arange(batch) % len(golden.sigma)
        labels = None if golden.labels is None else golden.labels[which]
        given = golden.x[which], golden.sigma[which], golden.condition[which]
        try:
            found = denoiser.denoise(*given, labels)
        except OutOfMemory:
            continue
        for i, answer in zip(which, found, strict=True):
            error = relative_error(answer, golden.denoised[i])
            yield Case(int(i), float(golden.sigma[i]), error, bound)
        return


def check(denoiser: Denoiser, golden: Golden, where: str) -> float:
    """Return the largest relative error over all cases, alone and together.

    Raises EngineError naming tensor, noise level, error and bound where one is above the bound.
    """
    found = (*cases(denoiser, golden), *together(denoiser, golden))
    wrong = [case for case in found if not case.is_right]
    if wrong:
        first = wrong[0]
        others = f"; {len(wrong)} of {len(found)} cases are wrong" if len(wrong) > 1 else ""
        raise EngineError(
            f"{where}: {denoiser.spec.backend} {denoiser.spec.precision} does not reproduce "
            f"`denoised`[{first.index}] at sigma {first.sigma:g}: "
            f"relative error {first.error:.2e}, bound {first.bound:.0e}{others}"
        )
    return max((case.error for case in found), default=0.0)


def bound_of(golden: Golden, precision: str) -> float:
    """Return the largest error allowed to an engine of a precision: the bundle's, or rounding's."""
    return max(golden.bound, ROUNDING.get(precision, 0.0))


def relative_error(found: Array, wanted: Array) -> float:
    """Return the largest difference over the largest value wanted."""
    return float(np.max(np.abs(found - wanted)) / np.max(np.abs(wanted)))
