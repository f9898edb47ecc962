"""The queue: order, company, failure and forgetting; driven by the closed-form denoiser."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.denoiser import GaussianDenoiser
from engines.noise import Window, keyed
from engines.sampler import SamplerSettings, calls, run, solver
from streamer.domain import Array
from streamer.downscale.paths import Batch
from streamer.downscale.tiles import Layout
from streamer.downscale.work import Finished, Recipe, Work
from streamer.downscale.workload import Workload
from tests.streamer.downscale.small import bundle_of

DENOISER = GaussianDenoiser(0.2, 0.6)
BUNDLE = bundle_of()
LAYOUT = Layout.cover(BUNDLE.shape, BUNDLE.tile, BUNDLE.overlap, periodic=True)
SETTINGS = SamplerSettings(steps=3, sigma_max=10.0, sigma_min=0.1)
RECIPE = Recipe(BUNDLE, LAYOUT, SETTINGS)


def work_of(key: str, draws: int = 1, urgency: float = 0.0, recipe: Recipe = RECIPE) -> Work:
    condition = np.full((3, *BUNDLE.shape), len(key), dtype=np.float32)
    names = tuple(f"{key}/{i}".encode() for i in range(draws))
    return Work(key, recipe, condition, names, urgency)


def keys_in(batch: Batch) -> list[object]:
    return [job.step.work.key for job in batch.jobs]


Answer = Callable[[Batch], Array]


def exact(batch: Batch) -> Array:
    return DENOISER.denoise(*batch.inputs())


def finish(workload: Workload, limit: int = 1, answer: Answer = exact) -> dict[object, Finished]:
    """Drive a workload to its end and return what finished, by key."""
    done: dict[object, Finished] = {}
    while (batch := workload.next_batch(limit)) is not None:
        workload.store(batch, answer(batch))
        done |= {f.work.key: f for f in workload.finished()}
    return done


def residual_of(finished: Finished) -> Array:
    assert finished.residual is not None, finished.fault
    return finished.residual


def test_a_pointwise_denoiser_gives_on_tiles_what_it_gives_on_the_whole_grid() -> None:
    """Keyed noise and blending together: tiles are invisible where nothing looks sideways."""
    workload = Workload()
    workload.add(work_of("step", draws=2))
    nothing = np.zeros((1, 0, *BUNDLE.shape), dtype=np.float32)
    window = Window((0, BUNDLE.shape[0]), (0, BUNDLE.shape[1]), BUNDLE.shape[1])

    found = residual_of(finish(workload)["step"])

    for draw in range(2):
        wanted = run(
            solver(SETTINGS, keyed(f"step/{draw}".encode(), 2, window), BUNDLE.preconditioning),
            lambda x, s: DENOISER.denoise(x[None], np.array([s], np.float32), nothing)[0],
        )
        assert found[draw] == pytest.approx(wanted, abs=2e-6)


def test_every_tile_and_draw_costs_what_the_sampler_costs() -> None:
    workload = Workload()
    workload.add(work_of("step", draws=3))

    finished = finish(workload)["step"]

    assert finished.calls == 3 * len(LAYOUT.tiles) * calls(SETTINGS)
    assert residual_of(finished).shape == (3, 2, *BUNDLE.shape)
    assert len(workload) == 0


@given(st.permutations(["a", "b", "c"]), st.integers(1, 7))
def test_a_batch_of_other_company_gives_the_same_bytes(order: list[str], limit: int) -> None:
    alone = Workload()
    alone.add(work_of("b", draws=2))
    wanted = residual_of(finish(alone)["b"]).tobytes()
    together = Workload()
    for key in order:
        together.add(work_of(key, draws=2))

    found = finish(together, limit)

    assert set(found) == {"a", "b", "c"}
    assert residual_of(found["b"]).tobytes() == wanted


def test_the_older_step_goes_first_and_a_job_is_carried_to_its_end() -> None:
    workload = Workload()
    for key in ("old", "new"):
        workload.add(work_of(key))
    seen: list[object] = []

    def noting(batch: Batch) -> Array:
        seen.extend(keys_in(batch))
        return exact(batch)

    finish(workload, answer=noting)

    half = len(LAYOUT.tiles) * calls(SETTINGS)
    assert seen == ["old"] * half + ["new"] * half


def test_a_more_urgent_step_overtakes_one_that_has_begun() -> None:
    workload = Workload()
    workload.add(work_of("calm"))
    first = workload.next_batch()
    assert first is not None
    workload.store(first, exact(first))

    workload.add(work_of("urgent", urgency=1.0))

    second = workload.next_batch()
    assert second is not None
    assert keys_in(second) == ["urgent"]


def test_a_batch_fills_up_from_several_steps_at_different_levels() -> None:
    workload = Workload()
    workload.add(work_of("first"))
    first = workload.next_batch(1)
    assert first is not None
    workload.store(first, exact(first))
    workload.add(work_of("second"))

    batch = workload.next_batch(100)

    assert batch is not None
    assert set(keys_in(batch)) == {"first", "second"}
    assert len(batch.jobs) == 2 * len(LAYOUT.tiles)
    assert len(set(batch.inputs()[1].tolist())) == 2


def test_jobs_of_different_engines_or_shapes_never_share_a_call() -> None:
    other = bundle_of(tile=(10, 18))
    layout = Layout.cover(other.shape, other.tile, other.overlap, periodic=True)
    workload = Workload()
    workload.add(work_of("one"))
    workload.add(work_of("other", recipe=Recipe(other, layout, SETTINGS)))

    batches = [workload.next_batch(100), workload.next_batch(100)]

    assert [set(keys_in(b)) for b in batches if b] == [{"one"}, {"other"}]


def test_a_short_batch_is_padded_to_its_bucket_and_the_padding_is_ignored() -> None:
    workload = Workload()
    workload.add(work_of("step"))
    batch = workload.next_batch(2)
    assert batch is not None

    x, sigma, condition, labels = batch.inputs(bucket=5)

    assert (len(x), len(sigma), len(condition), labels) == (5, 5, 5, None)
    np.testing.assert_array_equal(x[1], x[4])
    workload.store(batch, DENOISER.denoise(x, sigma, condition))
    assert sum(job.step.calls for job in batch.jobs[:1]) == 2


def test_numbers_that_are_not_finite_end_their_step_and_nobody_elses() -> None:
    workload = Workload()
    workload.add(work_of("sick"))
    workload.add(work_of("sound"))

    def poisoned(batch: Batch) -> Array:
        answer = exact(batch)
        for i, key in enumerate(keys_in(batch)):
            if key == "sick":
                answer[i, 0, 2, 3] = np.nan
        return answer

    found = finish(workload, limit=100, answer=poisoned)

    assert found["sick"].residual is None
    assert "not finite" in found["sick"].fault
    assert np.isfinite(residual_of(found["sound"])).all()


def test_a_call_that_fails_takes_only_the_job_at_fault_along() -> None:
    workload = Workload()
    for key in ("a", "sick", "z"):
        workload.add(work_of(key, draws=2))
    done: dict[object, Finished] = {}

    while (batch := workload.next_batch(8)) is not None:
        if "sick" in keys_in(batch):
            workload.fail(batch, "the device is on fire")
        else:
            workload.store(batch, exact(batch))
        done |= {f.work.key: f for f in workload.finished()}

    assert done["sick"].residual is None
    assert "draw 0, tile 0: the device is on fire" in done["sick"].fault
    for key in ("a", "z"):
        alone = Workload()
        alone.add(work_of(key, draws=2))
        assert residual_of(done[key]).tobytes() == residual_of(finish(alone)[key]).tobytes()


def test_a_cancelled_step_is_forgotten_even_when_its_job_is_being_computed() -> None:
    workload = Workload()
    workload.add(work_of("gone"))
    workload.add(work_of("stays"))
    batch = workload.next_batch()
    assert batch is not None
    assert keys_in(batch) == ["gone"]

    workload.cancel("gone")
    workload.store(batch, exact(batch))

    assert set(finish(workload)) == {"stays"}


def test_a_cancelled_step_may_come_again() -> None:
    workload = Workload()
    workload.add(work_of("back"))
    stale = workload.next_batch()
    assert stale is not None
    workload.cancel("back")
    workload.add(work_of("back"))

    workload.store(stale, exact(stale))

    assert finish(workload)["back"].calls == len(LAYOUT.tiles) * calls(SETTINGS)


def test_a_key_is_queued_once_and_unknown_ones_are_cancelled_in_vain() -> None:
    workload = Workload()
    workload.cancel("nobody")
    workload.add(work_of("twice"))

    with pytest.raises(ValueError, match="twice: is queued already"):
        workload.add(work_of("twice"))


def test_an_empty_workload_has_no_batch() -> None:
    assert Workload().next_batch(4) is None
    assert Workload().finished() == []


def test_labels_travel_with_their_job() -> None:
    workload = Workload()
    labels = np.array([0.5, -0.5], dtype=np.float32)
    plain = work_of("step")
    workload.add(Work("step", RECIPE, plain.condition, plain.draws, labels=labels))
    batch = workload.next_batch(3)
    assert batch is not None

    found = batch.inputs()[3]

    assert found is not None
    np.testing.assert_array_equal(found, np.stack([labels] * 3))


def test_seconds_are_shared_among_the_jobs_of_a_call() -> None:
    workload = Workload()
    workload.add(work_of("one"))
    workload.add(work_of("other"))
    while (batch := workload.next_batch(100)) is not None:
        workload.store(batch, exact(batch), seconds=2.0)

    first, second = workload.finished()

    assert first.seconds == pytest.approx(second.seconds)
    assert first.seconds + second.seconds == pytest.approx(2.0 * calls(SETTINGS))
