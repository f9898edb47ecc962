"""What every denoiser must do; the same tests run on the closed form and on each runtime.

A module that offers the fixture `known` and names these tests runs them on its denoiser.
"""

from dataclasses import dataclass

import numpy as np
import pytest

from engines.choice import BACKENDS, PRECISIONS
from engines.denoiser import Array, Denoiser
from engines.errors import EngineError
from engines.golden import relative_error


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """A denoiser, what it is asked, and what it must answer to within `bound`, relative.

    x, wanted: (N, C, H, W) of at least three tiles at different levels; labels: (N, L) or None.
    """

    denoiser: Denoiser
    x: Array
    sigma: Array
    condition: Array
    labels: Array | None
    wanted: Array
    bound: float

    def ask(self, which: "slice | list[int]") -> Array:
        """Ask for some of the tiles, in one call."""
        labels = None if self.labels is None else self.labels[which]
        return self.denoiser.denoise(
            self.x[which], self.sigma[which], self.condition[which], labels
        )


EVERY = slice(None)


def test_a_tile_alone_is_answered_as_it_is_known(known: Known) -> None:
    for i, wanted in enumerate(known.wanted):
        found = known.ask([i])

        assert found.dtype == np.float32
        assert found.shape == (1, *wanted.shape)
        assert relative_error(found[0], wanted) <= known.bound


def test_tiles_at_different_levels_share_a_call(known: Known) -> None:
    found = known.ask(EVERY)

    assert found.shape == known.wanted.shape
    for i, wanted in enumerate(known.wanted):
        assert relative_error(found[i], wanted) <= known.bound


def test_a_tile_is_answered_alike_in_any_company(known: Known) -> None:
    together = known.ask(EVERY)

    for i in range(len(together)):
        assert relative_error(known.ask([i])[0], together[i]) <= known.bound


def test_tiles_may_come_in_any_order(known: Known) -> None:
    order = list(range(len(known.x)))[::-1]

    assert relative_error(known.ask(order), known.ask(EVERY)[order]) <= known.bound


@pytest.mark.parametrize("count", range(1, 8))
def test_any_number_of_tiles_may_come(known: Known, count: int) -> None:
    which = [i % len(known.x) for i in range(count)]

    found = known.ask(which)

    for i, wanted in zip(range(count), known.wanted[which], strict=True):
        assert relative_error(found[i], wanted) <= known.bound


def test_the_same_call_gives_the_same_bytes(known: Known) -> None:
    assert known.ask(EVERY).tobytes() == known.ask(EVERY).tobytes()


def test_an_answer_stays_when_the_next_is_asked_for(known: Known) -> None:
    first = known.ask([0])
    kept = first.copy()

    known.ask([1])

    np.testing.assert_array_equal(first, kept)


def test_an_answer_is_the_caller_s_to_write_on(known: Known) -> None:
    found = known.ask([0])
    wanted = found.copy()

    found[...] = np.nan

    np.testing.assert_array_equal(known.ask([0]), wanted)


def test_what_is_asked_stays_as_it_was(known: Known) -> None:
    before = [known.x.copy(), known.sigma.copy(), known.condition.copy()]

    known.ask(EVERY)

    for now, then in zip((known.x, known.sigma, known.condition), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_arrays_need_not_lie_in_one_piece(known: Known) -> None:
    turned = known.x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)
    wide = np.repeat(known.condition, 2, axis=3)[..., ::2]

    found = known.denoiser.denoise(turned, known.sigma, wide, known.labels)

    np.testing.assert_array_equal(found, known.ask(EVERY))


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.nan])
def test_a_level_that_is_not_above_zero_is_refused(known: Known, sigma: float) -> None:
    levels = known.sigma.copy()
    levels[-1] = sigma

    with pytest.raises(EngineError, match=r"wanted .*above 0"):
        known.denoiser.denoise(known.x, levels, known.condition, known.labels)


def test_one_level_for_all_tiles_is_refused(known: Known) -> None:
    with pytest.raises(EngineError, match="sigma"):
        known.denoiser.denoise(known.x, known.sigma[:1], known.condition, known.labels)


def test_a_denoiser_says_what_it_is(known: Known) -> None:
    spec = known.denoiser.spec

    assert spec.backend in BACKENDS
    assert spec.precision in PRECISIONS
    assert spec.version
    assert spec.device
    assert spec.buckets == tuple(sorted(set(spec.buckets)))
    assert spec.buckets[-1] == spec.batch
    assert spec.buckets[0] == 1
