"""From a configuration to the daemon that counts on Spark; what Spark cannot do of it is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from detector.cli.joined import source
from detector.cli.watch import orders, watermark
from detector.drain import Drain
from detector.edges import Edges
from detector.errors import InputError, UnreadablePathError
from detector.response.plain import printable
from detector.rules import Rulebook
from detector.settings import Directory, Settings, Sqs
from replay import java
from replay.shards import not_keyed
from replay.spark.cluster import Cluster
from replay.spark.live import Driver
from replay.spark.remote import Remote
from replay.spark.session import session
from replay.spark.stages import How

MOST = 4096
"""Log files of one batch."""


def join(
    settings: Settings, book: Rulebook, world: Edges, *, clock: Callable[[], float], drain: Drain, **how: Any
) -> Driver:
    """The loop with Spark to count, for a config that `check` was asked of. Raises BucketwatchError."""
    folder, shards = _of_spark(settings)
    if whole := not_keyed(book.rules):
        how["say"]("not_keyed", rules=whole, counted_by="one task")
    logs = str(settings.source.path.resolve()) if isinstance(settings.source, Directory) else ""
    stack = ExitStack()
    spark = stack.enter_context(session(os.cpu_count() or 1, folder / "spark.log"))
    of_executors = How(
        shards, logs, settings.horizon, settings.memory, dict(settings.prefer), settings.limits.model_dump()
    )
    cluster = Cluster(spark, folder, of_executors, drain)
    remote = Remote(cluster, watermark=watermark(settings), horizon=settings.horizon, clock=clock)
    world = replace(world, source=source(settings, limit=MOST), archive=None, cases=None, verdicts=None)
    return Driver(remote, book, world, orders(settings), clock=clock, drain=drain, ended=stack.close, **how)


def check(settings: Settings) -> None:
    """Raises InputError for all that will not do; Spark's folder is there afterwards."""
    refused = {
        "source": "a directory, or s3" if isinstance(settings.source, Sqs) else None,
        "response.mode": "off or plan" if settings.response.mode == "enforce" else None,
        "archive": "no archive" if settings.archive else None,
        "canary": "no canaries" if settings.canary else None,
        "learnt": "no learnt" if settings.learnt else None,
        "spark.path": None if settings.spark else "a folder for its checkpoint, which all machines share",
    }
    wrong = [f"{name}: expected {expected}" for name, expected in refused.items() if expected]
    if wrong:
        raise InputError(
            f"--engine spark cannot do what this config says: {'; '.join(wrong)}",
            remedy="mend these, or leave --engine spark out; docs/spark.md says what runs on Spark",
        )
    java.require()
    folder, _ = _of_spark(settings)
    try:
        (folder / "manifests").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnreadablePathError(
            f"cannot be made: {error.strerror}", where=printable(folder), remedy="mend spark.path, or its permissions"
        ) from error


def _of_spark(settings: Settings) -> tuple[Path, int]:
    """Spark's own folder, and the number of shards."""
    assert settings.spark is not None  # noqa: S101  `check` refuses that
    return settings.spark.path.resolve(), settings.spark.shards
