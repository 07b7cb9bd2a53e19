"""How many bytes memory and disk have left."""

import os
import shutil
from pathlib import Path

CONTROL_GROUPS = (  # limit, use and statistics of a container, versions 2 and 1
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)


def memory_left(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """What this process may still take without swapping: of the machine, its container or its own limit, the least."""
    try:
        machine = numbers((proc / "meminfo").read_text())["MemAvailable:"] * 1024
    except (OSError, KeyError):
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    lefts = [machine, own_left(proc), *(container_left(groups, *names) for names in CONTROL_GROUPS)]
    return min(left for left in lefts if left is not None)


def own_left(proc: Path) -> int | None:
    """Under `ulimit -v`; None without it."""
    try:
        import resource

        most, _ = resource.getrlimit(resource.RLIMIT_AS)
        used = int((proc / "self" / "statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (ImportError, OSError):  # Windows has no such limit; only Linux tells the use
        return None
    return None if most == resource.RLIM_INFINITY else max(0, most - used)


def container_left(groups: Path, limit: str, use: str, statistics: str, reclaimable: str) -> int | None:
    """None without a limit. Pages of files that were read can be given back, and don't count as used."""
    try:
        most, used = int((groups / limit).read_text()), int((groups / use).read_text())
        return max(0, most - used + numbers((groups / statistics).read_text()).get(reclaimable, 0))
    except (OSError, ValueError):  # "max" is no number
        return None


def numbers(text: str) -> dict[str, int]:
    """Lines of a name and a number."""
    rows = (line.split() for line in text.splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}


def disk_left(folder: Path) -> int:
    """Of the file system that `folder` is on, or will be on."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def told(size: int | float) -> str:
    """A number of bytes for the reader."""
    for unit in ("bytes", "kB", "MB"):
        if size < 999.5:  # 999.9 in three digits would be 1e+03
            return f"{size:.3g} {unit}" if unit != "bytes" else f"{size:.0f} bytes"
        size /= 1000
    return f"{size:,.1f} GB"
