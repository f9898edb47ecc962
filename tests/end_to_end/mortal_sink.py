"""A nursery of real sinks that die at a chosen point: `python -m tests.end_to_end.mortal_sink`.

The same as `mortal`, for the points of a sink's way: before and after a file is made durable and
gets its name, and around the commit of its offsets.
"""

import os
from functools import partial
from pathlib import Path

import kafka

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


if __name__ == "__main__":
    mortal.nurse(partial(mortal.live, verb="sink"))
