"""How this process asks the kernel for memory."""

import ctypes
import os
import platform

# Parameters of mallopt(3), from glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, so that a forward pass on a CPU finds it there again.

    glibc gives large blocks, as activations are, back to the kernel at once: every page of the next batch is then
    cleared and mapped anew (docs/benchmarks.md has what that takes). From now on blocks under 1 GiB stay with the
    process until it ends. The command line does so; in a script, call it first of all, before numpy and torch are
    imported: their threads would keep to heaps of their own, which hold no large blocks. It cannot be taken back.

    Returns:
        Whether it is so now. False, and nothing changed, where the C library is not glibc, or there are threads
        already; False, too, where it refuses, as older ones do for blocks of this size.
    """
    if platform.libc_ver()[0] != "glibc" or _threads() > 1:
        return False
    mallopt = ctypes.CDLL(None).mallopt
    wanted = {M_MMAP_THRESHOLD: 2**30, M_TRIM_THRESHOLD: 2**31 - 1, M_ARENA_MAX: 1}
    return all(mallopt(parameter, value) for parameter, value in wanted.items())


def _threads() -> int:
    """Threads of this process, those of C libraries too; 2 where nothing tells."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 2
