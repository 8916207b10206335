"""What a process of the router asks of C library and interpreter before it starts."""

import ctypes
import gc
import sys

KEPT_BYTES = 32 * 2**20
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
SWITCH_SECONDS = 0.0005
"""Longest time that a thread keeps the interpreter from the loop, where Python's own 5 ms pass at each event."""


def tune() -> None:
    """Spare the process work and waits that a proxy has no use for."""
    _spare_memory_work()
    # While a part of the payload log is encoded beside it, the loop answers half as many requests again.
    sys.setswitchinterval(SWITCH_SECONDS)


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
