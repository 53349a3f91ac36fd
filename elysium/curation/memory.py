"""How the C library hands out memory in a process that decodes, where frames come and go by the hundred."""

from __future__ import annotations

import contextlib
import ctypes
import functools

# Names and numbers of glibc's <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGEST = 32 << 20  # bytes; the C library takes no more
_KEPT = 1 << 30


@functools.cache
def reuse_memory() -> None:
    """Keeps freed memory for the next frames instead of giving it back to the system.

    By default a large array's memory goes back when it is freed, and the system fills the next one's with zeros, page
    by page: a tenth of the time that decoding takes. And each thread has a heap of its own, so that what the decoding
    thread freed is of no use to another. To be called before threads begin; it counts for the whole process. Where the
    C library is not glibc, nothing happens.
    """
    with contextlib.suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        for option, value in (
            (_M_MMAP_THRESHOLD, _LARGEST),
            (_M_TRIM_THRESHOLD, _KEPT),
            (_M_ARENA_MAX, 1),
        ):
            library.mallopt(option, value)
