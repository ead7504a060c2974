"""`python -m bench.daemon`: the daemon as a process, through the real protocols of S3 and SQS.

Two questions. How long from a notice to its alert, at 2,000 records a second of mixed traffic: trail files, and events
that come one a message; thefts are planted whose last record comes either way. And how many records a second it takes
when trail files wait in the queue.

S3 and SQS are moto, a process of its own on loopback; this process makes the traffic. All of them share the machine:
CPU seconds of each are shown, and what the daemon itself needs a record is the figure that a faster S3 would leave.
The alert is seen in a file. Latency counts from before the notice is sent, so it holds the queue's time, too.
moto's queue is slow (each call looks at every message that it ever had): with more than about 20 calls a second it, not
the daemon, sets the pace, and the share of single messages is small for that reason.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib

from bench import cloudtrail
from bench.traffic import Requests
from detector.rules import shipped
from tests.servers import environment, served

THRESHOLD = 200
RULE = f"""
rules:
  - id: planted
    title: One session read {THRESHOLD} objects in a minute
    severity: high
    kind: threshold
    where: {{operation: read}}
    group_by: session
    measure: objects
    window: 1m
    threshold: {THRESHOLD}
"""
PRINCIPALS = 2000
SINGLE_SHARE = 0.01
"""Of the records, those that come one a message."""
TICKS = 4
"""Trail files a second."""
PROGRAM = Path(sys.executable).with_name("bucketwatch")


@dataclass
class World:
    """Servers, a queue, a bucket; and a daemon's folder."""

    url: str
    folder: Path
    server: int
    queue: str = ""
    sent: int = 0
    made: int = 0
    seen: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        import boto3

        self.s3, self.sqs = boto3.client("s3"), boto3.client("sqs")
        self.s3.create_bucket(Bucket="trail")
        self.queue = self.sqs.create_queue(QueueName="notices", Attributes={"VisibilityTimeout": "300"})["QueueUrl"]
        shutil.copytree(shipped(), self.folder / "rules")
        (self.folder / "rules" / "planted.yaml").write_text(RULE)
        self.config = self.folder / "config.yaml"
        self.config.write_text(
            f"source: {{kind: sqs, queue_url: '{self.queue}'}}\naccept: {{buckets: [trail]}}\n"
            f"rules: {self.folder}/rules\nstate: {{kind: sqlite, path: {self.folder}/state.db}}\n"
            f"alerts: [{{kind: file, path: {self.folder}/alerts.jsonl}}]\n"
            f"journal: {{path: {self.folder}/journal.jsonl}}\n"
            "storm: {single: 100000, total: 100000}\n"
        )

    def records(self, who: np.ndarray[Any, Any]) -> list[str]:
        """A record of just now for each of these principals."""
        number = np.arange(self.made, self.made + len(who))
        self.made += len(who)
        asked = Requests(np.full(len(who), int(time.time()) - 5), who.astype(np.int64), number)
        return cloudtrail.records(asked, np.arange(len(who)))

    def file(self, records: Sequence[str]) -> str:
        """A trail file in the bucket; the notice of it."""
        self.sent += 1
        key = f"AWSLogs/111122223333/CloudTrail/us-east-1/2026/05/01/{self.sent}.json.gz"
        data = isal_zlib.compress(('{"Records":[' + ",".join(records) + "]}").encode(), 2, 31)
        self.s3.put_object(Bucket="trail", Key=key, Body=data)
        stored = {"bucket": {"name": "trail"}, "object": {"key": key, "size": len(data), "eTag": "x"}}
        return json.dumps({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": stored}]})

    def send(self, bodies: Sequence[str]) -> None:
        """Messages into the queue, ten a call."""
        for n in range(0, len(bodies), 10):
            entries = [{"Id": str(i), "MessageBody": body} for i, body in enumerate(bodies[n : n + 10])]
            self.sqs.send_message_batch(QueueUrl=self.queue, Entries=entries)

    def waiting(self) -> tuple[int, int]:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=names)["Attributes"]
        return int(found[names[0]]), int(found[names[1]])

    def look(self, stop: threading.Event) -> None:
        """When which session was first alerted."""
        path = self.folder / "alerts.jsonl"
        while not path.exists() and not stop.wait(0.01):
            pass
        with path.open() as lines:
            rest = ""
            while not stop.is_set():
                *whole, rest = (rest + lines.read()).split("\n")
                for line in whole:
                    self.seen.setdefault(str(json.loads(line)["group"].get("session")), time.monotonic())
                time.sleep(0.005)


def event(record: str) -> str:
    return '{"detail-type":"AWS API Call via CloudTrail","source":"aws.s3","detail":' + record + "}"


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """A moto server of our own."""
    with served() as (url, pid):
        os.environ |= environment(url)
        yield World(url, folder, pid)


def cpu(pid: int) -> float:
    """CPU seconds of a process that runs."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@contextmanager
def daemon(made: World) -> Iterator[int]:
    with (made.folder / "log").open("ab") as log:
        process = subprocess.Popen([PROGRAM, "watch", "--config", made.config], stderr=log, stdout=log)
        try:
            while b"heartbeat" not in (made.folder / "log").read_bytes():
                if process.poll() is not None:
                    raise SystemExit((made.folder / "log").read_text())
                time.sleep(0.05)
            yield process.pid
        finally:
            process.terminate()
            process.wait()


def latency(made: World, rate: int, seconds: int) -> None:
    """Mixed traffic, thefts in it."""
    rng = np.random.default_rng(1)
    begun: dict[str, tuple[str, float]] = {}
    stop = threading.Event()
    files = int(rate * (1 - SINGLE_SHARE) / TICKS)
    singles = int(rate * SINGLE_SHARE / TICKS)
    with daemon(made) as pid:
        threading.Thread(target=made.look, args=(stop,), daemon=True).start()
        before, server, start = cpu(pid), cpu(made.server), time.monotonic()
        late = 0.0
        half: list[int] = []
        for tick in range(seconds * TICKS):
            ahead = start + tick / TICKS - time.monotonic()
            late = max(late, -ahead)
            time.sleep(max(0.0, ahead))
            thief = 1_000_000 + 8 * tick
            way = ("file", "event", "", "")[tick % 4]
            who = rng.integers(2, PRINCIPALS, files)
            who[: {"file": THRESHOLD, "event": THRESHOLD - 1}.get(way, 0)] = thief
            notice = made.file(made.records(who))
            if way == "file":
                begun[cloudtrail.session(thief)] = (way, time.monotonic())
            made.send([notice])
            if way == "event":
                half.append(thief)
            elif half and tick % TICKS == 3:
                last = half.pop()
                begun[cloudtrail.session(last)] = ("event", time.monotonic())
                made.send([event(made.records(np.array([last]))[0])])
            made.send([event(record) for record in made.records(rng.integers(2, PRINCIPALS, singles))])
        spent, of_server, took = cpu(pid) - before, cpu(made.server) - server, time.monotonic() - start
        time.sleep(3)
        stop.set()
    print(
        f"{rate:,} records/s asked, {made.made / took:,.0f} made, for {took:.0f} s; "
        f"the generator was late by {late:.2f} s at most"
    )
    print("\n| theft's last record in | thefts | alerted | p50 s | p99 s | longest s |\n|---|---:|---:|---:|---:|---:|")
    for kind in ("file", "event"):
        sent = {session: at for session, (way, at) in begun.items() if way == kind}
        waits = [made.seen[session] - at for session, at in sent.items() if session in made.seen]
        shown = (
            " | ".join(f"{x:.2f}" for x in (np.percentile(waits, 50), np.percentile(waits, 99), max(waits)))
            if waits
            else " | | "
        )
        print(f"| {'a trail file' if kind == 'file' else 'a message'} | {len(sent)} | {len(waits)} | {shown} |")
    print(f"\nCPU: the daemon {spent / took:.2f} of a core, moto {of_server / took:.2f}\n")


def sustained(made: World, files: int, records: int, singles: int) -> None:
    """What waits in the queue, worked off."""
    rng = np.random.default_rng(2)
    print(
        "| waiting | records | records/s | daemon's CPU, us a record | daemon, of a core | moto, of a core |\n"
        "|---|---:|---:|---:|---:|---:|"
    )
    for name, count in ((f"{files} trail files", files * records), (f"{singles:,} messages of one event", singles)):
        if name.endswith("event"):
            bodies = [event(record) for record in made.records(rng.integers(2, PRINCIPALS, singles))]
        else:
            bodies = [made.file(made.records(rng.integers(2, 10 * PRINCIPALS, records))) for _ in range(files)]
        with daemon(made) as pid:
            time.sleep(2)
            before, server, start = cpu(pid), cpu(made.server), time.monotonic()
            made.send(bodies)
            while sum(made.waiting()):
                time.sleep(0.05)
            took, spent, of_server = time.monotonic() - start, cpu(pid) - before, cpu(made.server) - server
        print(
            f"| {name} | {count:,} | {count / took:,.0f} | {1e6 * spent / count:.1f} "
            f"| {spent / took:.2f} | {of_server / took:.2f} |"
        )


def main() -> int:
    """Print the tables."""
    options = argparse.ArgumentParser("python -m bench.daemon")
    options.add_argument("--rate", type=int, default=2000, help="records a second (2000)")
    options.add_argument("--seconds", type=int, default=60, help="of mixed traffic (60)")
    options.add_argument("--files", type=int, default=200, help="trail files that wait (200)")
    options.add_argument("--records", type=int, default=2000, help="records in each (2000)")
    options.add_argument("--singles", type=int, default=300, help="messages of one event that wait (300)")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as one, world(Path(one)) as made:
        latency(made, chosen.rate, chosen.seconds)
    with tempfile.TemporaryDirectory() as two, world(Path(two)) as made:
        sustained(made, chosen.files, chosen.records, chosen.singles)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
