"""The kernel's own tests with new examples, on a kernel that notices every byte it should not touch.

It is compiled once more with the sanitizers of addresses and of undefined behaviour, in a copy of the tree.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from unittest.mock import patch

from hatch_build import compiled
from soak.laws import ROOT

TESTS = "tests/logs/test_[lms]*.py"
"""Of members, lines, and server access logs."""
SANITIZERS = "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"
LIBRARIES = ("libasan.so", "libubsan.so")


def sanitized(folder: Path) -> dict[str, str]:
    """Copy the tree to a folder and compile the kernel there; what the environment of its tests needs besides.

    Raises RuntimeError if it cannot be compiled.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("detector", "replay", "tests", "rules"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    with patch.dict(os.environ, {"CFLAGS": SANITIZERS}):
        if problem := compiled(folder):
            raise RuntimeError(problem)
    found = [subprocess.check_output(["cc", f"-print-file-name={name}"], text=True).strip() for name in LIBRARIES]
    return {
        "LD_PRELOAD": " ".join(found),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python itself leaks on purpose
        "PYTHONPATH": str(folder),
    }
