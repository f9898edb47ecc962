"""Which partition a key belongs to: murmur2, as Java's and kafka-python's producers do it."""

_MASK = 0xFFFFFFFF
_SEED = 0x9747B28C
_MIX = 0x5BD1E995


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition, 0 to `partitions` - 1, that a record with this key is written to."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """Hash bytes to 32 unsigned bits.

    Source: Austin Appleby's MurmurHash2 (public domain), seeded as Apache Kafka seeds it; kcat
    and librdkafka call it `murmur2_random`.
    """
    whole = len(data) // 4 * 4
    hashed = _SEED ^ len(data)
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * _MIX & _MASK
        word = (word ^ (word >> 24)) * _MIX & _MASK
        hashed = (hashed * _MIX & _MASK) ^ word
    if whole < len(data):
        hashed = (hashed ^ int.from_bytes(data[whole:], "little")) * _MIX & _MASK
    hashed = (hashed ^ (hashed >> 13)) * _MIX & _MASK
    return hashed ^ (hashed >> 15)
