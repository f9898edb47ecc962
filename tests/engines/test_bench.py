"""What is measured against what, and what a network must do at least."""

from dataclasses import replace

import pytest

from engines.bench import BASELINE, contenders
from engines.bundle import open_manifest
from engines.errors import BundleError
from engines.limits import ceiling, work


def test_eager_pytorch_in_float32_is_what_the_others_are_held_against() -> None:
    for device in ("cpu", "cuda:1"):
        first = contenders(device, 4)[0]

        assert (first.name, first.choice.backend) == (BASELINE, "torch")
        assert (first.choice.precision, first.choice.device) == ("f32", device)


def test_every_contender_has_the_same_threads_and_may_take_the_same_tiles() -> None:
    choices = [one.choice for one in contenders("cpu", 4, threads=2)]

    assert {(choice.threads, choice.batch) for choice in choices} == {(2, 4)}
    assert len({(c.backend, c.precision) for c in choices}) == len(choices)


def test_twice_the_tile_is_twice_the_work() -> None:
    bundle = open_manifest("gfs-wind-4to1")
    rows, columns = bundle.tile
    taller = replace(bundle, network={**bundle.network, "tile": [2 * rows, columns]})

    one, two = work(bundle), work(taller)

    # Its network attends nowhere, and all that does not grow with the tile is the embedding.
    assert two.flops == pytest.approx(2 * one.flops, rel=1e-3)
    assert two.numbers == pytest.approx(2 * one.numbers, rel=1e-3)
    # At least its weights for every point of the coarsest level, at most for every point.
    weights = bundle.network["parameters"]
    assert 2 * weights * rows * columns / 16 < one.flops < 2 * weights * rows * columns


def test_a_bundle_that_does_not_tell_its_network_has_no_known_work() -> None:
    bundle = replace(open_manifest("gfs-wind-4to1"), network={})

    with pytest.raises(BundleError, match="network"):
        work(bundle)


def test_a_device_can_do_something() -> None:
    found = ceiling("cpu", "f32")

    assert found.flops_per_s > 1e8
    assert found.bytes_per_s > 1e7
