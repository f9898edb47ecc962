"""What a record that cannot be used looks like on the dead-letter topic."""

import hashlib

from streamer.bus.record import Outgoing, Record
from streamer.domain import Origin, Rejected
from streamer.headers import dead_letter_headers

#: What stands for a value that the dead-letter topic cannot hold: a digest of this kind.
DIGEST_HEADER = "dlq.sha256"


def bury(
    record: Record, message: int, rejected: Rejected, topic: str, limit_bytes: int
) -> Outgoing:
    """Return the dead letter of one message of a record, under the record's own key.

    It holds the record's untouched value, or only its digest and size where that is above
    `limit_bytes`. message: its index in the record.
    """
    origin = Origin(record.partition.topic, record.partition.number, record.offset, message)
    headers = dead_letter_headers(record.headers, origin, rejected)
    value = record.value
    if len(value) > limit_bytes:
        digest = hashlib.sha256(value).hexdigest()
        headers = (*headers, (DIGEST_HEADER, digest.encode()))
        value = f"sha256 {digest} of {len(value)} bytes\n".encode()
    return Outgoing(topic, record.key, value, headers)
