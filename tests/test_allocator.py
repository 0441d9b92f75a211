import platform
import subprocess
import sys

import pytest

FAULTS = """
{first}
import resource, sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

def faults() -> int:
    "Pages that the kernel mapped while a block of 64 MiB was taken, written and freed for the second time."
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        np.full(2**26, 1, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with ThreadPoolExecutor(1) as pool:
    print(faults(), pool.submit(faults).result(), file=sys.stderr)
"""
TOO_LATE = """
import threading
from conceptprobe.allocator import keep_freed_memory
threading.Thread(target=threading.Event().wait, daemon=True).start()
assert not keep_freed_memory()
"""
COMMAND_LINE = """
from conceptprobe.cli import main
try:
    main()
except SystemExit:
    pass
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
@pytest.mark.parametrize(
    ("first", "kept"),
    [
        ("", False),
        ("from conceptprobe.allocator import keep_freed_memory; assert keep_freed_memory()", True),
        (TOO_LATE, False),
        (COMMAND_LINE, True),
    ],
    ids=["by default", "when asked for", "when asked for too late", "in the command line"],
)
def test_large_blocks_are_found_again_also_in_threads(first: str, kept: bool) -> None:
    script = FAULTS.replace("{first}", first)
    done = subprocess.run([sys.executable, "-c", script, "--version"], capture_output=True, text=True, check=True)
    here, in_a_thread = map(int, done.stderr.split())
    assert (here < 10, in_a_thread < 10) == (kept, kept), "64 MiB are 16,384 pages, or 32 where pages are huge"


def test_other_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from conceptprobe import keep_freed_memory

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()
