"""Memory that arrays give back is used again."""

import ctypes
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


COUNT_HEAPS = """
import ctypes, sys, threading
import numpy as np
from streamer.allocator import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
together = threading.Barrier(8)
def work():
    together.wait()
    np.ones((181, 360))
    together.wait()
threads = [threading.Thread(target=work) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info(0, ctypes.c_void_p(libc.fdopen(1, b"w")))
libc.fflush(None)
"""


def heaps(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", COUNT_HEAPS, how], capture_output=True, text=True, check=True
    )
    return done.stdout.count("<heap nr=")


def test_threads_that_come_and_go_share_two_heaps() -> None:
    if not hasattr(ctypes.CDLL(None), "malloc_info"):
        pytest.skip("this C library has no malloc_info")

    assert heaps("keep") <= 2 < heaps("give back")


GIVE_BACK = """
import numpy as np, psutil
from streamer.allocator import give_back_freed_memory, keep_freed_memory

def resident_mib():
    return psutil.Process().memory_info().rss >> 20

keep_freed_memory()
fields = [np.ones((181, 360)) for _ in range(400)]
# Holes below a block that stays: the top of the heap alone would free nothing.
kept, fields = fields[-1], None
before = resident_mib()
print(before, resident_mib() if give_back_freed_memory() else before)
"""


def test_what_is_kept_is_given_back_on_demand() -> None:
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("this C library has no malloc_trim")
    done = subprocess.run(
        [sys.executable, "-c", GIVE_BACK], capture_output=True, text=True, check=True
    )

    before, after = map(int, done.stdout.split())
    # 399 fields of 521 KB are 198 MiB.
    assert before - after > 180
