"""Builds the optional kernel, the C of `detector/logs`, into the wheel, or into the tree for an editable install.

It needs a C compiler and Python's headers. Without them the program is complete, and reads logs slower: then this says
so, and goes on. BUCKETWATCH_KERNEL=no leaves it out, BUCKETWATCH_KERNEL=yes insists on it.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import sys_tags

SOURCES = [Path("detector", "logs", name) for name in ("_members.c", "_lines.c")]
BUILT = [source.with_suffix(".abi3.so") for source in SOURCES]
FLAGS = ["-O3", "-fPIC", "-fvisibility=hidden", "-fstack-protector-strong", "-Wall"]
LINK = ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]


class KernelHook(BuildHookInterface):  # type: ignore[type-arg]
    """Called by hatchling before it collects the files of a wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and mark the wheel as one for this platform and any Python from 3.11 on."""
        del version
        wanted = os.environ.get("BUCKETWATCH_KERNEL", "")
        problem = "left out, as BUCKETWATCH_KERNEL says" if wanted == "no" else compiled(Path(self.root))
        if problem and wanted == "yes":
            raise RuntimeError(f"BUCKETWATCH_KERNEL=yes, but: {problem}")
        if problem:
            self.app.display_warning(f"the kernel is not built, logs will be read slower: {problem}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"cp311-abi3-{next(sys_tags()).platform}"
        build_data["artifacts"] += [built.as_posix() for built in BUILT]


def compiled(root: Path) -> str:
    """Compile the kernel in place, all of it or nothing; why not, if that is not possible."""
    problem = ""
    for source, built in zip(SOURCES, BUILT, strict=True):
        problem = problem or _compiled(root, source, built)
    for built in BUILT if problem else []:
        (root / built).unlink(missing_ok=True)
    return problem


def _compiled(root: Path, source: Path, built: Path) -> str:
    (root / built).unlink(missing_ok=True)
    headers = sorted({sysconfig.get_path("include"), sysconfig.get_path("platinclude")})
    command = [
        *shlex.split(os.environ.get("CC", "cc")), *FLAGS, *LINK, *(f"-I{path}" for path in headers),
        *shlex.split(os.environ.get("CFLAGS", "")), source.as_posix(), "-o", built.as_posix(),
    ]  # fmt: skip
    try:
        subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)  # noqa: S603  our own command
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    except subprocess.CalledProcessError as error:
        return error.stderr.strip()[:500] or f"{command[0]} failed"
    return ""
