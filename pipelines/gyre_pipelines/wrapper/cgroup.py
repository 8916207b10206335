"""The container's memory as the kernel counts it, on cgroup v2 and v1."""

from __future__ import annotations

from pathlib import Path

_UNLIMITED = 1 << 60


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _counter(path: Path, key: str) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    pairs = (line.split() for line in lines)
    return next((int(pair[1]) for pair in pairs if len(pair) == 2 and pair[0] == key), None)  # noqa: PLR2004


class Memory:
    """Reads limit, use and kills of the cgroup that this process is in.

    `root` is where the cgroup file systems are mounted, `own` the text of /proc/self/cgroup.
    """

    def __init__(self, root: Path = Path("/sys/fs/cgroup"), own: str | None = None, limit: int | None = None) -> None:
        self._told = limit
        text = _own() if own is None else own
        folder = root / _part(text, "").lstrip("/")
        self._v2 = (root / "cgroup.controllers").exists()
        if self._v2:
            self._folder = folder if (folder / "memory.current").exists() else root
        else:
            # With a cgroup namespace, or as containerd binds it, the container's own group is the mount itself.
            inner = root / "memory" / _part(text, "memory").lstrip("/")
            self._folder = inner if (inner / "memory.usage_in_bytes").exists() else root / "memory"
        self._peak = 0
        self._kills = self._killed() or 0

    def limit(self) -> int | None:
        """Bytes the container may use; what the order told where the kernel sets no limit."""
        found = _number(self._folder / ("memory.max" if self._v2 else "memory.limit_in_bytes"))
        return found if found is not None and found < _UNLIMITED else self._told

    def used(self) -> int | None:
        """Bytes in use now."""
        used = _number(self._folder / ("memory.current" if self._v2 else "memory.usage_in_bytes"))
        self._peak = max(self._peak, used or 0)
        return used

    def peak(self) -> int | None:
        """Most bytes ever in use; on kernels that do not keep it, the most that was seen."""
        self.used()
        kept = _number(self._folder / ("memory.peak" if self._v2 else "memory.max_usage_in_bytes"))
        return max(kept or 0, self._peak) or None

    def kills(self) -> int:
        """Processes that the kernel killed for memory since this object was made."""
        killed = self._killed()
        return max(0, killed - self._kills) if killed is not None else 0

    def _killed(self) -> int | None:
        return _counter(self._folder / ("memory.events" if self._v2 else "memory.oom_control"), "oom_kill")


def cores(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Whole cores that the container's CPU limit allows, at least one; None without a limit."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        quota = str(_number(root / "cpu" / "cpu.cfs_quota_us"))
        period = str(_number(root / "cpu" / "cpu.cfs_period_us"))
    if not quota.isdigit() or not period.isdigit() or not int(period):
        return None
    return max(1, -(-int(quota) // int(period)))


def _own() -> str:
    try:
        return Path("/proc/self/cgroup").read_text()
    except OSError:
        return ""


def _part(text: str, controller: str) -> str:
    """The path of one hierarchy: `0::/path` on v2, `4:memory:/path` on v1."""
    for line in text.splitlines():
        fields = line.split(":", 2)
        if len(fields) == 3 and controller in fields[1].split(","):  # noqa: PLR2004
            return fields[2]
    return ""
