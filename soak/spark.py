"""The daemon on Spark, killed with kill -9, all its processes at once: what it closes is what replay closes.

In a batch: a manifest lies there, and the daemon's state does not know what came of it. In the sink: the daemon's state
has just been written, and Spark has not committed. The first lives are of an older version (`tests/older.py`), whose
state the others carry on. The control is a daemon that is told too little lateness: it has to be noticed.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from detector.core.books import Books
from detector.journal import verify
from detector.local.sqlite import SqliteState
from detector.rules import load_rules
from replay.example_day import burst
from replay.run import run
from tests.spark import essence, prepared

RULES = """
rules:
  - {id: few, title: t, severity: high, kind: threshold, where: {operation: read}, group_by: [role, bucket],
     measure: objects, window: 1m, threshold: 120}
  - {id: networks, title: t, severity: low, kind: threshold, where: {operation: read}, group_by: source_ip,
     measure: sessions, window: 2h, threshold: 2}
  - {id: quiet, title: t, severity: low, kind: silence, where: {operation: read}, every: 10m, group_by: bucket}
"""
START = 1_777_626_000
FILES = 60
OLDER = 2
"""Lives of the older version."""
LOT = 15
"""Files of a batch of the control."""
LONGEST = 600
"""Seconds after which a daemon should have come to whatever is waited for."""


@dataclass
class Seen:
    """What came of it."""

    kills: dict[str, int] = field(default_factory=lambda: {"in a batch": 0, "in the sink": 0})
    problems: list[str] = field(default_factory=list)


def kill(folder: Path, seconds: float, seed: int) -> Seen:
    """Kill daemons for so long, a few log files each, then let one come to its end. folder: empty."""
    seen, chance = Seen(), random.Random(seed or None)
    files = _logs(folder, chance)
    end = time.monotonic() + seconds
    for life in range(FILES):
        if time.monotonic() >= end and life > OLDER:
            break
        kind = ("in a batch", "in the sink")[life % 2]
        with _daemon(folder, older=life < OLDER) as daemon:
            known = _newest(folder)
            _deliver(folder, files, chance.randint(1, 4))
            if _until(daemon, lambda known=known: _newest(folder) > known):  # type: ignore[misc]
                _wait_in(kind, folder, daemon, chance)
                seen.kills[kind] += 1
    _deliver(folder, files, FILES)
    seen.problems += [*_ended(folder, "--close"), *_problems(folder)]
    return seen


def control(folder: Path, seed: int) -> list[str]:
    """The same files in lots, and no lateness: what closes early is corrected. What is wrong if nobody notices."""
    files = _logs(folder, random.Random(seed or None), "0s")
    with _daemon(folder) as daemon:
        _until(daemon, lambda: _newest(folder) > 0)  # the rules: a batch of its own
        while files:
            known = _newest(folder)
            _deliver(folder, files, LOT)
            _until(daemon, lambda known=known: _newest(folder) > known)  # type: ignore[misc]
    ended = _ended(folder, "--close")
    noticed = any(problem.startswith("findings: ") for problem in _problems(folder))
    return ended if noticed else [*ended, "too little lateness gives the findings of replay all the same"]


def _ended(folder: Path, *options: str) -> list[str]:
    """Let a daemon come to its end; what is wrong with that."""
    with _daemon(folder, "--until-idle", "2", *options) as daemon:
        try:
            status = daemon.wait(LONGEST)
        except subprocess.TimeoutExpired:
            status = None
    return [] if status == 0 else [f"the last daemon ended with {status}: {_log(folder)}"]


def _logs(folder: Path, chance: random.Random, lateness: str = "300d") -> list[tuple[str, bytes]]:
    """Two thefts and their neighbours in files in any order, some files twice."""
    prepared(folder, RULES, lateness=lateness)
    records = [r for n in range(4) for r in burst(f"contractor-{n}", 700 + 900 * (n % 2), 600, START + 1700 * n)]
    chance.shuffle(records)
    files = [(f"{n}.json.gz", json.dumps({"Records": records[n::FILES]}).encode()) for n in range(FILES)]
    files += [(f"again-{name}", data) for name, data in files[::7]]
    chance.shuffle(files)
    return files


def _deliver(folder: Path, files: list[tuple[str, bytes]], count: int) -> None:
    for name, data in files[:count]:
        (folder / "in" / f".{name}").write_bytes(gzip.compress(data, mtime=0))
        (folder / "in" / f".{name}").rename(folder / "in" / name)
    del files[:count]


@contextmanager
def _daemon(folder: Path, *options: str, older: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """The daemon as its user runs it; at the end it and all that it started are killed."""
    program = [sys.executable, "-m", "tests.older"] if older else [str(Path(sys.executable).with_name("bucketwatch"))]
    command = [*program, "watch", "--engine", "spark", "--config", str(folder / "config.yaml"), *options]
    with (folder / "log").open("ab") as log:
        daemon = subprocess.Popen(command, stderr=log, start_new_session=True)
        try:
            yield daemon
        finally:
            with suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()


def _wait_in(kind: str, folder: Path, daemon: subprocess.Popen[bytes], chance: random.Random) -> None:
    """Until the moment to kill."""
    if kind == "in a batch":
        time.sleep(chance.uniform(0, 3))
        return
    before = _written(folder)
    _until(daemon, lambda: _written(folder) != before, pause=0.002)


def _until(daemon: subprocess.Popen[bytes], true: Callable[[], bool], pause: float = 0.02) -> bool:
    end = time.monotonic() + LONGEST
    while not true():
        if daemon.poll() is not None or time.monotonic() > end:
            return False
        time.sleep(pause)
    return True


def _newest(folder: Path) -> int:
    """Number of the last manifest."""
    manifests = folder / "spark" / "manifests"
    return max((int(f.name) for f in manifests.iterdir() if f.name.isdigit()), default=0) if manifests.is_dir() else 0


def _written(folder: Path) -> int:
    try:
        return (folder / "state.db-wal").stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _problems(folder: Path) -> list[str]:
    """What differs from replay."""
    replayed = run([str(folder / "in")], load_rules(folder / "rules.yaml"))
    entries = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    closed = [e["body"] for e in entries if e["kind"] == "finding" and e["body"]["state"] == "closed"]
    sent = {(alert["alert_id"], alert["state"]) for alert in map(json.loads, (folder / "alerts.jsonl").open())}
    state = SqliteState(folder / "state.db")
    books = Books.of(msgspec.msgpack.decode(state.load()["engine"])["books"])
    state.close()
    summary = replayed.summary
    pairs: dict[str, tuple[Any, Any]] = {
        "findings": (sorted(map(essence, closed)), sorted(essence(f.to_json()) for f in replayed.findings)),
        "records": (books.records, summary["records"]),
        "access events": (books.access_events, summary["access_events"]),
        "duplicates": (books.duplicates, summary["duplicates"]),
        "alerts of closed findings": (
            {one["alert_id"] for one in closed if one["severity"] == "high"} - {a for a, at in sent if at == "closed"},
            set(),
        ),
        "faults of the journal": ([str(problem) for problem in verify(folder / "journal.jsonl")], []),
    }
    return [f"{name}: {have!s:.2000} instead of {want!s:.2000}" for name, (have, want) in pairs.items() if have != want]


def _log(folder: Path) -> str:
    return (folder / "log").read_text("utf-8", "replace")[-3000:]
