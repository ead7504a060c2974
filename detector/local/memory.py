"""How much memory this process has, and may have.

Source: proc(5), `statm`; Linux "Control Group v2", memory.max (what a container may have; ECS sets it); sysconf(3).
"""

from __future__ import annotations

import os
from pathlib import Path

BOUNDS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
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
    for path in BOUNDS:
        try:
            found.append(int(path.read_text()))
        except (OSError, ValueError):  # not there, or "max": no bound
            continue
    return min(found, default=0)
