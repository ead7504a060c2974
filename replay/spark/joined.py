"""From a configuration to the daemon that counts on Spark; what Spark cannot do of it is refused."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from detector.cli.joined import edges
from detector.cli.watch import orders, rule_files_of, sight, watermark
from detector.drain import Drain
from detector.errors import InputError, UnreadablePathError
from detector.local.directory import DirectorySource
from detector.response.plain import printable
from detector.rules import RuleFiles
from detector.settings import Directory, Settings
from detector.source import Lease
from replay import java
from replay.spark.live import Cluster, Driver, Remote
from replay.spark.session import session
from replay.spark.stages import How

MOST = 4096
"""Log files of one batch."""


def build(
    settings: Settings,
    *,
    say: Any,
    clock: Callable[[], float] = time.time,
    lease: Lease | None = None,
    files: RuleFiles | None = None,
    drain: Drain | None = None,
) -> Driver:
    """As `detector.cli.watch.build`, for Spark. Raises InputError, StateError, EdgeError, BucketwatchError."""
    source, folder = check(settings)
    book, drain = (files or rule_files_of(settings)).read(), drain or Drain()
    world = replace(
        edges(settings, lease), source=DirectorySource(source, limit=MOST), archive=None, cases=None, verdicts=None
    )
    stack = ExitStack()
    spark = stack.enter_context(session(os.cpu_count() or 1, folder / "spark.log"))
    cluster = Cluster(spark, folder, how(settings), drain)
    remote = Remote(cluster, watermark=watermark(settings), horizon=settings.horizon, clock=clock)
    return Driver(
        remote, book, world, orders(settings), say=say, clock=clock, sight=sight(settings), drain=drain,
        ended=stack.close,
    )  # fmt: skip


def check(settings: Settings) -> tuple[Path, Path]:
    """The folder of log files, and Spark's own, made if it is not there. Raises InputError for all that will not do."""
    refused = {
        "source": None if isinstance(settings.source, Directory) else "a directory",
        "response.mode": "off or plan" if settings.response.mode == "enforce" else None,
        "archive": "no archive" if settings.archive else None,
        "canary": "no canaries" if settings.canary else None,
        "learnt": "no learnt" if settings.learnt else None,
        "spark.path": None if settings.spark else "a folder for its checkpoint, which all machines share",
    }
    wrong = [f"{name}: expected {expected}" for name, expected in refused.items() if expected]
    if wrong or settings.spark is None or not isinstance(settings.source, Directory):
        raise InputError(
            f"--engine spark cannot do what this config says: {'; '.join(wrong)}",
            remedy="mend these, or leave --engine spark out; docs/spark.md says what runs on Spark",
        )
    java.require()
    folder = settings.spark.path.resolve()
    try:
        (folder / "manifests").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnreadablePathError(
            f"cannot be made: {error.strerror}", where=printable(folder), remedy="mend spark.path, or its permissions"
        ) from error
    return settings.source.path.resolve(), folder


def how(settings: Settings) -> How:
    """What executors need to know of a configuration."""
    count = settings.spark.shards if settings.spark else 1
    folder = settings.source.path.resolve() if isinstance(settings.source, Directory) else ""
    return How(
        count, str(folder), settings.horizon, settings.memory, dict(settings.prefer), settings.limits.model_dump()
    )
