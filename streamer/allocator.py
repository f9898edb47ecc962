"""Keeps the memory that arrays give back, instead of asking the system for it field after field.

By default glibc gives the top of its heap back as soon as a few large arrays are freed, so each
array of the next field costs a page fault every 4 KB. On a virtual machine that was a third of the
time of decoding a field and a fifth of encoding one.
"""

import ctypes
import gc

# mallopt's parameters, from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8

#: The largest threshold that glibc takes: half of a thread's heap.
_MAPPED_ABOVE_BYTES = 32 << 20
#: So much freed memory at the top of a heap is kept.
_KEPT_BYTES = 256 << 20
#: Heaps of the process. Each keeps its own, and every thread that is born may take another one:
#: with glibc's eight a core, a daemon that changes models would grow for hours.
_ARENAS = 2


def keep_freed_memory() -> bool:
    """Let this process reuse large blocks; whether its C library took that. Call it once, early."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return False
    wanted = (
        (_ARENA_MAX, _ARENAS),
        (_MMAP_THRESHOLD, _MAPPED_ABOVE_BYTES),
        (_TRIM_THRESHOLD, _KEPT_BYTES),
    )
    return all(library.mallopt(option, value) for option, value in wanted)


def give_back_freed_memory() -> bool:
    """Return to the system what is kept and not in use; whether the C library took that.

    For moments after which much less is needed, such as when a model has left: fractions of a
    second, and the next fields ask the system anew.
    """
    gc.collect()
    library = ctypes.CDLL(None)
    return hasattr(library, "malloc_trim") and bool(library.malloc_trim(0))
