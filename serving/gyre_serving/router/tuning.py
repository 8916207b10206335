"""What a process of the router asks of C library and interpreter before it starts."""

import ctypes
import gc
import sys
from importlib.abc import MetaPathFinder

import pyarrow as pa

KEPT_BYTES = 32 * 2**20
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
SWITCH_SECONDS = 0.0005
"""Longest time that a thread keeps the interpreter from the loop, where Python's own 5 ms pass at each event."""


def tune() -> None:
    """Spare the process work and waits that a proxy has no use for."""
    _spare_arrow_pandas()
    _spare_memory_work()
    # A part of the payload log is encoded beside the loop, which wants the interpreter back at each event.
    sys.setswitchinterval(SWITCH_SECONDS)


class _NoPandas(MetaPathFinder):
    """Lets nobody find it."""

    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError(fullname)


def _spare_arrow_pandas() -> None:
    """Let Arrow look for pandas now, once and in vain, where it would import it for the first list it is given.

    On a busy machine that took seconds, in which the first part was not written, nor the last of a router
    that ended. Nothing here makes or reads data frames.
    """
    sys.meta_path.insert(0, finder := _NoPandas())
    pa.array([0])
    sys.meta_path.remove(finder)


def _spare_memory_work() -> None:
    """Keep the allocator and the collector from work that a proxy's short-lived buffers cause again and again.

    glibc would give each body's buffer back to the kernel and fault it in again: a third of the CPU
    on bodies of 600 kB. Other C libraries have no mallopt. And what was imported stays for ever, so
    the collector need not look at it.
    """
    gc.collect()
    gc.freeze()
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
