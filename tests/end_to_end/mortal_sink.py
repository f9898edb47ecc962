"""A nursery of real sinks that die at a chosen point: `python -m tests.end_to_end.mortal_sink`.

The same as `mortal`, for the points of a sink's way: before and after a file is made durable and
gets its name, and around the commit of its offsets.
"""

import os
import sys
from pathlib import Path
from typing import Any

import kafka

from streamer.commands import main
from streamer.outlets import geotiff, netcdf, zarr_store
from tests.end_to_end import mortal

#: Loaded before the fork, so that a sink's start costs little.
FORMATS = (geotiff, netcdf, zarr_store)

mortal.POINTS.update(
    {
        "sync": (os, "fsync", False),
        "synced": (os, "fsync", True),
        "rename": (Path, "replace", False),
        "renamed": (Path, "replace", True),
        "store founded": (Path, "rename", True),
        "offsets": (kafka.KafkaProducer, "send_offsets_to_transaction", False),
        "commit": (kafka.KafkaProducer, "commit_transaction", False),
        "commit known": (kafka.KafkaProducer, "commit_transaction", True),
    }
)


def live(order: dict[str, Any]) -> None:
    """Be a sink, and end this process."""
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if order["point"]:
        mortal.mark(order["point"], order["count"])
    sys.exit(main.main(["sink", order["config"]]))


if __name__ == "__main__":
    mortal.nurse(live)
