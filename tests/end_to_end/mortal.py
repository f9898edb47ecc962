"""A nursery of real daemons that die at a chosen point: `python -m tests.end_to_end.mortal`.

Imports everything once, then forks one daemon for each line of JSON on standard input:
`{"config": path, "log": path, "point": name or "", "count": n}`. Tells the daemon's process id,
and at its end its exit status, below zero for a signal. The daemon kills itself with SIGKILL when
it comes to the point for the n-th time; the product's code knows nothing of it.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import kafka
from kafka.producer import transaction_manager

from streamer.commands import main

Call = Callable[..., Any]

#: Where a daemon may die: what is called there, and whether before or after.
POINTS: dict[str, tuple[Any, str, bool]] = {
    "begin": (kafka.KafkaProducer, "begin_transaction", False),
    "a send": (kafka.KafkaProducer, "send", True),
    "offsets": (kafka.KafkaProducer, "send_offsets_to_transaction", False),
    "offsets sent": (kafka.KafkaProducer, "send_offsets_to_transaction", True),
    "commit": (kafka.KafkaProducer, "commit_transaction", False),
    # The broker has committed, and the daemon does not know yet.
    "commit answered": (transaction_manager.EndTxnHandler, "handle_response", False),
    "commit known": (kafka.KafkaProducer, "commit_transaction", True),
}


def mark(point: str, count: int) -> None:
    """Let this process die at the point when it comes there for the n-th time."""
    owner, name, is_after = POINTS[point]
    original: Call = getattr(owner, name)
    left = iter(range(count - 1, -1, -1))

    def call(*arguments: Any, **named: Any) -> Any:
        is_last = next(left, -1) == 0
        if is_last and not is_after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **named)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, call)


def live(order: dict[str, Any], verb: str = "run") -> None:
    """Be a daemon, or what the verb says, and end this process."""
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if order["point"]:
        mark(order["point"], order["count"])
    sys.exit(main.main([verb, order["config"]]))


def nurse(live: Callable[[dict[str, Any]], None] = live) -> None:
    """Fork daemons that `live`, one after the other, until the input ends."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            live(json.loads(line))
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    nurse()
