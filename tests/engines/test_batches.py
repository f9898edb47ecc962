"""Sizes of calls: one for all, or the smallest that fits; half of it when memory runs out."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.batches import Batching, batching, common_batching, padded
from engines.denoiser import EngineSpec
from engines.errors import UsageError

SIZES = st.sets(st.integers(1, 64), min_size=1).map(lambda found: tuple(sorted(found)))


def spec(*buckets: int, batch: int | None = None) -> EngineSpec:
    return EngineSpec("some", "f32", "cuda:0", "1", batch or buckets[-1], buckets)


@given(SIZES, st.data())
def test_a_reproducible_call_has_one_size_however_few_its_tiles(
    sizes: tuple[int, ...], data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, sizes[-1]))

    assert Batching(sizes).bucket(count) == sizes[-1]


@given(SIZES, st.data())
def test_otherwise_the_smallest_size_that_holds_the_tiles_is_taken(
    sizes: tuple[int, ...], data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, sizes[-1]))

    bucket = Batching(sizes, reproducible=False).bucket(count)

    assert bucket in sizes
    assert bucket >= count
    assert not [size for size in sizes if count <= size < bucket]


@given(SIZES)
def test_halving_ends_and_never_leaves_more_than_half(sizes: tuple[int, ...]) -> None:
    left: Batching | None = Batching(sizes)
    seen = []
    while left is not None:
        seen.append(left.limit)
        left = left.halved(left.limit)

    assert seen[-1] == sizes[0] or seen[-1] < 2 * sizes[0]
    assert all(2 * after <= before for before, after in pairwise(seen))


def test_an_engine_of_one_size_cannot_be_halved() -> None:
    assert Batching((8,)).halved(8) is None


def test_an_engines_own_batch_is_a_size_and_nothing_above_it() -> None:
    assert batching(spec(1, 2, 4), reproducible=True).sizes == (1, 2, 4)
    assert batching(spec(1, 2, 8, batch=4), reproducible=False).sizes == (1, 2, 4)


def test_engines_that_stand_in_for_each_other_use_sizes_that_all_have() -> None:
    shared = common_batching([spec(1, 2, 4, 16), spec(1, 4, 8)], reproducible=True)

    assert shared == Batching((1, 4))


def test_engines_without_a_size_in_common_are_refused() -> None:
    with pytest.raises(UsageError, match=r"no size of batch in common: some on cuda:0 \[4\]"):
        common_batching([spec(4), spec(1, 2)], reproducible=True)


def test_padding_repeats_the_last_one_and_leaves_a_full_lot_alone() -> None:
    assert padded("ab", 4) == ["a", "b", "b", "b"]
    assert padded("abc", 3) == ["a", "b", "c"]
