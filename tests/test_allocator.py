"""Freed memory is found again, where the C library is glibc and the user has not chosen otherwise."""

import ctypes
import os
import platform
import subprocess
import sys

import pytest

from jaxseg import allocator
from jaxseg.allocator import keep_freed_memory

FAULTS = """
import resource, threading
import numpy as np
from jaxseg.allocator import keep_freed_memory
{}
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for size in (1, 5, 40, 100):
        np.ones(size * 2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
told = []
def run():
    faults()
    told.append(faults())
run()
thread = threading.Thread(target=run)
thread.start()
thread.join()
print(*told)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library's allocator is left as it is")
@pytest.mark.parametrize(
    ("call", "environment", "kept"),
    [("", {}, False), ("keep_freed_memory()", {}, True), ("keep_freed_memory()", {"MALLOC_TOP_PAD_": "1"}, False)],
)
def test_pages_are_asked_of_the_system_once(call, environment, kept):
    """Of 146 MB, 4 KB each, in the main thread and in another."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    ours["NUMPY_MADVISE_HUGEPAGE"] = "0"
    command = [sys.executable, "-c", FAULTS.format(call)]
    done = subprocess.run(command, env=ours | environment, capture_output=True, text=True, check=True)
    faults = [int(word) for word in done.stdout.split()]
    assert len(faults) == 2
    assert max(faults) < 100 if kept else min(faults) > 1000


def test_another_system_or_library_is_left_alone(monkeypatch):
    def refuse(_):
        raise AssertionError("called")

    with monkeypatch.context() as patched:
        patched.setattr(allocator.sys, "platform", "darwin")
        patched.setattr(ctypes, "CDLL", refuse)
        keep_freed_memory()
    for name in list(os.environ):
        if name.startswith(("MALLOC_", "GLIBC_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(allocator.sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    keep_freed_memory()
