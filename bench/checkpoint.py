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
from typing import NamedTuple

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


class Took(NamedTuple):
    """Seconds and bytes of one checkpoint. sealed: the baseline rule judged a pane, so its model is written."""

    changes: float
    save: float
    size: int
    sealed: bool

    @property
    def both(self) -> float:
        return self.changes + self.save


def main() -> int:
    """Print the table."""
    options = argparse.ArgumentParser("python -m bench.checkpoint")
    options.add_argument("--groups", type=int, default=100_000, help="live groups (100000)")
    options.add_argument("--polls", type=int, default=40, help="checkpoints measured, at least 30 (40)")
    options.add_argument("--records", type=int, default=500, help="records a poll (500)")
    chosen = options.parse_args()
    print(f"{chosen.groups:,} live groups, {chosen.records} records a poll, {chosen.polls} checkpoints; milliseconds\n")
    print(
        "| state | first, whole | changes p50 | save p50 | both p50 | both, longest | pane, first | pane p50 | kB p50 |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder, _s3() as bucket:
        for name, store in (
            ("SQLite", lambda: SqliteState(Path(folder) / "state.db")),
            ("S3, loopback", lambda: S3State(bucket, "bench")),
        ):
            print(_line(name, _measured(store, chosen)))
    return 0


def _line(name: str, took: list[Took]) -> str:
    first, *rest = took
    usual, sealed = ([one for one in rest if one.sealed == with_model] for with_model in (False, True))
    # the first sealing packs the model of every group, later ones that of the groups that were there
    shown = [first.both, *(statistics.median(t.changes for t in usual), statistics.median(t.save for t in usual))]
    shown += [statistics.median(t.both for t in usual), max(t.both for t in usual)]
    shown += [sealed[0].both, statistics.median(t.both for t in sealed[1:])]
    size = statistics.median(t.size for t in usual)
    return f"| {name} | " + " | ".join(f"{1000 * value:.1f}" for value in shown) + f" | {size / 1000:,.0f} |"


def _measured(make: Callable[[], StateStore], chosen: argparse.Namespace) -> list[Took]:
    """Every checkpoint; the first one is of everything."""
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
        size = sum(len(part) for part in parts.values() if part)
        sealed = any(name.startswith("model/") for name in parts)
        took.append(Took(gathered - began, ended - gathered, size, sealed))
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
