"""Runs the hypothesis tests with new examples, file by file, again and again until the time is over."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTEST = (sys.executable, "-m", "pytest", "-m", "hypothesis", "-p", "no:cacheprovider", "-n", "0", "--no-header")
FINE = {0, 5}
"""Pytest's exit status if all passed, and if a file has no test of this kind."""

CUT = 2
"""Pytest's exit status if it was interrupted; it still says what had failed by then."""

TO_END = 60
"""Seconds an interrupted pytest has for that."""


def runs(
    seconds: float,
    seed: int = 0,
    root: Path = ROOT,
    pattern: str = "tests/**/test_*.py",
    environment: Mapping[str, str] | None = None,
) -> Iterator[tuple[str, str]]:
    """(test file, what pytest said if a test failed, else an empty text), for so long; the last run is cut short."""
    end = time.monotonic() + seconds
    files = sorted(path for path in root.glob(pattern) if "from hypothesis import" in path.read_text())
    chance = random.Random(seed or None)
    while files:
        for path in chance.sample(files, len(files)):
            name = str(path.relative_to(root))
            status, said = _pytest(name, root, max(1.0, end - time.monotonic()), environment or {})
            failed = re.search(r"(?m)^(FAILED|ERROR) ", said) if status == CUT else status not in FINE
            yield name, (said[-8000:] or f"it ended with status {status}") if failed else ""
            if time.monotonic() >= end:
                return


def _pytest(name: str, root: Path, seconds: float, environment: Mapping[str, str]) -> tuple[int, str]:
    """Exit status and output of the laws of one file, interrupted after so long."""
    explore = os.environ | {"HYPOTHESIS_PROFILE": "explore"} | environment
    with subprocess.Popen(
        [*PYTEST, name], cwd=root, env=explore, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace"
    ) as child:
        try:
            said, _ = child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGINT)
            try:
                said, _ = child.communicate(timeout=TO_END)
            except subprocess.TimeoutExpired:
                child.kill()
                said = f"FAILED {name}: it could not be interrupted"
            return CUT, said
        return child.returncode, said
