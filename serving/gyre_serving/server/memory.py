"""Memory of this process and of its container, in bytes; 0 where the system does not say."""

from pathlib import Path

_LIMIT = "/sys/fs/cgroup/memory.max"
_USED = "/sys/fs/cgroup/memory.current"
_STAT = "/sys/fs/cgroup/memory.stat"


def resident() -> int:
    """Resident memory of this process."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * 4096


def data() -> int:
    """What RLIMIT_DATA counts of this process: its private writable mappings."""
    return _field("/proc/self/status", "VmData:")


def available() -> int:
    """What the container's limit leaves, or the machine where there is none."""
    free = _field("/proc/meminfo", "MemAvailable:")
    try:
        limit = int(Path(_LIMIT).read_text())
        used = int(Path(_USED).read_text())
    except (OSError, ValueError):
        return free  # no cgroup v2, or no limit ("max")
    # Cached files count as used and give way at once: the fetched tree is such.
    return max(0, min(free, limit - used + _field(_STAT, "inactive_file", unit=1)))


def _field(path: str, name: str, unit: int = 1024) -> int:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * unit for line in lines if line.startswith(name)), 0)
