"""A flood after an outage: twelve hours of logs drained in any order, one region hours behind, poison in between.

The daemon's own loop over real local edges, with a clock of ours, and a flood through a queue: every theft alerts, the
books balance, and what is closed at the end is what the same logs in order would close.
"""

import gzip
import json
import os
import random

import pytest

from detector.cli.watch import build
from detector.local.directory import DirectorySource
from detector.settings import Settings
from replay.example_day import burst
from tests.flood import RULE, Sent, flood, problems

HOURS = 12
NOW = 1_777_626_000
BEGAN = NOW - HOURS * 3600
BEHIND = 6 * 3600


class Daemon:
    """One daemon over a folder, at the end of an outage."""

    def __init__(self, folder) -> None:
        self.folder, self.now, self.said = folder, float(NOW), []
        (folder / "logs").mkdir(exist_ok=True)
        (folder / "rules.yaml").write_text(RULE)
        settings = Settings.model_validate(
            {
                "source": {"kind": "directory", "path": str(folder / "logs")},
                "rules": str(folder / "rules.yaml"),
                "state": {"kind": "sqlite", "path": str(folder / "state.db")},
                "alerts": ({"kind": "file", "path": str(folder / "alerts.jsonl")},),
                "journal": {"path": str(folder / "journal.jsonl")},
                "lateness": {"cloudtrail": "20m"},
            }
        )
        self.consumer = build(settings, say=lambda *a, **k: self.said.append(a), clock=lambda: self.now)
        self.consumer.edges.source = DirectorySource(folder / "logs", limit=8)
        self.consumer.start()

    def drain(self):
        while self.consumer.turn(0):
            self.now += 1

    def finish(self):
        self.consumer.close_all()
        books = self.consumer.engine.books
        self.consumer.stop()
        counted = books.access_events + books.duplicates + books.skipped.total() + books.rejected.total()
        assert books.records == counted
        return books

    def opened(self):
        """The sessions of findings whose opening was sent, by itself or in a digest."""
        alerts = [json.loads(line) for line in (self.folder / "alerts.jsonl").read_text().splitlines()]
        single = {alert["alert_id"] for alert in alerts if alert["state"] == "opened"}
        told = single.union(*(alert["digest"]["alert_ids"] for alert in alerts if "digest" in alert))
        bodies = [e["body"] for e in self.journal() if e["kind"] == "finding" and e["body"]["state"] == "opened"]
        return {b["group"]["session"] for b in bodies if b["alert_id"] in told and "session" in b["group"]}

    def journal(self):
        return [json.loads(line) for line in (self.folder / "journal.jsonl").read_text().splitlines()]

    def closed(self):
        """The last word on each finding, by its figures."""
        bodies = [e["body"] for e in self.journal() if e["kind"] == "finding" and e["body"]["rule_id"] == "bulk"]
        last = {body["finding_id"]: body for body in bodies if body["state"] == "closed"}
        return sorted((b["finding_id"], b["opened_at"], b["last_at"], b["peak_value"]) for b in last.values())


def packed(records):
    return gzip.compress(json.dumps({"Records": records}).encode(), mtime=0)


def outage():
    """Files of twelve hours by two regions: a theft an hour in each, quiet readers, copies across files."""
    files = []
    for hour in range(HOURS):
        for region in ("us-east-1", "eu-west-1"):
            for part in range(4):
                start = BEGAN + hour * 3600 + part * 900
                records = burst(f"reader-{region}-{hour}-{part}", 5, 600, start)
                if part == 1:
                    records += burst(f"thief-{region}-{hour}", 30, 30, start + 100)
                records = [record | {"awsRegion": region} for record in records]
                files.append((start, region, records))
                if part == 2:
                    files.append((start + 1, region, records[:3]))
    return files


FILES = outage()
THIEVES = {f"thief-{region}-{hour}" for region in ("us-east-1", "eu-west-1") for hour in range(HOURS)}


def lay(folder, files):
    for n, (_, _, records) in enumerate(files):
        path = folder / "logs" / f"{n:05}.json.gz"
        path.write_bytes(packed(records))
        os.utime(path, (NOW, NOW))


ORDERS = {
    "in order": lambda: sorted(FILES, key=lambda file: file[0]),
    "newest first": lambda: sorted(FILES, key=lambda file: -file[0]),
    "at random": lambda: random.Random(7).sample(FILES, len(FILES)),
    "one region behind": lambda: sorted(FILES, key=lambda file: file[0] + BEHIND * (file[1] == "eu-west-1")),
}


@pytest.fixture(scope="module")
def in_order(tmp_path_factory):
    return drained(tmp_path_factory.mktemp("order"), "in order")


def drained(folder, order):
    daemon = Daemon(folder)
    lay(folder, ORDERS[order]())
    daemon.drain()
    books = daemon.finish()
    return daemon, books


@pytest.mark.parametrize("order", ["newest first", "at random", "one region behind"])
def test_every_theft_of_an_outage_alerts_in_whatever_order_it_is_drained(tmp_path, in_order, order):
    """Each thief of each hour and region is alerted; books and closed findings are those of the logs in order."""
    daemon, books = drained(tmp_path, order)
    expected, in_order_books = in_order
    assert {session.rpartition("/")[2] for session in daemon.opened()} == THIEVES
    assert daemon.closed() == expected.closed()
    assert len(daemon.closed()) == len(THIEVES)
    assert (books.records, books.access_events, books.duplicates) == (
        in_order_books.records,
        in_order_books.access_events,
        in_order_books.duplicates,
    )


MESSAGES = 10_000
MEMORY = 400 << 20
"""Bytes the daemon may hold in a flood, libraries included."""


def test_a_flood_loses_nothing_and_takes_no_more_memory_than_it_may(tmp_path):
    """Ten thousand messages through the protocol, in any order, copies and poison among them: each record once."""
    sent = Sent.make(MESSAGES)
    assert problems(sent, flood(tmp_path, sent), MEMORY) == []
