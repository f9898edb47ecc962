"""What every denoiser with a network does besides: it knows its shapes and hears its labels.

A module that offers the fixture `opened` and names these tests runs them on its runtime.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from engines.bundle import Bundle
from engines.denoiser import Denoiser
from engines.errors import EngineError
from engines.golden import bound_of, check, read_golden, relative_error
from tests.contracts.denoiser_contract import Known


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A bundle of a small network on a runtime, not checked yet."""

    bundle: Bundle
    denoiser: Denoiser


@pytest.fixture
def known(opened: Opened) -> Known:
    """The golden vectors of the bundle, made by the PyTorch network in float32."""
    golden = read_golden(opened.bundle)
    bound = bound_of(golden, opened.denoiser.spec.precision)
    given = (golden.x, golden.sigma, golden.condition, golden.labels)
    return Known(opened.denoiser, *given, golden.denoised, bound)


def test_the_golden_check_passes_and_tells_how_close_it_was(opened: Opened) -> None:
    golden = read_golden(opened.bundle)

    worst = check(opened.denoiser, golden, "here")

    assert 0.0 <= worst <= bound_of(golden, opened.denoiser.spec.precision)


def test_golden_vectors_of_another_network_are_not_reproduced(opened: Opened) -> None:
    golden = read_golden(opened.bundle)
    golden.denoised[1, 0, 3, 4] += 0.5 * np.abs(golden.denoised[1]).max()

    with pytest.raises(EngineError, match=r"does not reproduce `denoised`\[1\] at sigma 0.6"):
        check(opened.denoiser, golden, "here")


def test_labels_and_levels_are_heard_by_networks_that_have_them(
    known: Known, opened: Opened
) -> None:
    # The highest level, where what is known is the network's answer rather than x.
    x, wanted, condition = known.x[2:], known.wanted[2:], known.condition[2:]
    sigma, labels = known.sigma[2:], known.labels

    if opened.bundle.preconditioning.kind == "direct":
        found = known.denoiser.denoise(-x, 3.0 * sigma, condition, _last(labels))
        assert relative_error(found, wanted) <= known.bound
    else:
        found = known.denoiser.denoise(x, 3.0 * sigma, condition, _last(labels))
        assert relative_error(found, wanted) > known.bound
    if labels is not None:
        found = known.denoiser.denoise(x, sigma, condition, _last(-labels))
        assert relative_error(found, wanted) > 2e-3


def test_labels_that_are_missing_or_too_many_are_refused(known: Known) -> None:
    given = np.zeros((len(known.x), 3), np.float32) if known.labels is None else None

    with pytest.raises(EngineError, match="labels is"):
        known.denoiser.denoise(known.x, known.sigma, known.condition, given)


@pytest.mark.parametrize("name", ["x", "condition"])
def test_tiles_of_another_size_are_refused(known: Known, name: str) -> None:
    given: dict[str, Any] = {"x": known.x, "condition": known.condition}
    given[name] = given[name][..., 1:]

    with pytest.raises(EngineError, match=rf"{name} is \(3, ., 16, 23\), wanted \(3, ., 16, 24\)"):
        known.denoiser.denoise(**given, sigma=known.sigma, labels=known.labels)


def test_a_condition_for_fewer_tiles_is_refused(known: Known) -> None:
    with pytest.raises(EngineError, match="condition is"):
        known.denoiser.denoise(known.x, known.sigma, known.condition[:2], known.labels)


def _last(labels: Any) -> Any:
    return None if labels is None else labels[2:]
