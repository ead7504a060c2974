"""A flood through the real protocol: a queue full of messages, the daemon as a process that may be killed at any time.

`make test` sends ten thousand messages and kills nobody; `make soak` two hundred thousand, and kills.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detector.journal import verify
from replay.example_day import burst
from tests.servers import environment
from tests.sqs import counts

RULE = """
rules:
  - id: bulk
    title: One session read 20 objects in a minute
    severity: high
    kind: threshold
    where: {operation: read}
    group_by: session
    measure: objects
    window: 1m
    threshold: 20
"""
PROGRAM = Path(sys.executable).with_name("bucketwatch")
READY = 120
LIFE = 0.3, 2.5
"""Seconds after which a daemon is killed: some before they have begun, some in the middle of their work."""


@dataclass(frozen=True)
class Sent:
    """What lies in the queue: messages of one event, copies and poison among them; and the truth about them."""

    bodies: list[str] = field(repr=False)
    records: int
    copies: int
    poison: int
    thieves: frozenset[str]

    @classmethod
    def make(cls, messages: int, seed: int = 1) -> Sent:
        """Messages in any order. A thief in a thousand messages reads 30 objects in 30 s; others ten in ten minutes."""
        chance, now = random.Random(seed), int(time.time())
        poison, copies, thieves = messages // 200, messages // 20, messages // 1000
        records = [r for n in range(thieves) for r in burst(f"thief-{n}", 30, 30, now - 600 + 40 * (n % 12))]
        rest = messages - poison - copies - len(records)
        ordinary = (r for n in range(rest // 10 + 1) for r in burst(f"reader-{n}", 10, 600, now - 900 + n % 200))
        records += [record for record, _ in zip(ordinary, range(rest), strict=False)]
        bodies = [_event(record) for record in records + chance.sample(records, copies)]
        bodies += [f"poison {n}" for n in range(poison)]
        chance.shuffle(bodies)
        return cls(bodies, len(records) + copies, copies, poison, frozenset(f"thief-{n}" for n in range(thieves)))


@dataclass
class Seen:
    """What a flood came to. peak: bytes that a daemon held at most. kills: how often it was killed."""

    counted: dict[str, float] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    quarantined: int = 0
    kept: int = 0
    journal: list[str] = field(default_factory=list)
    left: int = 0
    peak: int = 0
    kills: int = 0
    seconds: float = 0.0


def flood(folder: Path, sent: Sent, *, kill_for: float = 0.0, kills: int = 1000, seed: int = 0) -> Seen:
    """A queue with these messages, and a daemon to work them off; for so many seconds it is killed and begins anew."""
    seen, chance = Seen(), random.Random(seed or None)
    with _queue(folder, sent.bodies, visibility=2 if kill_for else 60) as url:
        _configure(folder, url)
        began = time.monotonic()
        while time.monotonic() - began < kill_for and seen.kills < kills:
            with _daemon(folder, url) as process:
                time.sleep(chance.uniform(*LIFE))
                seen.peak = max(seen.peak, _peak(process.pid))
                process.kill()
            seen.kills += 1
        with _daemon(folder, url) as process:
            while counts(url)["left"]:
                seen.peak = max(seen.peak, _peak(process.pid))
                if process.poll() is not None:
                    raise RuntimeError((folder / "log").read_text()[-4000:])
                time.sleep(0.1)
            seen.seconds = time.monotonic() - began
            seen.counted = _metrics(folder)
            seen.peak = max(seen.peak, _peak(process.pid))
            process.terminate()
            if process.wait(60):
                raise RuntimeError((folder / "log").read_text()[-4000:])
        seen.left = counts(url)["left"]
    entries = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    alerts = [json.loads(line) for line in (folder / "alerts.jsonl").read_text().splitlines()]
    sent_ids = {a["alert_id"] for a in alerts}.union(*(a["digest"]["alert_ids"] for a in alerts if "digest" in a))
    opened = [e["body"] for e in entries if e["kind"] == "finding" and e["body"]["rule_id"] == "bulk"]
    seen.told = {b["group"]["session"].rpartition("/")[2] for b in opened if b["alert_id"] in sent_ids}
    seen.quarantined = sum(entry["kind"] == "quarantine" for entry in entries)
    seen.kept = len(list((folder / "quarantine").iterdir()))
    seen.journal = [str(problem) for problem in verify(folder / "journal.jsonl")]
    return seen


def problems(sent: Sent, seen: Seen, most: int) -> list[str]:
    """What is wrong with it. most: bytes that the daemon may hold."""
    found = {
        "records": (seen.counted["bucketwatch_records_total"], sent.records),
        "duplicates": (seen.counted["bucketwatch_duplicates_total"], sent.copies),
        "access events": (seen.counted["bucketwatch_access_events_total"], sent.records - sent.copies),
        "rejected": (seen.counted["bucketwatch_rejected_total"], 0),
        "journalled poison": (seen.quarantined, sent.poison),
        "poison in quarantine": (seen.kept, sent.poison),
        "thieves told of": (len(seen.told & sent.thieves), len(sent.thieves)),
        "others told of": (len(seen.told - sent.thieves), 0),
        "messages left": (seen.left, 0),
        "faults of the journal": (len(seen.journal), 0),
    }
    out = [f"{name}: {have:,.0f} instead of {want:,}" for name, (have, want) in found.items() if have != want]
    if seen.peak > most:
        out.append(f"memory: {seen.peak >> 20} MiB instead of {most >> 20} at most")
    return out


def _event(record: dict[str, Any]) -> str:
    return json.dumps({"detail-type": "AWS API Call via CloudTrail", "detail": record})


@contextmanager
def _queue(folder: Path, bodies: list[str], visibility: float) -> Iterator[str]:
    (folder / "bodies").write_text("".join(json.dumps(body) + "\n" for body in bodies))
    command = [sys.executable, "-m", "tests.sqs", str(folder / "bodies"), "--visibility", str(visibility)]
    root = Path(__file__).resolve().parents[1]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as server:
        try:
            assert server.stdout
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def _configure(folder: Path, url: str) -> None:
    (folder / "rules.yaml").write_text(RULE)
    (folder / "bucketwatch.yaml").write_text(
        f"source: {{kind: sqs, queue_url: '{url}/111122223333/notices'}}\naccept: {{buckets: [trail]}}\n"
        f"rules: {folder}/rules.yaml\nstate: {{kind: sqlite, path: {folder}/state.db}}\n"
        f"alerts: [{{kind: file, path: {folder}/alerts.jsonl}}]\njournal: {{path: {folder}/journal.jsonl}}\n"
        "http: {port: 0}\nstorm: {ids: 1000}\nmemory: 64M\n"
    )


@contextmanager
def _daemon(folder: Path, url: str) -> Iterator[subprocess.Popen[bytes]]:
    """The daemon, from its start on; what it says is in `log`."""
    with (folder / "log").open("wb") as log:
        command = [PROGRAM, "watch", "--config", folder / "bucketwatch.yaml"]
        with subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | environment(url)) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()


def _metrics(folder: Path) -> dict[str, float]:
    until = time.monotonic() + READY
    while not (found := re.search(r'"address": "([^"]+)"', (folder / "log").read_text())):
        if time.monotonic() > until:
            raise RuntimeError((folder / "log").read_text()[-4000:])
        time.sleep(0.05)
    with urllib.request.urlopen(f"{found[1]}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


def _peak(pid: int) -> int:
    """Bytes that a process held at most."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) << 10 if found else 0
