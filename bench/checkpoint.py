"""`python -m bench.checkpoint`: how long a checkpoint takes while 100,000 groups are live.

The daemon's own engine with the shipped rules, and 100,000 sessions of as many roles. Then polls of 500
records each, after each a checkpoint: `changes` (which gathers what is new) and `save` (which makes it durable). The
first checkpoint writes everything and is shown by itself. S3 is a stand-in on loopback, in a process of its own: its
figure is what our side and the protocol cost, without the network.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bench import cloudtrail
from bench.traffic import Requests
from detector.aws.state import S3State
from detector.core.access import AccessBatch
from detector.core.builder import BatchBuilder
from detector.core.engine import Engine
from detector.local.sqlite import SqliteState
from detector.logs.limits import LIMITS
from detector.logs.read import read
from detector.rules import load_rules, shipped
from detector.source import StateStore
from detector.watches import watches
from tests.servers import environment, serving

START = 1_777_626_000
SPACE = 60
"""Seconds of event time between polls: panes of the model are sealed while this runs."""


def main() -> int:
    """Print the table."""
    options = argparse.ArgumentParser("python -m bench.checkpoint")
    options.add_argument("--groups", type=int, default=100_000, help="live groups (100000)")
    options.add_argument("--polls", type=int, default=40, help="checkpoints measured (40)")
    options.add_argument("--records", type=int, default=500, help="records a poll (500)")
    chosen = options.parse_args()
    print(f"{chosen.groups:,} live groups, {chosen.records} records a poll, {chosen.polls} checkpoints; milliseconds\n")
    print("| state | first, whole | changes p50 | save p50 | both p50 | both p99 | bytes p50 |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder, _s3() as bucket:
        for name, store in (
            ("SQLite", lambda: SqliteState(Path(folder) / "state.db")),
            ("S3, loopback", lambda: S3State(bucket, "bench")),
        ):
            print(_line(name, _measured(store, chosen)))
    return 0


def _line(name: str, took: list[tuple[float, float, int]]) -> str:
    first, *rest = took
    changes, saves, both = (
        [1000 * t[0] for t in rest],
        [1000 * t[1] for t in rest],
        [1000 * (t[0] + t[1]) for t in rest],
    )
    p99 = sorted(both)[min(len(both) - 1, int(len(both) * 0.99))]
    size = statistics.median(t[2] for t in rest)
    shown = [1000 * (first[0] + first[1]), *map(statistics.median, (changes, saves, both)), p99]
    return f"| {name} | " + " | ".join(f"{value:.1f}" for value in shown) + f" | {size:,.0f} |"


def _measured(make: Callable[[], StateStore], chosen: argparse.Namespace) -> list[tuple[float, float, int]]:
    """(seconds of changes, of save, bytes) of every checkpoint, the first one of everything."""
    store = make()
    store.load()
    engine = Engine(load_rules(shipped()), watches(gather=True), shelf=store)
    made, took = Traffic(chosen.groups), []
    for poll in range(-1, chosen.polls):
        now = START + SPACE * poll
        engine.process(made.batch(chosen.groups if poll < 0 else chosen.records, poll), now)
        engine.judge()
        engine.advance(now, backlog=False)
        began = time.perf_counter()
        parts = engine.changes()
        gathered = time.perf_counter()
        store.save(parts)
        ended = time.perf_counter()
        engine.saved()
        took.append((gathered - began, ended - gathered, sum(len(part) for part in parts.values() if part)))
    store.close()
    return took


class Traffic:
    """CloudTrail records of many sessions, each of a role of its own, a minute apart from poll to poll."""

    def __init__(self, groups: int) -> None:
        self._groups, self._random, self._count = groups, np.random.default_rng(1), 0

    def batch(self, records: int, poll: int) -> AccessBatch:
        """Records of a poll: the first one names every group, later ones any of them."""
        who = np.arange(records) if poll < 0 else self._random.integers(0, self._groups, records)
        number = np.arange(self._count, self._count + records)
        self._count += records
        asked = Requests(np.full(records, START + SPACE * poll), 8 * who, number)
        text = '{"Records":[' + ",".join(cloudtrail.records(asked, np.arange(records))) + "]}"
        builder = BatchBuilder()
        read(text.encode(), f"{poll}.json", builder, LIMITS)
        return builder.build()


@contextmanager
def _s3() -> Iterator[str]:
    """A bucket of a server on loopback."""
    import boto3

    with serving() as url:
        os.environ |= environment(url)
        boto3.client("s3").create_bucket(Bucket="bench")
        yield "bench"


if __name__ == "__main__":
    raise SystemExit(main())
