"""Keys lie where Java's producers put them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.bus.partitioner import murmur2, partition_of

#: From Apache Kafka's own UtilsTest.testMurmur2, as unsigned numbers.
KNOWN = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize("key", KNOWN, ids=bytes.decode)
def test_murmur2_gives_what_apache_kafkas_own_test_expects(key: bytes) -> None:
    assert murmur2(key) == KNOWN[key] % 2**32


@given(st.binary(), st.integers(1, 100))
def test_every_key_has_a_partition_that_exists(key: bytes, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions
