"""Puts what workers finish out of order back into the order of the partition."""

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class InOrder(Generic[T]):
    """Results of one partition's records, let through only behind all earlier ones.

    So the first of two fields that differ is the same one in every life of the daemon, and the
    record clock never runs ahead of a record that is still being decoded.
    """

    def __init__(self) -> None:
        self._expected: deque[int] = deque()
        self._arrived: dict[int, T] = {}

    @property
    def pending(self) -> int:
        """How many records are under way, those included that wait for an earlier one."""
        return len(self._expected)

    def expect(self, offset: int) -> None:
        """Note a record that is under way; offsets rise."""
        self._expected.append(offset)

    def arrive(self, offset: int, result: T) -> list[tuple[int, T]]:
        """Take a record's result; return what may go on now, in order."""
        self._arrived[offset] = result
        ready = []
        while self._expected and self._expected[0] in self._arrived:
            first = self._expected.popleft()
            ready.append((first, self._arrived.pop(first)))
        return ready
