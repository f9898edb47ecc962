"""Memory that arrays give back is used again."""

import subprocess
import sys

import pytest

COUNT_FAULTS = """
import resource, sys
import numpy as np
from streamer.allocator import keep_freed_memory

if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit(3)
for i in range(110):
    if i == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    fields = [np.ones((181, 360)) for _ in range(8)]
    del fields
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", COUNT_FAULTS, how], capture_output=True, text=True, check=False
    )
    if done.returncode == 3:
        pytest.skip("this C library has no mallopt")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_a_field_after_a_field_costs_no_page_faults() -> None:
    kept, given_back = faults("keep"), faults("give back")

    print(f"page faults of 100 times 8 fields of 521 KB: {kept} kept, {given_back} given back")
    assert kept < 100
    assert given_back > 10_000
