"""Results come out in the order of the partition."""

from hypothesis import given
from hypothesis import strategies as st

from streamer.intake.order import InOrder


@given(st.permutations(range(20)))
def test_whatever_finishes_first_the_order_is_the_partitions(finished: list[int]) -> None:
    order: InOrder[str] = InOrder()
    for offset in range(20):
        order.expect(offset)

    through = [pair for offset in finished for pair in order.arrive(offset, f"{offset}")]

    assert through == [(offset, f"{offset}") for offset in range(20)]
    assert order.pending == 0


def test_a_result_waits_for_an_earlier_record_only() -> None:
    order: InOrder[str] = InOrder()
    for offset in (3, 5, 9):
        order.expect(offset)

    assert order.arrive(5, "b") == []
    assert order.arrive(3, "a") == [(3, "a"), (5, "b")]
    assert order.pending == 1
