"""Whether Spark can run here: pyspark, and a Java that it can use. Says what to do where not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from detector.errors import InputError

OLDEST = 17
"""The oldest Java that Spark 4 runs on."""
NEEDED = ("pyspark", "google.protobuf")
"""What the extra `spark` installs; pyspark's own extras leave out protobuf, which streaming needs."""


def require() -> None:
    """Raises InputError if Spark cannot run here."""
    missing = [name for name in NEEDED if not _found(name)]
    if missing:
        raise InputError(
            f"--engine spark needs {' and '.join(missing)}, not installed here",
            remedy='install it with: pip install "bucketwatch[spark]"',
        )
    java = _java()
    if java is None:
        raise InputError(
            f"--engine spark needs Java {OLDEST} or newer, and there is none",
            remedy="install it (on Debian or Ubuntu: apt-get install openjdk-17-jre-headless), or set JAVA_HOME",
        )
    version = _version(java)
    if version is None or version < OLDEST:
        told = "of an unknown version" if version is None else f"Java {version}"
        raise InputError(
            f"--engine spark needs Java {OLDEST} or newer; this one is {told}",
            where=java,
            remedy="set JAVA_HOME to a newer one",
        )


def _found(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # a parent package is missing
        return False


def _java() -> str | None:
    home = os.environ.get("JAVA_HOME")
    inside = Path(home, "bin", "java") if home else None
    return str(inside) if inside and inside.exists() else shutil.which("java")


def _version(java: str) -> int | None:
    """The major version that it says it is: `17` of `17.0.15`, `8` of `1.8.0_402`."""
    try:
        told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=False).stderr  # noqa: S603  the user's own Java
    except OSError:
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', told)
    return int(match[1]) if match else None
