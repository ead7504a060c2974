"""How much memory this process has, and may have.

Source: proc(5), `statm`, `cgroup`; Linux "Control Group v2", memory.max (what a container may have); sysconf(3).
"""

from __future__ import annotations

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
OURS = Path("/proc/self/cgroup")
STATM = Path("/proc/self/statm")


def used() -> int:
    """Bytes of this process in memory; 0 where the system does not tell."""
    try:
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def limit() -> int:
    """Bytes it may have: the container's, at most the machine's; 0 where the system does not tell."""
    try:
        found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (OSError, ValueError):
        found = []
    for path in _bounds():
        try:
            found.append(int(path.read_text()))
        except (OSError, ValueError):  # not there, or "max": no bound
            continue
    return min(found, default=0)


def _bounds() -> list[Path]:
    """Where a bound may stand: of this process's own group and of those around it, of the container's root."""
    try:
        own = OURS.read_text().splitlines()
    except OSError:
        own = []
    inside = [line[3:].strip("/") for line in own if line.startswith("0::")]
    groups = [CGROUP / part for path in inside for part in (path, *map(str, Path(path).parents))]
    return [*(group / "memory.max" for group in (CGROUP, *groups)), CGROUP / "memory/memory.limit_in_bytes"]
