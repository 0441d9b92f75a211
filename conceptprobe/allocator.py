"""Settings of the C library's memory allocator."""

import ctypes
import platform
from pathlib import Path

# Parameters of mallopt(3), from glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, so that the next forward pass on a CPU can reuse it.

    By default glibc returns large blocks, such as activations, to the kernel at once, and the kernel must clear and map
    every page of the next batch again (docs/benchmarks.md has the cost). After this call blocks under 1 GiB stay with
    the process until it ends. The command line calls it. A script must call it before it imports numpy and torch:
    their threads would use separate heaps, which hold no large blocks. The setting cannot be undone.

    Returns:
        Whether the process now keeps its memory. False without any change if the C library is not glibc or the process
        already has several threads; also False if glibc refuses, as older versions do for blocks of this size.
    """
    if platform.libc_ver()[0] != "glibc" or _threads() > 1:
        return False
    mallopt = ctypes.CDLL(None).mallopt
    wanted = {M_MMAP_THRESHOLD: 2**30, M_TRIM_THRESHOLD: 2**31 - 1, M_ARENA_MAX: 1}
    return all(mallopt(parameter, value) for parameter, value in wanted.items())


def _threads() -> int:
    """Number of threads of this process, including those of C libraries; 2 if it is unknown."""
    try:
        return sum(1 for _ in Path("/proc/self/task").iterdir())
    except OSError:
        return 2
