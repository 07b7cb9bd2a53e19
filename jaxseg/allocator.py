"""Freed memory stays with the process, so that each training step finds it again without the system's help."""

import ctypes
import os
import sys

ARENA_MAX, MMAP_MAX, TRIM_THRESHOLD = -8, -4, -1
"""As glibc's malloc.h numbers them."""


def keep_freed_memory() -> None:
    """Let glibc's malloc give nothing back before the process ends; for commands, before JAX starts its threads.

    The arrays between a step's layers are large, and by default each is asked of the system and given back: clearing
    its pages took up to half of a training step on a CPU. All threads share one heap, the only one that can hold them.
    The process grows to the most that it ever used at once, and no further. A user's own `MALLOC_*` or `GLIBC_TUNABLES`
    stay; where another allocator is loaded first, or the C library is not glibc, nothing changes.
    """
    if sys.platform != "linux" or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018  musl has a mallopt that does nothing, or none
        mallopt = libc.mallopt
    except (OSError, AttributeError):
        return
    for parameter, value in ((ARENA_MAX, 1), (MMAP_MAX, 0), (TRIM_THRESHOLD, 2**31 - 1)):
        mallopt(parameter, value)
