"""Runs one process and says what it used. Small on purpose: a child's peak memory counts this process's before it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SAID = 2_000


@dataclass(frozen=True, slots=True)
class Used:
    """What a process and its children used. `peak`: bytes of the largest of them. `failed`: empty if it went well."""

    cpu: float
    wall: float
    peak: int
    output: str
    failed: str = ""


def _environment() -> dict[str, str]:
    """As a user has it: modules are compiled once, not at every start."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def measure(module: str, arguments: list[str]) -> Used:
    """Run a module of this checkout with this Python, in a process of its own."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.monotonic()
        command = [sys.executable, "-m", module, *arguments]
        child = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=err, env=_environment())
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        said = err.read().decode("utf-8", "replace")[-SAID:]
        failed = f"exit status {child.returncode}: {said.strip()}" if child.returncode else ""
        peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return Used(usage.ru_utime + usage.ru_stime, wall, peak, out.read().decode("utf-8", "replace"), failed)
