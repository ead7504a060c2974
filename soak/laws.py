"""Runs the hypothesis tests with new examples, file by file, again and again until the time is over."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTEST = (sys.executable, "-m", "pytest", "-m", "hypothesis", "-p", "no:cacheprovider", "-n", "0", "--no-header")
PASSED, NONE_SELECTED = 0, 5


def runs(seconds: float, seed: int = 0) -> Iterator[tuple[str, str]]:
    """(test file, what pytest said if a test failed), for so long; a run that is cut says nothing."""
    end = time.monotonic() + seconds
    files = sorted(path for path in ROOT.glob("tests/**/test_*.py") if "from hypothesis import" in path.read_text())
    chance = random.Random(seed or None)
    while True:
        for path in chance.sample(files, len(files)):
            name = str(path.relative_to(ROOT))
            try:
                done = subprocess.run(
                    [*PYTEST, name], cwd=ROOT, env=os.environ | {"HYPOTHESIS_PROFILE": "explore"}, check=False,
                    capture_output=True, text=True, errors="replace", timeout=end - time.monotonic(),
                )  # fmt: skip
            except (subprocess.TimeoutExpired, ValueError):
                return
            yield name, "" if done.returncode in {PASSED, NONE_SELECTED} else done.stdout[-6000:] + done.stderr[-2000:]
