"""How this process asks the kernel for memory."""

import ctypes
import platform

# Parameters of mallopt(3), from glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, so that a forward pass on a CPU finds it there again.

    glibc gives large blocks, as activations are, back to the kernel at once: every page of the next batch is then
    cleared and mapped anew, which took 15 % of a ViT-S/16's forward (docs/benchmarks.md). From now on blocks under
    1 GiB stay with the process until it ends. The command line does so; in a script, call it once, before any compute:
    it cannot be taken back, and blocks that threads have taken before stay apart.

    Returns:
        Whether it is so now. False where the C library is not glibc, or refuses it, as older ones do for large blocks.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    wanted = {M_MMAP_THRESHOLD: 2**30, M_TRIM_THRESHOLD: 2**31 - 1, M_ARENA_MAX: 1}
    return all(mallopt(parameter, value) for parameter, value in wanted.items())
