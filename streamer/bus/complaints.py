"""What the Kafka client complains of in its log: the cause is kept, little is passed on."""

import logging
import re
import time

_SELDOM_S = 30.0
_ERROR = re.compile(r"\w*Error: [^()]*")
# That time ran out and that the line was cut are consequences; we are asked for the cause.
_FOLLOWS = re.compile(r"^KafkaTimeoutError|^RequestTimedOutError|disconnected")

log = logging.getLogger(__name__)


class Complaints(logging.Handler):
    """Takes a library's warnings, of which a broker that is away causes ten a second.

    The first is passed on at once, then one in half a minute with the number of those left out.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.cause = ""
        self._passed_on_s = float("-inf")
        self._left_out = 0

    def listen(self, library: str) -> None:
        """Take the log of a library from now on, instead of everyone who listened so far."""
        logger = logging.getLogger(library)
        if self not in logger.handlers:
            logger.addHandler(self)
            logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the error that a complaint names, and pass it on if the last one is long ago."""
        said = record.getMessage()
        named = _ERROR.search(said)
        if named and not (self.cause and _FOLLOWS.search(named[0])):
            self.cause = named[0].strip()
        now = time.monotonic()
        if now - self._passed_on_s < _SELDOM_S:
            self._left_out += 1
            return
        more = f" (and {self._left_out} more complaints before)" if self._left_out else ""
        log.warning("the Kafka client says: %s%s", said, more)
        self._passed_on_s, self._left_out = now, 0
